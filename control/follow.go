package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// streamPath serves the status again and again, as server-sent events (WHATWG
// HTML, "Server-sent events"): GET /v1/status/stream?interval_ms=250.
const streamPath = statusPath + "/stream"

// How often a status can be had, and how often it comes when nobody says.
const (
	MinInterval     = 100 * time.Millisecond
	MaxInterval     = time.Minute
	DefaultInterval = time.Second
)

// eventPatience is how long a reader may take for one event. One that takes
// longer is gone, or would be shown what is long past.
const eventPatience = 5 * time.Second

// streamStatus serves GET /v1/status/stream: a status at once, and one each
// interval, until the reader or the daemon ends.
func streamStatus(status func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		interval, refusal := intervalOf(req)
		if refusal != nil {
			refusal.write(w)
			return
		}
		out := http.NewResponseController(w)
		// The server's own limit is for one answer, and this one has no end.
		if err := out.SetReadDeadline(time.Time{}); err != nil {
			(&Refusal{Status: http.StatusInternalServerError, Problem: "stream status: " + err.Error()}).write(w)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			b, err := json.Marshal(status())
			if err != nil {
				return // plain structs
			}
			if writeEvent(w, out, b) != nil {
				return
			}
			select {
			case <-req.Context().Done():
				return
			case <-tick.C:
			}
		}
	}
}

// intervalOf is how often a request wants the status.
func intervalOf(req *http.Request) (time.Duration, *Refusal) {
	text := req.URL.Query().Get("interval_ms")
	if text == "" {
		return DefaultInterval, nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	interval := time.Duration(n) * time.Millisecond
	if err != nil || interval < MinInterval || interval > MaxInterval {
		return 0, &Refusal{
			Status: http.StatusBadRequest, Problem: "interval_ms is " + shown(text),
			Mend: fmt.Sprintf("choose from %d to %d", MinInterval.Milliseconds(), MaxInterval.Milliseconds()),
		}
	}
	return interval, nil
}

func writeEvent(w io.Writer, out *http.ResponseController, b []byte) error {
	if err := out.SetWriteDeadline(time.Now().Add(eventPatience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "data: %s\n\n", b); err != nil {
		return err
	}
	return out.Flush()
}

// Follow asks the daemon behind the socket at path for its status every
// interval, from MinInterval to MaxInterval, and calls told with the JSON of each
// until ctx ends, which gives nil, or told returns an error, which Follow returns.
// The JSON is told's to keep. Any other error is an *Error or a *Refusal.
func Follow(ctx context.Context, path string, interval time.Duration, told func(json.RawMessage) error) error {
	target := fmt.Sprintf("%s?interval_ms=%d", streamPath, interval.Milliseconds())
	res, err := request(ctx, path, http.MethodGet, target, nil)
	if err != nil {
		return ended(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		b, err := io.ReadAll(io.LimitReader(res.Body, maxStatusBytes))
		if err != nil {
			return ended(ctx, &Error{"ask the daemon at", path, err, ""})
		}
		return refused(path, res.StatusCode, b)
	}
	lines := bufio.NewReader(res.Body)
	for {
		b, err := readEvent(lines)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errEnded
			}
			return ended(ctx, &Error{"follow the daemon at", path, cause(err), ""})
		}
		if err := told(b); err != nil {
			return err
		}
	}
}

// errEnded says that the daemon ended, or closed its socket.
var errEnded = errors.New("it has ended")

// ended is err, unless ctx ended and with it what err is about.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// readEvent returns the data of the next event.
func readEvent(r *bufio.Reader) (json.RawMessage, error) {
	const field = "data: "
	for {
		var line []byte
		for more := true; more; {
			part, err := r.ReadSlice('\n')
			more = errors.Is(err, bufio.ErrBufferFull)
			if err != nil && !more {
				return nil, err
			}
			if line = append(line, part...); len(line) > maxStatusBytes {
				return nil, errors.New("an event is too long")
			}
		}
		if len(line) > len(field) && string(line[:len(field)]) == field {
			return line[len(field):], nil
		}
	}
}

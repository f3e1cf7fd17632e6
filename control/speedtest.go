package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// speedtestPath takes what to measure and answers with events: how far the test is,
// and at the end what it found. The test ends when who asked hangs up.
const speedtestPath = "/v1/speedtest"

// How long one measurement of a speed test may take, and takes when nobody says:
// long enough for slow start on a far uplink, and shorter than what makes bbr rest.
const (
	MinSpeedtest     = 2 * time.Second
	MaxSpeedtest     = 30 * time.Second
	DefaultSpeedtest = 6 * time.Second
)

// SpeedtestRequest is what a speed test is to measure.
type SpeedtestRequest struct {
	// Uplinks are the names of those to measure, and to have in the bond; none are
	// all that are in use. One that is named is measured also when it stands by.
	Uplinks []string `json:"uplinks,omitempty"`
	Metered bool     `json:"metered,omitempty"` // whether it may use those on which bytes cost
	Seconds float64  `json:"seconds,omitempty"` // of each measurement; 0 is the default
}

// Length is Seconds as a duration, or the default.
func (r SpeedtestRequest) Length() time.Duration {
	if r.Seconds == 0 {
		return DefaultSpeedtest
	}
	return time.Duration(r.Seconds * float64(time.Second))
}

// Speedtester measures the speed of a running client's uplinks. Its method is called
// from any goroutine.
type Speedtester interface {
	// Speedtest measures, and calls told now and then, until it is done or ctx ends.
	// An error may be a *Refusal.
	Speedtest(ctx context.Context, r SpeedtestRequest, told func(SpeedtestStep)) (*Speedtest, error)
}

// SpeedtestStep is how far a speed test is.
type SpeedtestStep struct {
	Number    int     `json:"number"` // of the measurement; 0 is the idle round trips
	Of        int     `json:"of"`
	Interface string  `json:"interface"` // empty for the bond
	Direction string  `json:"direction"` // SpeedDown, SpeedUp; empty while idle
	Done      float64 `json:"done"`      // seconds of this measurement
	Seconds   float64 `json:"seconds"`   // that it takes
	Bps       float64 `json:"bps"`       // over the last second
}

// Directions of a measurement.
const (
	SpeedDown = "down" // from the server
	SpeedUp   = "up"
)

// Speedtest is what a speed test found. Rates are bits per second of TCP payload, and
// means of the part of a measurement in which it was steady.
type Speedtest struct {
	Began   string  `json:"began"` // RFC 3339
	Server  string  `json:"server"`
	Seconds float64 `json:"seconds"` // of each measurement
	// Uplinks are all of the host, in its order of preference.
	Uplinks []SpeedtestUplink `json:"uplinks"`
	Bond    *SpeedtestBond    `json:"bond,omitempty"` // nil: fewer than two uplinks
	// What others sent through the tunnel meanwhile, at most; they shared the uplinks.
	OthersRxBps float64 `json:"others_rx_bps"`
	OthersTxBps float64 `json:"others_tx_bps"`
	// Calls is whether somebody called meanwhile: then transfers keep a little below
	// what uplinks carry.
	Calls bool `json:"calls"`
}

// SpeedtestUplink is one uplink by itself.
type SpeedtestUplink struct {
	Interface string `json:"interface"`
	Role      string `json:"role"`
	State     string `json:"state"`
	Metered   bool   `json:"metered"`
	// LeftOut is why it was not measured, for people; empty when it was.
	LeftOut string `json:"left_out,omitempty"`
	// CostBytes is about what measuring it would have cost, of one that was left out
	// because it is metered; 0: its rates are not known.
	CostBytes uint64        `json:"cost_bytes,omitempty"`
	IdleMs    float64       `json:"idle_ms"` // round trip, median
	Down      *SpeedtestWay `json:"down,omitempty"`
	Up        *SpeedtestWay `json:"up,omitempty"`
}

// SpeedtestBond is the uplinks together.
type SpeedtestBond struct {
	IdleMs float64       `json:"idle_ms"` // of the nearest uplink
	Down   *SpeedtestWay `json:"down"`
	Up     *SpeedtestWay `json:"up"`
}

// SpeedtestWay is one measurement.
type SpeedtestWay struct {
	Bps float64 `json:"bps"`
	// LineBps is about the same with the headers of TLS, TCP and IP: what a provider
	// means by the rate of a line.
	LineBps float64 `json:"line_bps"`
	Bytes   uint64  `json:"bytes"`    // of payload in all
	LostPct float64 `json:"lost_pct"` // of sent segments
	// Round trips of heartbeats meanwhile; 0: not known. Of the bond they are those of
	// the uplink with the shortest, by which calls go.
	LoadedMs      float64 `json:"loaded_ms"` // median
	LoadedWorstMs float64 `json:"loaded_worst_ms"`
	// Parts of Bps, by uplink, in the order of the host's preference; of the bond.
	Parts []SpeedtestPart `json:"parts,omitempty"`
	// Problem is why there is no rate, for people; empty when there is one.
	Problem string `json:"problem,omitempty"`
}

// SpeedtestPart is what one uplink carried of the bond's rate.
type SpeedtestPart struct {
	Interface     string  `json:"interface"`
	Bps           float64 `json:"bps"`
	LoadedMs      float64 `json:"loaded_ms"`
	LoadedWorstMs float64 `json:"loaded_worst_ms"`
}

// speedtestEvent is one event of the answer; one of its fields is set.
type speedtestEvent struct {
	Step    *SpeedtestStep `json:"step,omitempty"`
	Result  *Speedtest     `json:"result,omitempty"`
	Refusal *Refusal       `json:"refusal,omitempty"`
}

// speedtest serves POST /v1/speedtest.
func speedtest(s Speedtester) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if s == nil {
			notHere("speed tests are a client's: this braid is none").write(w)
			return
		}
		var r SpeedtestRequest
		if refusal := decodeBody(http.MaxBytesReader(w, req.Body, maxChangeBytes), &r, `send {"uplinks": ["dsl"], "metered": false, "seconds": 6}`); refusal != nil {
			refusal.write(w)
			return
		}
		if l := r.Length(); l < MinSpeedtest || l > MaxSpeedtest {
			(&Refusal{
				Status: http.StatusBadRequest, Problem: fmt.Sprintf("a measurement of %v", l),
				Mend: fmt.Sprintf("choose from %v to %v", MinSpeedtest, MaxSpeedtest),
			}).write(w)
			return
		}
		ctx, cancel := context.WithCancel(req.Context())
		defer cancel()
		a := speedtestAnswer{w: w, out: http.NewResponseController(w)}
		// The server's own limits are for short answers.
		if err := a.out.SetReadDeadline(time.Time{}); err != nil {
			refusalOf(err).write(w)
			return
		}
		res, err := s.Speedtest(ctx, r, func(step SpeedtestStep) {
			if a.write(speedtestEvent{Step: &step}) != nil {
				cancel() // nobody reads
			}
		})
		switch {
		case err == nil:
			_ = a.write(speedtestEvent{Result: res})
		case a.begun:
			_ = a.write(speedtestEvent{Refusal: refusalOf(err)})
		default:
			_ = a.out.SetWriteDeadline(time.Now().Add(eventPatience))
			refusalOf(err).write(w)
		}
	}
}

// speedtestAnswer writes events; one goroutine does.
type speedtestAnswer struct {
	w     http.ResponseWriter
	out   *http.ResponseController
	begun bool
}

func (a *speedtestAnswer) write(e speedtestEvent) error {
	b, err := json.Marshal(e)
	if err != nil { // plain structs
		return err
	}
	if !a.begun {
		a.begun = true
		a.w.Header().Set("Content-Type", "text/event-stream")
		a.w.Header().Set("Cache-Control", "no-store")
	}
	return writeEvent(a.w, a.out, b)
}

// RunSpeedtest asks the client behind the socket at path for a speed test, calls told
// as it goes on, and returns what it found. When ctx ends the test does, and the
// error is ctx's. Any other error is a *Refusal when the client did not do it, and an
// *Error when it could not be asked.
func RunSpeedtest(ctx context.Context, path string, r SpeedtestRequest, told func(SpeedtestStep)) (*Speedtest, error) {
	body, err := json.Marshal(r)
	if err != nil { // plain fields
		return nil, fmt.Errorf("ask %s: %w", path, err)
	}
	res, err := request(ctx, path, http.MethodPost, speedtestPath, body)
	if err != nil {
		return nil, errors.Join(ctx.Err(), ended(ctx, err))
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		b, err := io.ReadAll(io.LimitReader(res.Body, maxStatusBytes))
		if err != nil {
			return nil, &Error{"ask the daemon at", path, err, ""}
		}
		return nil, refused(path, res.StatusCode, b)
	}
	for lines := bufio.NewReader(res.Body); ; {
		b, err := readEvent(lines)
		var e speedtestEvent
		if err == nil {
			err = json.Unmarshal(b, &e)
		}
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, io.EOF):
			return nil, &Error{"follow the daemon at", path, errEnded, ""}
		case err != nil:
			return nil, &Error{"follow the daemon at", path, cause(err), ""}
		case e.Refusal != nil:
			return nil, e.Refusal
		case e.Result != nil:
			return e.Result, nil
		case e.Step != nil:
			told(*e.Step)
		}
	}
}

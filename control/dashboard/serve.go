package dashboard

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"
)

//go:embed assets
var embedded embed.FS

// Bounds of what browsers may take. A browser has one stream for each tab, and at
// most six connections to one server.
const (
	maxConnections = 64
	patience       = 5 * time.Second // for a request, and for one event to be taken
)

// serve answers on l until ctx ends.
func (d *Dashboard) serve(ctx context.Context, l net.Listener, token string) error {
	srv := &http.Server{
		Handler: d.handler(token), ReadHeaderTimeout: patience, ReadTimeout: patience,
		WriteTimeout: patience, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx }, // ends streams
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		patient, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if srv.Shutdown(patient) != nil {
			srv.Close()
		}
	})
	err := srv.Serve(netutil.LimitListener(l, maxConnections))
	if !stop() {
		<-closed
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve dashboard: %w", err)
}

// handler is what a browser reaches. The page itself tells nothing of this host,
// so it is for all: it has the form in which the token is entered.
func (d *Dashboard) handler(token string) http.Handler {
	assets, err := fs.Sub(embedded, "assets")
	if err != nil {
		panic(err) // the name is a constant
	}
	login := newLogin(token)
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(assets))
	mux.Handle("POST /login", login)
	mux.HandleFunc("GET /api/history", login.only(d.tellHistory))
	mux.HandleFunc("GET /api/status", login.only(d.tellStatus))
	mux.HandleFunc("GET /api/events", login.only(d.tellEvents))
	return guard(token != "", mux)
}

// tellHistory serves GET /api/history: an Hour.
func (d *Dashboard) tellHistory(w http.ResponseWriter, _ *http.Request) {
	b, err := json.Marshal(d.sampler.hour(time.Now()))
	if err != nil {
		http.Error(w, "write history: "+err.Error(), http.StatusInternalServerError)
		return
	}
	tellJSON(w, b)
}

// tellStatus serves GET /api/status: the latest sample.
func (d *Dashboard) tellStatus(w http.ResponseWriter, _ *http.Request) {
	tellJSON(w, d.sampler.latest().bytes())
}

func tellJSON(w http.ResponseWriter, b []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(b)
}

// tellEvents serves GET /api/events: each sample, as server-sent events (WHATWG
// HTML, "Server-sent events"), until the browser or the daemon ends.
func (d *Dashboard) tellEvents(w http.ResponseWriter, req *http.Request) {
	out := http.NewResponseController(w)
	// The server's own limit is for one answer, and this one has no end.
	if err := out.SetReadDeadline(time.Time{}); err != nil {
		http.Error(w, "stream status: "+err.Error(), http.StatusInternalServerError)
		return
	}
	d.sampler.watchers.Add(1)
	defer d.sampler.watchers.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	for {
		s := d.sampler.latest()
		if s.status != nil && writeEvent(w, out, s.bytes()) != nil {
			return
		}
		select {
		case <-req.Context().Done():
			return
		case <-s.next:
		}
	}
}

// writeEvent writes one event. A browser that has lost its stream comes back after
// a second.
func writeEvent(w io.Writer, out *http.ResponseController, b []byte) error {
	if err := out.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "retry: 1000\ndata: %s\n\n", b); err != nil {
		return err
	}
	return out.Flush()
}

package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"
)

// Path is where the metrics are.
const Path = "/metrics"

// Scrapes come one after the other, of two Prometheus that watch each other's work
// at once. Who asks for more, or takes long, is not to cost the daemon more.
const (
	scrapesAtOnce     = 2
	connectionsAtOnce = 64
	patience          = 10 * time.Second
)

// Listen opens the address, also when it is one that this host does not have yet:
// a client gets its address in the tunnel later.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(network, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) {
			if network == "tcp6" {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
			} else {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
			}
		}); cerr != nil {
			return cerr
		}
		return err
	}}
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics: %w", err)
	}
	return l, nil
}

// Handler answers GET of Path with the metrics of New, of Go's runtime and of the
// process.
func Handler(role string, status func() any, log *slog.Logger) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET "+Path, promhttp.HandlerFor(all{New(role, status), r}, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), MaxRequestsInFlight: scrapesAtOnce,
	}))
	return mux
}

// Serve answers on l until ctx ends, which gives nil, or l is closed. It closes l and
// returns after all its goroutines have ended. status is as with New.
func Serve(ctx context.Context, l net.Listener, role string, status func() any, log *slog.Logger) error {
	srv := &http.Server{
		Handler: Handler(role, status, log), ReadHeaderTimeout: patience, ReadTimeout: patience, WriteTimeout: patience,
		IdleTimeout:    5 * time.Minute, // a Prometheus comes again each minute
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	shut := func() {
		last, end := context.WithTimeout(context.Background(), time.Second)
		defer end()
		if srv.Shutdown(last) != nil {
			srv.Close()
		}
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(closed); shut() })
	err := srv.Serve(netutil.LimitListener(l, connectionsAtOnce))
	if stop() {
		shut() // the listener was closed
	} else {
		<-closed
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve metrics: %w", err)
}

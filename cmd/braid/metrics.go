package main

import (
	"context"
	"log/slog"
	"net"
	"net/netip"

	"braid/control/metrics"
)

// scraped is where metrics are to be had, if anywhere.
type scraped struct {
	listener net.Listener // nil: nowhere
	role     string
	status   func() any
	log      *slog.Logger
}

// serveMetrics opens the address, unless it is the zero value.
func serveMetrics(ctx context.Context, at netip.AddrPort, role string, status func() any, log *slog.Logger) (*scraped, error) {
	if !at.IsValid() {
		return &scraped{}, nil
	}
	l, err := metrics.Listen(ctx, at.String())
	if err != nil {
		return nil, &hintedError{err, "give metrics.listen another address or port: each daemon of a host needs its own"}
	}
	log.Info("metrics are served", "address", "http://"+l.Addr().String()+metrics.Path)
	if !at.Addr().IsLoopback() {
		log.Warn("metrics are served to others than this host", "listen", at,
			"hint", "there is no password: let a firewall choose who reaches them, or listen on 127.0.0.1")
	}
	return &scraped{l, role, status, log}, nil
}

// run answers until ctx ends.
func (s *scraped) run(ctx context.Context) error {
	if s.listener == nil {
		return nil
	}
	return metrics.Serve(ctx, s.listener, s.role, s.status, s.log)
}

// Close closes what was not run.
func (s *scraped) Close() error {
	if s.listener == nil {
		return nil
	}
	return s.listener.Close()
}

package main

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"braid/control/metrics"
)

// scraped is where metrics are to be had, if anywhere. It can be moved while it
// runs.
type scraped struct {
	role   string
	status func() any
	log    *slog.Logger

	mu       sync.Mutex // guards what follows
	at       netip.AddrPort
	listener net.Listener  // at at; nil: nowhere
	moved    chan struct{} // closed when it is another one
}

// serveMetrics opens the address, unless it is the zero value. What it returns is
// run, or closed.
func serveMetrics(at netip.AddrPort, role string, status func() any, log *slog.Logger) (*scraped, error) {
	s := &scraped{role: role, status: status, log: log, moved: make(chan struct{})}
	return s, s.move(at)
}

// move opens another address instead, which may be the same one, or none. After an
// error there is none.
func (s *scraped) move(at netip.AddrPort) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at == s.at {
		return nil
	}
	if s.listener != nil { // the new one may overlap
		s.listener.Close()
	}
	s.at, s.listener = netip.AddrPort{}, nil
	close(s.moved)
	s.moved = make(chan struct{})
	if !at.IsValid() {
		s.log.Info("metrics are served no more")
		return nil
	}
	l, err := metrics.Listen(context.Background(), at.String())
	if err != nil {
		return &hintedError{err, "give metrics.listen another address or port: each daemon of a host needs its own"}
	}
	s.at, s.listener = at, l
	s.log.Info("metrics are served", "address", "http://"+l.Addr().String()+metrics.Path)
	if !at.Addr().IsLoopback() {
		s.log.Warn("metrics are served to others than this host", "listen", at,
			"hint", "there is no password: let a firewall choose who reaches them, or listen on 127.0.0.1")
	}
	return nil
}

// run answers until ctx ends.
func (s *scraped) run(ctx context.Context) error {
	for {
		l, moved := s.now()
		if l == nil {
			select {
			case <-moved:
			case <-ctx.Done():
				return nil
			}
			continue
		}
		err := metrics.Serve(ctx, l, s.role, s.status, s.log)
		if ctx.Err() != nil {
			return nil
		}
		if now, _ := s.now(); now == l {
			return err
		}
	}
}

func (s *scraped) now() (net.Listener, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listener, s.moved
}

// Close closes what was not run.
func (s *scraped) Close() error {
	if l, _ := s.now(); l != nil {
		return l.Close()
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"braid/lab"
)

// blockBytes is what the load generator reads and writes at once.
const blockBytes = 256 << 10

// Directions, the first byte on a connection.
const (
	sendToClient   = 'd'
	takeFromClient = 'u'
)

// loadServer sends or swallows zeros on every connection.
type loadServer struct {
	listener  net.Listener
	multipath bool
	taken     atomic.Int64 // bytes from clients
	conns     sync.WaitGroup
}

func listenLoad(h *lab.Host, multipath bool) (*loadServer, error) {
	s := &loadServer{multipath: multipath}
	err := h.Do(func() (err error) {
		var lc net.ListenConfig
		lc.SetMultipathTCP(multipath)
		s.listener, err = lc.Listen(context.Background(), "tcp", ":7000")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen for the load: %w", err)
	}
	s.conns.Go(s.accept)
	return s, nil
}

func (s *loadServer) accept() {
	for {
		c, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			s.conns.Go(func() { s.serve(c) })
		}
	}
}

func (s *loadServer) serve(c net.Conn) {
	defer c.Close()
	b := make([]byte, blockBytes)
	if _, err := c.Read(b[:1]); err != nil {
		return
	}
	if b[0] == sendToClient {
		send(c, b)
	} else {
		take(c, b, &s.taken)
	}
}

// send sends until the connection breaks.
func send(c net.Conn, b []byte) {
	for {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// take swallows until the connection ends.
func take(c net.Conn, b []byte, count *atomic.Int64) {
	for {
		n, err := c.Read(b)
		count.Add(int64(n))
		if err != nil {
			return
		}
	}
}

func (s *loadServer) close() {
	s.listener.Close()
	s.conns.Wait()
}

// flows are running transfers between a host and the server.
type flows struct {
	count *atomic.Int64
	conns []net.Conn
	done  sync.WaitGroup
}

// run starts the transfers of a measurement.
func (s *loadServer) run(ctx context.Context, h *lab.Host, at netip.Addr, what run) (*flows, error) {
	f := &flows{count: new(atomic.Int64)}
	if what.up {
		f.count = &s.taken
	}
	for range what.flows {
		var d net.Dialer
		d.SetMultipathTCP(s.multipath)
		c, err := h.DialWith(ctx, &d, "tcp", netip.AddrPortFrom(at, 7000).String())
		if err != nil {
			f.stop()
			return nil, fmt.Errorf("start the load: %w", err)
		}
		f.conns = append(f.conns, c)
		direction := byte(sendToClient)
		if what.up {
			direction = takeFromClient
		}
		if _, err := c.Write([]byte{direction}); err != nil {
			f.stop()
			return nil, fmt.Errorf("start the load: %w", err)
		}
		f.done.Go(func() {
			b := make([]byte, blockBytes)
			if what.up {
				send(c, b)
			} else {
				take(c, b, f.count)
			}
		})
	}
	return f, nil
}

func (f *flows) received() int64 { return f.count.Load() }

// stop aborts the transfers: what is queued is of no use.
func (f *flows) stop() {
	for _, c := range f.conns {
		if t, ok := c.(*net.TCPConn); ok {
			t.SetLinger(0)
		}
		c.Close()
	}
	f.done.Wait()
	f.conns = nil
}

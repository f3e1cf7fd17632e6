package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"braid/lab"
)

// blockBytes is what the load generator reads and writes at once.
const blockBytes = 256 << 10

// loadPort is where the load server listens.
const loadPort = 7000

// A connection begins with what it is for, and the number of its flow:
//
//	kind u8 | flow u64
const headerBytes = 9

// Kinds of connections.
const (
	sendToClient   = 'd' // until it breaks
	takeFromClient = 'u' // until it ends
	sendReply      = 'r' // replyBytes, then the end
	echoBytesBack  = 'e' // until it ends
)

// replyBytes is the size of what a request brings: an object of a web page.
const replyBytes = 100_000

// loadServer serves connections of all kinds. What it sends is zeros.
type loadServer struct {
	listener  net.Listener
	multipath bool
	conns     sync.WaitGroup
	flows     atomic.Uint64 // numbers given out

	mu    sync.Mutex // guards what follows
	taken map[uint64]*atomic.Int64
	open  map[net.Conn]struct{}
}

func listenLoad(h *lab.Host, multipath bool) (*loadServer, error) {
	s := &loadServer{multipath: multipath, taken: make(map[uint64]*atomic.Int64), open: make(map[net.Conn]struct{})}
	err := h.Do(func() (err error) {
		var lc net.ListenConfig
		lc.SetMultipathTCP(multipath)
		s.listener, err = lc.Listen(context.Background(), "tcp", fmt.Sprintf(":%d", loadPort))
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
	s.mu.Lock()
	s.open[c] = struct{}{}
	s.mu.Unlock()
	defer func() {
		c.Close()
		s.mu.Lock()
		delete(s.open, c)
		s.mu.Unlock()
	}()
	var header [headerBytes]byte
	if _, err := io.ReadFull(c, header[:]); err != nil {
		return
	}
	switch header[0] {
	case sendToClient:
		send(c, make([]byte, blockBytes))
	case takeFromClient:
		take(c, make([]byte, blockBytes), s.count(binary.BigEndian.Uint64(header[1:])))
	case sendReply:
		_, _ = c.Write(reply) // the client counts
	case echoBytesBack:
		echo(c)
	}
}

var reply = make([]byte, replyBytes)

// count is the counter of what a flow brings from the client.
func (s *loadServer) count(flow uint64) *atomic.Int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken[flow] == nil {
		s.taken[flow] = new(atomic.Int64)
	}
	return s.taken[flow]
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

// echo returns what comes, with a buffer so small that thousands do not count.
func echo(c net.Conn) {
	var b [16]byte
	for {
		n, err := c.Read(b[:])
		if err != nil {
			return
		}
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
	}
}

// close ends the server and what is still open: the other end of an MPTCP
// connection that was aborted may notice that only after a minute.
func (s *loadServer) close() {
	s.listener.Close()
	s.mu.Lock()
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.conns.Wait()
}

// dial connects from a host and says what for; flow is its number.
func (s *loadServer) dial(ctx context.Context, h *lab.Host, at netip.Addr, kind byte) (c net.Conn, flow uint64, err error) {
	var d net.Dialer
	d.SetMultipathTCP(s.multipath)
	if c, err = h.DialWith(ctx, &d, "tcp", netip.AddrPortFrom(at, loadPort).String()); err != nil {
		return nil, 0, fmt.Errorf("connect to the load server: %w", err)
	}
	flow = s.flows.Add(1)
	if _, err := c.Write(binary.BigEndian.AppendUint64([]byte{kind}, flow)); err != nil {
		c.Close()
		return nil, 0, fmt.Errorf("ask the load server: %w", err)
	}
	return c, flow, nil
}

// flows are running transfers between a host and the server.
type flows struct {
	counts []*atomic.Int64 // bytes that have arrived, of each
	conns  []net.Conn
	done   sync.WaitGroup
}

// run starts the transfers of a measurement.
func (s *loadServer) run(ctx context.Context, h *lab.Host, at netip.Addr, what run) (*flows, error) {
	f := &flows{}
	kind := byte(sendToClient)
	if what.up {
		kind = takeFromClient
	}
	for range what.flows {
		c, number, err := s.dial(ctx, h, at, kind)
		if err != nil {
			f.stop()
			return nil, err
		}
		f.conns = append(f.conns, c)
		b := make([]byte, blockBytes)
		if what.up {
			f.counts = append(f.counts, s.count(number))
			f.done.Go(func() { send(c, b) })
		} else {
			count := new(atomic.Int64)
			f.counts = append(f.counts, count)
			f.done.Go(func() { take(c, b, count) })
		}
	}
	return f, nil
}

// received is how much of each flow has arrived.
func (f *flows) received() []int64 {
	list := make([]int64, len(f.counts))
	for i, c := range f.counts {
		list[i] = c.Load()
	}
	return list
}

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

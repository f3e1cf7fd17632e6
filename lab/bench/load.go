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
	"time"

	"braid/lab"
	"braid/lab/emulator"
	"braid/lab/probe"
)

// blockBytes is what the load generator reads and writes at once.
const blockBytes = 256 << 10

// loadPort is where the load server listens.
const loadPort = 7000

// A connection begins with what it is for, and a number:
//
//	kind u8 | number u64
const headerBytes = 9

// Kinds of connections. What the number is stands behind each.
const (
	sendToClient   = 'd' // until it breaks; none
	takeFromClient = 'u' // until it ends; of the flow
	sendReply      = 'r' // then the end; bytes of the reply
	sendReplies    = 'q' // one for each u64 that comes, which is its bytes; bytes of the first
	sendAtRate     = 'p' // until the rate is 0; bits in a second, and so is each u64 that comes
	echoBytesBack  = 'e' // until it ends; none
)

// replyBytes is the size of what a request brings: an object of a web page.
const replyBytes = 100_000

// readNumber reads what a client tells in a connection.
func readNumber(c net.Conn) (uint64, error) {
	var b [8]byte
	_, err := io.ReadFull(c, b[:])
	return binary.BigEndian.Uint64(b[:]), err
}

func writeNumber(c net.Conn, n uint64) error {
	_, err := c.Write(binary.BigEndian.AppendUint64(nil, n))
	return err
}

// loadServer serves connections of all kinds. What it sends is zeros.
type loadServer struct {
	listener  net.Listener
	multipath bool
	quic      *quicServer
	udp       *udpServer
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
	if s.quic, err = listenQUIC(h); err != nil {
		s.listener.Close()
		return nil, err
	}
	if s.udp, err = listenUDP(h); err != nil {
		s.quic.close()
		s.listener.Close()
		return nil, err
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
	number := binary.BigEndian.Uint64(header[1:])
	switch header[0] {
	case sendToClient:
		send(c, make([]byte, blockBytes))
	case takeFromClient:
		take(c, make([]byte, blockBytes), s.count(number), nil)
	case sendReply:
		_ = reply(c, number) // the client counts
	case sendReplies:
		var err error
		for err == nil {
			if err = reply(c, number); err == nil {
				number, err = readNumber(c)
			}
		}
	case sendAtRate:
		sendPaced(c, number)
	case echoBytesBack:
		echo(c)
	}
}

// reply sends n bytes.
func reply(c net.Conn, n uint64) error {
	for b := zeros; n > 0; {
		b = b[:min(n, uint64(len(b)))]
		if _, err := c.Write(b); err != nil {
			return err
		}
		n -= uint64(len(b))
	}
	return nil
}

var zeros = make([]byte, blockBytes)

// sendPaced sends at a rate, and at others as the client says.
func sendPaced(c net.Conn, first uint64) {
	var rate atomic.Uint64
	rate.Store(first)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer rate.Store(0)
		for {
			n, err := readNumber(c)
			if err != nil {
				return
			}
			rate.Store(n)
		}
	})
	_ = probe.SendPaced(c, func() emulator.BitRate { return emulator.BitRate(rate.Load()) })
	c.Close() // which the client has asked for, or ends the reading
	reading.Wait()
}

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

// take swallows until the connection ends; gaps may be nil.
func take(c io.Reader, b []byte, count *atomic.Int64, gaps *probe.Gaps) {
	for {
		n, err := c.Read(b)
		count.Add(int64(n))
		if gaps != nil && n > 0 {
			gaps.Arrived(time.Now())
		}
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
	s.quic.close()
	s.udp.close()
	s.mu.Lock()
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.conns.Wait()
}

// way is where connections of the load lead.
type way struct {
	host *lab.Host
	from netip.Addr // invalid: as the host chooses
	to   netip.Addr // the server
}

// dial connects and says what for, with the number that belongs to it.
func (s *loadServer) dial(ctx context.Context, w way, kind byte, number uint64) (net.Conn, error) {
	var d net.Dialer
	d.SetMultipathTCP(s.multipath)
	if w.from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(w.from, 0))
	}
	c, err := w.host.DialWith(ctx, &d, "tcp", netip.AddrPortFrom(w.to, loadPort).String())
	if err != nil {
		return nil, fmt.Errorf("connect to the load server: %w", err)
	}
	if _, err := c.Write(binary.BigEndian.AppendUint64([]byte{kind}, number)); err != nil {
		c.Close()
		return nil, fmt.Errorf("ask the load server: %w", err)
	}
	return c, nil
}

// flows are running transfers between a host and the server.
type flows struct {
	counts []*atomic.Int64 // bytes that have arrived, of each
	conns  []io.Closer
	gaps   *probe.Gaps // between arrivals at the client, of all together
	done   sync.WaitGroup
}

// run starts the transfers of a measurement.
func (s *loadServer) run(ctx context.Context, w way, what run) (*flows, error) {
	f := &flows{gaps: probe.NewGaps(time.Now())}
	for i := range what.flows {
		if what.quic || i < what.udp {
			var c io.ReadCloser
			var err error
			if what.quic {
				c, err = dialQUIC(ctx, w)
			} else {
				c, err = askUDP(ctx, w, what.udpRate)
			}
			if err != nil {
				f.stop()
				return nil, err
			}
			f.take(c)
			continue
		}
		number := s.flows.Add(1)
		kind := byte(sendToClient)
		if what.up {
			kind = takeFromClient
		}
		c, err := s.dial(ctx, w, kind, number)
		if err != nil {
			f.stop()
			return nil, err
		}
		if !what.up {
			f.take(c)
			continue
		}
		f.conns, f.counts = append(f.conns, c), append(f.counts, s.count(number))
		f.done.Go(func() { send(c, make([]byte, blockBytes)) })
	}
	return f, nil
}

// take swallows what comes on a connection, which is the flows' to close.
func (f *flows) take(c io.ReadCloser) {
	count := new(atomic.Int64)
	f.conns, f.counts = append(f.conns, c), append(f.counts, count)
	f.done.Go(func() { take(c, make([]byte, blockBytes), count, f.gaps) })
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

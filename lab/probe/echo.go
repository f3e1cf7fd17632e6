package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"braid/lab"
)

// largestDatagram is more than any UDP payload.
const largestDatagram = 1 << 16

// EchoServer sends every UDP datagram back to where it came from.
type EchoServer struct {
	Addr netip.AddrPort

	conn net.PacketConn
	done chan struct{}
}

// ServeEcho serves in a host on an address such as 192.0.2.2:7. Prefer one
// address to all: the answer from another one would not be taken.
func ServeEcho(h *lab.Host, address string) (*EchoServer, error) {
	conn, err := h.ListenPacket(context.Background(), "udp", address)
	if err != nil {
		return nil, fmt.Errorf("serve echo in %s: %w", h.Name(), err)
	}
	s := &EchoServer{Addr: addrPortOf(conn.LocalAddr()), conn: conn, done: make(chan struct{})}
	go s.serve()
	return s, nil
}

func (s *EchoServer) serve() {
	defer close(s.done)
	buf := make([]byte, largestDatagram)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = s.conn.WriteTo(buf[:n], from) // as lossy as UDP is
		}
	}
}

// Close ends the server.
func (s *EchoServer) Close() error {
	err := s.conn.Close()
	<-s.done
	return err
}

// EchoResult is what became of a series of echoes.
type EchoResult struct {
	Sent       int
	RTTs       []time.Duration // of those that came back, shortest first
	Duplicates int
	Reordered  int // came back after a later one

	// LongestSilence is the longest time between two echoes, or between the
	// first sent or last received one and the end.
	LongestSilence time.Duration
}

// Lost is how many did not come back.
func (r EchoResult) Lost() int { return r.Sent - len(r.RTTs) }

// Percentile returns the round trip that p per cent of the echoes do not
// exceed, 0 without any.
func (r EchoResult) Percentile(p float64) time.Duration {
	if len(r.RTTs) == 0 {
		return 0
	}
	return r.RTTs[min(int(p/100*float64(len(r.RTTs))), len(r.RTTs)-1)]
}

// String is a line for a log.
func (r EchoResult) String() string {
	return fmt.Sprintf("%d sent, %d lost, %d twice, p50 %v, p99 %v, longest silence %v", r.Sent, r.Lost(),
		r.Duplicates, r.Percentile(50).Round(10*time.Microsecond), r.Percentile(99).Round(10*time.Microsecond),
		r.LongestSilence.Round(time.Millisecond))
}

// Echo is a running series of datagrams sent to an EchoServer.
type Echo struct {
	conn net.Conn
	size int
	stop chan struct{}
	wg   sync.WaitGroup

	mu      sync.Mutex  // guards the rest
	sent    []time.Time // by number
	seen    []bool
	latest  int // the highest number that came back
	last    time.Time
	results EchoResult
	gaps    *Gaps // has a lock of its own
}

// The number of an echo is in its first bytes.
const smallestEcho = 8

// StartEcho sends a datagram of size bytes of UDP payload (at least 8) at every
// interval from inside a host until Stop.
func StartEcho(h *lab.Host, to netip.AddrPort, interval time.Duration, size int) (*Echo, error) {
	return StartEchoOver(h, "", to, interval, size)
}

// StartEchoOver is StartEcho bound to an interface, whatever the routes say; ""
// binds to none.
func StartEchoOver(h *lab.Host, interfaceName string, to netip.AddrPort, interval time.Duration, size int) (*Echo, error) {
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if cerr := raw.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), interfaceName) }); cerr != nil {
			return cerr
		}
		return err
	}}
	conn, err := h.DialWith(context.Background(), &d, "udp", to.String())
	if err != nil {
		return nil, fmt.Errorf("start echo in %s: %w", h.Name(), err)
	}
	now := time.Now()
	e := &Echo{conn: conn, size: max(size, smallestEcho), stop: make(chan struct{}), latest: -1, last: now, gaps: NewGaps(now)}
	e.wg.Go(e.receive)
	e.wg.Go(func() { e.send(interval) })
	return e, nil
}

func (e *Echo) send(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	datagram := make([]byte, e.size)
	for n := uint64(0); ; n++ {
		binary.BigEndian.PutUint64(datagram, n)
		e.mu.Lock()
		e.sent = append(e.sent, time.Now())
		e.seen = append(e.seen, false)
		e.results.Sent++
		e.mu.Unlock()
		_, _ = e.conn.Write(datagram) // one that the kernel refuses is lost
		select {
		case <-ticker.C:
		case <-e.stop:
			return
		}
	}
}

func (e *Echo) receive() {
	buf := make([]byte, largestDatagram)
	for {
		n, err := e.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && n >= smallestEcho { // an error is an ICMP message
			e.take(binary.BigEndian.Uint64(buf))
		}
	}
}

func (e *Echo) take(number uint64) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	if number >= uint64(len(e.sent)) {
		return
	}
	n := int(number)
	if e.seen[n] {
		e.results.Duplicates++
		return
	}
	e.seen[n] = true
	if n < e.latest {
		e.results.Reordered++
	}
	e.latest = max(e.latest, n)
	e.results.RTTs = append(e.results.RTTs, now.Sub(e.sent[n]))
	e.results.LongestSilence = max(e.results.LongestSilence, now.Sub(e.last))
	e.last = now
	e.gaps.Arrived(now)
}

// Gaps returns the silences between the echoes that came back.
func (e *Echo) Gaps() *Gaps { return e.gaps }

// Now returns the result so far; echoes on their way count as lost.
func (e *Echo) Now() EchoResult {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.results
	r.RTTs = slices.Sorted(slices.Values(r.RTTs))
	r.LongestSilence = max(r.LongestSilence, time.Since(e.last))
	return r
}

func (e *Echo) complete() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.results.Lost() == 0
}

// Stop ends the series, waits up to the given time for stragglers, and returns
// the result.
func (e *Echo) Stop(patience time.Duration) EchoResult {
	close(e.stop)
	result := e.Now() // its silence is that until now
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if e.complete() {
			break
		}
	}
	e.conn.Close()
	e.wg.Wait()
	silence := result.LongestSilence
	result = e.Now()
	result.LongestSilence = silence
	return result
}

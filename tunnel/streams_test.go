package tunnel

import (
	"context"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"braid/tunnel/relay"
	"braid/tunnel/wire"
)

// fakeStreams stands for the kernels of both ends: connections are pipes, and
// what the far end connects to is serve.
type fakeStreams struct {
	serve  func(relay.Socket) // of the destination; runs in its own goroutine
	refuse wire.OpenResult    // instead of serve
	limits StreamLimits

	running sync.WaitGroup
	mu      sync.Mutex // guards what follows
	offer   func(HeldConn)
	reverse func(HeldConn)
	opened  []wire.Open
}

func newFakeStreams(serve func(relay.Socket)) *fakeStreams {
	return &fakeStreams{serve: serve, limits: StreamLimits{
		PerSession: 100, Total: 1000, NewPerSecond: 1000, MemoryBytes: 64 << 20, Resume: 10 * time.Minute,
	}}
}

// socket is a pipe's end whose abort can be told from its close.
type socket struct{ *pipeEnd }

func socketPair() (relay.Socket, relay.Socket) {
	a, b := bufferedPipe()
	return socket{a.(*pipeEnd)}, socket{b.(*pipeEnd)}
}

func (f *fakeStreams) connect(o wire.Open) (relay.Socket, error) {
	f.mu.Lock()
	f.opened = append(f.opened, o)
	f.mu.Unlock()
	if f.refuse != wire.OpenOK {
		return nil, &relay.OpenError{Result: f.refuse, Reason: "test"}
	}
	near, far := socketPair()
	f.running.Go(func() { f.serve(far) })
	return near, nil
}

func (f *fakeStreams) server(c *ServerConfig) {
	c.Limits = f.limits
	c.Judge = func(_ string, to netip.AddrPort) error { return nil }
	c.Connect = func(_ context.Context, _ string, o wire.Open) (relay.Socket, error) { return f.connect(o) }
	c.Terminator = func(_ []netip.Prefix, accept func(HeldConn), _ func(a, b netip.AddrPort) bool) (Terminator, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.reverse = accept
		return fakeTerminator{f}, nil
	}
}

func (f *fakeStreams) client(c *ClientConfig) {
	c.Limits = f.limits
	c.Terminator = func(_ []netip.Prefix, accept func(HeldConn), _ func(a, b netip.AddrPort) bool) (Terminator, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.offer = accept
		return fakeTerminator{f}, nil
	}
}

type fakeTerminator struct{ f *fakeStreams }

func (fakeTerminator) Packet([]byte, time.Time) bool { return false }

func (t fakeTerminator) Dial(_ context.Context, source, destination netip.AddrPort) (relay.Socket, error) {
	return t.f.connect(wire.Open{Source: source, Destination: destination})
}

func (fakeTerminator) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// heldTest is a program's connection. answer holds what it was told.
type heldTest struct {
	from, to netip.AddrPort
	done     chan struct{}
	conn     chan relay.Socket
	answer   chan wire.OpenResult
}

func newHeld(from, to string) *heldTest {
	return &heldTest{
		netip.MustParseAddrPort(from), netip.MustParseAddrPort(to),
		make(chan struct{}), make(chan relay.Socket, 1), make(chan wire.OpenResult, 4),
	}
}

func (h *heldTest) Source() netip.AddrPort      { return h.from }
func (h *heldTest) Destination() netip.AddrPort { return h.to }
func (h *heldTest) Done() <-chan struct{}       { return h.done }
func (h *heldTest) Fail(r wire.OpenResult)      { h.answer <- r }

func (h *heldTest) Accept(context.Context) (relay.Socket, error) {
	near, far := socketPair()
	h.conn <- far
	return near, nil
}

const (
	fromHome = "10.77.0.2:1000"
	origin   = "192.0.2.80:80"
)

// open opens a connection from the first client.
func (f *fakeStreams) open(w *world) relay.Socket {
	w.t.Helper()
	h := newHeld(fromHome, origin)
	f.offer(h)
	select {
	case c := <-h.conn:
		return c
	case r := <-h.answer:
		w.t.Fatalf("connection answered with result %d\n%s", r, w.log.String())
	case <-time.After(time.Minute):
		w.t.Fatalf("connection not answered\n%s", w.log.String())
	}
	return nil
}

// echo is a destination that returns what it gets.
func echo(c relay.Socket) {
	io.Copy(c, c)
	c.CloseWrite()
	io.Copy(io.Discard, c)
	c.Close()
}

// exchange sends n random bytes over a connection to echo, and checks what
// comes back. between is called now and then while they are under way.
func exchange(w *world, c relay.Socket, n int, between func()) {
	w.t.Helper()
	src := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{1}), int64(n)) }
	var sending sync.WaitGroup
	sending.Go(func() {
		r, b := src(), make([]byte, 32<<10)
		for {
			k, err := io.ReadFull(r, b)
			if _, werr := c.Write(b[:k]); werr != nil {
				w.t.Errorf("write: %v", werr)
				return
			}
			if err != nil {
				break
			}
			if between != nil {
				between()
			}
		}
		c.CloseWrite()
	})
	want, got := src(), make([]byte, 1<<10)
	exp := make([]byte, 1<<10)
	total := 0
	for {
		k, err := c.Read(got)
		io.ReadFull(want, exp[:k])
		if string(got[:k]) != string(exp[:k]) {
			w.t.Fatalf("wrong bytes behind %d", total)
		}
		if total += k; err == io.EOF {
			break
		} else if err != nil {
			w.t.Fatalf("read after %d bytes: %v", total, err)
		}
	}
	if total != n {
		w.t.Errorf("%d bytes came back, want %d", total, n)
	}
	sending.Wait()
	c.Close()
}

// streamsTest runs f with a connected client.
func streamsTest(t *testing.T, f *fakeStreams, test func(w *world, c *testClient)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOf(t, f)
		defer f.running.Wait()
		defer w.stop()
		test(w, w.home())
	})
}

func TestStream(t *testing.T) {
	f := newFakeStreams(echo)
	streamsTest(t, f, func(w *world, c *testClient) {
		for range 3 {
			exchange(w, f.open(w), 1<<20, nil)
		}
		w.await("streams end", func() bool { return c.Status().Streams.ListTotal == 0 })
		w.await("the pool is as at first", func() bool {
			s := c.Status().Streams
			return s.Carriers == spareLinks && s.Idle == spareLinks && s.Reverse == spareReverseLinks
		})
		if s := c.Status().Streams; s.Opened != 3 || s.Failed != 0 {
			t.Errorf("status %+v", s)
		}
		if o := f.opened[0]; o.Source.String() != fromHome || o.Destination.String() != origin {
			t.Errorf("opened %+v", o)
		}
	})
}

func TestStreamTowardClient(t *testing.T) {
	f := newFakeStreams(echo)
	streamsTest(t, f, func(w *world, c *testClient) {
		var conns []relay.Socket
		for range 5 { // more than wait for it
			h := newHeld("203.0.113.9:5000", "192.168.10.5:22")
			f.reverse(h)
			conns = append(conns, <-h.conn)
		}
		for _, c := range conns {
			exchange(w, c, 100_000, nil)
		}
		h := newHeld("203.0.113.9:5000", "10.77.0.3:22") // a client that is not there
		f.reverse(h)
		if r := <-h.answer; r != wire.OpenHostUnreachable {
			t.Errorf("answered with %d", r)
		}
	})
}

// Every connection of the session dies again and again, and no byte is lost.
func TestStreamsSurviveTheirCarriers(t *testing.T) {
	f := newFakeStreams(echo)
	streamsTest(t, f, func(w *world, c *testClient) {
		var all sync.WaitGroup
		for i := range 4 {
			conn := f.open(w)
			all.Go(func() {
				count := 0
				exchange(w, conn, 2<<20, func() {
					if count++; count%16 == 4*i {
						w.net.cut()
					}
					time.Sleep(time.Millisecond)
				})
			})
		}
		all.Wait()
		w.await("streams end", func() bool { return c.Status().Streams.ListTotal == 0 })
		if s := c.Status().Streams; s.Resumed == 0 || s.Failed != 0 {
			t.Errorf("resumed %d times, %d failed", s.Resumed, s.Failed)
		}
	})
}

// Carriers that fall silent are given up, and streams go on when the network
// is back, however long that takes.
func TestStreamsSurviveSilence(t *testing.T) {
	for _, silent := range []time.Duration{5 * time.Second, time.Minute, 9 * time.Minute} {
		f := newFakeStreams(echo)
		streamsTest(t, f, func(w *world, c *testClient) {
			conn := f.open(w)
			once := sync.OnceFunc(func() {
				w.net.blackHole()
				w.net.setDown(true)
				time.AfterFunc(silent, func() { w.net.setDown(false) })
			})
			began := time.Now()
			exchange(w, conn, 1<<20, once)
			if took := time.Since(began); took > silent+5*time.Second {
				t.Errorf("silent for %v, and done after %v", silent, took)
			}
		})
	}
}

func TestStreamNotResumedInTime(t *testing.T) {
	f := newFakeStreams(echo)
	f.limits.Resume = 30 * time.Second
	streamsTest(t, f, func(w *world, c *testClient) {
		conn := f.open(w)
		conn.Write([]byte("x"))
		io.ReadFull(conn, make([]byte, 1))
		w.net.blackHole()
		w.net.setDown(true)
		conn.Write([]byte("y"))
		began := time.Now()
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("read something")
		}
		if d := time.Since(began); d < 30*time.Second || d > time.Minute {
			t.Errorf("ended after %v", d)
		}
		w.await("stream ends at the server", func() bool { return w.server.Status().Peers[0].Streams.ListTotal == 0 })
		w.await("the failure is counted", func() bool { return c.Status().Streams.Failed == 1 })
		w.net.setDown(false)
	})
}

func TestStreamRefused(t *testing.T) {
	for _, r := range []wire.OpenResult{wire.OpenRefused, wire.OpenHostUnreachable, wire.OpenTimedOut, wire.OpenDenied} {
		f := newFakeStreams(echo)
		f.refuse = r
		streamsTest(t, f, func(w *world, c *testClient) {
			h := newHeld(fromHome, origin)
			f.offer(h)
			if got := <-h.answer; got != r {
				t.Errorf("answered with %d, want %d", got, r)
			}
			w.await("its carrier is back", func() bool { return c.Status().Streams.Idle == spareLinks })
		})
	}
}

// A source that is not the client's is refused by the server.
func TestStreamFromForeignSource(t *testing.T) {
	f := newFakeStreams(echo)
	streamsTest(t, f, func(w *world, c *testClient) {
		h := newHeld("10.77.0.3:1000", origin)
		f.offer(h)
		if got := <-h.answer; got != wire.OpenDenied {
			t.Errorf("answered with %d", got)
		}
		if n := w.server.Status().Peers[0].Counters.Spoofed; n != 1 {
			t.Errorf("%d counted", n)
		}
	})
}

func TestStreamLimit(t *testing.T) {
	f := newFakeStreams(echo)
	f.limits.PerSession = 10
	streamsTest(t, f, func(w *world, c *testClient) {
		var conns []relay.Socket
		for range 10 {
			conns = append(conns, f.open(w))
		}
		h := newHeld(fromHome, origin)
		f.offer(h)
		if got := <-h.answer; got != wire.OpenRefused {
			t.Errorf("answered with %d", got)
		}
		if n := c.Status().Streams.Limited; n != 1 {
			t.Errorf("%d counted", n)
		}
		for _, c := range conns {
			exchange(w, c, 10, nil)
		}
		w.await("streams end", func() bool { return c.Status().Streams.ListTotal == 0 })
		exchange(w, f.open(w), 10, nil)
	})
}

// A burst of connections gets its carriers, and they fade when it is over.
func TestPoolFollowsDemand(t *testing.T) {
	f := newFakeStreams(echo)
	streamsTest(t, f, func(w *world, c *testClient) {
		var conns []relay.Socket
		for range 60 {
			conns = append(conns, f.open(w))
		}
		if s := c.Status().Streams; s.Carriers < 60 {
			t.Errorf("%d carriers for 60 streams", s.Carriers)
		}
		for _, c := range conns {
			exchange(w, c, 10, nil)
		}
		w.await("streams end", func() bool { return c.Status().Streams.ListTotal == 0 })
		time.Sleep(15 * time.Second)
		if s := c.Status().Streams; s.Carriers > spareMost+1 {
			t.Errorf("%d carriers are kept after a burst", s.Carriers)
		}
		time.Sleep(5 * time.Minute)
		if s := c.Status().Streams; s.Carriers > spareLinks+1 {
			t.Errorf("%d carriers when all is quiet", s.Carriers)
		}
	})
}

// The server's process is another: programs learn at once.
func TestStreamsEndWithTheSession(t *testing.T) {
	f := newFakeStreams(echo)
	streamsTest(t, f, func(w *world, c *testClient) {
		conn := f.open(w)
		conn.Write([]byte("x"))
		io.ReadFull(conn, make([]byte, 1))
		w.server.sessions()[0].mu.Lock()
		w.server.sessions()[0].id = wire.SessionID{9} // it has forgotten
		w.server.sessions()[0].mu.Unlock()
		w.net.cut()
		began := time.Now()
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("read something")
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("the program learns after %v", d)
		}
		exchange(w, f.open(w), 1000, nil)
	})
}

// A program that gives up while its SYN is held leaves nothing behind.
func TestStreamGivenUp(t *testing.T) {
	f := newFakeStreams(echo)
	hang := make(chan struct{})
	streamsTest(t, f, func(w *world, c *testClient) {
		w.server.Connect = func(ctx context.Context, _ string, _ wire.Open) (relay.Socket, error) {
			<-ctx.Done()
			close(hang)
			return nil, ctx.Err()
		}
		h := newHeld(fromHome, origin)
		f.offer(h)
		time.Sleep(time.Second)
		close(h.done)
		<-hang
		w.await("streams end", func() bool { return c.Status().Streams.ListTotal == 0 })
		w.await("its carrier is back", func() bool { return c.Status().Streams.Idle == spareLinks })
	})
}

// swallow is a destination that only reads.
func swallow(c relay.Socket) {
	io.Copy(io.Discard, c)
	c.Close()
}

// A client that vanishes without a word leaves nothing at the server for long:
// its kernel's connections can live on without any path, and say nothing.
func TestVanishedClientIsForgotten(t *testing.T) {
	f := newFakeStreams(echo)
	streamsTest(t, f, func(w *world, c *testClient) {
		exchange(w, f.open(w), 1000, nil)
		w.await("all kinds of carriers", func() bool {
			p := w.server.Status().Peers[0]
			return p.Connected && len(p.Paths) == 2 && p.Streams.Carriers > 0 && p.Streams.Reverse > 0
		})
		w.net.setDown(true)
		for _, u := range []string{"dsl", "lte"} {
			w.net.setHole(u, true)
		}
		w.net.blackHole()
		c.cancel()
		// Of the links on which the server opens, see TestForgottenLink.
		w.within(11*time.Minute, "nothing is left of it", func() bool {
			p := w.server.Status().Peers[0]
			return !p.Connected && len(p.Paths) == 0 && p.Streams.Carriers == 0
		})
	})
}

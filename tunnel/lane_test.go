package tunnel

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"braid/tunnel/relay"
	"braid/tunnel/wire"
)

// testLane makes a lane without links. total counts its streams.
func testLane(reverse bool, limits StreamLimits, total *atomic.Int64) *lane {
	return newLane(laneConfig{
		log: slog.New(slog.DiscardHandler), demand: func() {}, reverse: reverse, limits: limits, total: total,
	})
}

var testLimits = StreamLimits{PerSession: 10, Total: 12, NewPerSecond: 10, MemoryBytes: 1 << 30}

// testStream is a stream that nobody runs.
func testStream(l *lane, id byte, out bool) *laneStream {
	s := &laneStream{ctx: l.ctx, out: out, open: wire.Open{Stream: wire.StreamID{id}, Source: netip.MustParseAddrPort(fromHome)}}
	cfg := relay.Config{BufferBytes: 1 << 20, WindowBytes: 1 << 20}
	if out {
		s.relay = relay.NewOpener(cfg, s.open, nil)
	} else {
		s.relay = relay.NewAccepter(cfg, s.open, nil)
	}
	return s
}

func TestLaneAdmitsAnIDOnce(t *testing.T) {
	var total atomic.Int64
	l := testLane(true, testLimits, &total)
	first, second := testStream(l, 7, false), testStream(l, 7, false)
	if e := l.admit(first); e != nil {
		t.Fatal(e)
	}
	if e := l.admit(second); e == nil || e.Result != wire.OpenTooMany {
		t.Errorf("an id in use: %v", e)
	}
	if l.find(first.open.Stream) != first || total.Load() != 1 {
		t.Errorf("the first is gone, or %d are counted", total.Load())
	}
	l.forget(first)
	if e := l.admit(second); e != nil {
		t.Errorf("an id that is free again: %v", e)
	}
}

// The end of a stream is no end of one that has its place by now.
func TestLaneForgetsItsOwn(t *testing.T) {
	var total atomic.Int64
	l := testLane(true, testLimits, &total)
	first, second := testStream(l, 7, false), testStream(l, 7, false)
	l.admit(first)
	l.streams[first.open.Stream] = second
	if l.forget(first); l.find(second.open.Stream) != second {
		t.Error("the second stream is not known any more")
	}
	if l.forget(second); l.find(second.open.Stream) != nil {
		t.Error("the second stream is still known")
	}
}

// What is opened toward a client takes half, and the client has the rest.
func TestLaneLimits(t *testing.T) {
	var total atomic.Int64
	l := testLane(true, testLimits, &total)
	id := byte(0)
	admit := func(out bool) (*laneStream, bool) {
		id++
		s := testStream(l, id, out)
		return s, l.admit(s) == nil
	}
	var streams []*laneStream
	for i := range testLimits.PerSession {
		s, ok := admit(true)
		if want := i < testLimits.PerSession/2; ok != want {
			t.Errorf("stream %d toward the client: admitted %v", i, ok)
		}
		if ok {
			streams = append(streams, s)
			if s.rank != i {
				t.Errorf("stream %d of one source has rank %d", i, s.rank)
			}
		}
	}
	for i := range testLimits.PerSession {
		s, ok := admit(false)
		if want := i < testLimits.PerSession/2; ok != want {
			t.Errorf("the client's stream %d: admitted %v", i, ok)
		}
		if ok {
			streams = append(streams, s)
		}
	}
	if got := l.count.limited.Load(); got != uint64(testLimits.PerSession) {
		t.Errorf("%d counted as refused", got)
	}
	other := testLane(true, testLimits, &total) // another client's
	for i := range 5 {
		ok := other.admit(testStream(other, byte(i), false)) == nil
		if want := i < testLimits.Total-testLimits.PerSession; ok != want {
			t.Errorf("stream %d beyond one client's: admitted %v", i, ok)
		}
	}
	for _, s := range streams {
		l.forget(s)
	}
	if n := total.Load(); n != int64(other.streamCount()) || l.opened != 0 || len(l.making) != 0 {
		t.Errorf("all are gone, and %d, %d, %v are counted", n, l.opened, l.making)
	}
}

// A client that is scanned through the server can still open connections.
func TestScanLeavesHalfToTheClient(t *testing.T) {
	f := newFakeStreams(echo)
	f.limits.PerSession = 10
	streamsTest(t, f, func(w *world, c *testClient) {
		var held []*heldTest
		for range 8 {
			h := newHeld("203.0.113.9:5000", "192.168.10.5:22")
			f.reverse(h)
			held = append(held, h)
		}
		var conns []relay.Socket
		refused := 0
		for _, h := range held {
			select {
			case c := <-h.conn:
				conns = append(conns, c)
			case <-h.answer:
				refused++
			}
		}
		if len(conns) != 5 || refused != 3 {
			t.Errorf("%d connections toward the client, %d refused", len(conns), refused)
		}
		for range 5 {
			conns = append(conns, f.open(w))
		}
		for _, conn := range conns {
			exchange(w, conn, 1000, nil)
		}
	})
}

// Each way has its own pace.
func TestScanDoesNotSlowTheClient(t *testing.T) {
	f := newFakeStreams(echo)
	f.limits.NewPerSecond = 20
	streamsTest(t, f, func(w *world, c *testClient) {
		ctx, cancel := context.WithCancel(w.ctx)
		f.running.Go(func() { // five times as many as may be
			for ctx.Err() == nil {
				h := newHeld("203.0.113.9:5000", "192.168.10.5:22")
				f.reverse(h)
				f.running.Go(func() {
					select {
					case conn := <-h.conn:
						conn.Close()
					case <-h.answer:
					}
				})
				time.Sleep(10 * time.Millisecond)
			}
		})
		time.Sleep(5 * time.Second)
		if n := w.server.Status().Peers[0].Streams; n.Limited == 0 {
			t.Errorf("nothing is limited: %+v", n)
		}
		for range 10 {
			began := time.Now()
			conn := f.open(w)
			if d := time.Since(began); d > time.Second {
				t.Errorf("the client's own connection took %v", d)
			}
			exchange(w, conn, 10, nil)
		}
		cancel()
	})
}

// More carriers than anybody needs are refused: each costs memory. Each stream
// is worth one more.
func TestLinksAreBounded(t *testing.T) {
	var total atomic.Int64
	s := newSession(Peer{})
	s.id = wire.SessionID{1}
	s.lane = testLane(true, StreamLimits{PerSession: 100, Total: 100}, &total)
	enough := func() int {
		for range 1000 {
			switch l, code, _ := s.laneFor(wire.Hello{Kind: wire.KindStreams, Session: s.id}, 5); {
			case l == nil && code != wire.RefuseBusy:
				t.Fatalf("refused with code %d", code)
			case l == nil:
				return s.lane.linkCount()
			}
			s.lane.links[&link{}] = struct{}{}
		}
		return -1
	}
	if n := enough(); n != 4*spareMost {
		t.Errorf("%d carriers without a stream", n)
	}
	for i := range byte(20) {
		s.lane.admit(testStream(s.lane, i, i%2 == 0))
	}
	if n := enough(); n != 4*spareMost+5 {
		t.Errorf("%d carriers with more streams than there may be", n)
	}
}

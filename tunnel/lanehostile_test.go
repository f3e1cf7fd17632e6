package tunnel

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"braid/tunnel/wire"
)

// A client in a wrong version, or in hostile hands, on both kinds of carriers.

// deafen pings on a carrier and reads nothing, until the server has enough.
// queued returns how many bytes of answers it holds.
func (w *world) deafen(car *carrier, queued func() int) {
	w.t.Helper()
	car.conn.(*fakeConn).Conn.(*pipeEnd).narrow(16 << 10)
	b := pings(50)
	for range 1000 {
		if _, err := car.tls.Write(b); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
		if n := queued(); n > controlLimitBytes+len(pings(1)) {
			w.t.Fatalf("the server holds %d bytes of answers", n)
		}
	}
	w.t.Error("the server answers for ever")
}

func TestDeafPeerOnALink(t *testing.T) {
	f := newFakeStreams(echo)
	streamsTest(t, f, func(w *world, c *testClient) {
		time.Sleep(time.Second) // the pool is full
		l := w.server.sessions()[0].streams()
		before := map[*link]bool{}
		for _, k := range l.allLinks() {
			before[k] = true
		}
		car, _ := w.hello(wire.KindStreams, c.Status().Session)
		synctest.Wait()
		var deaf *link
		for _, k := range l.allLinks() {
			if !before[k] {
				deaf = k
			}
		}
		w.deafen(car, func() int {
			deaf.ctl.Lock()
			defer deaf.ctl.Unlock()
			return len(deaf.ctl.buf)
		})
		synctest.Wait()
		if !deaf.dead.Load() || l.linkCount() != len(before) {
			t.Errorf("closed: %v, %d links, there were %d", deaf.dead.Load(), l.linkCount(), len(before))
		}
		exchange(w, f.open(w), 1000, nil)
	})
}

func TestDeafPeerOnACarrierOfPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		car, _ := w.hello(wire.KindPackets, wire.SessionID{})
		synctest.Wait()
		ses := w.server.sessions()[0]
		ses.mu.Lock()
		theirs := ses.current
		ses.mu.Unlock()
		w.deafen(car, func() int {
			theirs.ctl.Lock()
			defer theirs.ctl.Unlock()
			return len(theirs.ctl.buf)
		})
		w.await("server is rid of it", func() bool { return !w.server.Status().Peers[0].Connected })
		synctest.Wait()
		if !strings.Contains(w.log.String(), errDeaf.Error()) {
			t.Errorf("log:\n%s", w.log.String())
		}
		w.home()
	})
}

// A Hello without a session replaces the one that there is, even if its carrier
// comes to nothing. The client whose session it was must not stay behind with
// an id that is none any more.
func TestHelloThatNeverAttaches(t *testing.T) {
	f := newFakeStreams(echo)
	streamsTest(t, f, func(w *world, c *testClient) {
		conn := f.open(w)
		before := c.Status().Session
		conn.Write([]byte("x"))
		io.ReadFull(conn, make([]byte, 1))
		stray, welcome := w.hello(wire.KindPackets, wire.SessionID{})
		stray.conn.Close()
		if welcome.Session == before || welcome.Flags&wire.FlagResumed != 0 {
			t.Fatalf("welcome %+v", welcome)
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("the stream of a session that is over goes on")
		}
		conn.Close()
		w.within(5*time.Second, "a session that both know", func() bool {
			s := c.Status()
			return s.Connected && s.Session != before && s.Session == w.server.Status().Peers[0].Session
		})
		exchange(w, f.open(w), 1000, nil)
		// It keeps what it has.
		now := c.Status().Session
		time.Sleep(time.Minute)
		if s := c.Status(); !s.Connected || s.Session != now || s.Streams.Idle < spareLinks {
			t.Errorf("a minute later: connected %v, session %v, it was %v, %d idle", s.Connected, s.Session, now, s.Streams.Idle)
		}
	})
}

// Nor if its Welcome never left the server.
func TestHelloWithoutWelcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.home()
		before := c.Status().Session
		w.server.sessions()[0].resume(wire.Hello{Kind: wire.KindPackets})
		w.within(5*time.Second, "a session that both know", func() bool {
			s := c.Status()
			return s.Connected && s.Session != before && s.Session == w.server.Status().Peers[0].Session
		})
		c.tun.toBraid <- packet("10.77.0.2", "198.51.100.7")
		w.receive(w.serverTUN)
	})
}

// A server that has forgotten the session says so to carriers of streams; the
// client begins another, though its carrier of packets is well.
func TestForgottenSession(t *testing.T) {
	f := newFakeStreams(echo)
	streamsTest(t, f, func(w *world, c *testClient) {
		time.Sleep(time.Second)
		before := c.Status().Session
		ses := w.server.sessions()[0]
		ses.mu.Lock()
		ses.id = wire.SessionID{9}
		ses.mu.Unlock()
		for _, k := range c.streams().allLinks() {
			k.Close()
		}
		w.within(5*time.Second, "another session", func() bool {
			s := c.Status()
			return s.Connected && s.Session != before && s.Session == w.server.Status().Peers[0].Session
		})
		exchange(w, f.open(w), 1000, nil)
		if !strings.Contains(c.log.String(), errSessionLost.Error()) {
			t.Errorf("the client does not say why:\n%s", c.log.String())
		}
	})
}

// A carrier of streams for a session that is not the client's is refused.
func TestLinkOfAnotherSession(t *testing.T) {
	f := newFakeStreams(echo)
	streamsTest(t, f, func(w *world, c *testClient) {
		l := w.server.sessions()[0].streams()
		for _, kind := range []wire.Kind{wire.KindStreams, wire.KindReverse} {
			if got, code, _ := w.server.sessions()[0].laneFor(wire.Hello{Kind: kind, Session: wire.SessionID{9}}, 100); got != nil || code != wire.RefuseSession {
				t.Errorf("kind %d: lane %p, code %d", kind, got, code)
			}
			if got, _, _ := w.server.sessions()[0].laneFor(wire.Hello{Kind: kind, Session: l.session}, 100); got != l {
				t.Errorf("kind %d: the client's own is refused", kind)
			}
			if got, _, _ := w.server.sessions()[1].laneFor(wire.Hello{Kind: kind, Session: l.session}, 100); got != nil {
				t.Errorf("kind %d: another client's session is open to this one", kind)
			}
		}
	})
}

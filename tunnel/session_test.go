package tunnel

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"braid/crypto"
	"braid/scheduler"
)

func TestPacketsBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.home()

		up := packet("10.77.0.2", "198.51.100.7", 1, 2, 3)
		c.tun.toBraid <- up
		if got := w.receive(w.serverTUN); !bytes.Equal(got, up) {
			t.Fatalf("server's host got % x, want % x", got, up)
		}
		down := packet("198.51.100.7", "10.77.0.2", 4, 5)
		w.serverTUN.toBraid <- down
		if got := w.receive(c.tun); !bytes.Equal(got, down) {
			t.Fatalf("client's host got % x, want % x", got, down)
		}

		// A network behind the client, both ways.
		w.serverTUN.toBraid <- packet("198.51.100.7", "192.168.10.9")
		w.receive(c.tun)
		c.tun.toBraid <- packet("192.168.10.9", "198.51.100.7")
		w.receive(w.serverTUN)

		s := <-c.settings
		if s.MTU != 1500 || len(s.Addresses) != 1 || s.Addresses[0] != netip.MustParsePrefix("10.77.0.2/24") {
			t.Errorf("settings %+v", s)
		}
		w.await("both packets counted", func() bool { return c.Status().Counters.RxPackets == 2 })
		st := c.Status()
		if !st.MPTCP || st.Server != serverAddr || st.Session.IsZero() || st.LastError != nil {
			t.Errorf("client status %+v", st)
		}
		if n := st.Counters; n.TxPackets != 2 || n.RxPackets != 2 || n.TxBytes != 23+20 || n.RxBytes != 22+20 {
			t.Errorf("client counters %+v", n)
		}
		w.await("both packets counted", func() bool { return w.server.Status().Peers[0].Counters.RxPackets == 2 })
		if p := w.server.Status().Peers; !p[0].Connected || p[1].Connected || p[0].Session != st.Session {
			t.Errorf("server's peers %+v", p)
		}
		w.await("a subflow on each uplink", func() bool {
			u := c.Status().Usage
			return len(u) == 2 && u[0].Uplink == "dsl" && u[0].Subflows == 1 && u[1].Subflows == 1
		})
	})
}

// A batch for several clients and for nobody must reach who it is for, in
// order.
func TestDispatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		home := w.home()
		laptop := w.start(w.keys[1], w.serverKey.Public())
		w.await("laptop connected", func() bool { return laptop.Status().Connected })

		b := newBatch()
		var off int
		for i, dst := range []string{"10.77.0.2", "10.77.0.2", "10.77.0.3", "10.9.9.9", "10.77.0.3", "224.0.0.1", "10.77.0.2", "192.168.10.1"} {
			p := packet("198.51.100.7", dst, byte(i))
			b.sizes[i] = copy(b.buf[off:], p)
			off += len(p)
			b.n++
		}
		w.server.dispatch(b)
		for _, want := range []byte{0, 1, 6, 7} {
			if got := w.receive(home.tun); got[len(got)-1] != want {
				t.Fatalf("home got packet %d, want %d", got[len(got)-1], want)
			}
		}
		for _, want := range []byte{2, 4} {
			if got := w.receive(laptop.tun); got[len(got)-1] != want {
				t.Fatalf("laptop got packet %d, want %d", got[len(got)-1], want)
			}
		}
		st := w.server.Status()
		if st.Unroutable != 1 {
			t.Errorf("%d unroutable packets, want 1", st.Unroutable)
		}
		if n := st.Peers[0].Counters; n.TxPackets != 4 || n.TxBytes != 4*21 {
			t.Errorf("home's counters %+v", n)
		}
		if n := st.Peers[1].Counters; n.TxPackets != 2 || n.TxBytes != 2*21 {
			t.Errorf("laptop's counters %+v", n)
		}
	})
}

func TestForeignSourceIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.home()
		for _, src := range []string{"10.77.0.3", "10.77.0.1", "8.8.8.8", "192.168.11.1"} {
			c.tun.toBraid <- packet(src, "198.51.100.7")
		}
		c.tun.toBraid <- packet("10.77.0.2", "10.77.0.3") // isolated
		w.nothing(w.serverTUN)
		n := w.server.Status().Peers[0].Counters
		if n.Spoofed != 4 || n.Isolated != 1 || n.RxPackets != 0 {
			t.Errorf("counters %+v", n)
		}
		if !c.Status().Connected {
			t.Error("the carrier ended")
		}
		if !strings.Contains(w.log.String(), "foreign source") {
			t.Error("nothing in the log")
		}
	})
}

func TestLinkLocalTrafficStaysHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.home()
		for _, dst := range []string{"224.0.0.251", "169.254.1.1", "255.255.255.255", "0.0.0.0"} {
			c.tun.toBraid <- packet("10.77.0.2", dst)
		}
		c.tun.toBraid <- make([]byte, 12) // no IP packet at all
		w.nothing(w.serverTUN)
		if n := c.Status().Counters; n.TxPackets != 0 {
			t.Errorf("counters %+v", n)
		}
	})
}

func TestPacketRefusedByTheKernelIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.home()
		w.serverTUN.toBraid <- packet("198.51.100.7", "10.77.0.2", refusedByKernel)
		w.await("counted", func() bool { return c.Status().Counters.Refused == 1 })
		if !c.Status().Connected {
			t.Error("the carrier ended")
		}
	})
}

func TestSessionOutlivesItsCarriers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.home()
		id := c.Status().Session
		for range 3 {
			was := c.packetCarrier()
			w.net.cut()
			w.await("client is back", func() bool { is := c.packetCarrier(); return is != nil && is != was })
			c.tun.toBraid <- packet("10.77.0.2", "198.51.100.7")
			w.receive(w.serverTUN)
		}
		if got := c.Status().Session; got != id {
			t.Errorf("session %v became %v", id, got)
		}
		if n := len(c.settings); n != 1 {
			t.Errorf("the host was configured %d times, want once", n)
		}
		select {
		case <-c.tun.closed:
			t.Error("the device was closed")
		default:
		}
	})
}

// Packets that waited through an outage are not delivered late.
func TestOutageIsNotReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.home()
		w.net.setDown(true)
		w.net.cut()
		w.await("client noticed", func() bool { return !c.Status().Connected })
		c.tun.toBraid <- packet("10.77.0.2", "198.51.100.7", 1)
		time.Sleep(time.Minute)
		if err := c.Status().LastError; err == nil || !strings.Contains(err.Error(), "network is unreachable") {
			t.Errorf("last error %v", err)
		}
		w.net.setDown(false)
		w.await("client is back", func() bool { return c.Status().Connected })
		c.tun.toBraid <- packet("10.77.0.2", "198.51.100.7", 2)
		if got := w.receive(w.serverTUN); got[len(got)-1] != 2 {
			t.Fatal("a packet from before the outage arrived")
		}
		// The same failure again and again is one line.
		if n := strings.Count(c.log.String(), "level=WARN"); n > 3 {
			t.Errorf("%d warnings for one outage:\n%s", n, c.log.String())
		}
	})
}

func TestNewerCarrierReplaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		first := w.home()
		second := w.start(w.keys[0], w.serverKey.Public()) // the same key on another machine
		w.await("one of them is told", func() bool {
			return strings.Contains(first.log.String(), "replaced by a newer connection")
		})
		first.cancel()
		<-first.done
		w.await("second stays", func() bool { return second.Status().Connected })
	})
}

func TestGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.home()
		c.cancel()
		<-c.done
		w.await("server heard why", func() bool { return strings.Contains(w.log.String(), "closed by peer: shutting down") })
		if w.server.Status().Peers[0].Connected {
			t.Error("still connected")
		}
		w.stop()
	})
}

func TestWrongKeys(t *testing.T) {
	t.Run("client unknown", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.stop()
			stranger := crypto.GenerateKey()
			c := w.start(stranger, w.serverKey.Public())
			w.await("client knows why", func() bool { return c.Status().LastError != nil })
			w.await("server says who", func() bool { return strings.Contains(w.log.String(), stranger.Public().String()) })
			if msg := c.log.String(); !strings.Contains(msg, "hint=") || !strings.Contains(msg, stranger.Public().String()) {
				t.Errorf("client's log:\n%s", msg)
			}
			if n := w.server.Status().Rejected; n == 0 {
				t.Error("not counted")
			}
		})
	})
	t.Run("server unknown", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.stop()
			c := w.start(w.keys[0], crypto.GenerateKey().Public())
			w.await("client knows why", func() bool {
				var wrong *crypto.WrongServerKeyError
				return errors.As(c.Status().LastError, &wrong)
			})
			w.await("server noticed", func() bool { return w.server.Status().Rejected > 0 })
		})
	})
}

// A peer that answers nothing, as behind a firewall that forgot the
// connection, is given up and dialled anew.
func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.home()
		began := time.Now()
		w.net.mu.Lock()
		for _, conn := range w.net.conns {
			conn.(*pipeEnd).blackHole()
		}
		w.net.conns = nil
		w.net.mu.Unlock()
		c.tun.toBraid <- packet("10.77.0.2", "198.51.100.7")
		w.await("given up", func() bool { return strings.Contains(c.log.String(), errSilent.Error()) })
		if d := time.Since(began); d > pingIdle+deadAfter+2*time.Second {
			t.Errorf("noticed after %v", d)
		}
		w.await("back", func() bool { return c.Status().Connected })
	})
}

func TestUplinksComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.home()
		conn := func() *fakeConn {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.current.conn.(*fakeConn)
		}
		names := func() string {
			f := conn()
			f.mu.Lock()
			defer f.mu.Unlock()
			var s []string
			for _, u := range f.uplinks {
				s = append(s, u.Name)
			}
			return strings.Join(s, " ")
		}
		w.await("both", func() bool { return names() == "dsl lte" })
		c.SetUplinks([]Uplink{uplinkB})
		synctest.Wait()
		if names() != "lte" {
			t.Errorf("uplinks %q right after the loss", names())
		}
		last := func() string { e := c.Status().Events; return e[len(e)-1].Reason }
		if last() != GoneReason {
			t.Errorf("the event says %q", last())
		}
		c.SetUplinks([]Uplink{uplinkB, uplinkA})
		w.await("both again, when dsl has answered", func() bool { return names() == "lte dsl" })
		off := uplinkA
		off.Role = scheduler.Never
		c.SetUplinks([]Uplink{uplinkB, off})
		synctest.Wait()
		if names() != "lte" || last() != "its role is never" {
			t.Errorf("uplinks %q with one that is off, the event says %q", names(), last())
		}
		c.SetUplinks([]Uplink{uplinkB, uplinkA})
		w.await("both once more", func() bool { return names() == "lte dsl" })
		// A subflow that is missing is named once.
		f := conn()
		f.mu.Lock()
		f.missing = errors.New("no route on dsl")
		f.mu.Unlock()
		time.Sleep(time.Minute)
		if n := strings.Count(c.log.String(), "no route on dsl"); n != 1 {
			t.Errorf("%d lines about a missing subflow", n)
		}
	})
}

func TestNoUplink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		w.net.setDown(true)
		c := w.start(w.keys[0], w.serverKey.Public())
		c.SetUplinks(nil)
		w.await("says so", func() bool { return errors.Is(c.Status().LastError, ErrNoUplink) })
		w.net.setDown(false)
		c.SetUplinks([]Uplink{uplinkA})
		began := time.Now()
		w.await("connected", func() bool { return c.Status().Connected })
		if d := time.Since(began); d > 500*time.Millisecond {
			t.Errorf("an uplink that came was used after %v", d)
		}
	})
}

func TestConfigureErrorIsFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		broken := errors.New("no such device")
		c := NewClient(ClientConfig{
			Device: newChanDevice(), Dialer: w.net, TLS: w.clientTLS(w.keys[0], w.serverKey.Public()),
			Key:       w.keys[0].Public(),
			Servers:   func(context.Context) ([]netip.AddrPort, error) { return []netip.AddrPort{serverAddr}, nil },
			Configure: func(Settings) error { return broken },
			Log:       w.server.Log,
		})
		c.SetUplinks([]Uplink{uplinkA})
		if err := c.Run(w.ctx); !errors.Is(err, broken) {
			t.Fatalf("Run = %v", err)
		}
	})
}

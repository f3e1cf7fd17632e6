package tunnel

import (
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"braid/crypto"
	"braid/scheduler/policy"
	"braid/tunnel/relay"
)

// peers are what the server's clients are now.
func (w *world) peers() []Peer {
	var list []Peer
	for _, s := range w.server.Status().Peers {
		list = append(list, s.Peer)
	}
	return list
}

// greet sends some bytes over a connection to echo, and waits for them.
func greet(w *world, c relay.Socket) {
	w.t.Helper()
	got := make([]byte, 5)
	if _, err := c.Write([]byte("hello")); err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		w.t.Fatalf("%q came back, %v", got, err)
	}
}

// Clients come and go, and the streams of the others do not notice.
func TestClientsComeAndGo(t *testing.T) {
	f := newFakeStreams(echo)
	streamsTest(t, f, func(w *world, home *testClient) {
		conn, session := f.open(w), home.Status().Session
		greet(w, conn)
		key := crypto.GenerateKey()
		phone := Peer{Name: "phone", Key: key.Public(), Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.4/24")}}
		c := w.start(key, w.serverKey.Public())
		w.await("refused", func() bool { return c.Status().LastError != nil })
		w.server.SetPeers(append(w.peers(), phone))
		w.await("connected", func() bool { return c.Status().Connected })
		greet(w, conn)
		c.tun.toBraid <- packet("10.77.0.4", "198.51.100.7")
		w.receive(w.serverTUN)

		// Gone, at once and for good.
		began := time.Now()
		w.server.SetPeers(slices.DeleteFunc(w.peers(), func(p Peer) bool { return p.Name == "phone" }))
		w.await("ended", func() bool { return !c.Status().Connected })
		if d := time.Since(began); d > time.Second {
			t.Errorf("ended after %v", d)
		}
		if log := c.log.String(); !strings.Contains(log, errRevoked.Error()) {
			t.Errorf("it is not told why:\n%s", log)
		}
		time.Sleep(time.Minute)
		if s := c.Status(); s.Connected || s.LastError == nil || len(w.peers()) != 2 {
			t.Errorf("it came back: %+v", s)
		}
		w.serverTUN.toBraid <- packet("198.51.100.7", "10.77.0.4")
		w.await("its packets have nowhere to go", func() bool { return w.server.Status().Unroutable == 1 })
		greet(w, conn)
		if home.Status().Session != session {
			t.Error("the session of another is another one")
		}
		conn.Close()
	})
}

// What a removed client has ends within a second, whatever is under way.
func TestRemovedInTheMiddle(t *testing.T) {
	f := newFakeStreams(echo)
	streamsTest(t, f, func(w *world, home *testClient) {
		conn := f.open(w)
		f.running.Go(func() {
			for {
				if _, err := conn.Write(make([]byte, 32<<10)); err != nil {
					return
				}
			}
		})
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		w.server.SetPeers(w.peers()[1:])
		for {
			if _, err := conn.Read(make([]byte, 32<<10)); err != nil {
				break
			}
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("the connection ended after %v", d)
		}
		conn.Close()
		w.await("nothing is left", func() bool {
			s := home.Status()
			return !s.Connected && s.Streams.Carriers == 0 && s.Streams.ListTotal == 0
		})
	})
}

// A client with other networks or another address connects again, and its session
// goes on.
func TestClientMoves(t *testing.T) {
	f := newFakeStreams(echo)
	streamsTest(t, f, func(w *world, home *testClient) {
		<-home.settings
		session := home.Status().Session
		list := w.peers()
		list[0].Name = "house"
		w.server.SetPeers(list)
		time.Sleep(time.Second)
		if s := w.server.Status().Peers[0]; s.Name != "house" || !s.Connected || len(home.settings) > 0 {
			t.Errorf("with another name: %+v", s)
		}

		list = w.peers()
		list[0].Name, list[0].Routes = "house", nil
		w.server.SetPeers(list)
		if s := <-home.settings; len(s.Networks) > 0 {
			t.Errorf("settings %+v", s)
		}
		w.await("connected", func() bool { return home.Status().Connected })
		home.tun.toBraid <- packet("192.168.10.9", "198.51.100.7") // not its network any more
		w.await("dropped", func() bool { return w.server.Status().Peers[0].Counters.Spoofed == 1 })

		list = w.peers()
		list[0].Addresses = []netip.Prefix{netip.MustParsePrefix("10.77.0.9/24")}
		w.server.SetPeers(list)
		if s := <-home.settings; !slices.Equal(s.Addresses, list[0].Addresses) {
			t.Errorf("settings %+v", s)
		}
		w.await("connected", func() bool { return home.Status().Connected })
		if home.Status().Session != session {
			t.Error("another session")
		}
		home.tun.toBraid <- packet("10.77.0.9", "198.51.100.7")
		w.receive(w.serverTUN)
		w.serverTUN.toBraid <- packet("198.51.100.7", "10.77.0.9")
		w.receive(home.tun)
	})
}

// Lists of clients at random, while some of them connect and the server stops.
func TestRandomPeers(t *testing.T) {
	f := newFakeStreams(echo)
	streamsTest(t, f, func(w *world, home *testClient) {
		r := rand.New(rand.NewPCG(1, 2))
		all := w.peers()
		for i := range 4 {
			key := crypto.GenerateKey()
			all = append(all, Peer{Name: string(rune('a' + i)), Key: key.Public(), Addresses: []netip.Prefix{
				netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, 0, byte(20 + i)}), 24)}})
			w.start(key, w.serverKey.Public())
		}
		for range 60 {
			var list []Peer
			for _, p := range all {
				if r.IntN(3) > 0 {
					list = append(list, p)
				}
			}
			w.server.SetPeers(list)
			w.server.SetLimits(StreamLimits{PerSession: 1 + r.IntN(9), Total: 100, NewPerSecond: 1 + r.IntN(100), MemoryBytes: r.Int64N(64 << 20), Resume: time.Minute})
			time.Sleep(time.Duration(r.IntN(500)) * time.Millisecond)
		}
		w.server.SetPeers(all)
		w.server.SetLimits(f.limits)
		w.await("all connected", func() bool {
			n := 0
			for _, p := range w.server.Status().Peers {
				if p.Connected {
					n++
				}
			}
			return n == 5 // the second one of the world has no client
		})
		home.tun.toBraid <- packet("10.77.0.2", "198.51.100.7")
		w.receive(w.serverTUN)
		w.cancel()
		w.server.SetPeers(nil) // while it stops
	})
}

func TestLimitsChange(t *testing.T) {
	f := newFakeStreams(echo)
	streamsTest(t, f, func(w *world, c *testClient) {
		conns := []relay.Socket{f.open(w), f.open(w), f.open(w)}
		less := f.limits
		less.PerSession = 2
		c.SetLimits(less)
		h := newHeld(fromHome, origin)
		f.offer(h)
		<-h.answer
		if n := c.Status().Streams.Limited; n != 1 {
			t.Errorf("%d counted at the client", n)
		}
		c.SetLimits(f.limits)
		w.server.SetLimits(less)
		h = newHeld(fromHome, origin)
		f.offer(h)
		<-h.answer
		if n := w.server.Status().Peers[0].Streams.Limited; n != 1 {
			t.Errorf("%d counted at the server", n)
		}
		for _, c := range conns {
			greet(w, c) // what is there stays
		}
		w.server.SetLimits(f.limits)
		conns = append(conns, f.open(w))
		for _, c := range conns {
			c.Close()
		}
	})
}

// Flows under way take another policy with their next packet.
func TestPoliciesChange(t *testing.T) {
	l, a, b := ruled(t, nil)
	now := time.Now()
	for _, step := range []struct {
		policy string
		a, b   int
	}{{"auto", 1, 0}, {"redundant", 1, 1}, {"minrtt", 1, 0}, {"redundant", 1, 1}} {
		l.setPolicies(PacketPolicies{Rules: policy.NewRules([]policy.Rule{{Policy: slices.Index(policy.Names(), step.policy)}})})
		for i := range 3 {
			l.push(now, []*parcel{newParcel(thick("10.77.0.2", "192.0.2.1", i))})
			if x, y := sent(now, a), sent(now, b); x != step.a || y != step.b {
				t.Errorf("%s: %d and %d packets, want %d and %d", step.policy, x, y, step.a, step.b)
			}
			now = now.Add(20 * time.Millisecond)
		}
	}
	l.setPolicies(PacketPolicies{Copies: -1})
	l.push(now, []*parcel{newParcel(numbered("10.77.0.2", "198.51.100.7", 1))})
	if x, y := sent(now, a), sent(now, b); x != 1 || y != 0 {
		t.Errorf("without copies: %d and %d packets", x, y)
	}
	(*packetLane)(nil).setPolicies(PacketPolicies{})
}

// TCP from and to other networks travels as packets from now on.
func TestExemptChanges(t *testing.T) {
	c := newCapture(func([]netip.Prefix, func(HeldConn), func(_, _ netip.AddrPort) bool) (Terminator, error) {
		return nil, nil
	}, nil, func(netip.AddrPort) bool { return true }, nil)
	from, to := netip.MustParseAddrPort("10.77.0.2:1"), netip.MustParseAddrPort("192.0.2.1:443")
	for _, test := range []struct {
		exempt []netip.Prefix
		want   bool
	}{
		{nil, true},
		{[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, false},
		{[]netip.Prefix{netip.MustParsePrefix("10.77.0.2/32")}, false},
		{[]netip.Prefix{netip.MustParsePrefix("10.77.0.3/32")}, true},
	} {
		c.setExempt(test.exempt)
		if got := c.wants(from, to); got != test.want {
			t.Errorf("%v: %v", test.exempt, got)
		}
	}
	(*capture)(nil).setExempt(nil)
}

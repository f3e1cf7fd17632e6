package tunnel

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func tcpAddr(s string) net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(s), 5000))
}

func TestGateSharePerAddress(t *testing.T) {
	tests := []struct {
		name        string
		first, then string
		same        bool
	}{
		{"one IPv4 address", "203.0.113.1", "203.0.113.1", true},
		{"written as IPv6", "203.0.113.1", "::ffff:203.0.113.1", true},
		{"its neighbour", "203.0.113.1", "203.0.113.2", false},
		{"one IPv6 network", "2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true},
		{"the network beside it", "2001:db8:0:1::1", "2001:db8:0:2::1", false},
		{"link-local by zone", "fe80::1%eth0", "fe80::2%eth1", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGate()
			var first []*passage
			for range handshakesPerAddress {
				p, err := g.enter(tcpAddr(tt.first))
				if err != nil {
					t.Fatal(err)
				}
				first = append(first, p)
			}
			p, err := g.enter(tcpAddr(tt.then))
			if (err != nil) != tt.same {
				t.Fatalf("one more: %v", err)
			}
			if err == nil {
				p.leave()
			}
			first[0].leave()
			if p, err = g.enter(tcpAddr(tt.then)); err != nil {
				t.Fatalf("after one has left: %v", err)
			}
			p.leave()
			for _, p := range first[1:] {
				p.leave()
			}
			if len(g.begun) != 0 || len(g.strangers) != 0 {
				t.Errorf("all have left, and %v, %d are counted", g.begun, len(g.strangers))
			}
		})
	}
}

// However many strangers come, an address where a client was lately gets in,
// at once and for a time.
func TestGateKnowsClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		client, stranger := tcpAddr("198.51.100.1"), tcpAddr("198.51.100.2")
		g.knows(client)
		for i := range maxHandshakes {
			if _, err := g.enter(tcpAddr(fmt.Sprintf("203.0.113.%d", i/handshakesPerAddress))); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := g.enter(stranger); err == nil {
			t.Error("a stranger too many got in")
		}
		began := time.Now()
		for i := range handshakesPerAddress {
			p, err := g.enter(client)
			if err != nil {
				t.Fatalf("the client's connection %d: %v", i, err)
			}
			defer p.leave()
			if err := p.pass(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("the client waited for %v", d)
		}
		if _, err := g.enter(client); err == nil {
			t.Error("the client has no bound")
		}
		time.Sleep(knownFor)
		if _, err := newGateLike(g).enter(client); err == nil {
			t.Error("an address is trusted for ever")
		}
	})
}

// newGateLike knows what g knows, is full of strangers and has no client.
func newGateLike(g *gate) *gate {
	n := newGate()
	n.known, n.strangers = g.known, g.strangers
	return n
}

func TestGatePacesStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		began := time.Now()
		for i := range handshakesBurst + handshakesPerSecond {
			p, err := g.enter(tcpAddr(fmt.Sprintf("203.0.113.%d", i%250)))
			if err != nil {
				t.Fatal(err)
			}
			if err := p.pass(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.leave()
		}
		if d := time.Since(began); d < 900*time.Millisecond || d > 1100*time.Millisecond {
			t.Errorf("a second's handshakes behind the burst took %v", d)
		}
	})
}

func TestGateForgets(t *testing.T) {
	g := newGate()
	for i := range 3 * knownMost {
		g.knows(net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1)))
		if len(g.known) > knownMost {
			t.Fatalf("%d addresses are known", len(g.known))
		}
	}
}

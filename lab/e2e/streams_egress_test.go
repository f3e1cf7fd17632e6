package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/probe"
)

// visits listens at an address and counts who comes.
func (w *world) visits(h *lab.Host, addr netip.Addr) (netip.AddrPort, *atomic.Int64) {
	w.Helper()
	n := new(atomic.Int64)
	return w.listen(h, addr, func(*net.TCPConn) { n.Add(1) }), n
}

// By default a client reaches no service of the server's but those at its
// tunnel address, nor what only the server should reach, nor other clients: it is
// told so at once, and nobody there is bothered. Link-local addresses never enter
// the tunnel: there is silence, as from a router.
func TestEgressRefused(t *testing.T) {
	needStreams(t)
	c := fast()
	c.SecondClient = true
	w := begin(t, c, daemon.Options{})
	w.must(w.Client2.Start(w.patient()))
	w.must(w.Client2.WaitUp(w.patient(), 1))
	w.changed = true
	// A host beyond the server has the address of clouds' metadata services.
	metadata := netip.MustParseAddr("169.254.169.254")
	w.run(w.Net.Internet, "ip", "addr", "add", metadata.String()+"/32", "dev", "eth")
	w.run(w.Net.Server, "ip", "route", "add", metadata.String(), "dev", "inet")

	for _, target := range []struct {
		what string
		host *lab.Host
		at   netip.Addr
	}{
		{"the server's uplink address", w.Net.Server, w.Net.ServerAddr4},
		{"the server's uplink address", w.Net.Server, w.Net.ServerAddr6},
		{"another address of the server", w.Net.Server, netip.MustParseAddr("192.0.2.1")},
		{"a metadata service", w.Net.Internet, metadata},
		{"another client", w.Net.Client2, daemon.Laptop4},
		{"another client", w.Net.Client2, daemon.Laptop6},
	} {
		at, visits := w.visits(target.host, target.at)
		if out := w.run(w.Net.Client, "ip", "route", "get", at.Addr().String()); !strings.Contains(out, "dev braid0 ") {
			t.Fatalf("the way to %s is not through the tunnel: %s", target.what, out)
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(w.ctx, 3*time.Second)
		conn, err := w.Net.Client.DialContext(ctx, "tcp", at.String())
		took := time.Since(began)
		cancel()
		if err == nil {
			conn.Close()
			t.Errorf("%s, %v, was reached", target.what, at)
			continue
		}
		t.Logf("%s, %v: %v, after %v", target.what, at, err, took.Round(time.Millisecond))
		if took > refusedWithin && !target.at.IsLinkLocalUnicast() {
			t.Errorf("%s, %v: refused only after %v", target.what, at, took)
		}
		if n := visits.Load(); n != 0 {
			t.Errorf("%s, %v: %d connections came", target.what, at, n)
		}
	}
	// Its tunnel address is open.
	for _, at := range []netip.Addr{daemon.Server4, daemon.Server6} {
		to, visits := w.visits(w.Net.Server, at)
		w.dial(to)
		w.eventually("a connection to the tunnel address", func() bool { return visits.Load() == 1 })
	}
}

// eventually waits for something to become true.
func (w *world) eventually(what string, ok func() bool) {
	w.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// A hostile client asks for the server's loopback, which no program of an honest
// one can do: with a SYN put into its TUN.
func TestLoopbackOfTheServer(t *testing.T) {
	needStreams(t)
	t.Parallel()
	w := begin(t, fast(), daemon.Options{})
	for _, family := range []struct{ from, loopback, open netip.Addr }{
		{daemon.Home4, netip.MustParseAddr("127.0.0.1"), daemon.Server4},
		{daemon.Home6, netip.MustParseAddr("::1"), daemon.Server6},
	} {
		// The same way to an address that is open, so that it is known to lead there.
		open, seen := w.visits(w.Net.Server, family.open)
		w.must(probe.SendSYN(w.Net.Client, "braid0", netip.AddrPortFrom(family.from, 40000), open))
		w.eventually(fmt.Sprintf("a connection to %v", open), func() bool { return seen.Load() == 1 })

		closed, seen := w.visits(w.Net.Server, family.loopback)
		for port := range uint16(5) {
			w.must(probe.SendSYN(w.Net.Client, "braid0", netip.AddrPortFrom(family.from, 41000+port), closed))
		}
		time.Sleep(500 * time.Millisecond)
		if n := seen.Load(); n != 0 {
			t.Errorf("%d connections to the server's %v", n, closed)
		}
	}
}

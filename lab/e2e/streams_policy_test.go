package e2e

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/probe"
)

// The rules of [egress] open what they name and close it, and the server counts
// why.
func TestEgressRules(t *testing.T) {
	needStreams(t)
	t.Parallel()
	c := fast()
	c.SecondClient = true
	w := begin(t, c, daemon.Options{Tunnel: `
[egress]
allow = ["203.0.113.10:8080", "10.77.0.3", "192.0.2.71"]
deny = [":25", "192.0.2.64/26"]
`})
	w.must(w.Client2.Start(w.patient()))
	w.must(w.Client2.WaitUp(w.patient(), 1))
	w.changed = true
	w.addOrigin()
	exception := netip.MustParseAddr("192.0.2.71")
	w.run(w.Net.Internet, "ip", "addr", "add", exception.String()+"/32", "dev", "eth")

	for _, test := range []struct {
		what   string
		host   *lab.Host
		at     netip.Addr
		port   uint16
		reason string
		open   bool
	}{
		{"mail", w.Net.Internet, w.Net.InternetAddr4, 25, "deny-rule", false},
		{"mail", w.Net.Internet, w.Net.InternetAddr6, 25, "deny-rule", false},
		{"not mail", w.Net.Internet, w.Net.InternetAddr4, 26, "default", true},
		{"a network that is closed", w.Net.Internet, otherOrigin, 80, "deny-rule", false},
		{"an exception in it", w.Net.Internet, exception, 80, "allow-rule", true},
		{"a port of the server's", w.Net.Server, w.Net.ServerAddr4, 8080, "allow-rule", true},
		{"the next port", w.Net.Server, w.Net.ServerAddr4, 8081, "host", false},
		{"its other address", w.Net.Server, w.Net.ServerAddr6, 8080, "host", false},
		{"another client", w.Net.Client2, daemon.Laptop4, 80, "allow-rule", true},
		{"its other address", w.Net.Client2, daemon.Laptop6, 80, "other-client", false},
	} {
		_, _, before := w.streams(w.Server)
		to := w.echoAt(test.host, netip.AddrPortFrom(test.at, test.port))
		if test.open {
			w.travels(w.Net.Client, to, "out")
		} else {
			w.refused(to)
		}
		if _, _, after := w.streams(w.Server); after[test.reason] <= before[test.reason] {
			t.Errorf("%s, %v: %s counted %d before, %d after", test.what, to, test.reason, before[test.reason], after[test.reason])
		}
	}

	// What reaches the other client comes as a stream that the server opened.
	to := netip.AddrPortFrom(daemon.Laptop4, 81)
	seen := make(chan netip.AddrPort, 1)
	l, err := w.Net.Client2.Listen(w.ctx, "tcp", to.String())
	w.must(err)
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		seen <- c.RemoteAddr().(*net.TCPAddr).AddrPort()
		_, _ = io.Copy(c, c)
		c.Close()
	}()
	conn := w.dial(to)
	w.must(exchange(conn, 1_000_000))
	if from := <-seen; from.Addr() != daemon.Server4 {
		t.Errorf("the other client sees %v, want the server", from)
	}
	_, clients, _ := w.streams(w.Server)
	if s := clients["laptop"].find(to); s == nil || s.Direction != "out" {
		t.Errorf("no stream toward the other client: %+v", clients["laptop"])
	}
	if n := clients["home"].Denied; n < 5 {
		t.Errorf("%d streams denied, want 5 or more", n)
	}
}

// With a transparent source hosts beside the server see who the client is.
func TestTransparentSource(t *testing.T) {
	needStreams(t)
	t.Parallel()
	c := fast()
	c.RouteTunnel = []netip.Prefix{daemon.Range4, daemon.Range6}
	w := begin(t, c, daemon.Options{Tunnel: "nat = false\n\n[egress]\nsource = \"transparent\"\ndeny = [\":25\"]\n"})
	w.changed = true
	w.run(w.Net.Server, "ip", "route", "add", "unreachable", "198.18.0.0/15")
	w.run(w.Net.Server, "ip", "route", "add", "unreachable", "2001:db8:dead::/48")
	for _, family := range []struct {
		home, server, origin, uplink, loopback netip.Addr
		unreachable                            string
	}{
		{daemon.Home4, daemon.Server4, w.Net.InternetAddr4, w.Net.ServerAddr4, netip.MustParseAddr("127.0.0.1"), "198.18.0.1"},
		{daemon.Home6, daemon.Server6, w.Net.InternetAddr6, w.Net.ServerAddr6, netip.MustParseAddr("::1"), "2001:db8:dead::1"},
	} {
		// No program of the client's could ask for the server's loopback.
		inside, loop := w.visits(w.Net.Server, family.loopback)
		w.must(probe.SendSYN(w.Net.Client, "braid0", netip.AddrPortFrom(family.home, 40000), inside))

		for _, target := range []struct {
			host *lab.Host
			at   netip.Addr
		}{{w.Net.Internet, family.origin}, {w.Net.Server, family.server}} {
			peer := w.listen(target.host, target.at, func(c *net.TCPConn) { _, _ = io.WriteString(c, c.RemoteAddr().String()) })
			conn := w.dial(peer)
			b, err := io.ReadAll(conn)
			w.must(err)
			if from, err := netip.ParseAddrPort(string(b)); err != nil || from.Addr() != family.home || from != conn.LocalAddr().(*net.TCPAddr).AddrPort() {
				t.Errorf("%v sees %q, the program is %v", target.at, b, conn.LocalAddr())
			}
		}

		s, err := probe.ServeHTTP(w.Net.Internet, netip.AddrPortFrom(family.origin, 0).String())
		w.must(err)
		const size = 20_000_000
		down, err := probe.Download(w.ctx, w.Net.Client, s.URL(family.origin, size), nil)
		w.must(err)
		up, err := probe.Upload(w.ctx, w.Net.Client, s.URL(family.origin, 0), size)
		w.must(err)
		w.must(s.Close())
		for what, got := range map[string]probe.Transfer{"download": down, "upload": up} {
			if got.Bytes != size || got.SHA256 != probe.SHA256(size) {
				t.Errorf("%s at %v: %+v", what, family.origin, got)
			}
			t.Logf("%s at %v: %.0f Mb/s", what, family.origin, float64(got.Rate())/1e6)
		}

		// A path beside the server that is narrower than the tunnel.
		w.run(w.Net.Server, "ip", "route", "replace", netip.PrefixFrom(family.origin, family.origin.BitLen()).String(), "dev", "inet", "mtu", "lock", "1300")
		s, err = probe.ServeHTTP(w.Net.Internet, netip.AddrPortFrom(family.origin, 0).String())
		w.must(err)
		up, err = probe.Upload(w.patient(), w.Net.Client, s.URL(family.origin, 0), size/4)
		w.must(err)
		w.must(s.Close())
		if up.SHA256 != probe.SHA256(size/4) {
			t.Errorf("upload over the narrow path at %v: %+v", family.origin, up)
		}

		w.fails(netip.AddrPortFrom(family.origin, 9), syscall.ECONNREFUSED)
		w.fails(netip.AddrPortFrom(netip.MustParseAddr(family.unreachable), 80), syscall.ENETUNREACH, syscall.EHOSTUNREACH)
		w.refused(netip.AddrPortFrom(family.origin, 25))
		at, visits := w.visits(w.Net.Server, family.uplink)
		w.refused(at)
		if visits.Load() != 0 || loop.Load() != 0 {
			t.Errorf("%d connections came to %v, %d to %v", visits.Load(), at, loop.Load(), inside)
		}
	}
	if _, _, egress := w.streams(w.Server); egress["host"] < 2 || egress["deny-rule"] < 2 {
		t.Errorf("counted %v", egress)
	}
}

// One stream more than a client may have is refused and counted; one that ends
// makes room.
func TestStreamLimit(t *testing.T) {
	needStreams(t)
	t.Parallel()
	const limit = 5
	w := begin(t, fast(), daemon.Options{Tunnel: "\n[limits]\nstreams_per_client = 5\n"})
	to := w.echoAt(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 0))
	var conns []*net.TCPConn
	for range limit {
		conns = append(conns, w.dial(to))
	}
	limited := func() int {
		_, clients, _ := w.streams(w.Server)
		return clients["home"].Limited
	}
	if n := limited(); n != 0 {
		t.Errorf("%d streams over the limit before there were so many", n)
	}
	w.fails(to, syscall.ECONNREFUSED)
	if n := limited(); n == 0 {
		t.Error("not counted")
	}
	for _, c := range conns { // those that are open do not notice
		w.must(exchange(c, 1000))
	}
	w.must(conns[0].Close())
	w.eventually("a connection after one has ended", func() bool {
		c, err := w.Net.Client.DialContext(w.patient(), "tcp", to.String())
		if err == nil {
			defer c.Close()
			w.must(c.SetDeadline(time.Now().Add(patience)))
			w.must(exchange(c, 1000))
		} else if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
		return err == nil
	})
}

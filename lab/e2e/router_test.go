package e2e

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/probe"
)

// A client that is a router sends what the server knows of its networks as it
// is, and all else with its own address.
func TestMasqueradeOfUnknownNetworks(t *testing.T) {
	t.Parallel()
	c := fast()
	c.Lan = true
	w := begin(t, c, daemon.Options{})
	w.changed = true
	unknown4, unknown6 := netip.MustParseAddr("192.168.30.2"), netip.MustParseAddr("fd00:30::2")
	w.must(w.Net.Client.AddAddress("lan", netip.MustParsePrefix("192.168.30.1/24")))
	w.must(w.Net.Client.AddAddress("lan", netip.MustParsePrefix("fd00:30::1/64")))
	w.must(w.Net.Lan.AddAddress("eth", netip.PrefixFrom(unknown4, 24)))
	w.must(w.Net.Lan.AddAddress("eth", netip.PrefixFrom(unknown6, 64)))
	for _, test := range []struct{ origin, known, unknown, home netip.Addr }{
		{w.Net.InternetAddr4, w.Net.LanAddr4, unknown4, daemon.Home4},
		{w.Net.InternetAddr6, w.Net.LanAddr6, unknown6, daemon.Home6},
	} {
		at := w.echoAt(w.Net.Internet, netip.AddrPortFrom(test.origin, 0))
		for from, want := range map[netip.Addr]netip.Addr{test.known: test.known, test.unknown: test.home} {
			w.run(w.Net.Lan, "ping", "-q", "-c", "2", "-i", "0.2", "-I", from.String(), test.origin.String())
			d := &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
			conn, err := w.Net.Lan.DialWith(w.patient(), d, "tcp", at.String())
			w.must(err)
			w.must(exchange(conn, 1_000_000))
			if os.Getenv("BRAID_TCP") != "packets" {
				_, clients, _ := w.streams(w.Server)
				if s := clients["home"].find(at); s == nil || s.Source.Addr() != want {
					t.Errorf("from %v to %v: %+v, want the source %v", from, at, s, want)
				}
			}
			conn.Close()
			w.eventually("the end of the stream", func() bool {
				_, clients, _ := w.streams(w.Server)
				return clients["home"].find(at) == nil
			})
		}
	}
	st, err := w.Server.Status(w.ctx)
	w.must(err)
	if n := st.Clients[0].Packets["spoofed"]; n != 0 {
		t.Errorf("%d packets from a foreign source", n)
	}
}

// A client is made a router by its own configuration, and is none afterwards.
func TestForwardingOfAClient(t *testing.T) {
	t.Parallel()
	c := fast()
	c.Lan = true
	w := prepare(t, c, daemon.Options{ClientMore: "forwarding = true\nmasquerade = \"always\"\n"})
	w.must(w.Net.Client.SetForwarding(false))
	before := w.snapshot(w.Net.Client)
	w.must(w.Setup.Start(w.patient()))
	for _, at := range []netip.Addr{w.Net.InternetAddr4, w.Net.InternetAddr6} {
		w.run(w.Net.Lan, "ping", "-q", "-c", "2", "-i", "0.2", at.String())
	}
	if out := w.run(w.Net.Client, "nft", "list", "ruleset"); strings.Contains(out, "192.168.10.0") {
		t.Errorf("not all is masqueraded:\n%s", out)
	}
	w.must(w.Stop())
	w.same(w.Net.Client, before)
}

// A client that is no router has no table in nftables, which would cost all of
// its traffic.
func TestNoTableWithoutRouter(t *testing.T) {
	t.Parallel()
	w := begin(t, fast(), daemon.Options{})
	if out := w.run(w.Net.Client, "nft", "list", "ruleset"); out != "" {
		t.Errorf("there is\n%s", out)
	}
}

// The server says which firewall drops what is forwarded, and what it says
// mends it.
func TestForeignFirewall(t *testing.T) {
	t.Parallel()
	w := prepare(t, fast(), daemon.Options{})
	w.run(w.Net.Server, "nft", "add table inet filter; add chain inet filter forward { type filter hook forward priority 0; policy drop; }; "+
		"add rule inet filter forward ct state established,related accept")
	w.must(w.Setup.Start(w.patient()))
	w.awaitLog(w.Server, "a firewall of this host drops")
	if out, err := w.Net.Client.Run(w.ctx, "ping", "-c", "1", "-W", "1", w.Net.InternetAddr4.String()); err == nil {
		t.Errorf("nothing is dropped:\n%s", out)
	}
	_, hint, _ := strings.Cut(w.Server.Log(), `chain="inet filter forward" hint="`)
	hint, _, _ = strings.Cut(hint, `"`)
	w.run(w.Net.Server, "sh", "-c", hint)
	w.run(w.Net.Client, "ping", "-q", "-c", "2", "-i", "0.2", w.Net.InternetAddr4.String())
	w.run(w.Net.Client, "ping", "-q", "-c", "2", "-i", "0.2", w.Net.InternetAddr6.String())
	w.must(w.Stop())
}

// TCP has the segments of the tunnel's MTU, whatever the uplinks have, in both
// lanes and families: nothing needs to be clamped.
func TestSegmentsOverSmallUplinks(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"streams", "packets"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			c := fast()
			c.Lan = true
			for i := range c.Uplinks {
				c.Uplinks[i].MTU = 1400
			}
			w := begin(t, c, daemon.Options{TCP: mode})
			for _, at := range []netip.Addr{w.Net.InternetAddr4, w.Net.InternetAddr6} {
				s, err := probe.ServeHTTP(w.Net.Internet, netip.AddrPortFrom(at, 0).String())
				w.must(err)
				const size = 5_000_000
				file := filepath.Join(t.TempDir(), "file")
				for _, h := range []*lab.Host{w.Net.Client, w.Net.Lan} {
					w.run(h, "curl", "-sS", "--fail", "--max-time", "60", "-o", file, s.URL(at, size))
					w.verify(file, size)
				}
				up, err := probe.Upload(w.ctx, w.Net.Lan, s.URL(at, 0), size)
				w.must(err)
				if up.SHA256 != probe.SHA256(size) {
					t.Errorf("upload to %v: %+v", at, up)
				}
				w.must(s.Close())

				conn, err := w.Net.Lan.DialContext(w.patient(), "tcp", w.echoAt(w.Net.Internet, netip.AddrPortFrom(at, 0)).String())
				w.must(err)
				w.must(exchange(conn, 100_000))
				want := 1500 - 20 - 20 - 12 // headers and timestamps
				if at.Is6() {
					want -= 20
				}
				if got := segment(w, conn); got != want {
					t.Errorf("segments to %v have %d bytes, want %d", at, got, want)
				}
				conn.Close()
			}
		})
	}
}

// segment is how large a connection's segments are, bytes.
func segment(w *world, c net.Conn) (size int) {
	w.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	w.must(err)
	var failed error
	w.must(raw.Control(func(fd uintptr) { size, failed = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG) }))
	w.must(failed)
	return size
}

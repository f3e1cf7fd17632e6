package e2e

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/emulator"
	"braid/lab/probe"
)

// The server connects to services of the client, and of a host behind it.
func TestServerConnectsToClient(t *testing.T) {
	c := fast()
	c.Lan = true
	w := begin(t, c, daemon.Options{})
	own := []netip.Addr{
		daemon.Server4, daemon.Server6, daemon.Home4, daemon.Home6,
		netip.MustParseAddr("192.168.10.1"), netip.MustParseAddr("fd00:10::1"), // the client in its LAN
	}
	for _, target := range []struct {
		what string
		host *lab.Host
		at   netip.Addr
	}{
		{"client", w.Net.Client, daemon.Home4}, {"client", w.Net.Client, daemon.Home6},
		{"host behind it", w.Net.Lan, w.Net.LanAddr4}, {"host behind it", w.Net.Lan, w.Net.LanAddr6},
	} {
		// The service tells who asks.
		at := w.listen(target.host, target.at, func(c *net.TCPConn) {
			from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
			_, _ = io.WriteString(c, from.String())
		})
		conn, err := w.Net.Server.DialContext(w.patient(), "tcp", at.String())
		w.must(err)
		w.must(conn.SetDeadline(time.Now().Add(patience)))
		b, err := io.ReadAll(conn)
		w.must(err)
		conn.Close()
		source, err := netip.ParseAddr(string(b))
		w.must(err)
		t.Logf("%s at %v is reached from %v", target.what, target.at, source)
		// Not from its loopback, which services may trust.
		if !slices.Contains(own, source) {
			t.Errorf("the source is %v, which is neither the server's nor the client's", source)
		}

		s, err := probe.ServeTCPEcho(target.host, netip.AddrPortFrom(target.at, 0).String())
		w.must(err)
		talk, err := probe.StartConversation(w.ctx, w.Net.Server, s.Addr, 20*emulator.Mbps)
		w.must(err)
		time.Sleep(500 * time.Millisecond)
		w.must(talk.Finish(patience))
		if talk.Verified() == 0 {
			t.Errorf("%s at %v: nothing was exchanged", target.what, target.at)
		}
		w.must(s.Close())

		began := time.Now()
		if _, err := w.Net.Server.DialContext(w.patient(), "tcp", netip.AddrPortFrom(target.at, 9).String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s at %v: a closed port failed with %v", target.what, target.at, err)
		} else if took := time.Since(began); took > refusedWithin {
			t.Errorf("%s at %v: a closed port refused only after %v", target.what, target.at, took)
		}
	}
}

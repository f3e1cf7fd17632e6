package e2e

import (
	"net/netip"
	"syscall"
	"testing"

	"braid/lab/daemon"
)

// otherOrigin is one more address of the internet host.
var otherOrigin = netip.MustParseAddr("192.0.2.70")

func (w *world) addOrigin() {
	w.Helper()
	w.run(w.Net.Internet, "ip", "addr", "add", otherOrigin.String()+"/32", "dev", "eth")
}

// Networks of tunnel.packets, of either side, are those whose TCP that side
// lets travel as packets.
func TestPacketsByNetwork(t *testing.T) {
	needStreams(t)
	t.Parallel()
	w := begin(t, fast(), daemon.Options{
		Tunnel:     "packets = [\"10.77.0.2/32\"]\n",
		ClientMore: "packets = [\"192.0.2.64/26\", \"2001:db8:b000::/64\"]\n",
	})
	w.addOrigin()
	for _, test := range []struct {
		at        netip.Addr
		direction string
	}{
		{otherOrigin, ""}, {w.Net.InternetAddr6, ""}, {w.Net.InternetAddr4, "out"}, {daemon.Server4, "out"}, {daemon.Server6, "out"},
	} {
		host := w.Net.Internet
		if test.at == daemon.Server4 || test.at == daemon.Server6 {
			host = w.Net.Server
		}
		w.travels(w.Net.Client, w.echoAt(host, netip.AddrPortFrom(test.at, 0)), test.direction)
	}
	w.travels(w.Net.Server, w.echoAt(w.Net.Client, netip.AddrPortFrom(daemon.Home4, 0)), "")
	w.travels(w.Net.Server, w.echoAt(w.Net.Client, netip.AddrPortFrom(daemon.Home6, 0)), "in")
}

// A connection is a stream when the side where it is opened says so, but a
// client of packets is never sent streams.
func TestStreamsOfOneSide(t *testing.T) {
	needStreams(t)
	t.Parallel()
	for _, test := range []struct {
		what        string
		options     daemon.Options
		out, toward string
	}{
		{"client of packets", daemon.Options{ClientMore: "tcp = \"packets\"\n"}, "", ""},
		{"server of packets", daemon.Options{Tunnel: "tcp = \"packets\"\n"}, "out", ""},
	} {
		t.Run(test.what, func(t *testing.T) {
			t.Parallel()
			w := begin(t, fast(), test.options)
			for _, at := range []netip.Addr{w.Net.InternetAddr4, w.Net.InternetAddr6} {
				w.travels(w.Net.Client, w.echoAt(w.Net.Internet, netip.AddrPortFrom(at, 0)), test.out)
				w.fails(netip.AddrPortFrom(at, 9), syscall.ECONNREFUSED)
			}
			for _, at := range []netip.Addr{daemon.Home4, daemon.Home6} {
				w.travels(w.Net.Server, w.echoAt(w.Net.Client, netip.AddrPortFrom(at, 0)), test.toward)
			}
			own, _, _ := w.streams(w.Client)
			_, clients, _ := w.streams(w.Server)
			want := 0
			if test.out != "" {
				want = 2
			}
			if own.Opened != want || clients["home"].Opened != want {
				t.Errorf("%d streams at the client, %d at the server, want %d", own.Opened, clients["home"].Opened, want)
			}
		})
	}
}

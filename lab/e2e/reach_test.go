package e2e

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/daemon"
)

// Two networks, each behind a client, are one another's neighbours: whoever
// connects is seen with its own address, over TCP and UDP of both families.
func TestSiteToSite(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"streams", "packets"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			c := fast()
			c.Lan, c.SecondClient, c.SecondLan = true, true, true
			w := begin(t, c, daemon.Options{
				TCP: mode, Home: "reach = [\"laptop\"]\n", Laptop: "reach = [\"home\"]\n", Tunnel: "\n[egress]\nsource = \"transparent\"\n",
			})
			w.must(w.Client2.Start(w.patient()))
			w.must(w.Client2.WaitUp(w.patient(), 1))
			type site struct {
				host *lab.Host
				at   [2]netip.Addr
			}
			one := []site{{w.Net.Lan, [2]netip.Addr{w.Net.LanAddr4, w.Net.LanAddr6}}, {w.Net.Client, [2]netip.Addr{daemon.Home4, daemon.Home6}}}
			other := []site{{w.Net.Lan2, [2]netip.Addr{w.Net.Lan2Addr4, w.Net.Lan2Addr6}}, {w.Net.Client2, [2]netip.Addr{daemon.Laptop4, daemon.Laptop6}}}
			try := func(from, to site) {
				for family := range 2 {
					at := w.tells(to.host, netip.AddrPortFrom(to.at[family], 0))
					for _, network := range []string{"tcp", "udp"} {
						if got := w.seenAs(from.host, network, at); got != from.at[family] {
							t.Errorf("%s is seen by %s as %v over %s, want %v", from.host.Name(), to.host.Name(), got, network, from.at[family])
						}
					}
					w.run(from.host, "ping", "-q", "-c", "2", "-i", "0.2", to.at[family].String())
					if from.host == w.Net.Lan || from.host == w.Net.Lan2 {
						c, err := from.host.DialContext(w.patient(), "tcp", w.echoAt(to.host, netip.AddrPortFrom(to.at[family], 0)).String())
						w.must(err)
						w.must(c.SetDeadline(time.Now().Add(patience)))
						w.must(exchange(c, 5_000_000))
						c.Close()
					}
				}
			}
			for _, a := range one {
				for _, b := range other {
					try(a, b)
					try(b, a)
				}
			}
			// Elsewhere they are seen with the server's address.
			at := w.tells(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 0))
			for _, network := range []string{"tcp", "udp"} {
				if got := w.seenAs(w.Net.Lan, network, at); got != netip.MustParseAddr("192.0.2.1") {
					t.Errorf("the internet sees %v over %s", got, network)
				}
			}
		})
	}
}

// A client reaches another one; this one answers, and begins nothing.
func TestReachOneWay(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"streams", "packets"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			c := fast()
			c.Lan, c.SecondClient, c.SecondLan = true, true, true
			w := begin(t, c, daemon.Options{TCP: mode, Laptop: "reach = [\"*\"]\n"})
			w.must(w.Client2.Start(w.patient()))
			w.must(w.Client2.WaitUp(w.patient(), 1))
			for _, to := range []struct {
				host *lab.Host
				at   netip.Addr
			}{{w.Net.Client, daemon.Home4}, {w.Net.Client, daemon.Home6}, {w.Net.Lan, w.Net.LanAddr4}, {w.Net.Lan, w.Net.LanAddr6}} {
				at := w.tells(to.host, netip.AddrPortFrom(to.at, 0))
				for _, from := range []*lab.Host{w.Net.Client2, w.Net.Lan2} {
					w.run(from, "ping", "-q", "-c", "1", to.at.String())
					w.seenAs(from, "tcp", at)
					w.seenAs(from, "udp", at)
				}
			}
			for _, to := range []struct {
				host *lab.Host
				at   netip.Addr
			}{{w.Net.Client2, daemon.Laptop4}, {w.Net.Client2, daemon.Laptop6}, {w.Net.Lan2, w.Net.Lan2Addr4}, {w.Net.Lan2, w.Net.Lan2Addr6}} {
				at, visits := w.visits(to.host, to.at)
				var tries sync.WaitGroup
				for _, from := range []*lab.Host{w.Net.Client, w.Net.Lan} {
					tries.Go(func() {
						if out, err := from.Run(w.ctx, "ping", "-c", "1", "-W", "1", to.at.String()); err == nil {
							t.Errorf("%s reached %v:\n%s", from.Name(), to.at, out)
						}
					})
					tries.Go(func() {
						if out, err := from.Run(w.ctx, "timeout", "1", "bash", "-c", fmt.Sprintf("</dev/tcp/%v/%d", at.Addr(), at.Port())); err == nil {
							t.Errorf("%s connected to %v:\n%s", from.Name(), at, out)
						}
					})
				}
				tries.Wait()
				if n := visits.Load(); n != 0 {
					t.Errorf("%d connections came to %v", n, at)
				}
			}
		})
	}
}

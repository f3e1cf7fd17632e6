package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/emulator"
	"braid/lab/probe"
	"braid/lab/topology"
)

// A server that listens at several addresses and ports, of both families, is
// reached at each.
func TestListenAtSeveral(t *testing.T) {
	t.Parallel()
	at4 := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr("203.0.113.10"), port) }
	at6 := func(port uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr("2001:db8:a000::10"), port)
	}
	second := netip.MustParseAddrPort("203.0.113.11:9443")
	o := daemon.Options{Listen: fmt.Sprintf("[%q, %q, \":8443\", %q]", at4(443), at6(443), second)}
	w := prepare(t, fast(), o)
	w.run(w.Net.Server, "ip", "addr", "add", "203.0.113.11/24", "dev", "wan")
	w.must(w.Server.Start(w.patient()))
	for _, test := range []struct {
		what    string
		servers []netip.AddrPort
	}{
		{what: "IPv4", servers: []netip.AddrPort{at4(443)}},
		{what: "IPv6", servers: []netip.AddrPort{at6(443)}},
		{what: "another port", servers: []netip.AddrPort{at4(8443)}},
		{what: "another port and IPv6", servers: []netip.AddrPort{at6(8443)}},
		{what: "a second address", servers: []netip.AddrPort{second}},
		{what: "all", servers: []netip.AddrPort{at4(443), at6(443), at4(8443), second}},
		{what: "the first is nobody", servers: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.10:444"), at4(443)}},
	} {
		t.Run(test.what, func(t *testing.T) {
			w := w.in(t)
			w.must(w.ServerAt(w.Client, o, test.servers...))
			w.must(w.Client.Start(w.patient()))
			w.must(w.Client.WaitUp(w.patient(), 2))
			w.curl(w.Net.InternetAddr4, 5_000_000)
			w.must(w.Client.Stop())
		})
	}
	w.must(w.Server.Stop())
}

// Two clients behind one NAT, and each of them with a second uplink: what the one
// does is not the other's, and the server tells their uplinks apart.
func TestClientsBehindOneNAT(t *testing.T) {
	t.Parallel()
	c := fast()
	c.SecondClient = true
	w := begin(t, c, daemon.Options{})
	w.changed = true
	// The second client is in the first one's home, too.
	router := w.Net.Routers["fast1"]
	w.must(w.lab.Veth(w.Net.Client2, "home", router, "second"))
	w.run(router, "ip", "addr", "add", "10.50.0.1/24", "dev", "second")
	w.run(w.Net.Client2, "ip", "addr", "add", "10.50.0.2/24", "dev", "home")
	w.run(w.Net.Client2, "ip", "route", "add", "default", "via", "10.50.0.1", "dev", "home", "metric", "50")
	w.must(w.Client2.Start(w.patient()))
	w.must(w.Client2.WaitUp(w.patient(), 2))

	s, err := probe.ServeTCPEcho(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 7).String())
	w.must(err)
	var talks []*probe.Conversation
	for _, h := range []*lab.Host{w.Net.Client, w.Net.Client2} {
		talk, err := probe.StartConversation(w.ctx, h, s.Addr, 20*emulator.Mbps)
		w.must(err)
		talks = append(talks, talk)
	}
	for range 3 {
		w.progressOf(talks)
		// The router forgets what it has translated, as after a restart. Both
		// may have gone on by their other uplinks alone since it did so last:
		// it is asked again until there is something to forget.
		w.eventually("anything translated", func() bool {
			err := flushConntrack(router)
			if !errors.Is(err, errNothingTranslated) {
				w.must(err)
			}
			return err == nil
		})
	}
	// One client goes, and takes nothing of the other with it.
	talks[0].Abort()
	w.must(w.Client.Stop())
	w.progressOf(talks[1:])
	w.must(w.Client.Start(w.patient()))
	w.must(w.Client.WaitUp(w.patient(), 2))
	w.must(w.Client2.WaitUp(w.patient(), 2))
	w.must(w.Server.WaitFor(w.patient(), "knowing both by their uplinks", func(s daemon.Status) bool {
		var got []string
		for _, c := range s.Clients {
			for _, u := range c.Uplinks {
				if u.Subflows > 0 {
					got = append(got, c.Name+" "+u.Interface)
				}
			}
		}
		slices.Sort(got)
		return strings.Join(got, ", ") == "home fast1, home fast2, laptop home, laptop wan"
	}))
	if err := talks[1].Finish(patience); err != nil {
		t.Error(err)
	}
	w.must(s.Close())
}

var errNothingTranslated = errors.New("nothing is translated here")

// flushConntrack makes a host forget its connections and their translations.
func flushConntrack(h *lab.Host) error {
	return h.Do(func() error {
		known, err := netlink.ConntrackTableList(netlink.ConntrackTable, netlink.FAMILY_V4)
		if err == nil && len(known) == 0 {
			err = errNothingTranslated
		}
		if err != nil {
			return err
		}
		return netlink.ConntrackTableFlush(netlink.ConntrackTable)
	})
}

// More uplinks than the kernel's default allows to a connection, and more than
// it can allow at all.
func TestManyUplinks(t *testing.T) {
	t.Parallel()
	w := prepare(t, topology.Fast(10), daemon.Options{})
	w.must(w.Server.Start(w.patient()))
	w.must(w.Client.Start(w.patient()))
	w.must(w.Client.WaitUp(w.patient(), 9))
	w.curl(w.Net.InternetAddr4, 20_000_000)
	if u := w.uplink("fast10"); u.Subflows != 0 || !strings.Contains(u.Reason, "9 uplinks at most") {
		t.Errorf("%+v", u)
	}
	// It is there when another one goes.
	w.must(w.Net.Client.SetDown("fast3"))
	w.becomes("fast10", "used", func(u daemon.Uplink) bool { return u.Subflows > 0 && u.Reason == "" })
	w.must(w.Client.WaitUp(w.patient(), 9))
	w.curl(w.Net.InternetAddr4, 20_000_000)
	w.must(w.Stop())
}

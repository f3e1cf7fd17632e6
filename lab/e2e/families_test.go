package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/probe"
)

// families is what an uplink or the server has.
type families struct{ v4, v6 bool }

var (
	onlyIPv4 = families{v4: true}
	onlyIPv6 = families{v6: true}
	dual     = families{v4: true, v6: true}
)

func (f families) String() string {
	return map[families]string{onlyIPv4: "IPv4", onlyIPv6: "IPv6", dual: "both"}[f]
}

// meets reports whether an uplink reaches a server.
func (f families) meets(server families) bool { return f.v4 && server.v4 || f.v6 && server.v6 }

// have gives a host's interface addresses of some families alone.
func (w *world) have(h *lab.Host, device string, f families, all []netip.Prefix, via ...netip.Addr) {
	w.Helper()
	for _, p := range all {
		flag := "-6"
		if p.Addr().Is4() {
			flag = "-4"
		}
		w.run(h, "ip", flag, "addr", "flush", "dev", device, "scope", "global")
		if p.Addr().Is4() && f.v4 || p.Addr().Is6() && f.v6 {
			w.must(h.AddAddress(device, p))
		}
	}
	for _, a := range via {
		if a.Is4() && f.v4 || a.Is6() && f.v6 {
			w.must(h.AddRoute(lab.Route{Destination: netip.PrefixFrom(anyOf(a), 0), Via: a, Interface: device, Metric: map[string]int{"fast1": 100, "fast2": 200}[device]}))
		}
	}
}

// anyOf is the unspecified address of a family.
func anyOf(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// Uplinks and servers of one family or both, in all combinations: each uplink that
// can reach the server carries, whatever the others have; of one that cannot the
// status says why; and inside there always are both families, TCP and UDP.
func TestFamilies(t *testing.T) {
	t.Parallel()
	// Each packet of UDP goes by all uplinks, so that one that does not carry is seen.
	o := daemon.Options{ClientMore: "[[rule]]\nmatch = \"udp\"\npolicy = \"redundant\"\n"}
	w := prepare(t, fast(), o)
	server := []netip.Prefix{netip.PrefixFrom(w.Net.ServerAddr4, 24), netip.PrefixFrom(w.Net.ServerAddr6, 64)}
	core := []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8:a000::1")}
	uplinks, routers := map[string][]netip.Prefix{}, map[string][]netip.Addr{}
	for _, name := range []string{"fast1", "fast2"} {
		uplinks[name] = []netip.Prefix{netip.PrefixFrom(w.Net.ClientAddr4(name), 24), netip.PrefixFrom(w.Net.ClientAddr6(name), 64)}
		routers[name] = []netip.Addr{w.Net.RouterAddr4(name), w.Net.RouterAddr6(name)}
	}
	var echoes []netip.AddrPort
	var datagrams []*probe.EchoServer
	for _, a := range []netip.Addr{w.Net.InternetAddr4, w.Net.InternetAddr6} {
		echoes = append(echoes, w.echoAt(w.Net.Internet, netip.AddrPortFrom(a, 0)))
		s, err := probe.ServeEcho(w.Net.Internet, netip.AddrPortFrom(a, 0).String())
		w.must(err)
		defer s.Close()
		datagrams = append(datagrams, s)
	}

	for _, has := range []families{onlyIPv4, onlyIPv6, dual} {
		w.have(w.Net.Server, "wan", has, server, core...)
		w.must(w.Server.Start(w.patient()))
		var at []netip.AddrPort
		for _, p := range server {
			if p.Addr().Is4() && has.v4 || p.Addr().Is6() && has.v6 {
				at = append(at, netip.AddrPortFrom(p.Addr(), daemon.Port))
			}
		}
		w.must(w.ServerAt(w.Client, o, at...))
		for _, pair := range [][2]families{{onlyIPv4, onlyIPv4}, {onlyIPv4, onlyIPv6}, {onlyIPv6, onlyIPv4}, {onlyIPv6, onlyIPv6}, {onlyIPv4, dual}, {dual, onlyIPv6}} {
			t.Run(fmt.Sprintf("server %v, uplinks %v and %v", has, pair[0], pair[1]), func(t *testing.T) {
				w := w.in(t)
				usable := 0
				for i, name := range []string{"fast1", "fast2"} {
					w.have(w.Net.Client, name, pair[i], uplinks[name], routers[name]...)
					if pair[i].meets(has) {
						usable++
					}
				}
				w.must(w.Client.Start(w.patient()))
				t.Cleanup(func() {
					if err := w.Client.Stop(); err != nil {
						t.Error(err)
					}
				})
				if usable > 0 {
					w.must(w.Client.WaitUp(w.patient(), usable))
					w.carryBoth(echoes, datagrams)
				}
				for i, name := range []string{"fast1", "fast2"} {
					if pair[i].meets(has) {
						if u := w.uplink(name); u.State != "up" || u.Subflows == 0 || u.Packets.TxPackets == 0 {
							t.Errorf("%s is not used: %+v", name, u)
						}
						continue
					}
					want := fmt.Sprintf("it has no %v, and the server is known by %[1]v alone", has)
					w.becomes(name, "dead for want of a family", func(u daemon.Uplink) bool {
						return u.State == "dead" && u.Reason == want && u.Subflows == 0
					})
				}
				if usable == 0 {
					s, err := w.Client.Status(w.ctx)
					w.must(err)
					if want := fmt.Sprintf("no usable uplink has %v", has); s.Session.State != "down" || !strings.Contains(s.Session.Reason, want) {
						t.Errorf("the session: %+v", s.Session)
					}
				}
			})
		}
		w.must(w.Server.Stop())
	}
}

// carryBoth exchanges some bytes with echoes, and a packet after the other with
// those of datagrams, of which most come back.
func (w *world) carryBoth(echoes []netip.AddrPort, datagrams []*probe.EchoServer) {
	w.Helper()
	var series []*probe.Echo
	for _, s := range datagrams {
		e, err := probe.StartEcho(w.Net.Client, s.Addr, 10*time.Millisecond, 200)
		w.must(err)
		series = append(series, e)
	}
	for _, to := range echoes {
		c, err := w.Net.Client.DialContext(w.patient(), "tcp", to.String())
		w.must(err)
		if err := exchange(c, 2_000_000); err != nil {
			w.Errorf("TCP with %v: %v", to, err)
		}
		c.Close()
	}
	time.Sleep(200 * time.Millisecond)
	for i, e := range series {
		if r := e.Stop(patience / 10); len(r.RTTs) < r.Sent*3/4 || r.Sent < 10 {
			w.Errorf("UDP with %v: %+v", datagrams[i].Addr, r)
		}
	}
}

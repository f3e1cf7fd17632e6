//go:build packages

package install

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/probe"
	"braid/lab/topology"
)

// What the guides name as if it were there.
var (
	resolver4 = netip.MustParseAddr("9.9.9.9")
	resolver6 = netip.MustParseAddr("2620:fe::fe")
	second4   = netip.MustParseAddr("149.112.112.112")
)

const lookedUp = "debian.org"

// home is the network of the guides: a server, a router with a LAN, a laptop with
// Wi-Fi and a phone, and an internet with what the guides ask there.
type home struct {
	*testing.T
	net    *topology.Net
	lab    *lab.Lab
	names  *probe.DNSServer
	server *real
	router *real
	laptop *real
}

func newHome(t *testing.T) *home {
	t.Helper()
	l, err := lab.New(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	c := topology.Fast(2)
	c.Lan, c.SecondClient = true, true
	n, err := topology.Build(l, c)
	if err != nil {
		t.Fatal(err)
	}
	h := &home{T: t, net: n, lab: l}
	h.must(n.Client.SetForwarding(false)) // as on a host that is no router yet

	// The internet has the guides' DNS servers, and the server leads there.
	for _, a := range []netip.Addr{resolver4, resolver6, second4} {
		h.must(n.Internet.AddAddress("eth", netip.PrefixFrom(a, a.BitLen())))
		via := netip.MustParseAddr("192.0.2.2")
		if a.Is6() {
			via = netip.MustParseAddr("2001:db8:b000::2")
		}
		h.must(n.Server.AddRoute(lab.Route{Destination: netip.PrefixFrom(a, a.BitLen()), Via: via, Interface: "inet"}))
	}
	h.names, err = probe.ServeDNS(n.Internet, netip.AddrPortFrom(resolver4, 53).String(), map[string][]netip.Addr{lookedUp: {n.InternetAddr4, n.InternetAddr6}})
	h.must(err)
	t.Cleanup(func() { h.must(h.names.Close()) })

	// The laptop's second way is a phone.
	phone := n.Routers["fast2"]
	h.must(l.Veth(n.Client2, "phone", phone, "hotspot"))
	h.must(phone.AddAddress("hotspot", netip.MustParsePrefix("10.50.0.1/24")))
	h.must(n.Client2.AddAddress("phone", netip.MustParsePrefix("10.50.0.2/24")))
	h.must(n.Client2.AddRoute(lab.Route{Destination: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.50.0.1"), Interface: "phone", Metric: 600}))

	// What asks for names beside the tunnel passes one of the routers.
	for _, r := range n.Routers {
		h.run(r, "nft", "add table inet leaks; add chain inet leaks names { type filter hook prerouting priority -300; }; "+
			"add rule inet leaks names meta l4proto { tcp, udp } th dport 53 counter")
	}
	h.server, h.router, h.laptop = boot(t, n.Server, "server"), boot(t, n.Client, "client"), boot(t, n.Client2, "client")
	for _, r := range []*real{h.server, h.router, h.laptop} {
		h.copyFile(packages[0], r, "/root/braid_0.0.1-1.deb")
	}
	return h
}

func (h *home) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *home) run(host *lab.Host, name string, args ...string) string {
	h.Helper()
	out, err := host.Run(h.Context(), name, args...)
	h.must(err)
	return string(out)
}

// copyFile carries a file to a machine, as its reader would with scp.
func (h *home) copyFile(from string, to *real, path string) {
	h.Helper()
	b, err := os.ReadFile(from)
	h.must(err)
	to.write(path, string(b))
}

// noLeaks checks that no question for a name has come to the routers.
func (h *home) noLeaks(when string) {
	h.Helper()
	for name, r := range h.net.Routers {
		if rules := h.run(r, "nft", "list", "table", "inet", "leaks"); !strings.Contains(rules, "counter packets 0 bytes 0") {
			h.Errorf("%s: names were asked beside the tunnel, by %s:\n%s", when, name, rules)
		}
	}
}

// reaches checks that a host reaches the world in both families, with TCP and others.
func (h *home) reaches(from *lab.Host) {
	h.Helper()
	for _, at := range []netip.Addr{h.net.InternetAddr4, h.net.InternetAddr6} {
		h.run(from, "ping", "-q", "-c", "2", at.String())
		s, err := probe.ServeHTTP(h.net.Internet, netip.AddrPortFrom(at, 0).String())
		h.must(err)
		got, err := probe.Download(h.Context(), from, s.URL(at, 3_000_000), nil)
		if err != nil || got.Bytes != 3_000_000 {
			h.Errorf("%s from %v: %+v, %v", from.Name(), at, got, err)
		}
		h.must(s.Close())
	}
}

// asks looks a name up as a host does that has one DNS server.
func (h *home) asks(from *lab.Host, server netip.Addr) {
	h.Helper()
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return from.DialContext(ctx, network, netip.AddrPortFrom(server, 53).String())
	}}
	ctx, end := context.WithTimeout(h.Context(), patience)
	defer end()
	got, err := r.LookupNetIP(ctx, "ip", lookedUp+".")
	if err != nil || len(got) != 2 {
		h.Errorf("%s asks %v: %v, %v", from.Name(), server, got, err)
	}
}

// The guides, followed word for word: what they say is what happens.
func TestGuides(t *testing.T) {
	h := newHome(t)
	server, router, laptop := readGuide(t, "guide-server.md"), readGuide(t, "guide-router.md"), readGuide(t, "guide-laptop.md")

	h.server.follow(sections(server, "Two commands", "Invite your devices"))
	h.copyFile(h.server.system.Path("/root/home.token"), h.router, "/root/home.token")
	h.copyFile(h.server.system.Path("/root/laptop.token"), h.laptop, "/root/laptop.token")

	// The router asks its provider, as DHCP has told it, and so does its LAN.
	h.router.do("sh", "-c", "echo nameserver 10.1.0.1 > /etc/resolv.conf; systemctl start dnsmasq")
	h.router.follow(router)
	h.reaches(h.net.Client)
	h.reaches(h.net.Lan)
	before := len(h.names.Queries())
	for _, a := range []netip.Addr{netip.MustParseAddr("192.168.10.1"), netip.MustParseAddr("fd00:10::1")} {
		h.asks(h.net.Lan, a)
	}
	for _, q := range h.names.Queries()[before:] {
		if q.From.Addr() != netip.MustParseAddr("192.0.2.1") {
			t.Errorf("the world was asked by %v", q.From)
		}
	}
	h.noLeaks("the LAN")

	// What the installation of systemd-resolved does, and what DHCP tells it.
	h.laptop.do("sh", "-c", `ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
systemctl enable --now systemd-resolved; resolvectl dns wan 10.3.0.1; resolvectl dns phone 10.50.0.1`)
	h.laptop.follow(laptop)
	h.reaches(h.net.Client2)
	h.noLeaks("the laptop")
	h.killSwitch()

	h.server.follow(sections(server, "When a device is there"))
	for _, r := range []*real{h.laptop, h.router} {
		r.do("systemctl", "stop", "braid-client")
	}
}

// killSwitch: braid is killed, and nothing leaves but to what is attached.
func (h *home) killSwitch() {
	h.Helper()
	h.laptop.write("/run/systemd/system/braid-client.service.d/once.conf", "[Service]\nRestart=no\n")
	h.laptop.do("systemctl", "daemon-reload")
	h.laptop.do("systemctl", "kill", "-s", "KILL", "braid-client")
	h.laptop.await("the end of the client", func() bool { return h.laptop.unit("ActiveState") == "failed" })
	// Beside the tunnel the core answers.
	pings := func(to string) error {
		_, err := h.net.Client2.Run(h.Context(), "ping", "-q", "-c", "1", "-W", "2", to)
		return err
	}
	for _, to := range []string{"203.0.113.1", "2001:db8:a000::1"} {
		if pings(to) == nil {
			h.Errorf("%s is reached beside the tunnel", to)
		}
	}
	h.must(pings("10.50.0.1"))
	ctx, end := context.WithTimeout(h.Context(), 5*time.Second)
	if out, err := h.laptop.system.Run(ctx, "getent", "ahosts", lookedUp); err == nil {
		h.Errorf("names are found without a tunnel: %s", out)
	}
	end()
	h.noLeaks("the laptop without its client")
	if said := h.laptop.do("braid", "kill-switch", "off"); said == "" {
		h.Error("nothing is lifted")
	}
	h.must(pings("203.0.113.1"))
	h.laptop.do("rm", "-r", "/run/systemd/system/braid-client.service.d")
	h.laptop.do("systemctl", "daemon-reload")
	h.laptop.do("systemctl", "start", "braid-client")
	up(h.laptop)
}

package hostnet

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// client is a namespace with two uplinks, a LAN and a TUN, as a home router
// with strict reverse-path filters:
//
//	                    ┌─ dsl 192.0.2.7 ──── 192.0.2.1 ─┐
//	braid0 ── client ───┤                                ├── isp: 203.0.113.5, 2001:db8:5::5
//	   192.168.1.1 lan ─┴─ lte 198.51.100.7 (on-link) ───┘
func client(t *testing.T) (c, isp *space, tun *os.File) {
	t.Helper()
	c, isp = newSpace(t), newSpace(t)
	c.sysctl("net.ipv4.conf.all.rp_filter", "1")
	c.veth("dsl", isp, "dsl")
	c.veth("lte", isp, "lte")
	c.veth("lan", isp, "lan")
	isp.ip(`addr add 192.0.2.1/24 dev dsl
		addr add 198.51.100.1/24 dev lte
		-6 addr add 2001:db8:1::1/64 dev dsl
		-6 addr add 2001:db8:2::1/64 dev lte
		addr add 203.0.113.5/32 dev lo
		addr add 203.0.113.6/32 dev lo
		-6 addr add 2001:db8:5::5/128 dev lo`)
	c.ip(`addr add 192.0.2.7/24 dev dsl
		addr add 198.51.100.7/32 dev lte
		-6 addr add 2001:db8:1::7/64 dev dsl
		-6 addr add 2001:db8:2::7/64 dev lte
		addr add 192.168.1.1/24 dev lan
		-6 addr add fd01::1/64 dev lan
		route add default via 192.0.2.1 dev dsl metric 100
		route add default dev lte metric 200
		-6 route add default via 2001:db8:1::1 dev dsl metric 100
		-6 route add default via 2001:db8:2::1 dev lte metric 200
		rule add priority 9005 lookup 77
		route add 10.250.0.0/16 dev lan table 77`)
	tun = c.tun("braid0")
	return c, isp, tun
}

const testMark = 0xb1

// clientWish is a full tunnel on what is found.
func clientWish(t *testing.T, k *Kernel) Desired {
	t.Helper()
	inv, err := k.inventory()
	if err != nil {
		t.Fatal(err)
	}
	uplinks := findUplinks(inv, nil)
	if len(uplinks) != 2 || uplinks[0].Name != "dsl" || uplinks[1].Name != "lte" {
		t.Fatalf("uplinks %+v", uplinks)
	}
	return Desired{
		Device: "braid0", MTU: 1400, Mark: testMark, Uplinks: uplinks,
		Addresses: prefixes("10.77.0.2/24", "fd77::2/64"),
		Routes:    prefixes("0.0.0.0/0", "::/0"),
		Exclude:   prefixes("203.0.113.6/32", "2001:db8:6::/48"),
		Sysctls:   map[string]string{"net.mptcp.blackhole_timeout": "0", "net.ipv4.tcp_rmem": "4096 131072 8388608"},
	}
}

func TestKernelClient(t *testing.T) {
	c, isp, tun := client(t)
	before := c.snapshot()
	k := c.host()
	m := testManager(t, k)
	d := clientWish(t, k)
	mustApply(t, m, d)

	expect := func(what string, routes map[string]string) {
		t.Helper()
		for words, device := range routes {
			if got := c.routeTo(words); got != device {
				t.Errorf("%s: %s goes out by %s, want %s", what, words, got, device)
			}
		}
	}
	always := map[string]string{
		"203.0.113.5 mark 0xb1 from 192.0.2.7":       "dsl",
		"203.0.113.5 mark 0xb1 from 198.51.100.7":    "lte",
		"203.0.113.5 mark 0xb1":                      "dsl", // the host's best
		"203.0.113.5 mark 0xb1 oif lte":              "lte",
		"2001:db8:5::5 mark 0xb1 from 2001:db8:1::7": "dsl",
		"2001:db8:5::5 mark 0xb1 from 2001:db8:2::7": "lte",
		"192.0.2.1 mark 0xb1 from 192.0.2.7":         "dsl",
		"203.0.113.5 oif lte":                        "lte", // a probe
		"203.0.113.6":                                "dsl", // excluded
		"2001:db8:6::1":                              "dsl",
		"192.168.1.9":                                "lan",
		"fd01::9":                                    "lan",
		"10.250.0.1":                                 "lan", // somebody's rule
		"10.77.0.1":                                  "braid0",
		"fd77::1":                                    "braid0",
		"10.77.0.1 mark 0xb1":                        "dsl", // carriers never
		"192.168.1.9 mark 0xb1":                      "lan",
	}
	expect("full tunnel", always)
	expect("full tunnel", map[string]string{"203.0.113.5": "braid0", "2001:db8:5::5": "braid0", "192.168.2.1": "braid0"})

	// Real packets: carriers by both uplinks in spite of strict filters …
	isp.ip("-4 route add default dev lte")
	isp.echo("203.0.113.5:7")
	for _, from := range []string{"192.0.2.7", "198.51.100.7"} {
		if got := ping(t, c.udp(from+":0", testMark), "203.0.113.5:7"); got != from {
			t.Errorf("the echo saw %q, want %q", got, from)
		}
	}
	// … and everything else into the TUN, with its address.
	c.udp("0.0.0.0:0", 0).WriteToUDPAddrPort([]byte("to the tunnel"), netip.MustParseAddrPort("203.0.113.5:7"))
	packet := readPacket(t, tun, "to the tunnel")
	if src := netip.AddrFrom4([4]byte(packet[12:16])); src.String() != "10.77.0.2" {
		t.Errorf("a packet in the tunnel comes from %s", src)
	}

	log := bytes.Buffer{}
	m.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	mustApply(t, m, d)
	if log.Len() > 0 {
		t.Errorf("applying again:\n%s", &log)
	}

	d.Routes = prefixes("203.0.113.0/24", "192.168.1.128/25", "2001:db8:5::/48")
	mustApply(t, m, d)
	expect("partial tunnel", always)
	expect("partial tunnel", map[string]string{
		"203.0.113.5": "braid0", "192.168.1.200": "braid0", "192.168.2.1": "dsl", "2001:db8:5::5": "braid0", "2001:db8:7::7": "dsl",
	})

	d.Uplinks = d.Uplinks[1:]
	mustApply(t, m, d)
	if got := c.routeTo("203.0.113.5 mark 0xb1 from 198.51.100.7"); got != "lte" {
		t.Errorf("with one uplink: %s", got)
	}
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
	c.mustBeAsBefore(before)
}

// The wishes of the property test, on the real kernel.
func TestKernelTransitions(t *testing.T) {
	c, _, _ := client(t)
	k := c.host()
	inv, err := k.inventory()
	if err != nil {
		t.Fatal(err)
	}
	uplinks := findUplinks(inv, nil)
	before := c.snapshot()
	seeds(t, 4, func(t *testing.T, r *rand.Rand) {
		c := *c
		c.t = t
		m := testManager(t, k)
		for range 4 {
			d := randomDesired(r)
			d.Nameservers = nil // there is one resolv.conf for all namespaces
			if d.Device != "" {
				d.Device = "braid0"
			}
			if d.Uplinks = nil; d.Mark != 0 {
				d.Uplinks = some(r, uplinks...)
			}
			mustApply(t, m, d)
			done := len(m.done)
			mustApply(t, m, d)
			if again := m.done[done:]; len(again) > 0 {
				t.Fatalf("applying %+v again: %q", d, again)
			}
		}
		if err := m.Undo(); err != nil {
			t.Fatal(err)
		}
		c.mustBeAsBefore(before)
	})
}

// An IPv4 default route by an IPv6 gateway, as some access networks have it.
func TestKernelGatewayOfTheOtherFamily(t *testing.T) {
	c := newSpace(t)
	c.veth("eth0", newSpace(t), "eth0")
	c.ip(`addr add 198.51.100.7/32 dev eth0
		-4 route add default via inet6 fe80::1 dev eth0`)
	before := c.snapshot()
	k := c.host()
	inv, err := k.inventory()
	if err != nil {
		t.Fatal(err)
	}
	d := Desired{Mark: testMark, Uplinks: findUplinks(inv, nil)}
	if len(d.Uplinks) != 1 || d.Uplinks[0].Gateway4.String() != "fe80::1" {
		t.Fatalf("found %+v", d.Uplinks)
	}
	m := testManager(t, k)
	mustApply(t, m, d)
	done := len(m.done)
	mustApply(t, m, d)
	if len(m.done) != done {
		t.Errorf("applying again: %q", m.done[done:])
	}
	if got := c.routeTo("203.0.113.5 mark 0xb1 from 198.51.100.7"); got != "eth0" {
		t.Errorf("goes out by %s", got)
	}
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
	c.mustBeAsBefore(before)
}

func TestKernelRejects(t *testing.T) {
	c := newSpace(t)
	c.ip("route add unreachable 10.0.0.0/8\nroute add blackhole 172.16.0.0/12\n-6 route add prohibit 2001:db8::/32")
	got, err := c.host().Rejects()
	if err != nil || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestNamespaces(t *testing.T) {
	a, b := newSpace(t), newSpace(t)
	ka, kb := a.host(), b.host()
	if ka.Namespace() == kb.Namespace() || ka.Namespace() != a.host().Namespace() {
		t.Errorf("%s, %s", ka.Namespace(), kb.Namespace())
	}
	// From a thread of another namespace.
	b.do(func() {
		if err := ka.Do(Change{Object: Setting{Key: forward4, Value: "1"}}); err != nil {
			t.Error(err)
		}
	})
	va, err := ka.Sysctl(forward4)
	vb, err2 := kb.Sysctl(forward4)
	if va != "1" || vb != "0" || err != nil || err2 != nil {
		t.Errorf("%s, %s, %v, %v", va, vb, err, err2)
	}
	if _, err := ka.Sysctl("net.none.such"); !missing(err) {
		t.Errorf("a setting that is not: %v", err)
	}
}

// Errors that the administrator can mend say how.
func TestHints(t *testing.T) {
	type hinter interface{ Hint() string }
	for _, err := range []error{
		explain("netlink", unix.EPERM), explain("write setting", unix.EROFS), explainNAT("change nftables", unix.EOPNOTSUPP),
	} {
		var h hinter
		if !errors.As(err, &h) || h.Hint() == "" {
			t.Errorf("%v has no hint", err)
		}
	}
	s := newSpace(t)
	var err error
	s.do(func() {
		// A thread without rights, in a namespace of its own.
		var none [2]unix.CapUserData
		if err = unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
			return
		}
		var k *Kernel
		if k, err = OpenHost(); err == nil {
			defer k.Close()
			err = testManager(t, k).Apply(Desired{Device: "lo", Routes: prefixes("10.0.0.0/8")})
		}
	})
	var h hinter
	if !errors.As(err, &h) || h.Hint() == "" {
		t.Errorf("without rights: %v", err)
	}
}

// ping sends a packet to an echo and returns what it answers.
func ping(t *testing.T, c interface {
	WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
	ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error)
	SetReadDeadline(time.Time) error
}, to string) string {
	t.Helper()
	buf := make([]byte, 100)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if _, err := c.WriteToUDPAddrPort([]byte("ping"), netip.MustParseAddrPort(to)); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(time.Second)) // the first may be lost to address resolution
		if n, _, err := c.ReadFromUDPAddrPort(buf); err == nil {
			return string(buf[:n])
		}
	}
	t.Fatalf("no answer from %s", to)
	return ""
}

// readPacket returns the first packet from a TUN that contains text.
func readPacket(t *testing.T, tun *os.File, text string) []byte {
	t.Helper()
	tun.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 2000)
	for {
		n, err := tun.Read(buf)
		if err != nil {
			t.Fatalf("waiting for %q in the tunnel: %v", text, err)
		}
		if bytes.Contains(buf[:n], []byte(text)) {
			return buf[:n]
		}
	}
}

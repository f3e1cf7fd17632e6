package hostnet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// datagram is a packet of UDP that came out of a TUN.
type datagram struct {
	from, to netip.AddrPort
	payload  string
}

// beyond is who is at the other end of a TUN: all of them answer "ping" with the
// addresses that it came with, and show what else arrives.
func beyond(t *testing.T, tun *os.File) <-chan datagram {
	t.Helper()
	seen := make(chan datagram, 100)
	ended := make(chan struct{})
	tun.SetReadDeadline(time.Time{})
	go func() {
		defer close(ended)
		buf := make([]byte, 2000)
		for {
			n, err := tun.Read(buf)
			if err != nil {
				return
			}
			d, ok := parseUDP(buf[:n])
			if !ok {
				continue
			}
			if d.payload == "ping" {
				tun.Write(udpPacket(d.to, d.from, fmt.Sprintf("%v %v", d.from.Addr(), d.to)))
			}
			select {
			case seen <- d:
			default:
			}
		}
	}()
	t.Cleanup(func() {
		tun.SetReadDeadline(time.Now())
		<-ended
	})
	return seen
}

func parseUDP(b []byte) (d datagram, ok bool) {
	header, length, protocol := 20, 4, b[9]
	at := b[12:]
	if b[0]>>4 == 6 {
		header, length, protocol, at = 40, 16, b[6], b[8:]
	}
	if protocol != 17 || len(b) < header+8 {
		return d, false
	}
	from, _ := netip.AddrFromSlice(at[:length])
	to, _ := netip.AddrFromSlice(at[length : 2*length])
	d.from = netip.AddrPortFrom(from, binary.BigEndian.Uint16(b[header:]))
	d.to = netip.AddrPortFrom(to, binary.BigEndian.Uint16(b[header+2:]))
	d.payload = string(b[header+8:])
	return d, true
}

// arrives waits for a datagram from the TUN that is not the question itself.
func arrives(t *testing.T, seen <-chan datagram, to string) datagram {
	t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case d := <-seen:
			if d.payload != "ping" && d.to.String() == to {
				return d
			}
		case <-deadline:
			t.Fatalf("nothing arrived at %s", to)
		}
	}
}

func empty(seen <-chan datagram) {
	for len(seen) > 0 {
		<-seen
	}
}

// routed is a server's namespace with a TUN, and one beside it that knows no way
// to the tunnel.
func routed(t *testing.T) (s, out *space, tun *os.File) {
	t.Helper()
	s, out = newSpace(t), newSpace(t)
	s.veth("wan", out, "wan")
	s.ip("addr add 192.0.2.7/24 dev wan\naddr add 192.0.2.8/24 dev wan\n-6 addr add 2001:db8::7/64 dev wan")
	out.ip("addr add 192.0.2.1/24 dev wan\n-6 addr add 2001:db8::1/64 dev wan")
	return s, out, s.tun("braid0")
}

func routedDesired() Desired {
	return Desired{
		Device: "braid0", Addresses: prefixes("10.77.0.1/24", "fd77::1/64"), Routes: prefixes("192.168.10.0/24"),
		Masquerade: prefixes("10.77.0.0/24", "fd77::/64"), Forwarding: true,
	}
}

// Ports of the host lead to hosts at the TUN: for those beside the host, for the
// host itself, and for others at the TUN.
func TestKernelForwards(t *testing.T) {
	s, out, tun := routed(t)
	before := s.snapshot()
	to := addrPort
	d := routedDesired()
	d.Forwards = []Forward{
		{UDP: true, First: 2222, Last: 2222, To: to("10.77.0.2:22")},
		{UDP: true, First: 2222, Last: 2222, To: to("[fd77::2]:22")},
		{UDP: true, First: 6000, Last: 6100, To: to("192.168.10.5:0")},
		{UDP: true, Listen: netip.MustParseAddr("192.0.2.8"), First: 7000, Last: 7000, To: to("10.77.0.2:7")},
		{UDP: true, First: 8000, Last: 8000, To: to("10.77.0.2:8"), Masquerade: true},
		{UDP: true, Listen: netip.MustParseAddr("2001:db8::7"), First: 8001, Last: 8002, To: to("[fd77::2]:0"), Masquerade: true},
		{UDP: false, First: 9000, Last: 9000, To: to("10.77.0.2:9")},
	}
	m := testManager(t, s.host())
	mustApply(t, m, d)
	done := len(m.done)
	mustApply(t, m, d)
	if len(m.done) != done {
		t.Errorf("applying again: %q", m.done[done:])
	}
	seen := beyond(t, tun)
	for _, test := range []struct{ from, to, saw string }{
		{"192.0.2.1:0", "192.0.2.7:2222", "192.0.2.1 10.77.0.2:22"},
		{"192.0.2.1:0", "192.0.2.8:2222", "192.0.2.1 10.77.0.2:22"},
		{"[2001:db8::1]:0", "[2001:db8::7]:2222", "2001:db8::1 [fd77::2]:22"},
		{"192.0.2.1:0", "192.0.2.7:6000", "192.0.2.1 192.168.10.5:6000"},
		{"192.0.2.1:0", "192.0.2.7:6100", "192.0.2.1 192.168.10.5:6100"},
		{"192.0.2.1:0", "192.0.2.8:7000", "192.0.2.1 10.77.0.2:7"},
		{"192.0.2.1:0", "192.0.2.7:8000", "10.77.0.1 10.77.0.2:8"},
		{"[2001:db8::1]:0", "[2001:db8::7]:8002", "fd77::1 [fd77::2]:8002"},
	} {
		if got := ping(t, out.udp(test.from, 0), test.to); got != test.saw {
			t.Errorf("from %s to %s: the other end saw %q, want %q", test.from, test.to, got, test.saw)
		}
	}
	// The host itself, and who is at the TUN.
	for _, to := range []string{"192.0.2.7:2222", "[2001:db8::7]:2222"} {
		want := "10.77.0.1 10.77.0.2:22"
		if strings.HasPrefix(to, "[") {
			want = "fd77::1 [fd77::2]:22"
		}
		if got := ping(t, s.udp(":0", 0), to); got != want {
			t.Errorf("from the host to %s: the other end saw %q, want %q", to, got, want)
		}
	}
	for _, test := range []struct{ from, to, saw string }{
		{"10.77.0.3:4000", "192.0.2.7:2222", "10.77.0.1 10.77.0.2:22"},
		{"10.77.0.2:4000", "192.0.2.7:2222", "10.77.0.1 10.77.0.2:22"},
		{"[fd77::3]:4000", "[2001:db8::7]:2222", "fd77::1 [fd77::2]:22"},
	} {
		tun.Write(udpPacket(to(test.from), to(test.to), "ping"))
		got := arrives(t, seen, test.from)
		if got.payload != test.saw || got.from.String() != test.to {
			t.Errorf("from %s to %s: the other end saw %q, and answers come from %v", test.from, test.to, got.payload, got.from)
		}
	}
	// What is not forwarded: other ports, another address, the TUN's own, a
	// protocol of its own.
	s.echo("192.0.2.7:7000")
	s.echo("10.77.0.1:2222")
	s.echo("127.0.0.1:2222")
	s.echo("192.0.2.7:9000")
	for _, at := range []string{"192.0.2.7:7000", "192.0.2.7:9000"} {
		if got := ping(t, out.udp("192.0.2.1:0", 0), at); got != "192.0.2.1" {
			t.Errorf("%s answers %q", at, got)
		}
	}
	if got := ping(t, s.udp("127.0.0.1:0", 0), "127.0.0.1:2222"); got != "127.0.0.1" {
		t.Errorf("the loopback answers %q", got)
	}
	tun.Write(udpPacket(to("10.77.0.3:4001"), to("10.77.0.1:2222"), "ping"))
	if got := arrives(t, seen, "10.77.0.3:4001"); got.payload != "10.77.0.3" {
		t.Errorf("the TUN's own address answers %q", got.payload)
	}
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
	s.mustBeAsBefore(before)
}

// Only what may begin begins between two at the TUN; answers pass, and so do
// port forwards.
func TestKernelPassages(t *testing.T) {
	s, _, tun := routed(t)
	d := routedDesired()
	d.Passages = []Passage{
		{From: prefix("10.77.0.2/32"), To: prefix("192.168.10.0/24")},
		{From: prefix("fd77::2/128")},
		{To: prefix("10.77.0.9/32"), TCP: true, First: 80, Last: 90},
	}
	d.Forwards = []Forward{{UDP: true, First: 2222, Last: 2222, To: netip.MustParseAddrPort("10.77.0.9:22")}}
	m := testManager(t, s.host())
	mustApply(t, m, d)
	seen := beyond(t, tun)
	for _, test := range []struct {
		from, to string
		pass     bool
	}{
		{"10.77.0.2:4000", "192.168.10.5:7", true}, // and its answer
		{"192.168.10.5:4000", "10.77.0.2:7", false},
		{"10.77.0.2:4000", "10.77.0.3:7", false},
		{"10.77.0.3:4000", "192.168.10.5:7", false},
		{"10.77.0.3:4000", "10.77.0.9:80", false}, // not TCP
		{"10.77.0.3:4000", "192.0.2.7:2222", true},
		{"[fd77::2]:4000", "[fd77::3]:7", true},
		{"[fd77::3]:4000", "[fd77::2]:7", false},
	} {
		empty(seen)
		from, to := netip.MustParseAddrPort(test.from), netip.MustParseAddrPort(test.to)
		tun.Write(udpPacket(from, to, "ping"))
		if test.pass {
			arrives(t, seen, test.from)
			continue
		}
		// Something that passes comes later.
		tun.Write(udpPacket(netip.MustParseAddrPort("10.77.0.2:4444"), netip.MustParseAddrPort("192.168.10.5:7"), "ping"))
		for {
			d := <-seen
			if d.from == from {
				t.Errorf("%s reached %s", test.from, test.to)
			}
			if d.to.Port() == 4444 {
				break
			}
		}
	}
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
}

// A packet keeps its source on its way into the TUN if the other end knows it.
func TestKernelSources(t *testing.T) {
	s, out, tun := routed(t)
	s.ip("addr add 192.168.10.1/24 dev wan")
	out.ip("addr add 192.168.10.5/24 dev wan\naddr add 192.168.20.5/24 dev wan\n-6 addr add fd10::5/64 dev wan\n" +
		"route add 203.0.113.0/24 via 192.0.2.7\n-6 route add 2001:db8:1::/48 via 2001:db8::7")
	s.ip("route add 192.168.20.0/24 dev wan\n-6 route add fd10::/64 dev wan")
	m := testManager(t, s.host())
	d := Desired{
		Device: "braid0", Addresses: prefixes("10.77.0.2/24", "fd77::2/64"), Routes: prefixes("203.0.113.0/24", "2001:db8:1::/48"),
		Sources: prefixes("10.77.0.2/32", "192.168.10.0/24", "fd77::2/128"), Forwarding: true,
	}
	mustApply(t, m, d)
	beyond(t, tun)
	for from, want := range map[string]string{"192.168.10.5:0": "192.168.10.5", "192.168.20.5:0": "10.77.0.2", "192.0.2.1:0": "10.77.0.2"} {
		if got := ping(t, out.udp(from, 0), "203.0.113.9:7"); got != want+" 203.0.113.9:7" {
			t.Errorf("%s is seen as %q, want %s", from, got, want)
		}
	}
	if got := ping(t, out.udp("[fd10::5]:0", 0), "[2001:db8:1::9]:7"); got != "fd77::2 [2001:db8:1::9]:7" {
		t.Errorf("IPv6 is seen as %q", got)
	}
	if got := ping(t, s.udp(":0", 0), "203.0.113.9:7"); got != "10.77.0.2 203.0.113.9:7" {
		t.Errorf("the host itself is seen as %q", got)
	}
	// A host that is no router has no table, until it becomes one.
	d.Forwarding = false
	mustApply(t, m, d)
	if out := s.run("nft", "list", "ruleset"); out != "" {
		t.Errorf("not a router:\n%s", out)
	}
	s.sysctl("net.ipv4.conf.wan.forwarding", "1")
	mustApply(t, m, d)
	if out := s.run("nft", "list", "ruleset"); !strings.Contains(out, "masquerade all else of IPv4") || strings.Contains(out, "IPv6") {
		t.Errorf("a router of IPv4:\n%s", out)
	}
	s.sysctl("net.ipv6.conf.all.forwarding", "1")
	mustApply(t, m, d)
	if out := s.run("nft", "list", "ruleset"); !strings.Contains(out, "masquerade all else of IPv6") {
		t.Errorf("a router of both:\n%s", out)
	}
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
}

// A large server has some thousand rules.
func TestKernelManyRules(t *testing.T) {
	s, _, _ := routed(t)
	d := routedDesired()
	for i := range 1500 {
		a := netip.AddrFrom4([4]byte{10, 77, byte(i >> 8), byte(i)})
		d.Forwards = append(d.Forwards, Forward{First: uint16(10_000 + i), Last: uint16(10_000 + i), To: netip.AddrPortFrom(a, 22)})
		d.Passages = append(d.Passages, Passage{From: netip.PrefixFrom(a, 32)})
	}
	m := testManager(t, s.host())
	mustApply(t, m, d)
	done := len(m.done)
	mustApply(t, m, d)
	if len(m.done) != done {
		t.Error("applying again changed something")
	}
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
}

// No host could do these.
func TestForwardsThatCannotBe(t *testing.T) {
	to := addrPort
	for _, f := range []Forward{
		{First: 1, Last: 1},
		{First: 0, Last: 1, To: to("10.77.0.2:22")},
		{First: 2, Last: 1, To: to("10.77.0.2:0")},
		{First: 1, Last: 2, To: to("10.77.0.2:22")},
		{Listen: netip.MustParseAddr("2001:db8::7"), First: 1, Last: 1, To: to("10.77.0.2:22")},
		{First: 1, Last: 1, To: to("[::ffff:10.77.0.2]:22")},
	} {
		if err := (Desired{Device: "braid0", Forwards: []Forward{f}}).validate(); err == nil {
			t.Errorf("%v is taken", f)
		}
	}
	for _, p := range []Passage{
		{From: prefix("10.0.0.0/8"), To: prefix("fd77::/64")},
		{First: 80, Last: 80},
		{TCP: true, First: 80, Last: 79},
		{TCP: true, Last: 79},
	} {
		if err := (Desired{Device: "braid0", Passages: []Passage{p}}).validate(); err == nil {
			t.Errorf("%v is taken", p)
		}
	}
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

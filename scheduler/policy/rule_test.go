package policy

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"braid/scheduler/queue"
)

// headerOf reads a packet of its own making: protocol and ports of a transport
// header after an IP header.
func headerOf(t *testing.T, src, dst string, protocol, dscp uint8, sport, dport uint16, fragment bool) *queue.Header {
	t.Helper()
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	b := make([]byte, queue.VnetLen+40+8)
	p := b[queue.VnetLen:]
	ports := p[40:]
	if s.Is4() {
		b, ports = b[:queue.VnetLen+28], p[20:]
		p[0], p[1], p[9] = 0x45, dscp<<2, protocol
		if fragment {
			p[6] = 0x20
		}
		binary.BigEndian.PutUint16(p[2:], 28)
		copy(p[12:], s.AsSlice())
		copy(p[16:], d.AsSlice())
	} else {
		p[0], p[1], p[5], p[6] = 0x60|dscp>>2, dscp<<6, 8, protocol
		copy(p[8:], s.AsSlice())
		copy(p[24:], d.AsSlice())
	}
	binary.BigEndian.PutUint16(ports, sport)
	binary.BigEndian.PutUint16(ports[2:], dport)
	h, ok := queue.Parse(b)
	if !ok {
		t.Fatal("no packet")
	}
	return &h
}

func TestRules(t *testing.T) {
	prefix := netip.MustParsePrefix
	rules := NewRules([]Rule{
		{Protocols: []uint8{17}, DstPorts: []PortRange{{5060, 5061}, {10000, 20000}}, Policy: 1},
		{DstPorts: []PortRange{{53, 53}}, Dst: []netip.Prefix{prefix("192.0.2.0/25"), prefix("2001:db8::/33")}, Policy: 2},
		{SrcPorts: []PortRange{{53, 53}}, Policy: 3},
		{Src: []netip.Prefix{prefix("10.1.0.0/16")}, DSCP: []uint8{46, 0}, Policy: 4},
		{Protocols: []uint8{1, 58}, Policy: 5},
		{Dst: []netip.Prefix{prefix("0.0.0.0/0")}, DSCP: []uint8{63}, Policy: 6},
		{Src: []netip.Prefix{prefix("2001:db8::7/128")}, Policy: 7},
	})
	tests := []struct {
		h    *queue.Header
		want int
	}{
		{headerOf(t, "10.0.0.1", "192.0.2.1", 17, 0, 4000, 5060, false), 1},
		{headerOf(t, "10.0.0.1", "192.0.2.1", 17, 0, 4000, 20000, false), 1},
		{headerOf(t, "10.0.0.1", "192.0.2.1", 17, 0, 4000, 20001, false), -1},
		{headerOf(t, "10.0.0.1", "192.0.2.1", 17, 0, 5060, 4000, false), -1},
		{headerOf(t, "10.0.0.1", "192.0.2.1", 6, 0, 4000, 5060, false), -1},
		{headerOf(t, "10.0.0.1", "192.0.2.1", 17, 0, 4000, 5060, true), -1},
		{headerOf(t, "2001:db8::1", "2001:db8::2", 17, 0, 4000, 5061, false), 1},
		{headerOf(t, "10.0.0.1", "192.0.2.127", 6, 0, 4000, 53, false), 2},
		{headerOf(t, "10.0.0.1", "192.0.2.128", 6, 0, 4000, 53, false), -1},
		{headerOf(t, "2001:db8::1", "2001:db8:7fff::2", 17, 0, 4000, 53, false), 2},
		{headerOf(t, "2001:db8::1", "2001:db8:8000::2", 17, 0, 4000, 53, false), -1},
		{headerOf(t, "10.0.0.1", "10.0.0.2", 132, 0, 53, 1, false), 3},
		{headerOf(t, "10.0.0.1", "10.0.0.2", 47, 0, 53, 53, false), -1},
		{headerOf(t, "10.1.0.1", "10.0.0.2", 17, 46, 1, 1, false), 4},
		{headerOf(t, "10.1.0.1", "10.0.0.2", 17, 34, 1, 1, false), -1},
		{headerOf(t, "10.2.0.1", "10.0.0.2", 17, 46, 1, 1, false), -1},
		{headerOf(t, "10.1.0.1", "10.0.0.2", 17, 0, 1, 1, true), 4},
		{headerOf(t, "10.0.0.1", "10.0.0.2", 1, 0, 0x0800, 53, false), 5},
		{headerOf(t, "2001:db8::1", "2001:db8::2", 58, 0, 1, 1, false), 5},
		{headerOf(t, "10.0.0.1", "10.0.0.2", 47, 63, 0, 0, false), 6},
		{headerOf(t, "2001:db8::1", "2001:db8::2", 47, 63, 0, 0, false), -1},
		{headerOf(t, "2001:db8::7", "2001:db8::2", 47, 0, 0, 0, false), 7},
		{headerOf(t, "2001:db8::6", "2001:db8::2", 47, 0, 0, 0, false), -1},
	}
	for i, test := range tests {
		if got := rules.Policy(test.h); got != test.want {
			t.Errorf("%d: rule %d, want %d: %+v", i, got, test.want, test.h)
		}
	}
	if n := testing.AllocsPerRun(100, func() { rules.Policy(tests[4].h) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if got := NewRules([]Rule{{Policy: 9}}).Policy(tests[0].h); got != 9 {
		t.Errorf("a rule without conditions: %d", got)
	}
	if got := (Rules{}).Policy(tests[0].h); got != -1 {
		t.Errorf("no rules: %d", got)
	}
}

func BenchmarkRules(b *testing.B) {
	var list []Rule
	for range 20 {
		list = append(list, Rule{Protocols: []uint8{17}, DstPorts: []PortRange{{5060, 5061}}, Src: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	}
	rules := NewRules(list)
	h := queue.Header{Key: queue.FlowKey{Protocol: 17, Kind: 4, DstPort: 1}}
	b.ReportAllocs()
	for b.Loop() {
		rules.Policy(&h)
	}
}

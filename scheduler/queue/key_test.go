package queue

import (
	"hash/maphash"
	"testing"
)

func TestKey(t *testing.T) {
	for _, test := range []struct {
		name    string
		key     FlowKey
		version int
		ports   bool
	}{
		{"UDP", FlowKey{Kind: 4, Protocol: protoUDP}, 4, true},
		{"TCP of IPv6", FlowKey{Kind: 6, Protocol: protoTCP}, 6, true},
		{"SCTP", FlowKey{Kind: 4, Protocol: protoSCTP}, 4, true},
		{"GRE", FlowKey{Kind: 4, Protocol: 47}, 4, false},
		{"echo", FlowKey{Kind: 6, Protocol: protoICMPv6, SrcPort: 7}, 6, false},
		{"fragment", FlowKey{Kind: 4 | kindFragment, Protocol: protoUDP}, 4, false},
		{"error", FlowKey{Kind: 6 | kindQuoted, Protocol: protoICMPv6, SrcPort: 7}, 6, false},
	} {
		if v := test.key.Version(); v != test.version || test.key.HasPorts() != test.ports {
			t.Errorf("%s: version %d, ports %v", test.name, v, test.key.HasPorts())
		}
	}
}

func TestReverse(t *testing.T) {
	src, dst := [16]byte{10, 0, 0, 1}, [16]byte{10, 0, 0, 2}
	udp := FlowKey{Src: src, Dst: dst, SrcPort: 4000, DstPort: 53, Protocol: protoUDP, Kind: 4}
	if r := udp.Reverse(); r != (FlowKey{Src: dst, Dst: src, SrcPort: 53, DstPort: 4000, Protocol: protoUDP, Kind: 4}) || r.Reverse() != udp {
		t.Errorf("%+v", r)
	}
	echo := FlowKey{Src: src, Dst: dst, SrcPort: 7, Protocol: protoICMP, Kind: 4}
	if r := echo.Reverse(); r != (FlowKey{Src: dst, Dst: src, SrcPort: 7, Protocol: protoICMP, Kind: 4}) {
		t.Errorf("%+v", r)
	}
}

func TestTableEach(t *testing.T) {
	table := NewTable[int](3, maphash.MakeSeed())
	for i := range 5 { // the last three remain
		v, _ := table.Get(&FlowKey{SrcPort: uint16(i)})
		*v = i
	}
	seen := map[int]bool{}
	table.Each(func(v *int) { seen[*v] = true })
	if len(seen) != 3 || !seen[2] || !seen[3] || !seen[4] {
		t.Fatalf("saw %v", seen)
	}
}

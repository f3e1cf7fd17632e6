package queue

import (
	"encoding/binary"
	"slices"
	"testing"
)

// plain puts an empty virtio-net header before an IP packet.
func plain(ip []byte) []byte { return append(make([]byte, VnetLen), ip...) }

// ip4 builds an IPv4 packet from 10.0.0.1 to 10.0.0.2.
func ip4(protocol byte, rest ...byte) []byte {
	p := make([]byte, minIPv4, minIPv4+len(rest))
	p[0], p[8], p[9] = 0x45, 64, protocol
	p[12], p[15], p[16], p[19] = 10, 1, 10, 2
	p = append(p, rest...)
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	return p
}

// ip6 builds an IPv6 packet from fd00::1 to fd00::2.
func ip6(protocol byte, rest ...byte) []byte {
	p := make([]byte, lenIPv6, lenIPv6+len(rest))
	p[0], p[6], p[7] = 0x60, protocol, 64
	p[8], p[23], p[24], p[39] = 0xfd, 1, 0xfd, 2
	p = append(p, rest...)
	binary.BigEndian.PutUint16(p[4:], uint16(len(rest)))
	return p
}

// change returns a packet with one byte changed.
func change(p []byte, at int, to byte) []byte {
	p = slices.Clone(p)
	p[at] = to
	return p
}

func TestParseFlow(t *testing.T) {
	ports := []byte{0x12, 0x34, 0, 53, 0, 8, 0, 0}
	quoted := append([]byte{3, 4, 0, 0, 0, 0, 0, 0}, ip4(17, ports...)...)
	quoted6 := append([]byte{2, 0, 0, 0, 0, 0, 5, 0}, ip6(17, ports...)...)
	nested := append([]byte{3, 1, 0, 0, 0, 0, 0, 0}, ip4(1, quoted...)...)
	ext := func(next byte, rest ...byte) []byte { return append([]byte{next, 0, 0, 0, 0, 0, 0, 0}, rest...) }
	ah := append([]byte{17, 4}, make([]byte, 22)...)
	long := ext(17, ports...)
	for range maxExtensions {
		long = ext(60, long...)
	}
	tests := []struct {
		name     string
		ip       []byte
		protocol uint8
		kind     uint8
		src, dst uint16
	}{
		{"UDP", ip4(17, ports...), 17, 4, 0x1234, 53},
		{"TCP", ip4(6, ports...), 6, 4, 0x1234, 53},
		{"SCTP", ip4(132, ports...), 132, 4, 0x1234, 53},
		{"DCCP", ip6(33, ports...), 33, 6, 0x1234, 53},
		{"UDP-Lite", ip6(136, ports...), 136, 6, 0x1234, 53},
		{"GRE", ip4(47, ports...), 47, 4, 0, 0},
		{"ESP", ip6(50, ports...), 50, 6, 0, 0},
		{"UDP cut short", ip4(17, ports[:3]...), 17, 4, 0, 0},
		{"no payload", ip4(6), 6, 4, 0, 0},
		{"first fragment", change(ip4(17, ports...), 6, 0x20), 17, 4 | kindFragment, 0, 0},
		{"later fragment", change(ip4(17, ports...), 7, 10), 17, 4 | kindFragment, 0, 0},
		{"may not be fragmented", change(ip4(17, ports...), 6, 0x40), 17, 4, 0x1234, 53},
		{"echo", ip4(1, 8, 0, 0, 0, 7, 9, 0, 1), 1, 4, 0x0709, 0},
		{"echo reply", ip4(1, 0, 0, 0, 0, 7, 9, 0, 1), 1, 4, 0x0709, 0},
		{"echo cut short", ip4(1, 8, 0, 0, 0, 7), 1, 4, 0, 0},
		{"echo 6", ip6(58, 128, 0, 0, 0, 7, 9, 0, 1), 58, 6, 0x0709, 0},
		{"neighbour solicitation", ip6(58, 135, 0, 0, 0, 7, 9, 0, 1), 58, 6, 0, 0},
		{"unreachable", ip4(1, quoted...), 1, 4 | kindQuoted, 0x1234, 53},
		{"unreachable, quoted cut", ip4(1, quoted[:8+minIPv4+2]...), 1, 4 | kindQuoted, 0, 0},
		{"unreachable, no quote", ip4(1, quoted[:8]...), 1, 4 | kindQuoted, 0, 0},
		{"error in error", ip4(1, nested...), 1, 4 | kindQuoted, 0, 0},
		{"too big", ip6(58, quoted6...), 58, 6 | kindQuoted, 0x1234, 53},
		{"UDP 6", ip6(17, ports...), 17, 6, 0x1234, 53},
		{"hop by hop", ip6(0, ext(60, ext(17, ports...)...)...), 17, 6, 0x1234, 53},
		{"authentication", ip6(51, append(ah, ports...)...), 17, 6, 0x1234, 53},
		{"fragment 6", ip6(44, ext(17, ports...)...), 17, 6 | kindFragment, 0, 0},
		{"extension cut short", ip6(60, 17, 9, 0, 0, 0, 0, 0, 0), 60, 6, 0, 0},
		{"extension of 3 bytes", ip6(60, 17, 0, 0), 60, 6, 0, 0},
		{"no next header", ip6(59), 59, 6, 0, 0},
		{"too many extensions", ip6(60, long...), 60, 6, 0, 0},
		{"quotes an extension", ip6(58, append([]byte{1, 0, 0, 0, 0, 0, 0, 0}, ip6(0, ext(6, ports...)...)...)...), 58, 6 | kindQuoted, 0x1234, 53},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h, ok := Parse(plain(test.ip))
			want := FlowKey{SrcPort: test.src, DstPort: test.dst, Protocol: test.protocol, Kind: test.kind}
			if test.kind&15 == 4 {
				copy(want.Src[:], []byte{10, 0, 0, 1})
				copy(want.Dst[:], []byte{10, 0, 0, 2})
			} else {
				want.Src, want.Dst = [16]byte{0: 0xfd, 15: 1}, [16]byte{0: 0xfd, 15: 2}
			}
			if !ok || h.Key != want {
				t.Fatalf("key %+v, %v, want %+v", h.Key, ok, want)
			}
			if h.Segments != 1 || h.SegmentBytes != VnetLen+len(test.ip) {
				t.Fatalf("%d segments of %d", h.Segments, h.SegmentBytes)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, ip := range map[string][]byte{
		"nothing":          nil,
		"short":            ip4(17)[:19],
		"version 5":        change(ip4(17), 0, 0x55),
		"header of 16":     change(ip4(17), 0, 0x44),
		"header of 60":     change(ip4(17), 0, 0x4f),
		"IPv6 of 39 bytes": ip6(17)[:39],
	} {
		if h, ok := Parse(plain(ip)); ok {
			t.Errorf("%s: %+v", name, h)
		}
	}
	if _, ok := Parse(make([]byte, VnetLen-1)); ok {
		t.Error("half a virtio-net header has a flow")
	}
}

func TestParseTraffic(t *testing.T) {
	for dscp := range uint8(64) {
		for ecn := range uint8(4) {
			for _, s := range []spec{{dscp: dscp, ecn: ecn}, {v6: true, dscp: dscp, ecn: ecn}} {
				if h, ok := Parse(s.build()); !ok || h.DSCP != dscp || h.ECN != ecn {
					t.Fatalf("%+v: %+v, %v", s, h, ok)
				}
			}
		}
	}
}

func TestParseSegments(t *testing.T) {
	b := spec{data: 3000, size: 1400, options: 12}.build()
	h, ok := Parse(b)
	if !ok || h.Segments != 3 || h.SegmentBytes != VnetLen+52+1400 {
		t.Fatalf("%+v, %v", h, ok)
	}
	b[vnetFlags] = 0 // then it is one packet, and goes and is dropped whole
	if h, ok = Parse(b); !ok || h.Segments != 1 || h.SegmentBytes != len(b) {
		t.Fatalf("%+v, %v", h, ok)
	}
	if n := testing.AllocsPerRun(100, func() { Parse(b) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func FuzzFlowKey(f *testing.F) {
	for _, s := range supers()[:12] {
		b := s.build()
		f.Add(b[:min(len(b), 200)])
	}
	f.Add(plain(ip4(1, append([]byte{3, 4, 0, 0, 0, 0, 0, 0}, ip4(17, 1, 2, 3, 4)...)...)))
	f.Add(plain(ip6(0, 44, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 1, 0, 0, 0, 9)))
	f.Fuzz(func(t *testing.T, b []byte) {
		was := slices.Clone(b)
		h, ok := Parse(b)
		if !slices.Equal(b, was) {
			t.Fatal("Parse changed the packet")
		}
		if !ok {
			if h != (Header{}) {
				t.Fatalf("%+v without ok", h)
			}
			return
		}
		if h.Segments < 1 || h.SegmentBytes < VnetLen+minIPv4 || h.SegmentBytes > len(b) || h.ECN > 3 || h.DSCP > 63 {
			t.Fatalf("%+v", h)
		}
		if v := h.Key.Kind & 15; v != b[VnetLen]>>4 {
			t.Fatalf("version %d", v)
		}
		MarkCE(b)
		if marked, ok := Parse(b); !ok || marked.Key != h.Key || marked.DSCP != h.DSCP || marked.Segments != h.Segments {
			t.Fatalf("%+v, marked %+v", h, marked)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	p := spec{data: 1400, v6: true}.build()
	b.ReportAllocs()
	for b.Loop() {
		Parse(p)
	}
}

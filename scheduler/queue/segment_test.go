package queue

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
)

// supers are super-packets of all kinds.
func supers() []spec {
	return []spec{
		{data: 2896, size: 1448, flags: 0x18, seq: 7},
		{data: 2897, size: 1448, flags: 0x19, seq: 1<<32 - 1448, id: 0xffff, options: 12},
		{data: 64000, size: 1448, flags: 0x10, options: 12, id: 3},
		{data: 60000, size: 1460, flags: 0x90, gsoECN: true, ecn: ECT0},
		{data: 60000, size: 1460, flags: 0x98},
		{data: 5000, size: 1000, extensions: 2, flags: 0x10},
		{data: 100, size: 8, flags: 0x18, options: 40},
		{data: 9, size: 1, flags: 0x18},
		{v6: true, data: 64000, size: 1428, flags: 0x18, options: 12},
		{v6: true, data: 5000, size: 1428, flags: 0x11, extensions: 1},
		{v6: true, data: 2000, size: 1999, flags: 0x90, gsoECN: true},
		{udp: true, data: 12000, size: 1200, id: 9},
		{udp: true, data: 12001, size: 1200},
		{udp: true, data: 3, size: 1},
		{v6: true, udp: true, data: 4000, size: 1300},
		{v6: true, udp: true, data: 4000, size: 1300, extensions: 3},
	}
}

func TestDropSegment(t *testing.T) {
	for _, s := range supers() {
		t.Run(fmt.Sprintf("%+v", s), func(t *testing.T) {
			rest := s.build()
			if h, ok := Parse(rest); !ok || h.Segments != (s.data+s.size-1)/s.size {
				t.Fatalf("Parse = %+v, %v", h, ok)
			}
			want := segments(slices.Clone(rest))
			checkComplete(t, want)
			for {
				next, ok := DropSegment(rest)
				if !ok {
					break
				}
				rest, want = next, want[1:]
				if !sane(rest) {
					t.Fatalf("header %x with %d segments left", rest[:VnetLen], len(want))
				}
				equal(t, segments(rest), want)
			}
			if len(want) != 1 {
				t.Fatalf("%d segments cannot be removed", len(want))
			}
		})
	}
}

// TestParts cuts a super-packet as Pop does, in every place.
func TestParts(t *testing.T) {
	for _, s := range supers() {
		t.Run(fmt.Sprintf("%+v", s), func(t *testing.T) {
			whole := s.build()
			want := segments(whole)
			for k := 1; k < len(want); k++ {
				payload := slices.Clone(whole)
				shape, ok := shapeOf(payload)
				if !ok || shape.segments != len(want) {
					t.Fatalf("shape %+v, %v", shape, ok)
				}
				headers := slices.Clone(payload[:shape.headers()])
				front := shape.keepFirst(payload, k)
				if !sane(front) {
					t.Fatalf("header of the front %x", front[:VnetLen])
				}
				got := segments(front)
				rest := payload[k*shape.size:]
				copy(rest, headers)
				shape.becomeRest(rest, k)
				if !sane(rest) {
					t.Fatalf("header of the rest %x", rest[:VnetLen])
				}
				equal(t, append(got, segments(rest)...), want)
			}
		})
	}
}

func TestSplit(t *testing.T) {
	for _, s := range supers() {
		for _, most := range []int{0, 1600, 8 << 10, 1 << 17} {
			whole := s.build()
			want := segments(whole)
			var got [][]byte
			Split(slices.Clone(whole), most, func(part []byte) {
				if !sane(part) {
					t.Fatalf("%+v: header %x", s, part[:VnetLen])
				}
				h, _ := Parse(part)
				if len(part) > most && h.Segments > 1 {
					t.Errorf("%+v: a piece of %d bytes, %d segments", s, len(part), h.Segments)
				}
				got = append(got, segments(part)...)
			})
			equal(t, got, want)
		}
	}
	pieces := 0
	Split([]byte("no packet"), 1, func([]byte) { pieces++ })
	if pieces != 1 {
		t.Errorf("%d pieces of what cannot be cut", pieces)
	}
}

// checkComplete checks what the reference made: a receiver takes it.
func checkComplete(t *testing.T, packets [][]byte) {
	t.Helper()
	for i, p := range packets {
		n, ok := readNetwork(p)
		if !ok || ipLen(p) != len(p) {
			t.Fatalf("segment %d: %x", i, p[:40])
		}
		if n.version == 4 && plainSum(0, p[:n.transport]) != 0xffff {
			t.Fatalf("segment %d: IPv4 header checksum", i)
		}
		rest := p[n.transport:]
		if plainSum(uint64(pseudo(p, n.protocol, len(rest))), rest) != 0xffff {
			t.Fatalf("segment %d: checksum", i)
		}
	}
}

func equal(t *testing.T, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d segments, want %d", len(got), len(want))
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("segment %d of %d:\n%x\nwant\n%x", i, len(got), head(got[i]), head(want[i]))
		}
	}
}

func head(b []byte) []byte { return b[:min(len(b), 100)] }

func TestDropSegmentRefuses(t *testing.T) {
	tcp := spec{data: 3000, size: 1000, flags: 0x10}
	tests := []struct {
		name   string
		spec   spec
		change func(b []byte)
	}{
		{"no super-packet", spec{data: 1000}, func([]byte) {}},
		{"one segment", spec{data: 1000, size: 1000}, func([]byte) {}},
		{"no data", spec{data: 0, size: 1000}, func([]byte) {}},
		{"no checksum to do", tcp, func(b []byte) { b[vnetFlags] = 0 }},
		{"segments of 0", tcp, func(b []byte) { b[vnetSize], b[vnetSize+1] = 0, 0 }},
		{"type of IPv6", tcp, func(b []byte) { b[vnetType] = gsoTCPv6 }},
		{"type of UDP", tcp, func(b []byte) { b[vnetType] = gsoUDP }},
		{"UDP with ECN", spec{udp: true, data: 3000, size: 1000}, func(b []byte) { b[vnetType] |= gsoECN }},
		{"unknown type", tcp, func(b []byte) { b[vnetType] = 3 }},
		{"checksum elsewhere", tcp, func(b []byte) { b[vnetCsumStart]++ }},
		{"checksum of UDP", tcp, func(b []byte) { b[vnetCsumOffset] = udpCsum }},
		{"fragment", tcp, func(b []byte) { b[VnetLen+6] = 0x20 }},
		{"length", tcp, func(b []byte) { b[VnetLen+3]++ }},
		{"UDP length", spec{udp: true, data: 3000, size: 1000}, func(b []byte) { b[VnetLen+minIPv4+udpLen+1]++ }},
		{"TCP header short", tcp, func(b []byte) { b[VnetLen+minIPv4+tcpDoff] = 0x40 }},
		{"TCP header beyond the end", spec{data: 10, size: 2}, func(b []byte) { b[VnetLen+minIPv4+tcpDoff] = 0xf0 }},
		{"no IP", tcp, func(b []byte) { b[VnetLen] = 0x75 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := test.spec.build()
			test.change(b)
			was := slices.Clone(b)
			rest, ok := DropSegment(b)
			if ok || !bytes.Equal(rest, was) || !bytes.Equal(b, was) {
				t.Fatalf("DropSegment = %x, %v", head(rest), ok)
			}
		})
	}
	for n := range VnetLen + minIPv4 + 1 {
		if _, ok := DropSegment(tcp.build()[:n]); ok {
			t.Fatalf("%d bytes are a super-packet", n)
		}
	}
}

func FuzzSegmentRemoval(f *testing.F) {
	for _, s := range supers() {
		if s.data > 1000 { // a fuzzer is slow with much to change
			s.data, s.size = s.data%300+100, s.size/10
		}
		f.Add(s.build(), uint8(1))
	}
	f.Fuzz(func(t *testing.T, payload []byte, parts uint8) {
		if len(payload) > 2000 {
			return
		}
		payload = slices.Clone(payload)
		shape, ok := shapeOf(payload)
		if !ok {
			was := slices.Clone(payload)
			if rest, ok := DropSegment(payload); ok || !bytes.Equal(rest, was) {
				t.Fatal("removed from what cannot be cut")
			}
			return
		}
		binary.LittleEndian.PutUint16(payload[vnetHdrLen:], uint16(shape.data)) // as Normalize does
		payload[vnetFlags] = needsCsum
		want := segments(payload)
		if len(want) != shape.segments {
			t.Fatalf("%d segments, the kernel makes %d", shape.segments, len(want))
		}
		n := 1 + int(parts)%(shape.segments-1)
		whole := slices.Clone(payload)
		equal(t, segments(shape.keepFirst(whole, n)), want[:n])
		rest := shape.dropFirst(slices.Clone(payload), n)
		equal(t, segments(rest), want[n:])
		if !sane(rest) {
			t.Fatalf("header %x", rest[:VnetLen])
		}
		for range n {
			payload, ok = DropSegment(payload)
			if !ok {
				t.Fatal("a segment cannot be removed")
			}
		}
		if !bytes.Equal(payload, rest) {
			t.Fatal("one by one differs from all at once")
		}
	})
}

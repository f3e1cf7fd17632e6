package terminate

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"braid/tunnel/wire"
)

// tcpPacket is a virtio-net header and TCP packet with right checksums.
type tcpPacket struct {
	src, dst string
	flags    uint8
	seq, ack uint32
	data     []byte
	partial  bool
}

func (p tcpPacket) bytes() []byte {
	src, dst := netip.MustParseAddrPort(p.src), netip.MustParseAddrPort(p.dst)
	e := endpointsOf(src, dst)
	b, h := ipPacket(e.src, e.dst, src.Addr().Is6(), protoTCP, minTCP+len(p.data))
	binary.BigEndian.PutUint16(h, e.srcPort)
	binary.BigEndian.PutUint16(h[2:], e.dstPort)
	binary.BigEndian.PutUint32(h[4:], p.seq)
	binary.BigEndian.PutUint32(h[8:], p.ack)
	h[12], h[13] = minTCP/4<<4, p.flags
	copy(h[minTCP:], p.data)
	setChecksum(b, p.partial)
	return b
}

// setChecksum computes the TCP checksum of a packet as a kernel does.
func setChecksum(b []byte, partial bool) {
	var s segment
	if parse(b, &s) != tcp {
		panic("not a TCP packet")
	}
	h := b[wire.VnetLen+s.transport:]
	binary.BigEndian.PutUint16(h[csumTCP:], 0)
	sum := pseudo(s.src, s.dst, protoTCP, len(h))
	if partial {
		b[0] = needsCsum
		binary.LittleEndian.PutUint16(b[6:], uint16(s.transport))
		binary.LittleEndian.PutUint16(b[8:], csumTCP)
		binary.BigEndian.PutUint16(h[csumTCP:], fold(sum))
		return
	}
	binary.BigEndian.PutUint16(h[csumTCP:], ^checksum(h, sum))
}

// verify reports whether all checksums of a packet are right.
func verify(t testing.TB, b []byte) {
	t.Helper()
	var s segment
	if got := parse(b, &s); got != tcp {
		t.Fatalf("parse = %v", got)
	}
	ip := b[wire.VnetLen:]
	if !s.v6 && checksum(ip[:s.transport], 0) != 0xffff {
		t.Errorf("IPv4 checksum of % x", ip[:s.transport])
	}
	h := ip[s.transport:]
	sum := pseudo(s.src, s.dst, protoTCP, len(h))
	if s.partial {
		if got, want := binary.BigEndian.Uint16(h[csumTCP:]), fold(sum); got%0xffff != want%0xffff {
			t.Errorf("partial checksum %04x, want %04x", got, want)
		}
	} else if checksum(h, sum) != 0xffff {
		t.Errorf("checksum of % x", h[:minTCP])
	}
}

func TestParse(t *testing.T) {
	v4 := tcpPacket{src: "10.0.0.1:1000", dst: "192.0.2.9:80", flags: flagACK | flagFIN, seq: 7, ack: 9, data: make([]byte, 33)}
	v6 := tcpPacket{src: "[fd00::1]:1000", dst: "[2001:db8::9]:80", flags: flagSYN, seq: 7, partial: true}
	ext := v6.bytes()
	ext[0] = 0                                                                        // its position would be another
	ext = append(ext[:50:50], append([]byte{6, 0, 1, 4, 0, 0, 0, 0}, ext[50:]...)...) // hop-by-hop
	ext[wire.VnetLen+6] = 0
	binary.BigEndian.PutUint16(ext[wire.VnetLen+4:], 28)
	edit := func(p tcpPacket, f func(b []byte)) []byte {
		b := p.bytes()
		f(b)
		return b
	}
	tests := []struct {
		name   string
		packet []byte
		want   parsed
	}{
		{"IPv4", v4.bytes(), tcp},
		{"IPv6", v6.bytes(), tcp},
		{"IPv6 with options", ext, tcp},
		{"nothing", nil, notTCP},
		{"UDP", edit(v4, func(b []byte) { b[wire.VnetLen+9] = 17 }), notTCP},
		{"fragment", edit(v4, func(b []byte) { b[wire.VnetLen+6] = 0x20 }), notTCP},
		{"last fragment", edit(v4, func(b []byte) { b[wire.VnetLen+7] = 9 }), notTCP},
		{"IPv6 routing header", edit(v6, func(b []byte) { b[wire.VnetLen+6] = 43 }), notTCP},
		{"IPv6 from mapped", edit(v6, func(b []byte) { a := mapped([4]byte{10, 0, 0, 1}); copy(b[wire.VnetLen+8:], a[:]) }), notTCP},
		{"version 9", edit(v4, func(b []byte) { b[wire.VnetLen] = 0x95 }), notTCP},
		{"IHL beyond", edit(v4, func(b []byte) { b[wire.VnetLen] = 0x4f }), malformed},
		{"IHL too small", edit(v4, func(b []byte) { b[wire.VnetLen] = 0x44 }), malformed},
		{"total length", edit(v4, func(b []byte) { b[wire.VnetLen+3]++ }), malformed},
		{"IPv6 length", edit(v6, func(b []byte) { b[wire.VnetLen+5]++ }), malformed},
		{"data offset", edit(v4, func(b []byte) { b[wire.VnetLen+32] = 0x40 }), malformed},
		{"data offset beyond", edit(v6, func(b []byte) { b[wire.VnetLen+52] = 0xf0 }), malformed},
		{"checksum elsewhere", edit(v6, func(b []byte) { b[6]++ }), malformed},
	}
	for _, tt := range tests {
		var s segment
		if got := parse(tt.packet, &s); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	var s segment
	parse(v4.bytes(), &s)
	if s.length != 33 || s.end() != 7+34 || s.source() != netip.MustParseAddrPort(v4.src) ||
		s.destination() != netip.MustParseAddrPort(v4.dst) || s.ack != 9 {
		t.Errorf("parsed %+v", s)
	}
}

// A super-packet's header length is mended, all else of it is kept.
func TestParseMendsHeaderLength(t *testing.T) {
	b := tcpPacket{src: "10.0.0.1:1", dst: "10.0.0.2:2", flags: flagACK, data: make([]byte, 9000), partial: true}.bytes()
	b[1], b[4], b[5] = 1, 0xe8, 3 // TCPv4, 1000
	b[2], b[3] = 0xff, 0xff
	var s segment
	if parse(b, &s) != tcp || !s.super || b[2] != 40 || b[3] != 0 {
		t.Errorf("header % x, super %v", b[:wire.VnetLen], s.super)
	}
}

func FuzzRewrite(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdef0123"), []byte("fedcba9876543210fedcba9876543210fedc"), []byte("data"), uint8(0x10), true, false)
	f.Add(make([]byte, 36), bytes.Repeat([]byte{0xff}, 36), []byte{}, uint8(2), false, true)
	f.Add(bytes.Repeat([]byte{0xff}, 36), make([]byte, 36), []byte{0, 0, 1}, uint8(0x11), false, false)
	f.Fuzz(func(t *testing.T, from, to, data []byte, flags uint8, v6, partial bool) {
		a, okA := endpointsFrom(from, v6)
		b, okB := endpointsFrom(to, v6)
		if !okA || !okB || len(data) > 60000 {
			return
		}
		p := tcpPacket{src: a.source().String(), dst: a.destination().String(), flags: flags, seq: 1, ack: 2, data: data, partial: partial}.bytes()
		verify(t, p)
		orig := bytes.Clone(p)
		there, back := newRewriting(a, b), newRewriting(b, a)
		var s segment
		parse(p, &s)
		there.apply(p, &s)
		verify(t, p)
		if parse(p, &s) != tcp || s.endpoints != b {
			t.Fatalf("rewritten to %v → %v", s.source(), s.destination())
		}
		back.apply(p, &s)
		if !bytes.Equal(p, orig) {
			t.Fatalf("there and back:\n% x\n% x", orig, p)
		}
	})
}

func endpointsFrom(b []byte, v6 bool) (e endpoints, ok bool) {
	if len(b) < 36 {
		return e, false
	}
	copy(e.src[:], b)
	copy(e.dst[:], b[16:])
	if !v6 {
		e.src, e.dst = mapped([4]byte(b)), mapped([4]byte(b[16:]))
	} else if isMapped(e.src) || isMapped(e.dst) {
		return e, false
	}
	e.srcPort, e.dstPort = binary.BigEndian.Uint16(b[32:]), binary.BigEndian.Uint16(b[34:])
	return e, true
}

package terminate

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"braid/tunnel/wire"
)

// icmpAbout is an ICMP error about a SYN, with a virtio-net header, as a
// router sends it.
func icmpAbout(src, dst string, seq uint32, typ, code uint8) []byte {
	quote := tcpPacket{src: src, dst: dst, flags: flagSYN, seq: seq}.bytes()
	var s segment
	parse(quote, &s)
	router := netip.MustParseAddr("192.0.2.254").As16()
	if s.v6 {
		router = netip.MustParseAddr("2001:db8::fe").As16()
	}
	p := unreachable(quote, &s, router, HostUnreachable)
	h, sum := p[wire.VnetLen+20:], uint32(0)
	if s.v6 {
		h = p[wire.VnetLen+40:]
		sum = pseudo(router, s.src, protoICMP6, len(h))
	}
	h[0], h[1], h[2], h[3] = typ, code, 0, 0
	binary.BigEndian.PutUint16(h[2:], ^checksum(h, sum))
	return p
}

const (
	peer4, serve4 = "198.51.100.7:5000", "192.168.9.2:80"
	peer6, serve6 = "[2001:db8:1::7]:5000", "[fd09::2]:80"
)

// Each error becomes the errno that connect(2) gives for it.
func TestErrnoOfICMP(t *testing.T) {
	tests := []struct {
		v6        bool
		typ, code uint8
		want      syscall.Errno
	}{
		{false, 3, 0, syscall.ENETUNREACH},
		{false, 3, 1, syscall.EHOSTUNREACH},
		{false, 3, 2, syscall.EHOSTUNREACH},
		{false, 3, 3, syscall.ECONNREFUSED},
		{false, 3, 4, 0}, // too big
		{false, 3, 6, syscall.ENETUNREACH},
		{false, 3, 9, syscall.EACCES},
		{false, 3, 10, syscall.EACCES},
		{false, 3, 13, syscall.EACCES},
		{false, 3, 99, syscall.EHOSTUNREACH},
		{false, 11, 0, syscall.EHOSTUNREACH},
		{false, 0, 0, 0}, // echo
		{false, 8, 0, 0},
		{true, 1, 0, syscall.ENETUNREACH},
		{true, 1, 1, syscall.EACCES},
		{true, 1, 3, syscall.EHOSTUNREACH},
		{true, 1, 4, syscall.ECONNREFUSED},
		{true, 1, 5, syscall.EACCES},
		{true, 1, 6, syscall.EACCES},
		{true, 3, 0, syscall.EHOSTUNREACH},
		{true, 2, 0, 0}, // too big
		{true, 128, 0, 0},
	}
	for _, tt := range tests {
		src, dst := peer4, serve4
		if tt.v6 {
			src, dst = peer6, serve6
		}
		var x icmpError
		ok := parseICMP(icmpAbout(src, dst, 77, tt.typ, tt.code), &x)
		tooBig := !tt.v6 && tt.typ == 3 && tt.code == 4 || tt.v6 && tt.typ == 2
		if ok != (tt.want != 0 || tooBig) || ok && (x.errno != tt.want || x.tooBig != tooBig) {
			t.Errorf("IPv6 %v, type %d, code %d: %v, %v", tt.v6, tt.typ, tt.code, x.errno, ok)
		}
		if ok && (x.seq != 77 || x.quoted.source().String() != src || x.quoted.destination().String() != dst) {
			t.Errorf("quoted %v → %v, %d", x.quoted.source(), x.quoted.destination(), x.seq)
		}
	}
}

// What is damaged, cut short or about something else is none.
func TestParseICMPRefuses(t *testing.T) {
	const ip = wire.VnetLen
	tests := []struct {
		name string
		v6   bool
		edit func(b []byte)
	}{
		{"checksum", false, func(b []byte) { b[ip+22]++ }},
		{"checksum 6", true, func(b []byte) { b[ip+42]++ }},
		{"fragment", false, func(b []byte) { b[ip+6] |= 0x20 }},
		{"header length", false, func(b []byte) { b[ip] = 0x4f }},
		{"UDP", false, func(b []byte) { b[ip+9] = 17 }},
		{"UDP 6", true, func(b []byte) { b[ip+6] = 17 }},
		{"about UDP", false, func(b []byte) { b[ip+28+9] = 17 }},
		{"about UDP 6", true, func(b []byte) { b[ip+48+6] = 17 }},
		{"about a fragment", false, func(b []byte) { b[ip+28+7] = 9 }},
		{"about a longer header", false, func(b []byte) { b[ip+28] = 0x4f }},
		{"about IPv6", false, func(b []byte) { b[ip+28] = 0x60 }},
		{"about IPv4", true, func(b []byte) { b[ip+48] = 0x45 }},
		{"about mapped addresses", true, func(b []byte) {
			a := mapped([4]byte{10, 0, 0, 1})
			copy(b[ip+48+8:], a[:])
		}},
	}
	for _, tt := range tests {
		p := icmpAbout(peer4, serve4, 1, icmpUnreachable, 1)
		if tt.v6 {
			p = icmpAbout(peer6, serve6, 1, icmp6Unreachable, 3)
		}
		var x icmpError
		if !parseICMP(p, &x) {
			t.Fatalf("%s: not even without the change", tt.name)
		}
		tt.edit(p)
		if strings.HasPrefix(tt.name, "about") {
			p[0] = needsCsum // so that the checksum is not what refuses it
		}
		if parseICMP(p, &x) {
			t.Errorf("%s: %+v", tt.name, x)
		}
	}
	for _, whole := range [][]byte{
		icmpAbout(peer4, serve4, 1, icmpUnreachable, 1), icmpAbout(peer6, serve6, 1, icmp6Unreachable, 3),
	} {
		whole[0] = needsCsum
		enough := len(whole) - minTCP + 8
		for n := range whole {
			var x icmpError
			if got := parseICMP(whole[:n:n], &x); got != (n >= enough) {
				t.Errorf("%d bytes of %d: %v", n, len(whole), got)
			}
		}
	}
}

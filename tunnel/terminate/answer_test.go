package terminate

import (
	"encoding/binary"
	"testing"

	"braid/tunnel/wire"
)

func TestReset(t *testing.T) {
	tests := []struct {
		name     string
		in       tcpPacket
		flags    uint8
		seq, ack uint32
	}{
		{"of a SYN", tcpPacket{flags: flagSYN, seq: 99}, flagRST | flagACK, 0, 100},
		{"of data", tcpPacket{flags: flagACK, seq: 99, ack: 1000, data: []byte("hello")}, flagRST, 1000, 0},
		{"of a FIN without ACK", tcpPacket{flags: flagFIN, seq: 99, data: []byte("hello")}, flagRST | flagACK, 0, 105},
		{"of a SYN+ACK", tcpPacket{flags: flagSYN | flagACK, seq: 1, ack: 0xffffffff}, flagRST, 0xffffffff, 0},
	}
	for _, tt := range tests {
		for _, addrs := range [][2]string{{"10.0.0.1:5000", "192.0.2.1:80"}, {"[fd00::1]:5000", "[2001:db8::1]:80"}} {
			tt.in.src, tt.in.dst = addrs[0], addrs[1]
			var in, out segment
			parse(tt.in.bytes(), &in)
			p := reset(&in)
			verify(t, p)
			parse(p, &out)
			if out.endpoints != in.reverse() || out.flags != tt.flags || out.seq != tt.seq || out.ack != tt.ack {
				t.Errorf("%s: %v → %v flags %02x seq %d ack %d", tt.name, out.source(), out.destination(), out.flags, out.seq, out.ack)
			}
			if err := wire.CheckPacket(p); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
	}
}

func TestUnreachable(t *testing.T) {
	tests := []struct {
		name      string
		src, dst  string
		data      int
		why       Reason
		typ, code uint8
		size      int
	}{
		{"host", "10.0.0.1:5000", "192.0.2.1:80", 0, HostUnreachable, 3, 1, 20 + 8 + 40},
		{"network", "10.0.0.1:5000", "192.0.2.1:80", 0, NetUnreachable, 3, 0, 20 + 8 + 40},
		{"prohibited", "10.0.0.1:5000", "192.0.2.1:80", 2000, AdminProhibited, 3, 13, 576},
		{"host6", "[fd00::1]:5000", "[2001:db8::1]:80", 0, HostUnreachable, 1, 3, 40 + 8 + 60},
		{"network6", "[fd00::1]:5000", "[2001:db8::1]:80", 1, NetUnreachable, 1, 0, 40 + 8 + 61},
		{"prohibited6", "[fd00::1]:5000", "[2001:db8::1]:80", 2000, AdminProhibited, 1, 1, 1280},
	}
	from := mapped([4]byte{10, 0, 0, 9})
	for _, tt := range tests {
		in := tcpPacket{src: tt.src, dst: tt.dst, flags: flagSYN, data: make([]byte, tt.data)}.bytes()
		var s segment
		parse(in, &s)
		p := unreachable(in, &s, from, tt.why)
		if err := wire.CheckPacket(p); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		ip := p[wire.VnetLen:]
		h, sum := ip[20:], uint32(0)
		if s.v6 {
			h = ip[40:]
			sum = pseudo(from, s.src, protoICMP6, len(h))
		}
		if len(ip) != tt.size || h[0] != tt.typ || h[1] != tt.code || checksum(h, sum) != 0xffff {
			t.Errorf("%s: %d bytes, ICMP % x", tt.name, len(ip), h[:8])
		}
		quote := h[8:]
		if string(quote) != string(in[wire.VnetLen:][:len(quote)]) || binary.BigEndian.Uint32(h[4:]) != 0 {
			t.Errorf("%s: quote % x", tt.name, quote)
		}
		if _, dst, _ := wire.Addresses(ip); dst != s.source().Addr() {
			t.Errorf("%s: to %v", tt.name, dst)
		}
	}
}

package wire

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
)

// ip4 builds an IPv4 packet of a protocol with a transport part.
func ip4(protocol byte, transport []byte) []byte {
	p := make([]byte, 20, 20+len(transport))
	p[0], p[8], p[9] = 0x45, 64, protocol
	copy(p[12:], []byte{10, 77, 0, 2, 198, 51, 100, 7})
	p = append(p, transport...)
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	return p
}

func ip6(protocol byte, transport []byte) []byte {
	p := make([]byte, 40, 40+len(transport))
	p[0], p[6], p[7] = 0x60, protocol, 64
	p[8], p[24] = 0xfd, 0xfd
	p = append(p, transport...)
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	return p
}

func tcp(headerBytes, data int) []byte {
	t := make([]byte, headerBytes+data)
	t[12] = byte(headerBytes/4) << 4
	return t
}

func frame(v vnet, p []byte) []byte {
	b := make([]byte, VnetLen, VnetLen+len(p))
	v.put(b)
	return append(b, p...)
}

func TestCheckPacket(t *testing.T) {
	big4 := ip4(protoTCP, tcp(32, 60000))
	big6 := ip6(protoTCP, tcp(20, 60000))
	udp := ip4(protoUDP, make([]byte, 8+4000))
	gso4 := vnet{vnetNeedsCsum, vnetGSOTCPv4, 52, 1448, 20, 16}
	ext6 := ip6(0, append([]byte{protoTCP, 0, 0, 0, 0, 0, 0, 0}, tcp(20, 5000)...))
	frag := ip4(protoTCP, tcp(20, 5000))
	frag[6] = 0x20
	tests := []struct {
		name string
		v    vnet
		p    []byte
		ok   bool
	}{
		{"plain", vnet{}, ip4(1, make([]byte, 8)), true},
		{"plain v6", vnet{}, ip6(58, make([]byte, 8)), true},
		{"smallest", vnet{}, ip4(59, nil), true},
		{"partial checksum", vnet{flags: 1, csumStart: 20, csumOffset: 16}, ip4(protoTCP, tcp(20, 5)), true},
		{"super-packet v4", gso4, big4, true},
		{"super-packet v6", vnet{1, vnetGSOTCPv6, 60, 1428, 40, 16}, big6, true},
		{"super-packet v6 with extension", vnet{1, vnetGSOTCPv6, 68, 1428, 48, 16}, ext6, true},
		{"super-packet UDP", vnet{1, vnetGSOUDPL4, 28, 1000, 20, 6}, udp, true},

		{"data valid flag", vnet{flags: 2}, ip4(1, make([]byte, 8)), false},
		{"unknown flag", vnet{flags: 4}, ip4(1, make([]byte, 8)), false},
		{"checksum position without flag", vnet{csumStart: 20}, ip4(1, make([]byte, 8)), false},
		{"checksum inside IP header", vnet{flags: 1, csumStart: 10}, ip4(protoTCP, tcp(20, 5)), false},
		{"checksum beyond the end", vnet{flags: 1, csumStart: 20, csumOffset: 24}, ip4(protoTCP, tcp(20, 5)), false},
		{"checksum far beyond", vnet{flags: 1, csumStart: 65535, csumOffset: 65535}, ip4(protoTCP, tcp(20, 5)), false},
		{"size without type", vnet{gsoSize: 100}, ip4(1, make([]byte, 8)), false},
		{"header length without type", vnet{hdrLen: 20}, ip4(1, make([]byte, 8)), false},
		{"UFO", vnet{1, 3, 28, 1000, 20, 6}, udp, false},
		{"unknown type", vnet{1, 9, 52, 1448, 20, 16}, big4, false},
		{"ECN bit", vnet{1, 0x81, 52, 1448, 20, 16}, big4, false},
		{"v6 type on v4", vnet{1, vnetGSOTCPv6, 52, 1448, 20, 16}, big4, false},
		{"TCP type on UDP", vnet{1, vnetGSOTCPv4, 28, 1000, 20, 6}, udp, false},
		{"fragment", vnet{1, vnetGSOTCPv4, 40, 1448, 20, 16}, frag, false},
		{"no checksum", vnet{0, vnetGSOTCPv4, 52, 1448, 0, 0}, big4, false},
		{"checksum elsewhere", vnet{1, vnetGSOTCPv4, 52, 1448, 24, 16}, big4, false},
		{"checksum offset of UDP", vnet{1, vnetGSOTCPv4, 52, 1448, 20, 6}, big4, false},
		{"wrong header length", vnet{1, vnetGSOTCPv4, 40, 1448, 20, 16}, big4, false},
		{"no segment size", vnet{1, vnetGSOTCPv4, 52, 0, 20, 16}, big4, false},
		{"tiny TCP segments", vnet{1, vnetGSOTCPv4, 52, 7, 20, 16}, big4, false},
		{"too many UDP segments", vnet{1, vnetGSOUDPL4, 28, 31, 20, 6}, udp, false},
		{"UDP segment size 0", vnet{1, vnetGSOUDPL4, 28, 0, 20, 6}, udp, false},
		{"TCP header cut", vnet{1, vnetGSOTCPv4, 52, 1448, 20, 16}, ip4(protoTCP, make([]byte, 19)), false},
		{"TCP header longer than packet", vnet{1, vnetGSOTCPv4, 80, 1448, 20, 16}, ip4(protoTCP, tcp(60, 0)[:20]), false},
		{"total length too long", vnet{}, append(ip4(1, nil), 0), false},
		{"version 5", vnet{}, append([]byte{0x55}, make([]byte, 30)...), false},
		{"header length 16", vnet{}, func() []byte { p := ip4(1, nil); p[0] = 0x44; return p }(), false},
		{"v6 cut", vnet{}, ip6(58, nil)[:39], false},
		{"empty", vnet{}, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckPacket(frame(tt.v, tt.p))
			if (err == nil) != tt.ok {
				t.Fatalf("error %v, want ok %v", err, tt.ok)
			}
			if err != nil && !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v does not wrap ErrMalformed", err)
			}
		})
	}
}

func TestNormalizePacket(t *testing.T) {
	tests := []struct {
		name     string
		in, want vnet
		p        []byte
	}{
		{"data valid goes", vnet{flags: 2, csumStart: 7, csumOffset: 9}, vnet{}, ip4(protoTCP, tcp(20, 5))},
		{"stray sizes go", vnet{hdrLen: 54, gsoSize: 1448}, vnet{}, ip4(protoTCP, tcp(20, 5))},
		{"forwarded hdr_len", vnet{1, vnetGSOTCPv4, 2000, 1448, 20, 16}, vnet{1, vnetGSOTCPv4, 52, 1448, 20, 16}, ip4(protoTCP, tcp(32, 9000))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := frame(tt.in, tt.p)
			if err := NormalizePacket(b); err != nil {
				t.Fatal(err)
			}
			if got := getVnet(b); got != tt.want {
				t.Fatalf("header %+v, want %+v", got, tt.want)
			}
			if err := CheckPacket(b); err != nil {
				t.Fatalf("the peer would refuse it: %v", err)
			}
		})
	}
	if err := NormalizePacket(frame(vnet{1, 9, 0, 9, 20, 16}, ip4(protoTCP, tcp(20, 5)))); err == nil {
		t.Fatal("unknown segmentation type accepted")
	}
}

func TestAddresses(t *testing.T) {
	src, dst, ok := Addresses(ip4(1, nil))
	if !ok || src != netip.MustParseAddr("10.77.0.2") || dst != netip.MustParseAddr("198.51.100.7") {
		t.Fatalf("Addresses = %v, %v, %v", src, dst, ok)
	}
	if _, _, ok := Addresses(ip6(58, nil)[:39]); ok {
		t.Fatal("cut IPv6 packet accepted")
	}
	p := ip6(58, nil)
	if n := testing.AllocsPerRun(100, func() { Addresses(p) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkCheckPacket(b *testing.B) {
	f := frame(vnet{vnetNeedsCsum, vnetGSOTCPv4, 52, 1448, 20, 16}, ip4(protoTCP, tcp(32, 60000)))
	b.ReportAllocs()
	for b.Loop() {
		if err := CheckPacket(f); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzVnet(f *testing.F) {
	f.Add(frame(vnet{vnetNeedsCsum, vnetGSOTCPv4, 52, 1448, 20, 16}, ip4(protoTCP, tcp(32, 3000))))
	f.Add(frame(vnet{1, vnetGSOUDPL4, 48, 1000, 40, 6}, ip6(protoUDP, make([]byte, 3000))))
	f.Add(frame(vnet{}, ip6(0, []byte{44, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0})))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := CheckPacket(b); err == nil {
			// What is accepted must already be normal.
			c := append([]byte(nil), b...)
			if err := NormalizePacket(c); err != nil || string(c) != string(b) {
				t.Fatalf("accepted, but normalizes to % x, %v", c[:VnetLen], err)
			}
			return
		}
		if err := NormalizePacket(b); err == nil {
			if err := CheckPacket(b); err != nil {
				t.Fatalf("normalized, but refused: %v", err)
			}
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add(sampleHello.Append(nil))
	f.Add(sampleWelcome.Append(nil))
	f.Add(AppendPing(nil, Ping{1, 2}))
	f.Add(AppendClose(nil, CloseShutdown, "bye"))
	f.Add(AppendRefuse(nil, RefuseVersion, "old"))
	f.Add(sampleOpen.Append(nil))
	f.Add(sampleOpen6.Append(nil))
	f.Add(sampleOpened.Append(nil))
	f.Add(AppendData(nil, []byte("data")))
	f.Add(AppendFin(nil))
	f.Add(AppendAck(nil, sampleAck))
	f.Add(AppendReset(nil, ResetUnknown, "who?"))
	f.Add(sampleResume.Append(nil))
	f.Add(AppendResumed(nil, sampleAck))
	f.Add(Want{3}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		typ, n, err := ParseHeader(b)
		if err != nil || len(b) < HeaderLen+n {
			return
		}
		b = b[:HeaderLen+n]
		p := b[HeaderLen:]
		// What parses encodes to the very same bytes.
		var again []byte
		switch typ {
		case TypeHello:
			h, err := ParseHello(p)
			if err != nil {
				return
			}
			again = h.Append(nil)
		case TypeWelcome:
			w, err := ParseWelcome(p)
			if err != nil {
				return
			}
			again = w.Append(nil)
		case TypeWant:
			w, err := ParseWant(p)
			if err != nil {
				return
			}
			again = w.Append(nil)
		case TypePing, TypePong:
			pi, err := ParsePing(p)
			if err != nil {
				return
			}
			again = appendPing(nil, typ, pi)
		case TypeClose, TypeRefuse, TypeReset:
			no, err := ParseNotice(p)
			if err != nil {
				return
			}
			again = appendNotice(nil, typ, no.Code, no.Reason)
		case TypeOpen:
			o, err := ParseOpen(p)
			if err != nil {
				return
			}
			again = o.Append(nil)
		case TypeOpened:
			o, err := ParseOpened(p)
			if err != nil {
				return
			}
			again = o.Append(nil)
		case TypeAck, TypeResumed:
			a, err := ParseAck(p)
			if err != nil {
				return
			}
			again = appendAckFrame(nil, typ, a)
		case TypeResume:
			r, err := ParseResume(p)
			if err != nil {
				return
			}
			again = r.Append(nil)
		case TypeData:
			again = AppendData(nil, p)
		case TypeFin:
			again = AppendFin(nil)
		default:
			return
		}
		if string(again) != string(b) {
			t.Fatalf("parsed\n% x\nencodes to\n% x", b, again)
		}
	})
}

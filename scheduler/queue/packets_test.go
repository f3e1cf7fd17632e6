package queue

import (
	"encoding/binary"
	"math/rand/v2"
)

// spec describes a packet to be built.
type spec struct {
	v6         bool
	udp        bool
	src, dst   byte // last bytes of the addresses
	sport      uint16
	ecn        byte
	dscp       byte
	data       int // bytes
	size       int // of a segment; 0 is no super-packet
	flags      byte
	seq        uint32
	options    int // bytes of TCP options, a multiple of 4
	extensions int // IPv6 destination options of 8 bytes; IPv4 options of 4
	id         uint16
	gsoECN     bool
	fill       uint64 // of the data
}

// noise is what data is cut from.
var noise = func() []byte {
	b := make([]byte, 1<<17)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}()

// build makes the packet, with a true partial checksum.
func (s spec) build() []byte {
	var ip []byte
	protocol := byte(protoTCP)
	l4 := minTCP + s.options
	if s.udp {
		protocol, l4 = protoUDP, lenUDP
	}
	tos := s.dscp<<2 | s.ecn
	if s.v6 {
		ip = make([]byte, lenIPv6+8*s.extensions)
		ip[0], ip[1] = 0x60|tos>>4, tos<<4
		binary.BigEndian.PutUint16(ip[4:], uint16(8*s.extensions+l4+s.data))
		ip[7], ip[8], ip[24] = 64, 0xfd, 0xfd
		ip[23], ip[39] = s.src, s.dst
		at := 6
		for i := range s.extensions {
			ip[at], at = 60, lenIPv6+8*i
		}
		ip[at] = protocol
	} else {
		ip = make([]byte, minIPv4+4*s.extensions)
		ip[0], ip[1], ip[8], ip[9] = 0x45+byte(s.extensions), tos, 64, protocol
		for i := range 4 * s.extensions {
			ip[minIPv4+i] = 1 // no operation
		}
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+l4+s.data))
		binary.BigEndian.PutUint16(ip[4:], s.id)
		ip[12], ip[15], ip[16], ip[19] = 10, s.src, 10, s.dst
		binary.BigEndian.PutUint16(ip[10:], ^plainSum(0, ip))
	}
	transport := len(ip)
	h := make([]byte, l4, l4+s.data)
	binary.BigEndian.PutUint16(h, s.sport)
	binary.BigEndian.PutUint16(h[2:], 443)
	csum := tcpCsum
	if s.udp {
		csum = udpCsum
		binary.BigEndian.PutUint16(h[udpLen:], uint16(l4+s.data))
	} else {
		binary.BigEndian.PutUint32(h[tcpSeq:], s.seq)
		h[tcpDoff] = byte(l4/4) << 4
		h[tcpFlags] = s.flags
		for i := range s.options {
			h[minTCP+i] = 1
		}
	}
	h = append(h, noise[s.fill%(1<<16):][:s.data]...)
	binary.BigEndian.PutUint16(h[csum:], pseudo(ip, protocol, len(h)))

	b := make([]byte, VnetLen, VnetLen+len(ip)+len(h))
	le := binary.LittleEndian
	b[vnetFlags] = needsCsum
	le.PutUint16(b[vnetCsumStart:], uint16(transport))
	le.PutUint16(b[vnetCsumOffset:], uint16(csum))
	if s.size > 0 {
		switch {
		case s.udp:
			b[vnetType] = gsoUDP
		case s.v6:
			b[vnetType] = gsoTCPv6
		default:
			b[vnetType] = gsoTCPv4
		}
		if s.gsoECN {
			b[vnetType] |= gsoECN
		}
		le.PutUint16(b[vnetHdrLen:], uint16(transport+l4))
		le.PutUint16(b[vnetSize:], uint16(s.size))
	}
	return append(append(b, ip...), h...)
}

// pseudo is the sum of the pseudo-header.
func pseudo(ip []byte, protocol byte, length int) uint16 {
	addresses := ip[12:20]
	if ip[0]>>4 == 6 {
		addresses = ip[8:40]
	}
	return plainSum(uint64(protocol)+uint64(length), addresses)
}

// plainSum adds words as RFC 1071 says, slowly; an odd byte is padded.
func plainSum(s uint64, b []byte) uint16 {
	for i, c := range b {
		if i%2 == 0 {
			s += uint64(c) << 8
		} else {
			s += uint64(c)
		}
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// segments is what the kernel makes of a packet: net/ipv4/tcp_offload.c,
// udp_offload.c, af_inet.c, net/ipv6/ip6_offload.c. Each is an IP packet with
// its checksum complete. It trusts the packet's virtio-net header.
func segments(payload []byte) (out [][]byte) {
	le, be := binary.LittleEndian, binary.BigEndian
	p := payload[VnetLen:]
	if payload[vnetFlags] == 0 {
		return [][]byte{append([]byte(nil), p...)}
	}
	start, offset := int(le.Uint16(payload[vnetCsumStart:])), int(le.Uint16(payload[vnetCsumOffset:]))
	udp := offset == udpCsum
	finish := func(seg []byte) {
		// The checksum field is in the sum: that is the pseudo-header.
		c := ^plainSum(0, seg[start:])
		if udp && c == 0 {
			c = 0xffff
		}
		be.PutUint16(seg[start+offset:], c)
		out = append(out, seg)
	}
	size := int(le.Uint16(payload[vnetSize:]))
	if payload[vnetType] == gsoNone {
		finish(append([]byte(nil), p...))
		return out
	}
	head := start + lenUDP
	if !udp {
		head = start + int(p[start+tcpDoff]>>4)*4
	}
	data := p[head:]
	for i := 0; i == 0 || len(data) > 0; i++ {
		n := min(size, len(data))
		seg := append(append([]byte(nil), p[:head]...), data[:n]...)
		data = data[n:]
		if p[0]>>4 == 4 {
			be.PutUint16(seg[2:], uint16(len(seg)))
			be.PutUint16(seg[4:], be.Uint16(p[4:])+uint16(i))
			be.PutUint16(seg[10:], 0)
			be.PutUint16(seg[10:], ^plainSum(0, seg[:int(seg[0]&15)*4]))
		} else {
			be.PutUint16(seg[4:], uint16(len(seg)-lenIPv6))
		}
		h := seg[start:]
		if udp {
			be.PutUint16(h[udpLen:], uint16(len(h)))
		} else {
			be.PutUint32(h[tcpSeq:], be.Uint32(p[start+tcpSeq:])+uint32(i*size))
			if i > 0 {
				h[tcpFlags] &^= flagCWR
			}
			if len(data) > 0 {
				h[tcpFlags] &^= flagFIN | flagPSH
			}
		}
		// The pseudo-header's length was that of all.
		was := uint64(len(p) - start)
		field := uint64(be.Uint16(h[offset:])) + 0xffff - was + uint64(len(h))
		be.PutUint16(h[offset:], plainSum(field, nil))
		finish(seg)
	}
	return out
}

// sane is what tunnel/wire.CheckPacket wants of the header of a super-packet or
// what is left of one.
func sane(payload []byte) bool {
	le := binary.LittleEndian
	p := payload[VnetLen:]
	n, ok := readNetwork(p)
	if !ok || ipLen(p) != len(p) || payload[vnetFlags] != needsCsum || int(le.Uint16(payload[vnetCsumStart:])) != n.transport {
		return false
	}
	if payload[vnetType] == gsoNone {
		return le.Uint16(payload[vnetSize:]) == 0 && le.Uint16(payload[vnetHdrLen:]) == 0
	}
	s, ok := readSuper(payload, n)
	return ok && s.segments > 1 && int(le.Uint16(payload[vnetHdrLen:])) == s.data
}

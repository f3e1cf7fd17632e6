package terminate

import (
	"encoding/binary"

	"braid/tunnel/wire"
)

// Reason says why a destination is unreachable.
type Reason uint8

// The reasons, and what connect(2) returns for them on Linux.
const (
	HostUnreachable Reason = iota // EHOSTUNREACH
	NetUnreachable                // ENETUNREACH
	AdminProhibited               // EHOSTUNREACH, over IPv6 EACCES
)

// Types and codes of RFC 792, RFC 1812 and RFC 4443.
const (
	icmpUnreachable  = 3
	icmp6Unreachable = 1
)

var (
	icmpCodes  = [...]uint8{HostUnreachable: 1, NetUnreachable: 0, AdminProhibited: 13}
	icmp6Codes = [...]uint8{HostUnreachable: 3, NetUnreachable: 0, AdminProhibited: 1}
)

const (
	protoICMP  = 1
	protoICMP6 = 58

	// How long an ICMP error may be, bytes with the IP header: RFC 1812,
	// 4.3.2.3, and IPv6's smallest MTU.
	maxICMP  = 576
	maxICMP6 = 1280

	hopLimit = 64
)

// reset is the answer to a segment of an unknown connection, with a virtio-net
// header, by RFC 9293, 3.10.7.1. The segment must not be a reset.
func reset(s *segment) []byte {
	to := s.reverse()
	p, h := ipPacket(to.src, to.dst, s.v6, protoTCP, minTCP)
	binary.BigEndian.PutUint16(h, to.srcPort)
	binary.BigEndian.PutUint16(h[2:], to.dstPort)
	h[12] = minTCP / 4 << 4
	if s.flags&flagACK != 0 {
		binary.BigEndian.PutUint32(h[4:], s.ack)
		h[13] = flagRST
	} else {
		binary.BigEndian.PutUint32(h[8:], s.end())
		h[13] = flagRST | flagACK
	}
	binary.BigEndian.PutUint16(h[csumTCP:], ^checksum(h, pseudo(to.src, to.dst, protoTCP, len(h))))
	return p
}

// end is the sequence number behind the segment.
func (s *segment) end() uint32 {
	end := s.seq + uint32(s.length)
	if s.flags&flagSYN != 0 {
		end++
	}
	if s.flags&flagFIN != 0 {
		end++
	}
	return end
}

// unreachable is the ICMP error that answers payload, which is a TCP packet,
// as if the router at address from had sent it. It quotes as much of the
// packet as it may.
func unreachable(payload []byte, s *segment, from [16]byte, why Reason) []byte {
	quote := payload[wire.VnetLen:]
	if !s.v6 {
		quote = quote[:min(len(quote), maxICMP-28)]
		p, h := ipPacket(from, s.src, false, protoICMP, 8+len(quote))
		h[0], h[1] = icmpUnreachable, icmpCodes[why]
		copy(h[8:], quote)
		binary.BigEndian.PutUint16(h[2:], ^checksum(h, 0))
		return p
	}
	quote = quote[:min(len(quote), maxICMP6-48)]
	p, h := ipPacket(from, s.src, true, protoICMP6, 8+len(quote))
	h[0], h[1] = icmp6Unreachable, icmp6Codes[why]
	copy(h[8:], quote)
	binary.BigEndian.PutUint16(h[2:], ^checksum(h, pseudo(from, s.src, protoICMP6, len(h))))
	return p
}

// ipPacket makes an empty virtio-net header and an IP header before size
// bytes, and returns all of it and those bytes.
func ipPacket(src, dst [16]byte, v6 bool, protocol uint8, size int) (p, body []byte) {
	if v6 {
		p = make([]byte, wire.VnetLen+40+size)
		ip := p[wire.VnetLen:]
		ip[0], ip[6], ip[7] = 6<<4, protocol, hopLimit
		binary.BigEndian.PutUint16(ip[4:], uint16(size))
		copy(ip[8:], src[:])
		copy(ip[24:], dst[:])
		return p, ip[40:]
	}
	p = make([]byte, wire.VnetLen+20+size)
	ip := p[wire.VnetLen:]
	ip[0], ip[8], ip[9] = 4<<4|5, hopLimit, protocol
	binary.BigEndian.PutUint16(ip[2:], uint16(20+size))
	binary.BigEndian.PutUint16(ip[6:], 0x4000) // don't fragment, hence no identification
	copy(ip[12:], src[12:])
	copy(ip[16:], dst[12:])
	binary.BigEndian.PutUint16(ip[10:], ^checksum(ip[:20], 0))
	return p, ip[20:]
}

// pseudo is the sum of the pseudo-header. The prefix of an IPv4 address in
// its 16-byte form adds 0xffff, which is zero in this arithmetic.
func pseudo(src, dst [16]byte, protocol uint8, size int) uint32 {
	sum := uint32(checksum(src[:], 0)) + uint32(checksum(dst[:], 0))
	return sum + uint32(protocol) + uint32(size)
}

// checksum is the Internet checksum over b and a sum so far, not inverted.
func checksum(b []byte, sum uint32) uint16 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return fold(sum)
}

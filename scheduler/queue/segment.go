package queue

import "encoding/binary"

// DropSegment removes the first segment of a super-packet, in place: what is
// returned lies in payload, shorter at its front, and payload's other bytes are
// the caller's again. The kernel makes of it the segments that it would have
// made of payload, without the first. ok is false, and nothing changed, for
// what has only one segment.
//
// If the header said that the first segment has CWR (RFC 3168, section 6.1.2),
// it is gone with it, as when that segment is lost on the way.
func DropSegment(payload []byte) (rest []byte, ok bool) {
	s, ok := shapeOf(payload)
	if !ok {
		return payload, false
	}
	return s.dropFirst(payload, 1), true
}

// dropFirst removes the first n segments; fewer than there are. Only the
// headers move.
func (s super) dropFirst(payload []byte, n int) []byte {
	rest := payload[n*s.size:]
	copy(rest, payload[:s.headers()])
	s.becomeRest(rest, n)
	return rest
}

// becomeRest makes of the super-packet's headers, which rest begins with, those
// of what is left without the first n segments. It does what net/ipv4's
// tcp_gso_segment, __udp_gso_segment and inet_gso_segment do to the segments
// after the first.
func (s super) becomeRest(rest []byte, n int) {
	p := rest[VnetLen:]
	if !s.v6 {
		binary.BigEndian.PutUint16(p[4:], binary.BigEndian.Uint16(p[4:])+uint16(n))
	}
	if s.tcp {
		h := p[s.transport:]
		binary.BigEndian.PutUint32(h[tcpSeq:], binary.BigEndian.Uint32(h[tcpSeq:])+uint32(n*s.size))
		h[tcpFlags] &^= flagCWR
		rest[vnetType] &^= gsoECN
	}
	s.resize(rest)
}

// keepFirst makes of a super-packet its first n segments, fewer than there are,
// in place.
func (s super) keepFirst(payload []byte, n int) []byte {
	front := payload[:s.headers()+n*s.size]
	if s.tcp {
		front[VnetLen+s.transport+tcpFlags] &^= flagFIN | flagPSH
	}
	s.resize(front)
	return front
}

// resize brings all that depends on the length in step with it.
func (s super) resize(b []byte) {
	p := b[VnetLen:]
	h := p[s.transport:]
	was := ipLen(p) - s.transport
	if s.v6 {
		binary.BigEndian.PutUint16(p[4:], uint16(len(p)-lenIPv6))
	} else {
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		p[10], p[11] = 0, 0
		binary.BigEndian.PutUint16(p[10:], ^sum(p[:int(p[0]&15)*4]))
	}
	// A partial checksum is the sum of the pseudo-header, with the length.
	at := tcpCsum
	if !s.tcp {
		at = udpCsum
		binary.BigEndian.PutUint16(h[udpLen:], uint16(len(h)))
	}
	field := h[at : at+2]
	binary.BigEndian.PutUint16(field, exchange(binary.BigEndian.Uint16(field), uint16(was), uint16(len(h))))
	if len(p)-s.data <= s.size {
		b[vnetType] = gsoNone
		clear(b[vnetHdrLen : vnetSize+2])
	}
}

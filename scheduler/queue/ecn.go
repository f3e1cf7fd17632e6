package queue

import "encoding/binary"

// MarkCE sets "congestion experienced" (RFC 3168) in the IP header of a packet,
// in place, and reports whether the packet is marked: one that was before is,
// one whose sender does not heed marks is not, and is then unchanged. A mark on
// a super-packet is on all of its segments. To a sender of RFC 3168 that is the
// same as on one: it answers once in a round trip.
func MarkCE(payload []byte) bool {
	if len(payload) < VnetLen+minIPv4 {
		return false
	}
	p := payload[VnetLen:]
	if v := p[0] >> 4; v != 4 && v != 6 {
		return false
	}
	_, ecn := traffic(p)
	if ecn == NotECT || ecn == CE {
		return ecn == CE
	}
	if p[0]>>4 == 6 {
		p[1] |= CE << 4
		return true
	}
	was := binary.BigEndian.Uint16(p)
	p[1] |= CE
	csum := ^binary.BigEndian.Uint16(p[10:])
	binary.BigEndian.PutUint16(p[10:], ^exchange(csum, was, binary.BigEndian.Uint16(p)))
	return true
}

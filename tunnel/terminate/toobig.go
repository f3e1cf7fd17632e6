package terminate

import (
	"encoding/binary"

	"braid/tunnel/wire"
)

// "Packet too big" (RFC 1191, RFC 8201). A router behind this host, or this
// host itself, answers a packet that was written into the TUN, S:p → D:q, with
// an ICMP error to S, which is routed into the TUN:
//
//	router → S   [ S:p → D:q … ]   read from the TUN
//	F → L        [ L:x → F:y … ]   rewritten, written into the TUN
//
// The kernel looks for the socket that sent the quoted packet, compares its
// sequence number with what that has on the way, and sends again, smaller. Any
// other sender than F could be an address of this host, which the kernel does
// not take from outside.

// tooBig rewrites an ICMP error about a packet that is on the way, and reports
// whether it is one.
func (t *table) tooBig(payload []byte, x *icmpError) bool {
	key := x.quoted.reverse()
	e := t.flows[key]
	if e == nil || e.key != key || e.state != open || !e.onTheWay(x.seq) {
		return false
	}
	t.stats.TooBig++
	x.retarget(payload, e.local)
	return true
}

// transmitted notes a segment of the local kernel's.
func (e *entry) transmitted(s *segment) {
	if s.flags&flagSYN != 0 {
		e.acked, e.sent = s.seq, s.end()
	} else if end := s.end(); int32(end-e.sent) > 0 {
		e.sent = end
	}
}

// onTheWay reports whether a sequence number is of what was sent, but not
// acknowledged.
func (e *entry) onTheWay(seq uint32) bool { return seq-e.acked < e.sent-e.acked }

// retarget makes the error one about a packet with the endpoints of to, for its
// sender. The quoted packet's checksums are corrected as far as they are
// quoted; a partial one stays wrong, and nobody looks at it.
func (x *icmpError) retarget(payload []byte, to endpoints) {
	clear(payload[:wire.VnetLen]) // the checksum will be full
	ip := payload[wire.VnetLen:]
	quote, tcp := ip[x.message+sizeICMP:], ip[x.tcp:]
	r := newRewriting(x.quoted, to)
	binary.BigEndian.PutUint16(tcp, to.srcPort)
	binary.BigEndian.PutUint16(tcp[2:], to.dstPort)
	if len(tcp) >= csumTCP+2 {
		addFull(tcp[csumTCP:], r.all)
	}
	var sum uint32
	if x.v6 {
		copy(quote[8:], to.src[:])
		copy(quote[24:], to.dst[:])
		copy(ip[8:], to.dst[:])
		copy(ip[24:], to.src[:])
		sum = pseudo(to.dst, to.src, protoICMP6, len(ip)-x.message)
	} else {
		copy(quote[12:], to.src[12:])
		copy(quote[16:], to.dst[12:])
		addFull(quote[10:], r.addrs)
		copy(ip[12:], to.dst[12:])
		copy(ip[16:], to.src[12:])
		header := ip[:x.message]
		header[10], header[11] = 0, 0
		binary.BigEndian.PutUint16(header[10:], ^checksum(header, 0))
	}
	h := ip[x.message:]
	h[2], h[3] = 0, 0
	binary.BigEndian.PutUint16(h[2:], ^checksum(h, sum))
}

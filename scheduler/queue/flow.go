package queue

import "encoding/binary"

// FlowKey names a flow. Keys are equal exactly for packets of one flow.
type FlowKey struct {
	Src, Dst [16]byte // an IPv4 address is in the first four bytes

	// Ports are those of TCP, UDP, UDP-Lite, DCCP and SCTP. An ICMP echo has
	// its identifier in SrcPort, an ICMP error the ports of the packet that it
	// quotes. Else, and where they are cut off, they are 0.
	SrcPort, DstPort uint16

	Protocol uint8 // what follows the IP headers
	Kind     uint8 // IP version, and kindFragment or kindQuoted
}

// Bits of FlowKey.Kind besides the version.
const (
	kindFragment = 0x80
	kindQuoted   = 0x40
)

// Values of ECN (RFC 3168, section 5).
const (
	NotECT = 0 // the sender does not heed marks
	ECT1   = 1
	ECT0   = 2
	CE     = 3 // marked
)

// Header is what Parse reads of a packet.
type Header struct {
	Key  FlowKey
	Hash Hash  // of Key; Parse does not make it
	DSCP uint8 // RFC 2474
	ECN  uint8 // NotECT, ECT1, ECT0 or CE

	// Segments is how many packets the kernel makes of this one: 1 unless it
	// is a super-packet that can be cut.
	Segments int
	// SegmentBytes is the length of the largest, virtio-net header included.
	SegmentBytes int
}

// Parse reads a virtio-net header and IP packet. It changes and keeps nothing
// and does not allocate. ok is false for what is no IP packet; any other,
// however malformed behind its IP header, has a flow.
//
// Fragments go by their addresses and protocol alone, first ones too, as in the
// kernel's flow dissector: only the first has ports. Were their identification
// part of the key, each datagram would be a new flow, and overtake the one before.
func Parse(payload []byte) (h Header, ok bool) {
	if len(payload) < VnetLen {
		return h, false
	}
	p := payload[VnetLen:]
	n, ok := readNetwork(p)
	if !ok {
		return h, false
	}
	h.DSCP, h.ECN = traffic(p)
	k := &h.Key
	if n.version == 4 {
		copy(k.Src[:], p[12:16])
		copy(k.Dst[:], p[16:20])
	} else {
		copy(k.Src[:], p[8:24])
		copy(k.Dst[:], p[24:40])
	}
	k.Protocol, k.Kind = n.protocol, n.version
	if n.fragment {
		k.Kind |= kindFragment
	} else if rest := p[n.transport:]; isICMPError(n.protocol, rest) {
		k.Kind |= kindQuoted
		k.SrcPort, k.DstPort = quotedPorts(rest[8:])
	} else {
		k.SrcPort, k.DstPort = ports(n.protocol, rest)
	}
	h.Segments, h.SegmentBytes = 1, len(payload)
	if payload[vnetType] != 0 {
		if s, ok := readSuper(payload, n); ok {
			h.Segments, h.SegmentBytes = s.segments, min(len(payload), VnetLen+s.data+s.size)
		}
	}
	return h, true
}

// ports reads the ports of a transport header, or what stands for them.
func ports(protocol uint8, b []byte) (src, dst uint16) {
	switch protocol {
	case protoTCP, protoUDP, protoDCCP, protoSCTP, protoUDPLite:
		if len(b) >= 4 {
			return binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		}
	case protoICMP, protoICMPv6:
		if len(b) >= 6 && isEcho(protocol, b[0]) {
			return binary.BigEndian.Uint16(b[4:]), 0
		}
	}
	return 0, 0
}

// quotedPorts reads them of the packet that an ICMP error quotes.
func quotedPorts(p []byte) (src, dst uint16) {
	n, ok := readNetwork(p)
	if !ok || n.fragment {
		return 0, 0
	}
	return ports(n.protocol, p[n.transport:])
}

// isEcho says whether an ICMP message has an identifier: echo, and what RFC
// 792 has besides (timestamp, information).
func isEcho(protocol, kind uint8) bool {
	if protocol == protoICMPv6 {
		return kind == 128 || kind == 129
	}
	return kind == 0 || kind == 8 || kind >= 13 && kind <= 16
}

// isICMPError says whether a message quotes a packet, after 8 bytes (RFC 792,
// RFC 4443).
func isICMPError(protocol uint8, b []byte) bool {
	if len(b) < 8 {
		return false
	}
	switch protocol {
	case protoICMP:
		return b[0] >= 3 && b[0] <= 5 || b[0] == 11 || b[0] == 12
	case protoICMPv6:
		return b[0] >= 1 && b[0] <= 4
	}
	return false
}

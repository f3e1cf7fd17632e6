package queue

import "encoding/binary"

// VnetLen is the size of the virtio-net header before each packet, in bytes:
// struct virtio_net_hdr of linux/virtio_net.h, without num_buffers.
//
//	flags u8 | gso_type u8 | hdr_len u16 | gso_size u16 |
//	csum_start u16 | csum_offset u16          (all little-endian)
const VnetLen = 10

// Offsets of the header's fields.
const (
	vnetFlags      = 0
	vnetType       = 1
	vnetHdrLen     = 2
	vnetSize       = 4
	vnetCsumStart  = 6
	vnetCsumOffset = 8
)

// Values of the header's fields, from linux/virtio_net.h.
const (
	needsCsum = 1

	gsoNone  = 0
	gsoTCPv4 = 1
	gsoTCPv6 = 4
	gsoUDP   = 5
	gsoECN   = 0x80 // the TCP header has CWR
)

// Of the transport headers (RFC 9293, RFC 768).
const (
	minTCP   = 20 // bytes of a TCP header without options
	lenUDP   = 8  // bytes of a UDP header
	tcpSeq   = 4  // offsets
	tcpDoff  = 12
	tcpFlags = 13
	tcpCsum  = 16
	udpLen   = 4
	udpCsum  = 6

	flagFIN = 0x01
	flagPSH = 0x08
	flagCWR = 0x80
)

// super is the shape of a super-packet. Offsets count from the IP header.
type super struct {
	v6        bool
	tcp       bool // else UDP
	transport int  // offset of the transport header, bytes
	data      int  // offset of the data, bytes
	size      int  // data in each segment but the last, bytes
	segments  int  // at least 1
}

// readSuper reads the shape. It is false for what the kernel would not cut, or
// not as is expected here: such a packet is one whole.
func readSuper(payload []byte, n network) (super, bool) {
	p := payload[VnetLen:]
	le := binary.LittleEndian
	s := super{v6: n.version == 6, transport: n.transport, size: int(le.Uint16(payload[vnetSize:]))}
	if payload[vnetFlags]&needsCsum == 0 || int(le.Uint16(payload[vnetCsumStart:])) != s.transport ||
		n.fragment || s.size == 0 || ipLen(p) != len(p) {
		return s, false
	}
	csum := int(le.Uint16(payload[vnetCsumOffset:]))
	h := p[s.transport:]
	switch kind := payload[vnetType] &^ gsoECN; {
	case n.protocol == protoTCP && (kind == gsoTCPv4 && !s.v6 || kind == gsoTCPv6 && s.v6):
		if len(h) < minTCP || csum != tcpCsum {
			return s, false
		}
		s.tcp = true
		s.data = s.transport + int(h[tcpDoff]>>4)*4
		if s.data < s.transport+minTCP || s.data > len(p) {
			return s, false
		}
	case n.protocol == protoUDP && payload[vnetType] == gsoUDP:
		if len(h) < lenUDP || csum != udpCsum || int(binary.BigEndian.Uint16(h[udpLen:])) != len(h) {
			return s, false
		}
		s.data = s.transport + lenUDP
	default:
		return s, false
	}
	s.segments = max(1, (len(p)-s.data+s.size-1)/s.size)
	return s, true
}

// ipLen is the length that an IP packet states, bytes.
func ipLen(p []byte) int {
	if p[0]>>4 == 6 {
		return lenIPv6 + int(binary.BigEndian.Uint16(p[4:]))
	}
	return int(binary.BigEndian.Uint16(p[2:]))
}

// shapeOf reads the shape of a packet that Parse has read. ok is false for one
// that cannot be cut in two.
func shapeOf(payload []byte) (s super, ok bool) {
	if len(payload) < VnetLen || payload[vnetType] == gsoNone {
		return s, false
	}
	n, ok := readNetwork(payload[VnetLen:])
	if !ok {
		return s, false
	}
	s, ok = readSuper(payload, n)
	return s, ok && s.segments > 1
}

// headers is the length of all headers, the virtio-net header's included.
func (s super) headers() int { return VnetLen + s.data }

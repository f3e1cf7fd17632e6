package terminate

import (
	"encoding/binary"
	"net/netip"

	"braid/tunnel/wire"
)

// What of the virtio-net header, IP and TCP is looked at here; the numbers
// are those of linux/virtio_net.h, RFC 791, RFC 8200 and RFC 9293.
const (
	needsCsum = 1 // the virtio-net flag of a partial checksum

	protoTCP = 6

	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10

	minTCP  = 20 // bytes of a TCP header without options
	csumTCP = 16 // where its checksum is
)

// endpoints is a direction of a connection. Addresses are in their 16-byte
// form, IPv4 as ::ffff:a.b.c.d, so that it hashes as plain memory.
type endpoints struct {
	src, dst         [16]byte
	srcPort, dstPort uint16
}

func endpointsOf(src, dst netip.AddrPort) endpoints {
	return endpoints{src.Addr().As16(), dst.Addr().As16(), src.Port(), dst.Port()}
}

func (e endpoints) source() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(e.src).Unmap(), e.srcPort)
}

func (e endpoints) destination() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(e.dst).Unmap(), e.dstPort)
}

// reverse is the direction of the answers.
func (e endpoints) reverse() endpoints {
	return endpoints{e.dst, e.src, e.dstPort, e.srcPort}
}

// segment is what is known of a TCP packet after parse. Offsets count from
// the IP header, in bytes.
type segment struct {
	endpoints
	v6        bool
	partial   bool // the checksum is a pseudo-header sum, not inverted
	super     bool // of several segments
	flags     uint8
	transport int // offset of the TCP header
	data      int // offset of the data
	length    int // bytes of data
	seq, ack  uint32
}

// parsed is what parse found.
type parsed int

const (
	notTCP    parsed = iota // or a fragment, or to an address of one link only
	malformed               // TCP, but not a packet of an honest kernel
	tcp
)

// parse reads a virtio-net header and IP packet into s. The header length of
// a super-packet is corrected in place: the kernel's is wrong on forwarded
// packets, and when it is too large, it refuses to take them back.
func parse(payload []byte, s *segment) parsed {
	if len(payload) < wire.VnetLen+20 {
		return notTCP
	}
	ip := payload[wire.VnetLen:]
	switch ip[0] >> 4 {
	case 4:
		if ip[9] != protoTCP || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
			return notTCP
		}
		s.v6 = false
		s.transport = int(ip[0]&15) * 4
		if s.transport < 20 || int(binary.BigEndian.Uint16(ip[2:])) != len(ip) {
			return malformed
		}
		s.src, s.dst = mapped([4]byte(ip[12:])), mapped([4]byte(ip[16:]))
	case 6:
		if len(ip) < 40 {
			return notTCP
		}
		off, protocol := upper6(ip)
		s.src, s.dst = [16]byte(ip[8:]), [16]byte(ip[24:])
		// An IPv6 packet from ::ffff:a.b.c.d would pass for an IPv4 one.
		if protocol != protoTCP || isMapped(s.src) || isMapped(s.dst) {
			return notTCP
		}
		s.v6 = true
		s.transport = off
		if 40+int(binary.BigEndian.Uint16(ip[4:])) != len(ip) {
			return malformed
		}
	default:
		return notTCP
	}
	return s.parseTCP(payload, ip)
}

func (s *segment) parseTCP(payload, ip []byte) parsed {
	if len(ip) < s.transport+minTCP {
		return malformed
	}
	h := ip[s.transport:]
	s.srcPort, s.dstPort = binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
	s.seq, s.ack = binary.BigEndian.Uint32(h[4:]), binary.BigEndian.Uint32(h[8:])
	n := int(h[12]>>4) * 4
	if n < minTCP || n > len(h) {
		return malformed
	}
	s.data, s.length = s.transport+n, len(h)-n
	s.flags = h[13]
	s.partial, s.super = payload[0]&needsCsum != 0, payload[1] != 0
	if s.partial {
		start, offset := binary.LittleEndian.Uint16(payload[6:]), binary.LittleEndian.Uint16(payload[8:])
		if int(start) != s.transport || offset != csumTCP {
			return malformed
		}
	}
	if s.super {
		binary.LittleEndian.PutUint16(payload[2:], uint16(s.data))
	}
	return tcp
}

// upper6 walks IPv6's extension headers. A packet with a routing header is
// none of ours: its checksum is for another address than the header's.
func upper6(ip []byte) (offset int, protocol uint8) {
	offset, protocol = 40, ip[6]
	for protocol == 0 || protocol == 60 { // hop-by-hop, destination options
		rest := ip[offset:]
		if len(rest) < 8 {
			return offset, 59 // no next header
		}
		n := (int(rest[1]) + 1) * 8
		if n > len(rest) {
			return offset, 59
		}
		protocol = rest[0]
		offset += n
	}
	return offset, protocol
}

func mapped(a [4]byte) [16]byte {
	return [16]byte{10: 0xff, 11: 0xff, 12: a[0], 13: a[1], 14: a[2], 15: a[3]}
}

func isMapped(a [16]byte) bool {
	return [12]byte(a[:]) == [12]byte{10: 0xff, 11: 0xff}
}

// rewriting turns one direction of a connection into another. What it does to
// a checksum is the same for all packets (RFC 1624), so it is worked out once.
type rewriting struct {
	to    endpoints
	addrs uint16 // to add for the addresses
	all   uint16 // to add for addresses and ports
}

func newRewriting(from, to endpoints) rewriting {
	var d uint32
	for i := 0; i < 16; i += 2 {
		d += delta(binary.BigEndian.Uint16(from.src[i:]), binary.BigEndian.Uint16(to.src[i:]))
		d += delta(binary.BigEndian.Uint16(from.dst[i:]), binary.BigEndian.Uint16(to.dst[i:]))
	}
	r := rewriting{to: to, addrs: fold(d)}
	d += delta(from.srcPort, to.srcPort) + delta(from.dstPort, to.dstPort)
	r.all = fold(d)
	return r
}

// delta is ~m + m' of RFC 1624.
func delta(from, to uint16) uint32 { return uint32(^from) + uint32(to) }

// fold ends a one's complement sum. It is 0 only for a sum of nothing, so
// that a checksum rewritten there and back is the one that it was.
func fold(sum uint32) uint16 {
	sum = sum&0xffff + sum>>16
	return uint16(sum + sum>>16)
}

// apply rewrites a packet in place. A full checksum stays full and a partial
// one partial; a wrong one stays wrong.
func (r *rewriting) apply(payload []byte, s *segment) {
	ip := payload[wire.VnetLen:]
	if s.v6 {
		copy(ip[8:24], r.to.src[:])
		copy(ip[24:40], r.to.dst[:])
	} else {
		copy(ip[12:16], r.to.src[12:])
		copy(ip[16:20], r.to.dst[12:])
		addFull(ip[10:], r.addrs)
	}
	h := ip[s.transport:]
	binary.BigEndian.PutUint16(h, r.to.srcPort)
	binary.BigEndian.PutUint16(h[2:], r.to.dstPort)
	if s.partial {
		// The ports lie in what is still to be summed.
		sum := uint32(binary.BigEndian.Uint16(h[csumTCP:])) + uint32(r.addrs)
		binary.BigEndian.PutUint16(h[csumTCP:], fold(sum))
	} else {
		addFull(h[csumTCP:], r.all)
	}
}

func addFull(csum []byte, d uint16) {
	sum := uint32(^binary.BigEndian.Uint16(csum)) + uint32(d)
	binary.BigEndian.PutUint16(csum, ^fold(sum))
}

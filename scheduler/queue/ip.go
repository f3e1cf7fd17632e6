package queue

import "encoding/binary"

// Numbers of protocols that are looked into, from IANA's registry.
const (
	protoICMP    = 1
	protoTCP     = 6
	protoUDP     = 17
	protoDCCP    = 33
	protoICMPv6  = 58
	protoSCTP    = 132
	protoUDPLite = 136
)

const (
	minIPv4 = 20 // bytes of an IPv4 header without options
	lenIPv6 = 40 // bytes of an IPv6 header
)

// maxExtensions bounds the walk along IPv6's extension headers. Each may occur
// once (RFC 8200, section 4.1); a packet could have thousands.
const maxExtensions = 8

// network is what the IP headers say.
type network struct {
	version   uint8
	protocol  uint8 // of what follows them
	fragment  bool  // first ones included
	transport int   // offset of what follows them, bytes; at most the packet's length
}

// readNetwork reads the IP headers of a packet that may be cut short behind
// the first.
func readNetwork(p []byte) (network, bool) {
	if len(p) < minIPv4 {
		return network{}, false
	}
	switch p[0] >> 4 {
	case 4:
		n := network{4, p[9], binary.BigEndian.Uint16(p[6:])&0x3fff != 0, int(p[0]&15) * 4}
		return n, n.transport >= minIPv4 && n.transport <= len(p)
	case 6:
		if len(p) < lenIPv6 {
			return network{}, false
		}
		return readExtensions(p), true
	}
	return network{}, false
}

// readExtensions walks the extension headers (RFC 8200, section 4; 4302 for
// AH). Where the chain is cut short it stops.
func readExtensions(p []byte) network {
	n := network{version: 6, protocol: p[6], transport: lenIPv6}
	for range maxExtensions {
		rest := p[n.transport:]
		if len(rest) < 8 {
			break
		}
		var size int
		switch n.protocol {
		case 0, 43, 60, 135: // hop-by-hop, routing, destination options, mobility
			size = (int(rest[1]) + 1) * 8
		case 51: // authentication
			size = (int(rest[1]) + 2) * 4
		case 44: // fragment
			n.protocol, n.fragment, size = rest[0], true, 8
			n.transport += size
			return n
		default:
			return n
		}
		if size > len(rest) {
			break
		}
		n.protocol = rest[0]
		n.transport += size
	}
	return n
}

// traffic returns DSCP and ECN (RFC 2474, RFC 3168) of a packet whose headers
// were read.
func traffic(p []byte) (dscp, ecn uint8) {
	t := p[1] // type of service
	if p[0]>>4 == 6 {
		t = p[0]<<4 | p[1]>>4 // traffic class
	}
	return t >> 2, t & 3
}

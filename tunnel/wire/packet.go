package wire

import (
	"encoding/binary"
	"net/netip"
)

// minIPLen is the smallest IP packet: an IPv4 header without options.
const minIPLen = 20

const (
	protoTCP = 6
	protoUDP = 17
)

// Addresses returns source and destination of an IP packet. It does not
// allocate. ok is false for what is neither IPv4 nor IPv6 or is cut short.
func Addresses(packet []byte) (src, dst netip.Addr, ok bool) {
	if len(packet) < minIPLen {
		return src, dst, false
	}
	switch packet[0] >> 4 {
	case 4:
		return netip.AddrFrom4([4]byte(packet[12:16])), netip.AddrFrom4([4]byte(packet[16:20])), true
	case 6:
		if len(packet) < 40 {
			return src, dst, false
		}
		return netip.AddrFrom16([16]byte(packet[8:24])), netip.AddrFrom16([16]byte(packet[24:40])), true
	}
	return src, dst, false
}

// ipLayout is what the checks of a virtio-net header need to know of a packet.
type ipLayout struct {
	version   int
	transport int // offset of the transport header, bytes
	protocol  uint8
	fragment  bool
}

// layout parses the IP header, and IPv6's extension headers as far as the
// transport header. The stated total length must be the packet's own.
func layout(p []byte) (ipLayout, error) {
	if len(p) < minIPLen {
		return ipLayout{}, malformed("packet of %d bytes", len(p))
	}
	switch p[0] >> 4 {
	case 4:
		ihl := int(p[0]&15) * 4
		total := int(binary.BigEndian.Uint16(p[2:]))
		if ihl < minIPLen || ihl > len(p) {
			return ipLayout{}, malformed("IPv4 header of %d bytes in %d", ihl, len(p))
		}
		if total != len(p) {
			return ipLayout{}, malformed("IPv4 total length %d in a packet of %d bytes", total, len(p))
		}
		frag := binary.BigEndian.Uint16(p[6:])&0x3fff != 0
		return ipLayout{4, ihl, p[9], frag}, nil
	case 6:
		if len(p) < 40 {
			return ipLayout{}, malformed("IPv6 packet of %d bytes", len(p))
		}
		if total := 40 + int(binary.BigEndian.Uint16(p[4:])); total != len(p) {
			return ipLayout{}, malformed("IPv6 length %d in a packet of %d bytes", total, len(p))
		}
		return layout6(p), nil
	}
	return ipLayout{}, malformed("IP version %d", p[0]>>4)
}

// layout6 walks the extension headers of RFC 8200. Where the chain is cut
// short it stops: such a packet is the destination's to refuse, and nothing
// here depends on it but segmentation, which then does not match.
func layout6(p []byte) ipLayout {
	l := ipLayout{version: 6, transport: 40, protocol: p[6]}
	for {
		rest := p[l.transport:]
		switch l.protocol {
		case 0, 43, 60: // hop-by-hop, routing, destination options
			if len(rest) < 8 {
				return l
			}
			n := (int(rest[1]) + 1) * 8
			if n > len(rest) {
				return l
			}
			l.protocol = rest[0]
			l.transport += n
		case 44: // fragment
			l.fragment = true
			return l
		default:
			return l
		}
	}
}

package wire

import "encoding/binary"

// VnetLen is the size of the virtio-net header before each packet, in bytes:
// struct virtio_net_hdr of linux/virtio_net.h, without num_buffers.
//
//	flags u8 | gso_type u8 | hdr_len u16 | gso_size u16 |
//	csum_start u16 | csum_offset u16          (all little-endian)
const VnetLen = 10

// Values of the header's fields, from linux/virtio_net.h.
const (
	vnetNeedsCsum = 1
	vnetDataValid = 2

	vnetGSONone  = 0
	vnetGSOTCPv4 = 1
	vnetGSOTCPv6 = 4
	vnetGSOUDPL4 = 5
)

// Bounds of segmentation. They are the kernel's own, so that no packet of an
// honest peer is refused: TCP_MIN_GSO_SIZE of net/tcp.h, bytes, and
// UDP_MAX_SEGMENTS of linux/udp.h.
const (
	minTCPSegment  = 8
	maxUDPSegments = 128
)

// vnet is the header, decoded.
type vnet struct {
	flags, gsoType        uint8
	hdrLen, gsoSize       uint16
	csumStart, csumOffset uint16
}

func getVnet(h []byte) vnet {
	_ = h[VnetLen-1]
	le := binary.LittleEndian
	return vnet{h[0], h[1], le.Uint16(h[2:]), le.Uint16(h[4:]), le.Uint16(h[6:]), le.Uint16(h[8:])}
}

func (v vnet) put(h []byte) {
	_ = h[VnetLen-1]
	le := binary.LittleEndian
	h[0], h[1] = v.flags, v.gsoType
	le.PutUint16(h[2:], v.hdrLen)
	le.PutUint16(h[4:], v.gsoSize)
	le.PutUint16(h[6:], v.csumStart)
	le.PutUint16(h[8:], v.csumOffset)
}

// CheckPacket validates what a Packet frame carries, a virtio-net header and an
// IP packet, field by field against the packet itself, so that
// a peer cannot make this host's kernel read, checksum or cut anything that
// is not there. The error wraps ErrMalformed. It does not allocate for what
// is well formed.
func CheckPacket(payload []byte) error {
	if len(payload) < VnetLen+minIPLen {
		return malformed("packet frame of %d bytes", len(payload))
	}
	p := payload[VnetLen:]
	l, err := layout(p)
	if err != nil {
		return err
	}
	return getVnet(payload).check(l, p)
}

func (v vnet) check(l ipLayout, p []byte) error {
	if v.flags&^vnetNeedsCsum != 0 {
		return malformed("virtio flags 0x%02x", v.flags)
	}
	if v.flags&vnetNeedsCsum == 0 {
		if v.csumStart != 0 || v.csumOffset != 0 {
			return malformed("virtio checksum position without the flag")
		}
	} else {
		start, offset := int(v.csumStart), int(v.csumOffset)
		if start < l.transport || start+offset+2 > len(p) {
			return malformed("virtio checksum at %d+%d in a packet of %d bytes", start, offset, len(p))
		}
	}
	if v.gsoType == vnetGSONone {
		if v.gsoSize != 0 || v.hdrLen != 0 {
			return malformed("virtio segment size without a type")
		}
		return nil
	}
	return v.checkGSO(l, p)
}

// checkGSO checks a super-packet: its type must be the packet's protocol, its
// checksum the transport's own, its header whole, its segments sane.
func (v vnet) checkGSO(l ipLayout, p []byte) error {
	var version int
	var protocol uint8
	var csumOffset uint16
	switch v.gsoType {
	case vnetGSOTCPv4:
		version, protocol, csumOffset = 4, protoTCP, 16
	case vnetGSOTCPv6:
		version, protocol, csumOffset = 6, protoTCP, 16
	case vnetGSOUDPL4:
		version, protocol, csumOffset = l.version, protoUDP, 6
	default:
		return malformed("virtio segmentation type %d", v.gsoType)
	}
	switch {
	case l.version != version || l.protocol != protocol || l.fragment:
		return malformed("virtio segmentation type %d on IPv%d protocol %d", v.gsoType, l.version, l.protocol)
	case v.flags&vnetNeedsCsum == 0 || int(v.csumStart) != l.transport || v.csumOffset != csumOffset:
		return malformed("virtio checksum at %d+%d of a super-packet, want %d+%d", v.csumStart, v.csumOffset, l.transport, csumOffset)
	}
	header, err := headerLen(l, p)
	if err != nil {
		return err
	}
	if int(v.hdrLen) != header {
		return malformed("virtio header length %d, want %d", v.hdrLen, header)
	}
	size, data := int(v.gsoSize), len(p)-header
	if l.protocol == protoTCP && size < minTCPSegment ||
		l.protocol == protoUDP && (size == 0 || data > size*maxUDPSegments) {
		return malformed("virtio segment size %d for %d bytes", size, data)
	}
	return nil
}

// headerLen returns the length of all headers of a TCP or UDP packet, bytes.
func headerLen(l ipLayout, p []byte) (int, error) {
	n := l.transport + 8
	if l.protocol == protoTCP {
		if len(p) < l.transport+20 {
			return 0, malformed("TCP header cut short")
		}
		n = l.transport + int(p[l.transport+12]>>4)*4
		if n < l.transport+20 {
			return 0, malformed("TCP header of %d bytes", n-l.transport)
		}
	}
	if n > len(p) {
		return 0, malformed("transport header of %d bytes in a packet of %d", n, len(p))
	}
	return n, nil
}

// NormalizePacket brings a header that this host's kernel wrote into the form
// that CheckPacket accepts, in place: the kernel's hdr_len is a hint and wrong
// on forwarded packets, DATA_VALID is this host's knowledge and not the
// peer's, and fields that a flag makes meaningless may hold anything. The
// error says that the packet cannot be carried; it is then dropped here.
func NormalizePacket(payload []byte) error {
	if len(payload) < VnetLen+minIPLen {
		return malformed("packet of %d bytes", len(payload))
	}
	p := payload[VnetLen:]
	l, err := layout(p)
	if err != nil {
		return err
	}
	v := getVnet(payload)
	v.flags &^= vnetDataValid
	v.hdrLen = 0
	if v.flags&vnetNeedsCsum == 0 {
		v.csumStart, v.csumOffset = 0, 0
	}
	if v.gsoType == vnetGSONone {
		v.gsoSize = 0
	} else if l.protocol == protoTCP || l.protocol == protoUDP {
		n, err := headerLen(l, p)
		if err != nil {
			return err
		}
		v.hdrLen = uint16(n)
	}
	if err := v.check(l, p); err != nil {
		return err
	}
	v.put(payload)
	return nil
}

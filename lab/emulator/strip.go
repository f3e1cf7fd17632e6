package emulator

import "encoding/binary"

const (
	etherIPv4   = 0x0800
	etherIPv6   = 0x86dd
	protocolTCP = 6

	optionEnd   = 0
	optionNOP   = 1
	optionMPTCP = 30 // RFC 8684, 8
)

// stripMPTCP puts no-operation options in the place of all Multipath TCP options
// of an Ethernet frame, as some middleboxes do, and mends the checksum. Frames
// without any, IPv4 fragments and IPv6 packets with extension headers stay as
// they are. It reports whether it changed something.
func stripMPTCP(frame []byte) bool {
	options, checksum := tcpOptions(frame)
	changed := false
	for i := 0; i < len(options); {
		kind := options[i]
		if kind == optionEnd {
			break
		}
		if kind == optionNOP {
			i++
			continue
		}
		if i+1 >= len(options) {
			break
		}
		size := int(options[i+1])
		if size < 2 || i+size > len(options) {
			break
		}
		if kind == optionMPTCP {
			for j := i; j < i+size; j++ {
				replace(checksum, options, j, optionNOP)
			}
			changed = true
		}
		i += size
	}
	return changed
}

// isSYN reports whether a frame is a TCP segment with that flag.
func isSYN(frame []byte) bool {
	tcp := tcpSegment(frame)
	return tcp != nil && tcp[13]&0x02 != 0
}

// tcpOptions returns the TCP options of a frame and the two bytes of its TCP
// checksum, which are in the frame; nothing if it has none.
func tcpOptions(frame []byte) (options, checksum []byte) {
	tcp := tcpSegment(frame)
	if tcp == nil {
		return nil, nil
	}
	size := int(tcp[12]>>4) * 4
	if size < 20 || size > len(tcp) {
		return nil, nil
	}
	return tcp[20:size], tcp[16:18]
}

// tcpSegment returns a frame's TCP header, whole but for the options, and what
// follows; nothing if it has none.
func tcpSegment(frame []byte) []byte {
	if len(frame) < ethernetHeader+1 {
		return nil
	}
	ip := frame[ethernetHeader:]
	var header int
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherIPv4:
		header = int(ip[0]&0xf) * 4
		// A fragment that is not the first has no TCP header.
		if header < 20 || len(ip) < header || ip[9] != protocolTCP || binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 {
			return nil
		}
	case etherIPv6:
		header = 40
		if len(ip) < header || ip[6] != protocolTCP {
			return nil
		}
	default:
		return nil
	}
	tcp := ip[header:]
	if len(tcp) < 20 {
		return nil
	}
	return tcp
}

// replace sets options[i] and updates the checksum by equation 3 of RFC 1624.
// Options begin at an even place of the TCP header.
func replace(checksum, options []byte, i int, value byte) {
	was, is := uint32(options[i]), uint32(value)
	if i%2 == 0 {
		was, is = was<<8, is<<8
	}
	options[i] = value
	sum := uint32(^binary.BigEndian.Uint16(checksum)) + (0xffff - was) + is
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(checksum, ^uint16(sum))
}

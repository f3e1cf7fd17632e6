package terminate

import (
	"encoding/binary"
	"syscall"

	"braid/tunnel/wire"
)

// icmpError is what an ICMP error says about the TCP packet that it quotes.
type icmpError struct {
	quoted endpoints
	seq    uint32
	errno  syscall.Errno
}

// Types of RFC 792 and RFC 4443, beside those that are answered with.
const (
	icmpExceeded  = 11
	icmp6Exceeded = 3

	icmpTooBig = 4 // a code of icmpUnreachable (RFC 1191)
)

// parseICMP reads an ICMP error that says that a TCP packet will not arrive.
// It reports false for everything else.
func parseICMP(payload []byte, x *icmpError) bool {
	if len(payload) < wire.VnetLen+20 {
		return false
	}
	ip := payload[wire.VnetLen:]
	var h []byte // from the ICMP header on
	var sum uint32
	v6 := ip[0]>>4 == 6
	switch {
	case v6 && len(ip) >= 40:
		off, protocol := upper6(ip)
		if protocol != protoICMP6 {
			return false
		}
		h = ip[off:]
		sum = pseudo([16]byte(ip[8:]), [16]byte(ip[24:]), protoICMP6, len(h))
	case ip[0]>>4 == 4 && ip[9] == protoICMP && binary.BigEndian.Uint16(ip[6:])&0x3fff == 0:
		ihl := int(ip[0]&15) * 4
		if ihl < 20 || ihl > len(ip) {
			return false
		}
		h = ip[ihl:]
	default:
		return false
	}
	if len(h) < 8 {
		return false
	}
	if x.errno = errnoOf(v6, h[0], h[1]); x.errno == 0 {
		return false
	}
	return x.parseQuote(h[8:], v6) && (payload[0]&needsCsum != 0 || checksum(h, sum) == 0xffff)
}

// parseQuote reads the start of a packet: the IP header and 8 bytes suffice.
func (x *icmpError) parseQuote(ip []byte, v6 bool) bool {
	var h []byte // from the TCP header on
	switch {
	case v6 && len(ip) >= 40 && ip[0]>>4 == 6:
		off, protocol := upper6(ip)
		x.quoted.src, x.quoted.dst = [16]byte(ip[8:]), [16]byte(ip[24:])
		if protocol != protoTCP || isMapped(x.quoted.src) || isMapped(x.quoted.dst) {
			return false
		}
		h = ip[off:]
	case !v6 && len(ip) >= 20 && ip[0]>>4 == 4:
		ihl := int(ip[0]&15) * 4
		if ihl < 20 || ihl > len(ip) || ip[9] != protoTCP || binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 {
			return false
		}
		x.quoted.src, x.quoted.dst = mapped([4]byte(ip[12:])), mapped([4]byte(ip[16:]))
		h = ip[ihl:]
	default:
		return false
	}
	if len(h) < 8 {
		return false
	}
	x.quoted.srcPort, x.quoted.dstPort = binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
	x.seq = binary.BigEndian.Uint32(h[4:])
	return true
}

// errnoOf is what connect(2) returns after an ICMP error, 0 if it goes on. It
// is as in the kernel's icmp_err_convert and tab_unreach, but that EACCES
// stands for all prohibitions, as it does over IPv6, so that they can be told
// from a host that is down.
func errnoOf(v6 bool, typ, code uint8) syscall.Errno {
	if v6 {
		switch {
		case typ == icmp6Exceeded:
			return syscall.EHOSTUNREACH
		case typ != icmp6Unreachable:
			return 0
		}
		switch code {
		case 0: // no route
			return syscall.ENETUNREACH
		case 1, 5, 6: // prohibited, by policy, by a route
			return syscall.EACCES
		case 4: // port
			return syscall.ECONNREFUSED
		}
		return syscall.EHOSTUNREACH
	}
	switch {
	case typ == icmpExceeded:
		return syscall.EHOSTUNREACH
	case typ != icmpUnreachable || code == icmpTooBig:
		return 0
	}
	switch code {
	case 0, 6, 11: // network, unknown, not with this type of service
		return syscall.ENETUNREACH
	case 3: // port
		return syscall.ECONNREFUSED
	case 9, 10, 13: // network, host, all prohibited
		return syscall.EACCES
	}
	return syscall.EHOSTUNREACH
}

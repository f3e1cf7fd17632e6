package terminate

import (
	"encoding/binary"
	"syscall"

	"braid/tunnel/wire"
)

// icmpError is what an ICMP error says about the TCP packet that it quotes.
// Offsets count from the IP header, in bytes.
type icmpError struct {
	quoted  endpoints
	seq     uint32
	errno   syscall.Errno // 0 if it is tooBig
	tooBig  bool
	v6      bool
	message int // offset of the ICMP header
	tcp     int // offset of the quoted TCP header
}

// Types of RFC 792 and RFC 4443, beside those that are answered with.
const (
	icmpExceeded  = 11
	icmp6Exceeded = 3

	icmpTooBig  = 4 // a code of icmpUnreachable (RFC 1191)
	icmp6TooBig = 2

	// sizeICMP is the length of an ICMP header, before the quoted packet.
	sizeICMP = 8
)

// parseICMP reads an ICMP error that says that a TCP packet will not arrive.
// It reports false for everything else.
func parseICMP(payload []byte, x *icmpError) bool {
	if len(payload) < wire.VnetLen+20 {
		return false
	}
	ip := payload[wire.VnetLen:]
	var sum uint32
	x.v6 = ip[0]>>4 == 6
	switch {
	case x.v6 && len(ip) >= 40:
		off, protocol := upper6(ip)
		if protocol != protoICMP6 {
			return false
		}
		x.message = off
		sum = pseudo([16]byte(ip[8:]), [16]byte(ip[24:]), protoICMP6, len(ip)-off)
	case ip[0]>>4 == 4 && ip[9] == protoICMP && binary.BigEndian.Uint16(ip[6:])&0x3fff == 0:
		x.message = int(ip[0]&15) * 4
		if x.message < 20 {
			return false
		}
	default:
		return false
	}
	if len(ip) < x.message+sizeICMP {
		return false
	}
	h := ip[x.message:]
	x.errno, x.tooBig = errnoOf(x.v6, h[0], h[1]), isTooBig(x.v6, h[0], h[1])
	if x.errno == 0 && !x.tooBig {
		return false
	}
	return x.parseQuote(ip) && (payload[0]&needsCsum != 0 || checksum(h, sum) == 0xffff)
}

// parseQuote reads the start of the quoted packet: the IP header and 8 bytes
// suffice.
func (x *icmpError) parseQuote(packet []byte) bool {
	ip := packet[x.message+sizeICMP:]
	var off int
	switch {
	case x.v6 && len(ip) >= 40 && ip[0]>>4 == 6:
		var protocol uint8
		off, protocol = upper6(ip)
		x.quoted.src, x.quoted.dst = [16]byte(ip[8:]), [16]byte(ip[24:])
		if protocol != protoTCP || isMapped(x.quoted.src) || isMapped(x.quoted.dst) {
			return false
		}
	case !x.v6 && len(ip) >= 20 && ip[0]>>4 == 4:
		off = int(ip[0]&15) * 4
		if off < 20 || ip[9] != protoTCP || binary.BigEndian.Uint16(ip[6:])&0x1fff != 0 {
			return false
		}
		x.quoted.src, x.quoted.dst = mapped([4]byte(ip[12:])), mapped([4]byte(ip[16:]))
	default:
		return false
	}
	if len(ip) < off+8 {
		return false
	}
	h := ip[off:]
	x.tcp = x.message + sizeICMP + off
	x.quoted.srcPort, x.quoted.dstPort = binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
	x.seq = binary.BigEndian.Uint32(h[4:])
	return true
}

func isTooBig(v6 bool, typ, code uint8) bool {
	if v6 {
		return typ == icmp6TooBig
	}
	return typ == icmpUnreachable && code == icmpTooBig
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

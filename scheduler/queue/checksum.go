package queue

import "encoding/binary"

// sum is the one's complement sum of b, whose length is even (RFC 1071).
func sum(b []byte) uint16 {
	var s uint32
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	return fold(s)
}

// exchange returns a one's complement sum after one of its words has changed
// (RFC 1624).
func exchange(sum, from, to uint16) uint16 {
	return fold(uint32(sum) + uint32(^from) + uint32(to))
}

func fold(s uint32) uint16 {
	s = s&0xffff + s>>16
	return uint16(s + s>>16)
}

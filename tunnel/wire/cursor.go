package wire

import (
	"encoding/binary"
	"net/netip"
	"unicode/utf8"
)

// cursor reads a control frame's payload front to back. After the first
// failure every read returns zero values, so that a parser reads straight
// through and asks for the error once.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) take(n int, what string) []byte {
	if c.err != nil {
		return nil
	}
	if len(c.b) < n {
		c.err = malformed("%s: %d bytes missing", what, n-len(c.b))
		return nil
	}
	p := c.b[:n]
	c.b = c.b[n:]
	return p
}

func (c *cursor) u8(what string) uint8 {
	if p := c.take(1, what); p != nil {
		return p[0]
	}
	return 0
}

func (c *cursor) u16(what string) uint16 {
	if p := c.take(2, what); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (c *cursor) u32(what string) uint32 {
	if p := c.take(4, what); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (c *cursor) u64(what string) uint64 {
	if p := c.take(8, what); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

// text reads a length byte and that many bytes of printable UTF-8: what comes
// from a peer ends up in logs and terminals.
func (c *cursor) text(what string) string {
	n := int(c.u8(what))
	p := c.take(n, what)
	if c.err != nil {
		return ""
	}
	s := string(p)
	if !printable(s) {
		c.err = malformed("%s: not printable text", what)
		return ""
	}
	return s
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return false
		}
	}
	return true
}

// addr reads a length byte, 4 or 16, and an address in network order.
func (c *cursor) addr(what string) netip.Addr {
	n := c.u8(what)
	if c.err == nil && n != 4 && n != 16 {
		c.err = malformed("%s: address of %d bytes", what, n)
	}
	p := c.take(int(n), what)
	if c.err != nil {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(p)
	if a.Is4In6() {
		c.err = malformed("%s: IPv4 address written as IPv6", what)
		return netip.Addr{}
	}
	return a
}

// prefix reads an address and a length in bits.
func (c *cursor) prefix(what string) netip.Prefix {
	a := c.addr(what)
	bits := int(c.u8(what))
	if c.err != nil {
		return netip.Prefix{}
	}
	if bits > a.BitLen() {
		c.err = malformed("%s: prefix length %d", what, bits)
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, bits)
}

// list reads a count of two bytes and that many items.
func list[T any](c *cursor, max int, what string, item func(string) T) []T {
	n := int(c.u16(what))
	if c.err == nil && n > max {
		c.err = malformed("%s: %d items, at most %d", what, n, max)
	}
	if c.err != nil || n == 0 {
		return nil
	}
	items := make([]T, 0, n)
	for range n {
		items = append(items, item(what))
		if c.err != nil {
			return nil
		}
	}
	return items
}

// end returns the first error, or one when bytes are left over.
func (c *cursor) end(what string) error {
	if c.err == nil && len(c.b) > 0 {
		c.err = malformed("%s: %d bytes too many", what, len(c.b))
	}
	return c.err
}

// maxText is what a length byte can state.
const maxText = 255

// appendText appends a length byte and s. Text that is too long is cut at a
// rune, and what could not be parsed again is replaced, since text is for
// people and never decides anything.
func appendText(b []byte, s string) []byte {
	if !printable(s) {
		clean := make([]rune, 0, len(s))
		for _, r := range s {
			if r < 0x20 || r >= 0x7f && r < 0xa0 || r == utf8.RuneError {
				r = '?'
			}
			clean = append(clean, r)
		}
		s = string(clean)
	}
	if len(s) > maxText {
		n := maxText
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	return append(append(b, byte(len(s))), s...)
}

func appendAddr(b []byte, a netip.Addr) []byte {
	a = a.Unmap().WithZone("")
	s := a.AsSlice()
	return append(append(b, byte(len(s))), s...)
}

func appendPrefix(b []byte, p netip.Prefix) []byte {
	return append(appendAddr(b, p.Addr()), byte(p.Bits()))
}

func appendList[T any](b []byte, items []T, item func([]byte, T) []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(items)))
	for _, it := range items {
		b = item(b, it)
	}
	return b
}

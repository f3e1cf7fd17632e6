package terminate

import "net/netip"

const (
	numFakes = 4
	// minHostBits: of 16 addresses four can be spared, of 8 not.
	minHostBits = 4
)

// Fakes returns the addresses in the range of own that serve as fake peers:
// the last four before the range's last, which is IPv4's broadcast address.
// own.Addr() is this host's address in the tunnel, and left out; own.Bits()
// says the range. In a range of fewer than 16 addresses there are none.
func Fakes(own netip.Prefix) []netip.Addr {
	addr, bits := own.Addr(), own.Bits()
	if addr.Is4In6() {
		addr, bits = addr.Unmap(), bits-96
	}
	if bits < 0 || addr.BitLen()-bits < minHostBits {
		return nil
	}
	a := last(addr, bits)
	fakes := make([]netip.Addr, 0, numFakes)
	for range numFakes {
		if a = a.Prev(); a != addr {
			fakes = append([]netip.Addr{a}, fakes...)
		}
	}
	return fakes
}

// last is the last address of a range.
func last(a netip.Addr, bits int) netip.Addr {
	b := a.AsSlice()
	for i := bits; i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ = netip.AddrFromSlice(b)
	return a
}

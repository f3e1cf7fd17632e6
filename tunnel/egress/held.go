package egress

import "net/netip"

var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	siit   = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765
	sixTo4 = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo = netip.MustParsePrefix("2001::/32")       // RFC 4380
)

// held returns the IPv4 addresses that a connection to a may end at, for they
// stand in it and somebody on the way, or this host itself, translates or
// unpacks it:
//
//	NAT64   64:ff9b::      destination in the last 32 bits
//	SIIT    ::ffff:0:      destination in the last 32 bits
//	6to4    2002:          router in the next 32 bits
//	Teredo  2001:0:        server in the next 32 bits, client inverted in the last 32
//
// A network's own NAT64 prefix looks like any other network and is not known
// here: where there is one, it must be denied by a rule.
func held(a netip.Addr) (list [2]netip.Addr, n int) {
	if !a.Is6() {
		return list, 0
	}
	b := a.As16()
	at := func(i int) netip.Addr { return netip.AddrFrom4([4]byte(b[i : i+4])) }
	switch {
	case nat64.Contains(a), siit.Contains(a):
		list[0] = at(12)
		return list, 1
	case sixTo4.Contains(a):
		list[0] = at(2)
		return list, 1
	case teredo.Contains(a):
		list[0] = at(4)
		for i := 12; i < 16; i++ {
			b[i] ^= 0xff
		}
		list[1] = at(12)
		return list, 2
	}
	return list, 0
}

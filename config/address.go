package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// specialNetworks hold addresses that no host of a tunnel can have.
var specialNetworks = []struct {
	network netip.Prefix
	what    string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "an unspecified"},
	{netip.MustParsePrefix("::/128"), "an unspecified"},
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback"},
	{netip.MustParsePrefix("::1/128"), "a loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local"},
	{netip.MustParsePrefix("fe80::/10"), "a link-local"},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast"},
	{netip.MustParsePrefix("ff00::/8"), "a multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "a broadcast"},
}

// special says what kind of special network all of p lies in, or "". Packets
// for such a network never leave a host through a tunnel.
func special(p netip.Prefix) string {
	for _, s := range specialNetworks {
		if s.network.Bits() <= p.Bits() && s.network.Contains(p.Addr()) {
			return s.what
		}
	}
	return ""
}

// single is the network that holds one address only.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// write is the mend that names the right value.
func write(value any) string { return fmt.Sprintf("write %q", fmt.Sprint(value)) }

// parseAddr reads an address that some host may have.
func parseAddr(text string) (netip.Addr, *fault) {
	a, err := netip.ParseAddr(text)
	if err != nil {
		if p, err := netip.ParsePrefix(text); err == nil {
			return a, &fault{"must be an address without a prefix length", write(p.Addr().Unmap())}
		}
		return a, &fault{"must be an IPv4 or IPv6 address", `such as "10.77.0.2" or "fd77:b4a1::2"`}
	}
	if what := specialAddr(a); what != "" {
		return a, &fault{"is " + what + " address, which cannot be used here", "take one of a private or public network"}
	}
	return a, plainAddr(a)
}

// specialAddr is special for one address, however it is written.
func specialAddr(a netip.Addr) string { return special(single(a.WithZone("").Unmap())) }

// plainAddr refuses what could be written more simply: each address has one
// text, so that addresses can be compared.
func plainAddr(a netip.Addr) *fault {
	switch {
	case a.Zone() != "":
		return &fault{"must not have a zone (%" + oneLine(a.Zone()) + ")", write(a.WithZone("").Unmap())}
	case a.Is4In6():
		return &fault{"must be an IPv4 address in its own notation", write(a.Unmap())}
	}
	return nil
}

// notation is how a key wants its prefixes.
type notation struct {
	bits4, bits6 int // the lengths to suggest when there is none
	hostBits     bool
	example      string
}

var (
	asHost    = notation{24, 64, true, `such as "10.77.0.1/24" or "fd77:b4a1::1/64"`}
	asNetwork = notation{32, 128, false, `such as "192.168.10.0/24" or "fd00:1::/64"`}
)

// mend suggests p, less what the notation does not want.
func (w notation) mend(p netip.Prefix) string {
	if !w.hostBits {
		p = p.Masked()
	}
	if specialAddr(p.Addr()) != "" {
		return w.example
	}
	return write(p)
}

// parse reads a prefix, whether or not it has host bits.
func (w notation) parse(text string) (netip.Prefix, *fault) {
	address, length, slash := strings.Cut(text, "/")
	// First the zone: netip takes the slash for a part of its name.
	if i := strings.IndexByte(text, '%'); i >= 0 {
		_, length, slash = strings.Cut(text[i:], "/")
		address = text[:i]
	}
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}, &fault{"must be an IPv4 or IPv6 address, a slash and a prefix length", w.example}
	}
	bits := w.bits6
	if a.Unmap().Is4() {
		bits = w.bits4
	}
	if slash {
		p, err := netip.ParsePrefix(address + "/" + length)
		if err != nil {
			return p, &fault{fmt.Sprintf("must have a prefix length of 0 to %d", a.BitLen()), w.mend(netip.PrefixFrom(a.Unmap(), bits))}
		}
		bits = p.Bits()
		if a.Is4In6() {
			if bits -= 96; bits < 0 {
				bits = w.bits4
			}
		}
	}
	p := netip.PrefixFrom(a.Unmap(), bits)
	switch {
	case strings.Contains(text, "%"):
		return p, &fault{"must not have a zone", w.mend(p)}
	case a.Is4In6():
		return p, &fault{"must be IPv4 in its own notation", w.mend(p)}
	case !slash:
		return p, &fault{"must have a prefix length", w.mend(p)}
	}
	return p, nil
}

// parsePrefix reads a network: no bits behind the prefix.
func parsePrefix(text string) (netip.Prefix, *fault) {
	p, wrong := asNetwork.parse(text)
	if wrong == nil && p != p.Masked() {
		wrong = &fault{fmt.Sprintf("must be a network, with nothing behind its first %d bits", p.Bits()), write(p.Masked())}
	}
	return p, wrong
}

// parseRoute reads a network that packets can be sent to.
func parseRoute(text string) (netip.Prefix, *fault) {
	p, wrong := parsePrefix(text)
	if wrong == nil {
		if what := special(p); what != "" {
			wrong = &fault{"is " + what + " network, which never goes through a tunnel", "leave it out"}
		}
	}
	return p, wrong
}

// Limits of the tunnel's prefix length. The upper ones leave room for one
// client beside the server; the lower ones are wider than anybody's tunnel,
// and keep it from swallowing half of the internet by a typing error.
const (
	minBits4, maxBits4 = 8, 31
	minBits6, maxBits6 = 16, 127
)

// parseTunnelAddress reads the server's own address in the tunnel with the
// length of the tunnel's range.
func parseTunnelAddress(text string) (netip.Prefix, *fault) {
	p, wrong := asHost.parse(text)
	if wrong != nil {
		return p, wrong
	}
	a := p.Addr()
	if what := specialAddr(a); what != "" {
		return p, &fault{"is " + what + " address, which cannot be used here", asHost.example}
	}
	lowest, highest, family, mend := minBits6, maxBits6, "IPv6", netip.PrefixFrom(a, 64)
	if a.Is4() {
		lowest, highest, family, mend = minBits4, maxBits4, "IPv4", netip.PrefixFrom(a, 24)
	}
	if p.Bits() < lowest || p.Bits() > highest {
		return p, &fault{fmt.Sprintf("must have a prefix length of %d to %d (%s)", lowest, highest, family), write(mend)}
	}
	if what := notHost(p, a); what != "" {
		return p, &fault{"is the " + what + ", not a host's", write(netip.PrefixFrom(firstHost(p), p.Bits()))}
	}
	return p, nil
}

// notHost says what a is when it is no host's address in the range of p, or
// "". A range of two addresses has nothing but hosts (RFC 3021, RFC 6164).
func notHost(p netip.Prefix, a netip.Addr) string {
	switch {
	case p.Bits() >= a.BitLen()-1:
		return ""
	case a == p.Masked().Addr():
		return "network's own address"
	case a.Is4() && !p.Contains(a.Next()):
		return "network's broadcast address"
	}
	return ""
}

// firstHost is the lowest address in the range of p that a host may have.
func firstHost(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr()
	if notHost(p, a) != "" {
		a = a.Next()
	}
	return a
}

// Of each range braid keeps some addresses to itself, when it has enough.
const (
	reservedAddresses = 4
	reservedHostBits  = 4 // a range with fewer has none to spare
)

// Reserved returns the addresses that braid keeps for itself in a tunnel's
// range: the last four before the last one, in order, or none in a range of
// fewer than 16. The fake peers of terminated connections have them.
func Reserved(p netip.Prefix) []netip.Addr {
	if !p.IsValid() || p.Addr().BitLen()-p.Bits() < reservedHostBits {
		return nil
	}
	a := lastAddr(p)
	var list []netip.Addr
	for range reservedAddresses {
		a = a.Prev()
		list = append(list, a)
	}
	slices.Reverse(list)
	return list
}

// reserved reports whether a is kept for braid in the range of p.
func reserved(p netip.Prefix, a netip.Addr) bool {
	return slices.Contains(Reserved(p), a)
}

// lastAddr is the highest address in the range of p.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

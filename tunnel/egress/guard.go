package egress

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// guard is one default: a network that is refused, or that is not.
type guard struct {
	reason Reason
	owner  string // for OtherClient: whose it is
	bits   int    // the length of the prefix that an allow needs
	text   string // the network of that length
}

// refuses reports whether the guard is against a client. A client's own
// networks are never against it: they are no way to anything here.
func (g *guard) refuses(client string) bool {
	return g != nil && g.reason != Tunnel && (g.reason != OtherClient || g.owner != client)
}

// special is what is refused on every host.
var special = []struct {
	network netip.Prefix
	reason  Reason
}{
	// Linux connects to 0.0.0.0 and :: as to its loopback.
	{netip.MustParsePrefix("0.0.0.0/8"), Unspecified},
	{netip.MustParsePrefix("::/128"), Unspecified},
	{netip.MustParsePrefix("127.0.0.0/8"), Loopback},
	{netip.MustParsePrefix("::1/128"), Loopback},
	{netip.MustParsePrefix("169.254.0.0/16"), LinkLocal},
	{netip.MustParsePrefix("fe80::/10"), LinkLocal},
	{netip.MustParsePrefix("224.0.0.0/4"), Multicast},
	{netip.MustParsePrefix("ff00::/8"), Multicast},
	{netip.MustParsePrefix("255.255.255.255/32"), Broadcast},

	// Where clouds hand credentials to whoever asks from a machine of theirs.
	// Most are link-local; these must be named even when that is opened, or
	// are not link-local at all.
	{netip.MustParsePrefix("169.254.169.254/32"), Metadata},     // nearly all
	{netip.MustParsePrefix("fd00:ec2::/32"), Metadata},          // Amazon: metadata, pod identity, DNS
	{netip.MustParsePrefix("fd20:ce::254/128"), Metadata},       // Google
	{netip.MustParsePrefix("168.63.129.16/32"), Metadata},       // Azure
	{netip.MustParsePrefix("100.100.100.200/32"), Metadata},     // Alibaba
	{netip.MustParsePrefix("fd00:100::100:200/128"), Metadata},  // Alibaba
	{netip.MustParsePrefix("192.0.0.192/32"), Metadata},         // Oracle, classic
	{netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), Metadata}, // Oracle
	{netip.MustParsePrefix("fd00:42::42/128"), Metadata},        // Scaleway
	{netip.MustParsePrefix("fd00:a9fe:a9fe::1/128"), Metadata},  // Akamai

	// IPv4 addresses in IPv6 that cannot be judged by what they hold: the
	// first is long obsolete, and where in the second the IPv4 address stands
	// is the network's choice (RFC 8215).
	{netip.MustParsePrefix("::/96"), Translated},
	{netip.MustParsePrefix("64:ff9b:1::/48"), Translated},
}

// isSpecial reports whether all of a network is refused on every host.
func isSpecial(p netip.Prefix) bool {
	for _, s := range special {
		if s.network.Bits() <= p.Bits() && s.network.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

// newGuards makes the table of the defaults. What is inserted later replaces
// what has the same prefix.
func newGuards(cfg *Config, host []netip.Addr) *bart.Table[*guard] {
	t := new(bart.Table[*guard])
	// add guards a network that is opened by an allow for all of opener.
	add := func(network netip.Prefix, reason Reason, owner string, opener netip.Prefix) {
		t.Insert(network, &guard{reason, owner, opener.Bits(), Rule{Network: opener}.String()})
	}
	for _, r := range cfg.Ranges {
		add(r, Unassigned, "", r)
	}
	// A client's own networks are not refused to it, so none of them may hide
	// what is special. Package config allows no such network anyhow.
	client := func(c Client, network, opener netip.Prefix) {
		if !isSpecial(network) {
			add(network, OtherClient, c.Name, opener)
		}
	}
	for _, c := range cfg.Clients {
		for _, r := range c.Routes {
			client(c, r, r)
		}
	}
	for _, c := range cfg.Clients {
		for _, a := range c.Addresses {
			client(c, single(a), rangeOf(cfg.Ranges, a))
		}
	}
	for _, s := range special {
		add(s.network, s.reason, "", s.network)
	}
	for _, a := range host {
		// More than the address is not taken: the kernel refuses to open TCP
		// connections to a network's broadcast address by itself.
		if a = plain(a); !a.IsLoopback() { // which is refused as such
			add(single(a), Host, "", single(a))
		}
	}
	for _, a := range cfg.Own {
		add(single(a), Tunnel, "", single(a))
	}
	return t
}

// rangeOf is the tunnel's range around an address, or else the address alone.
func rangeOf(ranges []netip.Prefix, a netip.Addr) netip.Prefix {
	for _, r := range ranges {
		if r.Contains(a) {
			return r
		}
	}
	return single(a)
}

// single is the network that holds one address only.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

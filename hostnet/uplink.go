package hostnet

import (
	"cmp"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Uplink is an interface that is up, has a carrier and a default route in the
// table main.
type Uplink struct {
	Name  string
	Index int
	MTU   int // bytes

	// Addresses are the source addresses that reach the internet by this
	// uplink, IPv4 first; in each family the best one first. None: the uplink
	// is not usable, or not yet.
	Addresses []netip.Addr
	// Subnets are the networks on its link.
	Subnets []netip.Prefix

	// Default4 and Default6 tell in which families there is a default route.
	// The gateway is invalid where the link has none (point to point). An
	// IPv4 default route can have an IPv6 gateway (RFC 5549).
	Default4, Default6 bool
	Gateway4, Gateway6 netip.Addr
}

// Usable reports whether a connection can leave by this uplink.
func (u Uplink) Usable() bool { return len(u.Addresses) > 0 }

func (u Uplink) equal(v Uplink) bool {
	return u.Name == v.Name && u.Index == v.Index && u.MTU == v.MTU &&
		u.Default4 == v.Default4 && u.Default6 == v.Default6 && u.Gateway4 == v.Gateway4 && u.Gateway6 == v.Gateway6 &&
		slices.Equal(u.Addresses, v.Addresses) && slices.Equal(u.Subnets, v.Subnets)
}

// hasLost reports whether something that was usable in before is not in
// after: an uplink, an address, a gateway.
func hasLost(before, after []Uplink) bool {
	for _, b := range before {
		i := slices.IndexFunc(after, func(a Uplink) bool { return a.Index == b.Index && a.Name == b.Name })
		if i < 0 {
			return true
		}
		a := after[i]
		if b.Default4 && (!a.Default4 || a.Gateway4 != b.Gateway4) || b.Default6 && (!a.Default6 || a.Gateway6 != b.Gateway6) {
			return true
		}
		for _, address := range b.Addresses {
			if !slices.Contains(a.Addresses, address) {
				return true
			}
		}
	}
	return false
}

// inventory is what uplinks are found in: one look at the host.
type inventory struct {
	links     []foundLink
	addresses []foundAddress
	routes    []foundRoute // of the table main, unicast, one per next hop, in the kernel's order
}

type foundLink struct {
	Link
	carrier  bool
	loopback bool
}

type foundAddress struct {
	index int
	addr  netip.Addr
	flags uint32 // IFA_F_…
}

type foundRoute struct {
	index   int
	dst     netip.Prefix
	gateway netip.Addr // invalid: on the link
	source  netip.Addr // preferred by the route; invalid: none
	metric  int
}

// findUplinks finds the uplinks among the interfaces whose names are allowed
// (nil: all). The one that the host prefers, by its routes' metrics, is first.
func findUplinks(inv inventory, allow func(name string) bool) []Uplink {
	type ranked struct {
		Uplink
		metric int
	}
	var found []ranked
	for _, l := range inv.links {
		if !l.Up || !l.carrier || l.loopback || allow != nil && !allow(l.Name) {
			continue
		}
		u := Uplink{Name: l.Name, Index: l.Index, MTU: l.MTU}
		v4, ok4 := bestDefault(inv.routes, l.Index, false)
		v6, ok6 := bestDefault(inv.routes, l.Index, true)
		if !ok4 && !ok6 {
			continue
		}
		if ok4 {
			u.Default4, u.Gateway4 = true, v4.gateway
			u.Addresses = append(u.Addresses, sources(inv.addresses, l.Index, false, v4.source)...)
		}
		if ok6 {
			u.Default6, u.Gateway6 = true, v6.gateway
			u.Addresses = append(u.Addresses, sources(inv.addresses, l.Index, true, v6.source)...)
		}
		for _, r := range inv.routes {
			if r.index == l.Index && r.dst.Bits() > 0 && !r.gateway.IsValid() && !r.dst.Addr().IsLinkLocalUnicast() {
				u.Subnets = append(u.Subnets, r.dst)
			}
		}
		u.Subnets = masked(u.Subnets)
		rank := v4.metric
		if !ok4 {
			rank = v6.metric
		}
		found = append(found, ranked{u, rank})
	}
	slices.SortStableFunc(found, func(a, b ranked) int {
		return cmp.Or(a.metric-b.metric, a.Index-b.Index)
	})
	var out []Uplink
	for _, f := range found {
		out = append(out, f.Uplink)
	}
	return out
}

// bestDefault is the interface's default route of the lowest metric, the
// first one of several.
func bestDefault(routes []foundRoute, index int, v6 bool) (best foundRoute, ok bool) {
	for _, r := range routes {
		if r.index == index && r.dst.Bits() == 0 && r.dst.Addr().Is6() == v6 && (!ok || r.metric < best.metric) {
			best, ok = r, true
		}
	}
	return best, ok
}

// sources are the addresses of an interface and family from which new
// connections may come, the best first: what the default route prefers, then
// addresses that stay (a temporary one would change daily and break its
// subflows), unique local ones last.
func sources(addresses []foundAddress, index int, v6 bool, preferred netip.Addr) []netip.Addr {
	const unusable = unix.IFA_F_DEPRECATED | unix.IFA_F_DADFAILED
	rank := func(a foundAddress) int {
		switch {
		case a.addr == preferred:
			return 0
		case a.addr.Is6() && a.addr.IsPrivate():
			return 3
		case a.flags&unix.IFA_F_TEMPORARY != 0: // for IPv4 the same bit means "secondary"
			return 2
		}
		return 1
	}
	var list []foundAddress
	for _, a := range addresses {
		// An address that the route prefers may be on another interface,
		// such as a routed one on lo.
		here := a.index == index || a.addr == preferred
		tentative := a.flags&unix.IFA_F_TENTATIVE != 0 && a.flags&unix.IFA_F_OPTIMISTIC == 0
		if here && a.addr.Is6() == v6 && a.addr.IsGlobalUnicast() && a.flags&unusable == 0 && !tentative {
			list = append(list, a)
		}
	}
	// Within a rank by value, not in the kernel's order: that changes when an
	// address is refreshed.
	slices.SortStableFunc(list, func(a, b foundAddress) int {
		return cmp.Or(rank(a)-rank(b), a.addr.Compare(b.addr))
	})
	var out []netip.Addr
	for _, a := range list {
		out = append(out, a.addr)
	}
	return slices.Compact(out)
}

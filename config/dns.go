package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// dnsLimit is how many DNS servers a client can be told.
const dnsLimit = 8

// dnsServers reads the DNS servers of [tunnel].
func dnsServers(tunnel *node, errs *Errors) []at[netip.Addr] {
	n := tunnel.get("dns")
	list := unique(each(n, errs, parseAddr), errs, removeOne)
	if len(list) > dnsLimit {
		errs.add(n, fmt.Sprintf("must hold at most %d addresses", dnsLimit), "remove some")
	}
	return list
}

// answering notes DNS servers that clients cannot ask in the tunnel.
func (r *ranges) answering(servers []at[netip.Addr], errs *Errors) {
	for _, s := range servers {
		in := func(p at[netip.Prefix]) bool { return p.value.Contains(s.value) }
		family := func(p at[netip.Prefix]) bool { return p.value.Addr().Is4() == s.value.Is4() }
		if i := slices.IndexFunc(r.own, in); i >= 0 {
			own := r.own[i].value
			if problem, _ := r.foreign(s.value); problem != "" {
				errs.add(s.node, problem, fmt.Sprintf("for a DNS server of this host write %q", own.Addr()))
			}
		} else if r.complete && !slices.ContainsFunc(r.own, family) {
			errs.add(s.node, "is of a family of which tunnel.addresses has none, so clients could not ask it", "add one to tunnel.addresses, or leave this out")
		}
	}
}

// Full reports whether all traffic of a family goes into the tunnel, as one route or
// as two halves.
func (t ClientTunnel) Full() bool {
	return slices.ContainsFunc(t.Routes, func(p netip.Prefix) bool { return p.Bits() <= 1 })
}

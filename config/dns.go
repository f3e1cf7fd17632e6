package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// dnsLimit is how many DNS servers a client can be told.
const dnsLimit = 8

// dnsServers reads the DNS servers of [tunnel].
func dnsServers(tunnel *node, errs *Errors) []netip.Addr {
	n := tunnel.get("dns")
	list := unique(each(n, errs, parseAddr), errs, removeOne)
	if len(list) > dnsLimit {
		errs.add(n, fmt.Sprintf("must hold at most %d addresses", dnsLimit), "remove some")
	}
	return bare(list)
}

// Full reports whether all traffic of a family goes into the tunnel, as one route or
// as two halves.
func (t ClientTunnel) Full() bool {
	return slices.ContainsFunc(t.Routes, func(p netip.Prefix) bool { return p.Bits() <= 1 })
}

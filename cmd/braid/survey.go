package main

import (
	"context"
	"net/netip"
	"slices"

	"braid/config"
	"braid/hostnet"
)

// hostUplinks are the interfaces with default routes that the host has now, the
// tunnel's apart.
func hostUplinks(ctx context.Context, tunnel string) ([]hostnet.Uplink, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var found []hostnet.Uplink
	err := hostnet.Watch(ctx, func(name string) bool { return name != tunnel }, func(list []hostnet.Uplink) {
		found = list
		cancel() // one look will do
	})
	return found, err
}

// carrierNAT is where providers keep customers who share an address (RFC 6598).
var carrierNAT = netip.MustParsePrefix("100.64.0.0/10")

// isPublic reports whether an address may be reached from all over the internet.
func isPublic(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !carrierNAT.Contains(a)
}

// reachableAt says where others find a server that listens so, on a host with
// these uplinks: at its public addresses, or at its private ones where it has no
// others.
func reachableAt(listen []netip.AddrPort, uplinks []hostnet.Uplink) (list []config.HostPort, public bool) {
	var all []netip.AddrPort
	add := func(a netip.Addr, port uint16) {
		if p := netip.AddrPortFrom(a, port); a.IsGlobalUnicast() && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	for _, l := range listen {
		if !l.Addr().IsUnspecified() {
			add(l.Addr(), l.Port())
			continue
		}
		for _, u := range uplinks {
			six := false
			for _, a := range u.Addresses {
				if a.Is6() && (l.Addr().Is4() || six) {
					continue // the first is the best, others may be temporary
				}
				six = six || a.Is6()
				add(a, l.Port())
			}
		}
	}
	isPublic := func(a netip.AddrPort) bool { return isPublic(a.Addr()) }
	if public = slices.ContainsFunc(all, isPublic); public {
		all = slices.DeleteFunc(all, func(a netip.AddrPort) bool { return !isPublic(a) })
	}
	const most = 8 // more make an invite long, and say nothing new
	for _, a := range all[:min(len(all), most)] {
		list = append(list, config.HostPort{Host: a.Addr().String(), Port: a.Port()})
	}
	return list, public
}

// hostRoutes are the networks to which the host has routes, those by the tunnel
// apart.
func hostRoutes(tunnel string) (list []netip.Prefix, err error) {
	host, err := hostnet.OpenHost()
	if err != nil {
		return nil, err
	}
	defer host.Close()
	networks, err := host.Behind([]string{"*"})
	for _, n := range networks {
		if n.Device != tunnel {
			list = append(list, n.Prefix)
		}
	}
	return list, err
}

// freeRanges returns the server's addresses, with their ranges, of a tunnel that
// no route is in the way of; the first choice where that is so. One that cannot
// be found is invalid.
func freeRanges(taken []netip.Prefix) (v4, v6 netip.Prefix) {
	// Half of the internet and more is a default route, in one or two parts.
	const widest4, widest6 = 8, 7
	free := func(p netip.Prefix) bool {
		return !slices.ContainsFunc(taken, func(r netip.Prefix) bool {
			return r.Overlaps(p) && (r.Addr().Is4() && r.Bits() >= widest4 || r.Addr().Is6() && r.Bits() >= widest6)
		})
	}
	first := func(n int, choice func(i int) netip.Prefix) netip.Prefix {
		for i := range n {
			if p := choice(i); free(p.Masked()) {
				return p
			}
		}
		return netip.Prefix{}
	}
	v4 = first(3*100, func(i int) netip.Prefix {
		n := byte(77 + i%100)
		return netip.PrefixFrom(netip.AddrFrom4([][4]byte{{10, n, 0, 1}, {172, 31 - n%16, n, 1}, {192, 168, n, 1}}[i/100]), 24)
	})
	v6 = first(2*256, func(i int) netip.Prefix {
		a := [16]byte{0: 0xfd, 1: 0x77, 2: 0xb4, 3: 0xa1, 7: byte(i), 15: 1}
		if i >= 256 {
			a[0], a[1] = 0xfc, byte(i)
		}
		return netip.PrefixFrom(netip.AddrFrom16(a), 64)
	})
	return v4, v6
}

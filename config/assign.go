package config

import (
	"fmt"
	"net/netip"
	"slices"
)

// ranges are the tunnel's address ranges and who has what of them.
type ranges struct {
	own      []at[netip.Prefix] // the server's address with the length of the range
	complete bool               // whether all of them could be read
	taken    map[netip.Addr]*node
	next     []netip.Addr // for each of own, nothing below it is free
	full     []bool       // for each of own, whether that was said
}

// newRanges reads tunnel.addresses.
func newRanges(list *node, errs *Errors) *ranges {
	r := &ranges{taken: map[netip.Addr]*node{}}
	given := each(list, errs, parseTunnelAddress)
	notEmptyList(list, errs, "a tunnel needs an address range", `write addresses = ["10.77.0.1/24", "fd77:b4a1::1/64"]`)
	r.complete = list != nil && !errs.touches(list.path)
	for _, p := range given {
		same := func(o at[netip.Prefix]) bool { return o.value.Addr().Is4() == p.value.Addr().Is4() }
		if i := slices.IndexFunc(r.own, same); i >= 0 {
			errs.add(p.node, "must be the only one of its family, but there is "+r.own[i].node.place(),
				"give one IPv4 and one IPv6 address at most")
			r.complete = false
			continue
		}
		if reserved(p.value, p.value.Addr()) {
			// Clients do not learn this address, and would take it for their own use.
			errs.add(p.node, "must not be one of the four addresses before the last of its range, which braid keeps for itself",
				fmt.Sprintf("write %q", netip.PrefixFrom(firstHost(p.value), p.value.Bits()).String()))
		}
		r.own = append(r.own, p)
		r.taken[p.value.Addr()] = p.node
		r.next = append(r.next, firstHost(p.value))
	}
	r.full = make([]bool, len(r.own))
	return r
}

// take reads the addresses that a client was given by hand.
func (r *ranges) take(list *node, errs *Errors) []netip.Addr {
	if list == nil {
		return nil
	}
	notEmptyList(list, errs, "a client needs an address", "leave it out to have addresses taken from tunnel.addresses")
	var mine []at[netip.Addr]
	for _, a := range each(list, errs, parseAddr) {
		same := func(o at[netip.Addr]) bool { return o.value.Is4() == a.value.Is4() }
		if before := r.taken[a.value]; before != nil {
			errs.add(a.node, "is taken by "+before.place(), "choose another one, or leave addresses out")
		} else if problem, mend := r.foreign(a.value); problem != "" {
			errs.add(a.node, problem, mend)
		} else if i := slices.IndexFunc(mine, same); i >= 0 {
			errs.add(a.node, "must be the only one of its family, but there is "+mine[i].node.place(),
				"give one IPv4 and one IPv6 address at most")
		} else {
			mine = append(mine, a)
		}
		if r.taken[a.value] == nil {
			r.taken[a.value] = a.node
		}
	}
	return bare(mine)
}

// foreign says why no client can have an address, or "".
func (r *ranges) foreign(a netip.Addr) (problem, mend string) {
	for _, p := range r.own {
		if !p.value.Contains(a) {
			continue
		}
		if what := notHost(p.value, a); what != "" {
			return "is the " + what + " in " + p.value.Masked().String() + ", not a host's", "choose another one, or leave addresses out"
		}
		if reserved(p.value, a) {
			list := Reserved(p.value.Masked())
			return fmt.Sprintf("is one of %v to %v, which braid keeps for itself", list[0], list[len(list)-1]), "choose another one, or leave addresses out"
		}
		return "", ""
	}
	if !r.complete {
		return "", "" // it may lie in the range that could not be read
	}
	where := ""
	for i, p := range r.own {
		if i > 0 {
			where += " or "
		}
		where += p.value.Masked().String()
	}
	return "must lie in the range of tunnel.addresses, " + where, "choose one in it, or leave addresses out"
}

// others returns the range in which a is an address of somebody but the server,
// or nil.
func (r *ranges) others(a netip.Addr) *node {
	for _, p := range r.own {
		if p.value.Contains(a) && p.value.Addr() != a {
			return p.node
		}
	}
	return nil
}

// outside notes a client's routes that the server cannot have, and returns the
// others.
func (r *ranges) outside(routes []at[netip.Prefix], errs *Errors) []at[netip.Prefix] {
	return slices.DeleteFunc(routes, func(route at[netip.Prefix]) bool {
		if route.value.Bits() == 0 {
			errs.add(route.node, "is every address there is, so the server's own traffic would go to this client",
				`name the networks behind this client, such as "192.168.10.0/24"`)
			return true
		}
		for _, p := range r.own {
			if route.value.Overlaps(p.value) {
				errs.add(route.node, "overlaps the tunnel's range "+p.value.Masked().String()+", given as "+p.node.place(),
					"leave it out: clients have addresses of that range by themselves")
				return true
			}
		}
		return false
	})
}

// assign gives the client at n the lowest free address of each range.
func (r *ranges) assign(n *node, errs *Errors) []netip.Addr {
	var mine []netip.Addr
	for i, p := range r.own {
		a := r.next[i]
		for p.value.Contains(a) && (r.taken[a] != nil || special(single(a)) != "" || reserved(p.value, a)) {
			a = a.Next()
		}
		r.next[i] = a
		if !p.value.Contains(a) || notHost(p.value, a) != "" {
			if !r.full[i] {
				r.full[i] = true // once: it is the same for all that follow
				absent := &node{kind: kindTable, offset: n.offset, line: n.line, path: n.path + ".addresses"}
				errs.addHidden(absent, "no address is left in the tunnel's range "+p.value.Masked().String(),
					"make the range in tunnel.addresses larger, or remove clients")
			}
			continue
		}
		r.taken[a] = n
		mine = append(mine, a)
	}
	return mine
}

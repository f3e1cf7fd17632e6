package hostnet

import (
	"net/netip"
	"slices"
)

// plan is a Desired worked out for one host and slot.
type plan struct {
	addresses []netip.Prefix
	routes    []Route
	rules     []Rule // in the order of their priorities
	nat       *NAT
}

// ruleBase is the first priority of a slot.
func ruleBase(slot int) int { return rulesBase + slot*rulesPerSlot }

// tunnelTable is the table of the tunnel's routes of one prefix length.
func tunnelTable(slot, bits int) uint32 {
	return uint32(tablesBase + slot*tablesPerSlot + bits)
}

// uplinkTable is the table of the uplink with this interface index.
func uplinkTable(slot, index int) uint32 {
	return uint32(uplinkTablesBase + slot*uplinkTablesPerSlot + index)
}

// slotOfRule and slotOfTable say to which slot something belongs; -1: none.
func slotOfRule(priority int) int {
	if priority < rulesBase || priority >= rulesBase+slots*rulesPerSlot {
		return -1
	}
	return (priority - rulesBase) / rulesPerSlot
}

func slotOfTable(table uint32) (slot int, uplink bool) {
	t := int64(table)
	switch {
	case t >= tablesBase && t < tablesBase+slots*tablesPerSlot:
		return int(t-tablesBase) / tablesPerSlot, false
	case t >= uplinkTablesBase && t < uplinkTablesBase+slots*uplinkTablesPerSlot:
		return int(t-uplinkTablesBase) / uplinkTablesPerSlot, true
	}
	return -1, false
}

// natTable is the name of a device's table in nftables.
func natTable(device string) string { return "braid-" + device }

// makePlan works out d. Uplinks carry the names that their interfaces have
// now; without v6 the tunnel has no IPv6, but carriers may.
func makePlan(d Desired, slot int, v6 bool) plan {
	if !v6 {
		six := func(p netip.Prefix) bool { return p.Addr().Is6() }
		d.Addresses = slices.DeleteFunc(slices.Clone(d.Addresses), six)
		d.Routes = slices.DeleteFunc(slices.Clone(d.Routes), six)
		d.Exclude = slices.DeleteFunc(slices.Clone(d.Exclude), six)
	}
	p := plan{addresses: d.Addresses}
	p.planFamily(d, slot, false)
	p.planFamily(d, slot, true)
	if d.filters() {
		p.nat = &NAT{
			Table: natTable(d.Device), Device: d.Device, Addresses: d.Addresses, Masquerade: masked(d.Masquerade),
			Sources: masked(d.Sources), Forwards: d.Forwards, Passages: d.Passages,
		}
	}
	return p
}

// planFamily adds the routes and rules of one family.
func (p *plan) planFamily(d Desired, slot int, v6 bool) {
	base := ruleBase(slot)
	var carriers, tunnel []Rule

	for _, u := range d.Uplinks {
		if !u.Usable() {
			continue
		}
		table := uplinkTable(slot, u.Index)
		var any bool
		for _, a := range u.Addresses {
			if a.Is6() != v6 {
				continue
			}
			any = true
			carriers = append(carriers, Rule{V6: v6, Priority: base + uplinkRules, Mark: d.Mark, From: a, Table: table, Suppress: -1})
			for _, s := range d.Servers {
				if s.Is6() == v6 {
					carriers = append(carriers, Rule{V6: v6, Priority: base + serverRules, From: a, To: s, Table: table, Suppress: -1})
				}
			}
		}
		if any {
			p.routes = append(p.routes, uplinkRoutes(u, table, v6)...)
		}
	}

	bits := 32
	if v6 {
		bits = 128
	}
	exclude := masked(d.Exclude)
	byLength := make(map[int][]netip.Prefix)
	for _, r := range tunnelRoutes(d, exclude) {
		if r.Addr().Is6() == v6 {
			byLength[r.Bits()] = append(byLength[r.Bits()], r)
		}
	}
	for l := bits; l >= 0; l-- {
		routes := byLength[l]
		if len(routes) == 0 {
			continue
		}
		table := tunnelTable(slot, l)
		for _, r := range routes {
			p.routes = append(p.routes, Route{Table: table, Dst: r, Device: d.Device})
		}
		for _, e := range exclude {
			if e.Addr().Is6() == v6 && e.Bits() > l {
				p.routes = append(p.routes, Route{Table: table, Dst: e, Throw: true})
			}
		}
		priority := base + tunnelRules + 2*(bits-l)
		rule := Rule{V6: v6, Mark: d.Mark, NotMark: d.Mark != 0}
		rule.Priority, rule.Table, rule.Suppress = priority, tableMain, l
		tunnel = append(tunnel, rule)
		rule.Priority, rule.Table, rule.Suppress = priority+1, table, -1
		tunnel = append(tunnel, rule)
	}

	if d.Mark != 0 && len(carriers)+len(tunnel) > 0 {
		carriers = append(carriers, Rule{V6: v6, Priority: base + mainRule, Mark: d.Mark, Table: tableMain, Suppress: -1})
	}
	p.rules = append(append(p.rules, carriers...), tunnel...)
}

// tunnelRoutes are the networks that go into the tunnel: those asked for
// without those excluded, and the TUN's own.
func tunnelRoutes(d Desired, exclude []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range d.Routes {
		if !slices.Contains(exclude, r.Masked()) {
			out = append(out, r)
		}
	}
	for _, a := range d.Addresses {
		if !a.IsSingleIP() {
			out = append(out, a)
		}
	}
	return masked(out)
}

// uplinkRoutes are the routes of an uplink's table: its link and its default.
func uplinkRoutes(u Uplink, table uint32, v6 bool) []Route {
	var out []Route
	for _, s := range masked(u.Subnets) {
		if s.Addr().Is6() == v6 && s.Bits() > 0 {
			out = append(out, Route{Table: table, Dst: s, Device: u.Name})
		}
	}
	gateway, ok, any := u.Gateway4, u.Default4, netip.IPv4Unspecified()
	if v6 {
		gateway, ok, any = u.Gateway6, u.Default6, netip.IPv6Unspecified()
	}
	if ok || gateway.IsValid() {
		out = append(out, Route{Table: table, Dst: netip.PrefixFrom(any, 0), Device: u.Name, Gateway: gateway.WithZone("")})
	}
	return out
}

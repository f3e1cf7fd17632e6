package hostnet

import (
	"slices"
)

// diff compares the plan with the host. The additions stand in the order in
// which they must be made: what carriers need before what could catch them,
// and each guard before the table that it guards. Removals go the other way.
func (m *Manager) diff(d Desired, device Link, p plan, links []Link) (add, remove []Change, err error) {
	plus := func(o Object) { add = append(add, Change{Object: o}) }
	minus := func(o Object) { remove = append(remove, Change{Remove: true, Object: o}) }

	// The device.
	if d.Device != "" {
		have, err := m.host.Addresses(d.Device)
		if err != nil {
			return nil, nil, err
		}
		for _, a := range p.addresses {
			if !slices.Contains(have, a) {
				plus(Address{d.Device, a})
			}
		}
		if !linkOf(links, device.Index).Up {
			plus(LinkUp{d.Device})
		}
	}

	// Routes: a wrong one is replaced by adding the right one.
	routes, err := m.host.Routes()
	if err != nil {
		return nil, nil, err
	}
	want := make(map[routeKey]Route)
	for _, r := range p.routes {
		want[r.key()] = r
	}
	right := make(map[routeKey]bool)
	var stale []Route
	for _, r := range routes {
		w, wanted := want[r.key()]
		slot, _ := slotOfTable(r.Table)
		switch {
		case wanted && w == r:
			right[r.key()] = true
		case !wanted && slot == m.st.Slot:
			stale = append(stale, r)
		}
	}
	for _, r := range p.routes {
		if !right[r.key()] {
			right[r.key()] = true
			plus(r)
		}
	}

	// Rules.
	rules, err := m.host.Rules()
	if err != nil {
		return nil, nil, err
	}
	there := make(map[Rule]bool)
	for _, r := range rules {
		there[r] = true
	}
	for _, r := range p.rules {
		if !there[r] {
			there[r] = true
			plus(r)
		}
	}
	slices.SortStableFunc(rules, func(a, b Rule) int { return b.Priority - a.Priority })
	for _, r := range rules {
		if slotOfRule(r.Priority) == m.st.Slot && !slices.Contains(p.rules, r) {
			minus(r)
		}
	}
	for _, r := range stale {
		minus(r)
	}

	if err := m.diffNAT(p, plus, minus); err != nil {
		return nil, nil, err
	}
	if err := m.diffDevices(d, p, links, minus, &remove); err != nil {
		return nil, nil, err
	}
	return add, remove, nil
}

// routeKey is what two routes of one table cannot share.
type routeKey struct {
	table uint32
	dst   string
}

func (r Route) key() routeKey { return routeKey{r.Table, r.Dst.String()} }

// diffNAT compares the nftables tables. Without a wish and a memory of one,
// nftables is not even asked: not every host has it.
func (m *Manager) diffNAT(p plan, plus, minus func(Object)) error {
	if p.nat != nil {
		have, _, err := m.host.NAT(p.nat.Table)
		if err != nil {
			return err
		}
		if !slices.Equal(have, p.nat.lines()) {
			if err := m.noteNAT(p.nat.Table); err != nil {
				return err
			}
			plus(*p.nat)
		}
	}
	for _, table := range m.st.NAT {
		if p.nat != nil && p.nat.Table == table {
			continue
		}
		_, ok, err := m.host.NAT(table)
		if err != nil {
			return err
		}
		if ok {
			minus(NAT{Table: table})
		}
	}
	return nil
}

// noteNAT remembers that a table is ours, before it is made.
func (m *Manager) noteNAT(table string) error {
	if slices.Contains(m.st.NAT, table) {
		return nil
	}
	m.st.NAT = append(m.st.NAT, table)
	return m.st.write(m.path)
}

// sourcesOnly makes a table that nobody has asked for by name, on a client that
// happens to be a router. Where nftables is missing, all else goes on without it.
func (m *Manager) sourcesOnly(d *Desired, p *plan) error {
	if p.nat == nil || len(d.Masquerade)+len(d.Forwards)+len(d.Passages) > 0 {
		return nil
	}
	have, _, err := m.host.NAT(p.nat.Table)
	if err == nil && !slices.Equal(have, p.nat.lines()) {
		if err := m.noteNAT(p.nat.Table); err != nil {
			return err
		}
		err = m.do(Change{Object: *p.nat})
	}
	if err == nil {
		return nil
	}
	m.once("what is forwarded into the tunnel keeps its source", "error", err, "hint", mendOf(err))
	d.Sources, p.nat = nil, nil
	return nil
}

// diffDevices finds what to remove from the device, and from devices that
// were ours before.
func (m *Manager) diffDevices(d Desired, p plan, links []Link, minus func(Object), remove *[]Change) error {
	for _, s := range m.st.Devices {
		l := linkOf(links, s.Index)
		if l.Name != s.Name {
			continue // gone with its process
		}
		have, err := m.host.Addresses(s.Name)
		if err != nil {
			return err
		}
		for _, a := range have {
			if s.Name != d.Device || !slices.Contains(p.addresses, a) {
				minus(Address{s.Name, a})
			}
		}
		if l.MTU != s.MTU && s.Name != d.Device {
			*remove = append(*remove, Change{Object: LinkMTU{s.Name, s.MTU}})
		}
		if s.Name != d.Device && l.Up && !s.Up {
			minus(LinkUp{s.Name})
		}
	}
	return nil
}

// linkOf returns the interface with this index, or none.
func linkOf(links []Link, index int) Link {
	for _, l := range links {
		if l.Index == index {
			return l
		}
	}
	return Link{}
}

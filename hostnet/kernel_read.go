package hostnet

import (
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Links lists all interfaces.
func (k *Kernel) Links() ([]Link, error) {
	list, err := dump(k.nl.LinkList)
	if err != nil {
		return nil, explain("list interfaces", err)
	}
	var out []Link
	for _, l := range list {
		a := l.Attrs()
		out = append(out, Link{Name: a.Name, Index: a.Index, MTU: a.MTU, Up: a.RawFlags&unix.IFF_UP != 0})
	}
	return out, nil
}

// Addresses lists a device's addresses without link-local ones.
func (k *Kernel) Addresses(device string) ([]netip.Prefix, error) {
	l, err := k.nl.LinkByName(device)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil, nil
	}
	if err != nil {
		return nil, explain("find interface "+device, err)
	}
	list, err := dump(func() ([]netlink.Addr, error) { return k.nl.AddrList(l, unix.AF_UNSPEC) })
	if err != nil {
		return nil, explain("list addresses", err)
	}
	var out []netip.Prefix
	for _, a := range list {
		if p := prefixOf(a.IPNet); !p.Addr().IsLinkLocalUnicast() {
			out = append(out, p)
		}
	}
	return out, nil
}

// listRoutes lists routes that the kernel has filtered.
func (k *Kernel) listRoutes(v6 bool, filter netlink.Route, mask uint64) ([]netlink.Route, error) {
	list, err := dump(func() ([]netlink.Route, error) {
		return k.strict.RouteListFiltered(netlinkFamily(v6), &filter, mask)
	})
	// A kernel without IPv6, or a table in which there has never been anything.
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, explain("list routes", err)
	}
	// Where IPv6 is absent some kernels answer for all families.
	var out []netlink.Route
	for _, r := range list {
		if r.Family == netlinkFamily(v6) {
			out = append(out, r)
		}
	}
	return out, nil
}

// Routes lists the routes of all tables that carry our Protocol.
func (k *Kernel) Routes() ([]Route, error) {
	links, err := k.Links()
	if err != nil {
		return nil, err
	}
	var out []Route
	for _, v6 := range []bool{false, true} {
		// The unspecified table means all, and is needed, for the library
		// shows only main otherwise.
		list, err := k.listRoutes(v6, netlink.Route{Protocol: Protocol}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			if r.Protocol != Protocol {
				continue
			}
			route := Route{Table: uint32(r.Table), Dst: prefixOf(r.Dst), Throw: r.Type == unix.RTN_THROW}
			if !route.Throw {
				route.Device, route.Gateway = linkOf(links, r.LinkIndex).Name, gatewayOf(r.Gw, r.Via)
			}
			out = append(out, route)
		}
	}
	return out, nil
}

func gatewayOf(gw []byte, via netlink.Destination) netip.Addr {
	if v, ok := via.(*netlink.Via); ok && v != nil {
		return addrOf(v.Addr)
	}
	return addrOf(gw)
}

// Rules lists the rules that carry our Protocol.
func (k *Kernel) Rules() ([]Rule, error) {
	var out []Rule
	for _, v6 := range []bool{false, true} {
		list, err := dump(func() ([]netlink.Rule, error) { return k.nl.RuleList(netlinkFamily(v6)) })
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // no IPv6 at all
		}
		if err != nil {
			return nil, explain("list rules", err)
		}
		for _, r := range list {
			if r.Protocol != Protocol || r.Family != netlinkFamily(v6) {
				continue
			}
			out = append(out, Rule{
				V6: v6, Priority: r.Priority, Mark: r.Mark, NotMark: r.Invert, From: prefixOf(r.Src).Addr(),
				To:    prefixOf(r.Dst).Addr(),
				Table: uint32(r.Table), Suppress: r.SuppressPrefixlen,
			})
		}
	}
	return out, nil
}

// Rejects lists the destinations that main answers with an error.
func (k *Kernel) Rejects() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, v6 := range []bool{false, true} {
		for _, kind := range []int{unix.RTN_UNREACHABLE, unix.RTN_BLACKHOLE, unix.RTN_PROHIBIT} {
			list, err := k.listRoutes(v6, netlink.Route{Table: tableMain, Type: kind}, netlink.RT_FILTER_TABLE)
			if err != nil {
				return nil, err
			}
			for _, r := range list {
				if r.Type == kind && r.Table == tableMain {
					out = append(out, prefixOf(r.Dst))
				}
			}
		}
	}
	return out, nil
}

// Sysctl returns a setting.
func (k *Kernel) Sysctl(key string) (value string, err error) {
	err = k.ns.do(func() error {
		value, err = readSysctl(key)
		return err
	})
	return value, err
}

// NAT lists the rules of a table of ours.
func (k *Kernel) NAT(table string) (lines []string, ok bool, err error) {
	err = k.ns.do(func() error {
		lines, ok, err = readNAT(table)
		return err
	})
	return lines, ok, err
}

// KillSwitch lists the rules of a kill switch.
func (k *Kernel) KillSwitch(table string) (texts []string, ok bool, err error) {
	err = k.ns.do(func() error {
		texts, ok, err = readKillSwitch(table)
		return err
	})
	return texts, ok, err
}

// KillSwitches lists the tables of kill switches.
func (k *Kernel) KillSwitches() (tables []string, err error) {
	err = k.ns.do(func() error {
		tables, err = listKillSwitches()
		return err
	})
	return tables, err
}

// inventory looks at all that uplinks are found in.
func (k *Kernel) inventory() (inventory, error) {
	var inv inventory
	links, err := dump(k.nl.LinkList)
	if err != nil {
		return inv, explain("list interfaces", err)
	}
	for _, l := range links {
		a := l.Attrs()
		// The carrier proper, and what the driver says beyond it: a wireless
		// interface that is not associated has the first without the second.
		const carrier = unix.IFF_LOWER_UP | unix.IFF_RUNNING
		inv.links = append(inv.links, foundLink{
			Link:     Link{Name: a.Name, Index: a.Index, MTU: a.MTU, Up: a.RawFlags&unix.IFF_UP != 0},
			carrier:  a.RawFlags&carrier == carrier,
			loopback: a.RawFlags&unix.IFF_LOOPBACK != 0,
		})
	}
	addresses, err := dump(func() ([]netlink.Addr, error) { return k.nl.AddrList(nil, unix.AF_UNSPEC) })
	if err != nil {
		return inv, explain("list addresses", err)
	}
	for _, a := range addresses {
		if a.IPNet != nil {
			inv.addresses = append(inv.addresses, foundAddress{a.LinkIndex, addrOf(a.IP), uint32(a.Flags)})
		}
	}
	for _, v6 := range []bool{false, true} {
		routes, err := k.listRoutes(v6, netlink.Route{Table: tableMain, Type: unix.RTN_UNICAST}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return inv, err
		}
		for _, r := range routes {
			if r.Type != unix.RTN_UNICAST || r.Table != tableMain {
				continue
			}
			f := foundRoute{dst: prefixOf(r.Dst), source: addrOf(r.Src), metric: r.Priority}
			if len(r.MultiPath) == 0 {
				f.index, f.gateway = r.LinkIndex, gatewayOf(r.Gw, r.Via)
				inv.routes = append(inv.routes, f)
			}
			for _, hop := range r.MultiPath {
				f.index, f.gateway = hop.LinkIndex, gatewayOf(hop.Gw, hop.Via)
				inv.routes = append(inv.routes, f)
			}
		}
	}
	return inv, nil
}

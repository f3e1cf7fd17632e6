package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// This file looks at a host for somebody who only wants to know: nothing here
// changes anything.

// Interface is an interface as it is, uplink or not.
type Interface struct {
	Name      string
	Up        bool // and has a carrier
	Addresses []netip.Addr
}

// Uplinks lists the uplinks now; allow is as in Watch.
func (k *Kernel) Uplinks(allow func(name string) bool) ([]Uplink, error) {
	inv, err := k.inventory()
	if err != nil {
		return nil, err
	}
	return findUplinks(inv, allow), nil
}

// Interfaces lists all interfaces but loopback, with their addresses that are not
// link-local.
func (k *Kernel) Interfaces() ([]Interface, error) {
	inv, err := k.inventory()
	if err != nil {
		return nil, err
	}
	var out []Interface
	for _, l := range inv.links {
		if l.loopback {
			continue
		}
		i := Interface{Name: l.Name, Up: l.Up && l.carrier}
		for _, a := range inv.addresses {
			if a.index == l.Index && a.addr.IsGlobalUnicast() {
				i.Addresses = append(i.Addresses, a.addr)
			}
		}
		out = append(out, i)
	}
	return out, nil
}

// HardwareAddress is that of a neighbour on an interface's link, as far as the
// kernel knows it; empty: it does not.
func (k *Kernel) HardwareAddress(index int, neighbour netip.Addr) (string, error) {
	list, err := dump(func() ([]netlink.Neigh, error) { return k.nl.NeighList(index, netlinkFamily(neighbour.Is6())) })
	if err != nil {
		return "", explain("list neighbours", err)
	}
	for _, n := range list {
		if addrOf(n.IP) == neighbour && n.State&(unix.NUD_FAILED|unix.NUD_INCOMPLETE) == 0 && len(n.HardwareAddr) > 0 {
			return n.HardwareAddr.String(), nil
		}
	}
	return "", nil
}

// ReversePathStrict reports whether what comes by a device is dropped unless the
// way back to its source leads there.
func (k *Kernel) ReversePathStrict(device string) (bool, error) {
	all, err := k.Sysctl(confKey("ipv4", "all", "rp_filter"))
	own, err2 := k.Sysctl(confKey("ipv4", device, "rp_filter"))
	if err := errors.Join(err, err2); err != nil {
		return false, err
	}
	return max(all, own) == "1", nil
}

// ruleVRF is where the kernel itself puts the rule of virtual routing domains.
const ruleVRF = 1000

// ForeignRules lists, as ip rule prints them, others' routing rules that come
// before all of ours.
func (k *Kernel) ForeignRules() (list []string, err error) {
	for _, v6 := range []bool{false, true} {
		rules, err := dump(func() ([]netlink.Rule, error) { return k.nl.RuleList(netlinkFamily(v6)) })
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue
		}
		if err != nil {
			return nil, explain("list rules", err)
		}
		for _, r := range rules {
			if r.Protocol == Protocol || r.Priority == 0 || r.Priority == ruleVRF || r.Priority >= rulesBase {
				continue
			}
			list = append(list, strings.TrimSpace(fmt.Sprintf("ip %s %v", family(v6), r)))
		}
	}
	return list, nil
}

// ClosedChain is a chain of somebody else's firewall that drops what the tunnel
// forwards.
type ClosedChain struct {
	Chain string // family, table and name
	Mend  string // a command
}

// ClosedChains lists those for packets from a device with addresses in the ranges,
// or, with toward, for packets to it.
func (k *Kernel) ClosedChains(device string, ranges []netip.Prefix, toward bool) (out []ClosedChain, err error) {
	chains, err := k.Filters(device)
	if err != nil {
		return nil, err
	}
	for _, f := range (traffic{toward: toward, ranges: masked(ranges)}).closed(chains) {
		c := ClosedChain{strings.Join([]string{f.Family, f.Table, f.Name}, " "), f.mend(chains, device)}
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out, nil
}

// HasTable reports whether there is our table of nftables for a device.
func (k *Kernel) HasTable(device string) (bool, error) {
	_, ok, err := k.NAT(natTable(device))
	return ok, err
}

package topology

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Source rules stand before the main table's rule (32766), and far behind what
// a VPN would use.
const (
	sourceRulePriority = 32000
	sourceTable        = 1000 // plus the uplink's index
)

// AddSourceRules makes the client's packets leave by the uplink whose address
// they have as source, with a rule and a table for each uplink as of now:
//
//	ip rule add from ADDRESS lookup TABLE
//	ip route add default via ROUTER dev UPLINK table TABLE
//
// Kernel MPTCP without braid needs it.
func (n *Net) AddSourceRules() error {
	for name, a := range n.accesses {
		err := n.addSourceRule(a, a.prefix4(a.hostNumber).Addr(), a.prefix4(1).Addr())
		if err == nil && a.uplink.IPv6 {
			err = n.addSourceRule(a, a.prefix6(a.hostNumber).Addr(), a.prefix6(1).Addr())
		}
		if err != nil {
			return fmt.Errorf("add source rule of uplink %s: %w", name, err)
		}
	}
	return nil
}

func (n *Net) addSourceRule(a *access, from, via netip.Addr) error {
	return a.client.Netlink(func(nl *netlink.Handle) error {
		link, err := nl.LinkByName(a.uplink.Name)
		if err != nil {
			return err
		}
		everything := default4
		family := netlink.FAMILY_V4
		if from.Is6() {
			everything, family = default6, netlink.FAMILY_V6
		}
		err = nl.RouteReplace(&netlink.Route{
			LinkIndex: link.Attrs().Index,
			Dst:       &net.IPNet{IP: everything.Addr().AsSlice(), Mask: net.CIDRMask(0, from.BitLen())},
			Gw:        via.AsSlice(),
			Table:     sourceTable + a.index,
		})
		if err != nil {
			return err
		}
		rule := netlink.NewRule()
		rule.Family = family
		rule.Priority = sourceRulePriority
		rule.Src = &net.IPNet{IP: from.AsSlice(), Mask: net.CIDRMask(from.BitLen(), from.BitLen())}
		rule.Table = sourceTable + a.index
		return nl.RuleAdd(rule)
	})
}

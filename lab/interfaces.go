package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// InterfaceCounters are what the kernel counts on an interface, in bytes and
// packets of whole frames. Of an interface with segmentation offload (a veth)
// they count super-packets.
type InterfaceCounters struct {
	RxBytes, TxBytes     uint64
	RxPackets, TxPackets uint64
}

// Counters reads the counters of an interface of the host.
func (h *Host) Counters(interfaceName string) (c InterfaceCounters, err error) {
	err = h.change("read counters of", interfaceName, func(_ *netlink.Handle, l netlink.Link) error {
		s := l.Attrs().Statistics
		if s == nil {
			return errors.New("the kernel gave none")
		}
		c = InterfaceCounters{s.RxBytes, s.TxBytes, s.RxPackets, s.TxPackets}
		return nil
	})
	return c, err
}

// Interfaces lists the names of the host's interfaces, lo included.
func (h *Host) Interfaces() ([]string, error) {
	var links []netlink.Link
	err := h.Netlink(func(nl *netlink.Handle) (err error) {
		links, err = nl.LinkList()
		for tries := 0; errors.Is(err, netlink.ErrDumpInterrupted) && tries < 10; tries++ {
			links, err = nl.LinkList() // an interface came or went meanwhile
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list interfaces of %s: %w", h.name, err)
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Attrs().Name)
	}
	return names, nil
}

// SetUp brings an interface up.
func (h *Host) SetUp(interfaceName string) error {
	return h.change("bring up", interfaceName, (*netlink.Handle).LinkSetUp)
}

// SetDown takes an interface down. As always on Linux, that flushes its IPv6
// addresses, its routes and its neighbours.
func (h *Host) SetDown(interfaceName string) error {
	return h.change("take down", interfaceName, (*netlink.Handle).LinkSetDown)
}

// SetMTU sets the MTU of an interface, in bytes.
func (h *Host) SetMTU(interfaceName string, bytes int) error {
	return h.change("set mtu of", interfaceName, func(nl *netlink.Handle, l netlink.Link) error { return nl.LinkSetMTU(l, bytes) })
}

// AddAddress gives an interface an address, usable at once, with the network it
// is in. One that is there already is no error.
func (h *Host) AddAddress(interfaceName string, p netip.Prefix) error {
	return h.change(fmt.Sprintf("add address %v to", p), interfaceName, func(nl *netlink.Handle, l netlink.Link) error {
		a := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		return nl.AddrReplace(l, a)
	})
}

// RemoveAddress takes an address from an interface.
func (h *Host) RemoveAddress(interfaceName string, p netip.Prefix) error {
	return h.change(fmt.Sprintf("remove address %v from", p), interfaceName, func(nl *netlink.Handle, l netlink.Link) error {
		return nl.AddrDel(l, &netlink.Addr{IPNet: ipNet(p)})
	})
}

// AddNeighbor makes a permanent entry in the host's neighbour table (ARP or
// NDP), so that nothing has to be asked over the link.
func (h *Host) AddNeighbor(interfaceName string, ip netip.Addr, mac net.HardwareAddr) error {
	return h.change(fmt.Sprintf("add neighbour %v on", ip), interfaceName, func(nl *netlink.Handle, l netlink.Link) error {
		return nl.NeighSet(&netlink.Neigh{
			LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT,
			IP: ip.AsSlice(), HardwareAddr: mac,
		})
	})
}

// Route is a route in a host's main table.
type Route struct {
	Destination netip.Prefix // 0.0.0.0/0 or ::/0 is the default route
	Via         netip.Addr   // gateway; none when zero
	Interface   string
	Metric      int // smaller is preferred
}

// AddRoute adds a route. One with the same destination and metric is replaced,
// whatever its interface.
func (h *Host) AddRoute(r Route) error {
	return h.change(fmt.Sprintf("add route to %v on", r.Destination), r.Interface, func(nl *netlink.Handle, l netlink.Link) error {
		route := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(r.Destination.Masked()), Priority: r.Metric}
		if r.Via.IsValid() {
			route.Gw = r.Via.AsSlice()
		}
		return nl.RouteReplace(route)
	})
}

// change does something to, or with, an interface by name.
func (h *Host) change(what, name string, do func(*netlink.Handle, netlink.Link) error) error {
	return h.Netlink(func(nl *netlink.Handle) error {
		l, err := nl.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find interface %s in %s: %w", name, h.name, err)
		}
		if err := do(nl, l); err != nil {
			return fmt.Errorf("%s %s in %s: %w", what, name, h.name, err)
		}
		return nil
	})
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

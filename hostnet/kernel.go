package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Kernel is the real Host: one network namespace of the running kernel. Its
// netlink sockets are opened once and stay in the namespace of the thread
// that called OpenHost; sysctls and nftables are reached through a thread of
// that namespace. It is used by one goroutine at a time.
type Kernel struct {
	ns *namespace
	nl *netlink.Handle
	// strict asks the kernel to filter dumps of routes, so that a host with
	// a million routes is no burden. Other dumps are refused there, for the
	// library's requests are not strictly formed.
	strict *netlink.Handle
}

var _ Host = (*Kernel)(nil)

// OpenHost opens the network namespace of the calling thread.
func OpenHost() (*Kernel, error) {
	ns, err := currentNamespace()
	if err != nil {
		return nil, fmt.Errorf("open host network: %w", err)
	}
	k := &Kernel{ns: ns}
	if err := ns.do(k.open); err != nil {
		return nil, errors.Join(fmt.Errorf("open host network: %w", err), k.Close())
	}
	return k, nil
}

func (k *Kernel) open() (err error) {
	if k.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return err
	}
	if k.strict, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return err
	}
	return k.strict.SetStrictCheck(true)
}

// Close closes all sockets. What was changed stays.
func (k *Kernel) Close() error {
	for _, h := range []*netlink.Handle{k.nl, k.strict} {
		if h != nil {
			h.Close()
		}
	}
	return k.ns.close()
}

// Namespace identifies the network namespace until the next boot.
func (k *Kernel) Namespace() string { return fmt.Sprintf("net:%d", k.ns.cookie) }

// Do makes one change.
func (k *Kernel) Do(c Change) error {
	var err error
	switch o := c.Object.(type) {
	case Address:
		err = k.doAddress(o, c.Remove)
	case LinkMTU:
		err = k.withLink(o.Device, func(l netlink.Link) error { return k.nl.LinkSetMTU(l, o.MTU) })
	case LinkUp:
		err = k.withLink(o.Device, func(l netlink.Link) error {
			if c.Remove {
				return k.nl.LinkSetDown(l)
			}
			return k.nl.LinkSetUp(l)
		})
	case Route:
		err = k.doRoute(o, c.Remove)
	case Rule:
		err = k.doRule(o, c.Remove)
	case Setting:
		return k.ns.do(func() error { return writeSysctl(o.Key, o.Value) })
	case NAT:
		return k.ns.do(func() error { return doNAT(o, c.Remove) })
	case KillSwitchTable:
		return k.ns.do(func() error { return doKillSwitch(o, c.Remove) })
	case Nameservers:
		return k.ns.do(func() error { return k.doNameservers(o, c.Remove) })
	default:
		return fmt.Errorf("no such object: %T", o)
	}
	return explain("netlink", err)
}

func (k *Kernel) withLink(name string, f func(netlink.Link) error) error {
	l, err := k.nl.LinkByName(name)
	if err != nil {
		return err
	}
	return f(l)
}

func (k *Kernel) doAddress(a Address, remove bool) error {
	return k.withLink(a.Device, func(l netlink.Link) error {
		addr := &netlink.Addr{IPNet: ipNet(a.Prefix), Flags: unix.IFA_F_NOPREFIXROUTE, Broadcast: net.IPv4zero}
		if remove {
			return unless(k.nl.AddrDel(l, addr), unix.EADDRNOTAVAIL)
		}
		return unless(k.nl.AddrAdd(l, addr), unix.EEXIST)
	})
}

func (k *Kernel) doRoute(r Route, remove bool) error {
	route := &netlink.Route{Table: int(r.Table), Dst: ipNet(r.Dst), Protocol: Protocol}
	if r.Throw {
		route.Type = unix.RTN_THROW
	} else {
		l, err := k.nl.LinkByName(r.Device)
		if err != nil {
			if remove && errors.As(err, new(netlink.LinkNotFoundError)) {
				return nil // its routes went with it
			}
			return err
		}
		route.LinkIndex = l.Attrs().Index
	}
	switch {
	case !r.Gateway.IsValid():
	case r.Gateway.Is6() && r.Dst.Addr().Is4():
		route.Via = &netlink.Via{AddrFamily: unix.AF_INET6, Addr: r.Gateway.AsSlice()}
	default:
		route.Gw = r.Gateway.AsSlice()
	}
	if remove {
		route.Scope = unix.RT_SCOPE_NOWHERE // any
		return unless(k.nl.RouteDel(route), unix.ESRCH)
	}
	if r.Gateway.IsValid() {
		route.Flags = int(netlink.FLAG_ONLINK)
	} else if !r.Throw && r.Dst.Addr().Is4() {
		route.Scope = unix.RT_SCOPE_LINK
	}
	return k.nl.RouteReplace(route)
}

func (k *Kernel) doRule(r Rule, remove bool) error {
	rule := netlink.NewRule()
	rule.Family = netlinkFamily(r.V6)
	rule.Priority = r.Priority
	rule.Mark = r.Mark
	rule.Invert = r.NotMark
	rule.Table = int(r.Table)
	rule.SuppressPrefixlen = r.Suppress
	rule.Protocol = Protocol
	if r.From.IsValid() {
		rule.Src = ipNet(netip.PrefixFrom(r.From, r.From.BitLen()))
	}
	if r.To.IsValid() {
		rule.Dst = ipNet(netip.PrefixFrom(r.To, r.To.BitLen()))
	}
	if remove {
		return unless(k.nl.RuleDel(rule), unix.ENOENT)
	}
	return unless(k.nl.RuleAdd(rule), unix.EEXIST)
}

// unless makes an error that says "it is so already" none.
func unless(err error, already unix.Errno) error {
	if errors.Is(err, already) {
		return nil
	}
	return err
}

func netlinkFamily(v6 bool) int {
	if v6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// prefixOf is the inverse of ipNet; nil gives an invalid prefix.
func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addrOf(n.IP), bits)
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// dump repeats a listing that a change interrupted: what it gave may lack
// what was there all the time.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	const tries = 20
	for i := 0; ; i++ {
		out, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || i == tries {
			return out, err
		}
		time.Sleep(time.Duration(i) * time.Millisecond)
	}
}

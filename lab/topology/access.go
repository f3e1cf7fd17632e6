package topology

import (
	"errors"
	"fmt"
	"net/netip"

	"braid/lab"
)

// access is an uplink as built: a client's interface, the router it leads to,
// and the router's cable to the core.
type access struct {
	key        string // in Net's maps
	client     *lab.Host
	uplink     Uplink
	index      int // from 1, in addresses
	hostNumber byte
	router     *lab.Host
	link       *lab.Link // nil for a Veth, and while removed
}

// metricStep is the distance of the default routes' metrics, which leaves room
// for others between them.
const metricStep = 100

// Addresses of an access. Those of IPv6 are invalid without IPv6.

func (a *access) prefix4(host byte) netip.Prefix {
	b := [4]byte{10, byte(a.index), 0}
	if p := a.uplink.Client4; p.IsValid() {
		b = p.Addr().As4()
	}
	b[3] = host
	return netip.PrefixFrom(netip.AddrFrom4(b), 24)
}

func (a *access) prefix6(host byte) netip.Prefix {
	return a.inside6(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, byte(a.index), 15: host}))
}

func (a *access) public4(host byte) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, 4*byte(a.index) + host}), 30)
}

func (a *access) public6(host byte) netip.Prefix {
	return a.inside6(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0xf0, byte(a.index), 15: host}))
}

func (a *access) inside6(addr netip.Addr) netip.Prefix {
	if !a.uplink.IPv6 {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(addr, 64)
}

// addAccess makes router, cable to the core, and link to the client.
func (n *Net) addAccess(a *access) error {
	var err error
	if a.router, err = n.lab.Host("router-" + a.key); err != nil {
		return err
	}
	n.Routers[a.key], n.accesses[a.key] = a.router, a

	s := steps{}
	s.do(a.router.SetForwarding(true))
	s.do(n.lab.Veth(a.router, "core", n.Core, a.key))
	s.addresses(a.router, "core", a.public4(2), a.public6(2))
	s.addresses(n.Core, a.key, a.public4(1), a.public6(1))
	s.defaultRoutes(a.router, "core", 0, a.public4(1).Addr(), a.public6(1).Addr())
	if a.uplink.NAT {
		s.do(masquerade(a.router, "core"))
	} else {
		s.do(n.Core.AddRoute(lab.Route{Destination: a.prefix4(0), Via: a.public4(2).Addr(), Interface: a.key}))
	}
	if a.uplink.IPv6 {
		s.do(n.Core.AddRoute(lab.Route{Destination: a.prefix6(0), Via: a.public6(2).Addr(), Interface: a.key}))
	}
	s.do(n.connect(a))
	return s.err
}

// connect makes the link between client and router, and configures both ends.
func (n *Net) connect(a *access) error {
	name := a.uplink.Name
	if a.uplink.Veth {
		if err := n.lab.Veth(a.client, name, a.router, name); err != nil {
			return err
		}
		if a.uplink.MTU != 0 {
			s := steps{}
			s.do(a.client.SetMTU(name, a.uplink.MTU))
			s.do(a.router.SetMTU(name, a.uplink.MTU))
			if s.err != nil {
				return s.err
			}
		}
	} else {
		link, err := n.lab.Link(a.client, name, a.router, name, lab.LinkConfig{
			AToB: a.uplink.Up,
			BToA: a.uplink.Down,
			MTU:  a.uplink.MTU,
			Seed: n.seed + uint64(a.index),
		})
		if err != nil {
			return err
		}
		a.link = link
		n.Links[a.key] = link
	}
	s := steps{}
	s.addresses(a.router, name, a.prefix4(1), a.prefix6(1))
	s.do(n.configure(a))
	return s.err
}

// configure gives the client's end what a DHCP client and router advertisements
// would, and both ends of an emulated link each other's hardware address: an
// access line with a modem at its end asks nothing over the line, and a dead
// one is silent rather than an unreachable neighbour.
func (n *Net) configure(a *access) error {
	name := a.uplink.Name
	s := steps{}
	s.addresses(a.client, name, a.prefix4(a.hostNumber), a.prefix6(a.hostNumber))
	if a.link != nil {
		clientMAC, routerMAC := a.link.MAC()
		s.do(a.client.AddNeighbor(name, a.prefix4(1).Addr(), routerMAC))
		s.do(a.router.AddNeighbor(name, a.prefix4(a.hostNumber).Addr(), clientMAC))
		if a.uplink.IPv6 {
			s.do(a.client.AddNeighbor(name, a.prefix6(1).Addr(), routerMAC))
			s.do(a.router.AddNeighbor(name, a.prefix6(a.hostNumber).Addr(), clientMAC))
		}
	}
	s.defaultRoutes(a.client, name, metricStep*a.index, a.prefix4(1).Addr(), a.prefix6(1).Addr())
	return s.err
}

func (n *Net) access(uplink string) (*access, error) {
	a := n.accesses[uplink]
	if a == nil {
		return nil, fmt.Errorf("there is no uplink %s", uplink)
	}
	return a, nil
}

// ConfigureUplink gives the client's interface its addresses and default routes
// (again), as DHCP does after an interface was taken down and up.
func (n *Net) ConfigureUplink(uplink string) error {
	a, err := n.access(uplink)
	if err != nil {
		return err
	}
	return n.configure(a)
}

// RemoveUplink removes an uplink's interface from the client, as when a modem is
// pulled out of its socket.
func (n *Net) RemoveUplink(uplink string) error {
	a, err := n.access(uplink)
	if err != nil {
		return err
	}
	if a.uplink.Veth {
		return a.client.DeleteInterface(a.uplink.Name)
	}
	if a.link == nil {
		return fmt.Errorf("uplink %s is removed already", uplink)
	}
	err = a.link.Remove()
	a.link = nil
	delete(n.Links, uplink)
	return err
}

// RestoreUplink brings a removed uplink back with its first shape, its addresses and
// routes; Links then has a new link for it.
func (n *Net) RestoreUplink(uplink string) error {
	a, err := n.access(uplink)
	if err != nil {
		return err
	}
	if a.link != nil {
		return fmt.Errorf("uplink %s is not removed", uplink)
	}
	return n.connect(a)
}

// ChangeAddress gives the client's interface another host number
// in place of the present one, in IPv4 and IPv6, as after a redial.
func (n *Net) ChangeAddress(uplink string, hostNumber byte) error {
	a, err := n.access(uplink)
	if err != nil {
		return err
	}
	if hostNumber < 2 || hostNumber == a.hostNumber || hostNumber == 255 {
		return fmt.Errorf("change address of %s: host number %d is in use or reserved", uplink, hostNumber)
	}
	if err := n.RemoveAddress(uplink); err != nil {
		return err
	}
	a.hostNumber = hostNumber
	return n.configure(a)
}

// RemoveAddress takes the client's addresses from an uplink's interface, as when
// a lease expires; ConfigureUplink gives them back. The kernel takes the routes
// along.
func (n *Net) RemoveAddress(uplink string) error {
	a, err := n.access(uplink)
	if err != nil {
		return err
	}
	err = a.client.RemoveAddress(uplink, a.prefix4(a.hostNumber))
	if p := a.prefix6(a.hostNumber); p.IsValid() {
		err = errors.Join(err, a.client.RemoveAddress(uplink, p))
	}
	return err
}

// ClientAddr4 returns the client's present address on an uplink; invalid
// without such an uplink.
func (n *Net) ClientAddr4(uplink string) netip.Addr {
	return n.addr(uplink, func(a *access) netip.Prefix { return a.prefix4(a.hostNumber) })
}

// ClientAddr6 is ClientAddr4 for IPv6; invalid without IPv6.
func (n *Net) ClientAddr6(uplink string) netip.Addr {
	return n.addr(uplink, func(a *access) netip.Prefix { return a.prefix6(a.hostNumber) })
}

// RouterAddr4 returns the client's gateway on an uplink.
func (n *Net) RouterAddr4(uplink string) netip.Addr {
	return n.addr(uplink, func(a *access) netip.Prefix { return a.prefix4(1) })
}

// RouterAddr6 is RouterAddr4 for IPv6; invalid without IPv6.
func (n *Net) RouterAddr6(uplink string) netip.Addr {
	return n.addr(uplink, func(a *access) netip.Prefix { return a.prefix6(1) })
}

// PublicAddr4 returns the router's address toward the core: the source that the
// server sees of an uplink with NAT.
func (n *Net) PublicAddr4(uplink string) netip.Addr {
	return n.addr(uplink, func(a *access) netip.Prefix { return a.public4(2) })
}

func (n *Net) addr(uplink string, of func(*access) netip.Prefix) netip.Addr {
	if a := n.accesses[uplink]; a != nil {
		return of(a).Addr()
	}
	return netip.Addr{}
}

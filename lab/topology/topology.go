// Package topology builds the networks that tests, demonstration and benchmarks
// use, out of hosts, cables and emulated links of package lab:
//
//	            192.168.10.0/24                                          203.0.113.0/24
//	┌─────┐ lan         lan ┌────────┐ dsl      dsl ┌────────┐ core   dsl ┌──────┐ server
//	│ lan ├─────────────────┤        ╞══════════════╡ router ├────────────┤      ├────┐
//	└─────┘ .2           .1 │        │ 10.1.0.0/24  └────────┘            │      │ .1 │
//	                        │ client │ .2        .1      198.51.100.4/30  │ core │    │
//	                        │        │ lte      lte ┌────────┐ core   lte │      │    │
//	                        │        ╞══════════════╡ router ├────────────┤      │    │
//	                        └────────┘ 10.2.0.0/24  └────────┘            │      │    │
//	┌─────────┐ wan                             wan ┌────────┐ core       │      │    │
//	│ client2 ├─────────────────────────────────────┤ router ├────────────┤      │    │
//	└─────────┘ .2        10.3.0.0/24           .1  └────────┘            └──────┘    │
//	                            192.0.2.0/24                                          │
//	┌──────────┐ eth                                   inet ┌────────┐ wan            │
//	│ internet ├────────────────────────────────────────────┤ server ├────────────────┘
//	└──────────┘ .2                                      .1 └────────┘ .10
//
// A double line is an emulated link, or an unshaped cable when the uplink says
// so; all others are unshaped cables. Behind the second client there may be a
// host lan2 in 192.168.20.0/24, fd00:20::/64. IPv6 is alike: 2001:db8:N::/64 for uplink
// N, 2001:db8:f00N::/64 between its router and the core, 2001:db8:a000::/64 at the
// server, 2001:db8:b000::/64 to the internet, fd00:10::/64 in the LAN.
//
// The client knows each router as a default route, the first uplink with the
// smallest metric, and no policy rules: those are for braid, or AddSourceRules,
// to make. Routers masquerade IPv4 when the uplink says so. Only routers, core
// and a client with a LAN forward; the server does not. Nothing leads from the
// client to the internet host but a tunnel: the core has no route to it, and it
// has none but to the server's side.
package topology

import (
	"errors"
	"fmt"
	"net/netip"

	"braid/lab"
	"braid/lab/emulator"
)

// Uplink describes one way of the client to the internet.
type Uplink struct {
	Name     string         // of the client's interface, such as dsl
	Down, Up emulator.Shape // toward the client, and away from it
	NAT      bool           // the router masquerades IPv4
	IPv6     bool
	MTU      int  // bytes, of client and router; 0 is 1500
	Veth     bool // an unshaped cable: Down and Up are not used
	// Client4 is the client's IPv4 address and its network; zero is 10.N.0.2/24.
	// The router has host number 1 there. Behind NAT several uplinks may have one
	// network, or one address, as routers of one maker give them.
	Client4 netip.Prefix
}

// Config describes a network.
type Config struct {
	Uplinks      []Uplink
	Lan          bool           // a host behind the client, which then forwards
	SecondClient bool           // one with an unshaped uplink "wan" behind NAT
	SecondLan    bool           // a host behind that one, which then forwards
	RouteTunnel  []netip.Prefix // what the internet host reaches by way of the server
	Seed         uint64         // of losses and jitter
}

// Net is a network. Its hosts and links are the lab's, and end with it. Its own
// methods are not safe for concurrent use; those of hosts and links are.
type Net struct {
	Client, Server *lab.Host
	Internet       *lab.Host            // behind the server
	Core           *lab.Host            // sees what crosses the public network
	Routers        map[string]*lab.Host // by uplink; client2's is named "client2"
	Lan            *lab.Host            // behind the client; nil unless configured
	Client2        *lab.Host            // nil unless configured
	Lan2           *lab.Host            // behind Client2; nil unless configured

	ServerAddr4, ServerAddr6     netip.Addr
	InternetAddr4, InternetAddr6 netip.Addr
	LanAddr4, LanAddr6           netip.Addr // whether or not there is a LAN
	Lan2Addr4, Lan2Addr6         netip.Addr // likewise

	// Links are the emulated links, by uplink. Their way AToB is up, BToA down.
	Links map[string]*lab.Link

	lab      *lab.Lab
	seed     uint64
	accesses map[string]*access
}

// The fixed networks of the drawing.
var (
	serverNet4   = netip.MustParsePrefix("203.0.113.10/24")
	serverNet6   = netip.MustParsePrefix("2001:db8:a000::10/64")
	coreNet4     = netip.MustParsePrefix("203.0.113.1/24")
	coreNet6     = netip.MustParsePrefix("2001:db8:a000::1/64")
	inetServer4  = netip.MustParsePrefix("192.0.2.1/24")
	inetServer6  = netip.MustParsePrefix("2001:db8:b000::1/64")
	internetNet4 = netip.MustParsePrefix("192.0.2.2/24")
	internetNet6 = netip.MustParsePrefix("2001:db8:b000::2/64")
	lanClient4   = netip.MustParsePrefix("192.168.10.1/24")
	lanClient6   = netip.MustParsePrefix("fd00:10::1/64")
	lanNet4      = netip.MustParsePrefix("192.168.10.2/24")
	lanNet6      = netip.MustParsePrefix("fd00:10::2/64")
	lan2Client4  = netip.MustParsePrefix("192.168.20.1/24")
	lan2Client6  = netip.MustParsePrefix("fd00:20::1/64")
	lan2Net4     = netip.MustParsePrefix("192.168.20.2/24")
	lan2Net6     = netip.MustParsePrefix("fd00:20::2/64")
	default4     = netip.MustParsePrefix("0.0.0.0/0")
	default6     = netip.MustParsePrefix("::/0")
)

// maxUplinks is how many /30 networks toward the core fit, less the second
// client's.
const maxUplinks = 60

// Validate reports all that is wrong with the configuration at once.
func (c Config) Validate() error {
	var errs []error
	if len(c.Uplinks) > maxUplinks {
		errs = append(errs, fmt.Errorf("%d uplinks are more than %d", len(c.Uplinks), maxUplinks))
	}
	if c.SecondLan && !c.SecondClient {
		errs = append(errs, errors.New("SecondLan without SecondClient"))
	}
	seen := map[string]bool{"lo": true, "lan": true, "core": true, "server": true, "client2": true}
	for i, u := range c.Uplinks {
		switch {
		case u.Name == "" || len(u.Name) > 15:
			errs = append(errs, fmt.Errorf("uplink %d: name %q has not 1 to 15 bytes", i, u.Name))
		case seen[u.Name]:
			errs = append(errs, fmt.Errorf("uplink %d: the name %q is taken", i, u.Name))
		}
		if p := u.Client4; p.IsValid() && (!p.Addr().Is4() || p.Bits() != 24 || p.Addr().As4()[3] < 2 || !u.NAT) {
			errs = append(errs, fmt.Errorf("uplink %d: %v is not an address in a /24 of IPv4 behind NAT", i, p))
		}
		seen[u.Name] = true
	}
	for _, p := range c.RouteTunnel {
		if !p.IsValid() {
			errs = append(errs, errors.New("invalid prefix in RouteTunnel"))
		}
	}
	return errors.Join(errs...)
}

// Build makes the network in a lab, which must not have hosts of the same
// names. After an error the lab is good for nothing but Close.
func Build(l *lab.Lab, c Config) (*Net, error) {
	n := &Net{
		Routers:       make(map[string]*lab.Host),
		ServerAddr4:   serverNet4.Addr(),
		ServerAddr6:   serverNet6.Addr(),
		InternetAddr4: internetNet4.Addr(),
		InternetAddr6: internetNet6.Addr(),
		LanAddr4:      lanNet4.Addr(),
		LanAddr6:      lanNet6.Addr(),
		Lan2Addr4:     lan2Net4.Addr(),
		Lan2Addr6:     lan2Net6.Addr(),
		Links:         make(map[string]*lab.Link),
		lab:           l,
		seed:          c.Seed,
		accesses:      make(map[string]*access),
	}
	err := c.Validate()
	if err == nil {
		err = n.build(c)
	}
	if err != nil {
		return nil, fmt.Errorf("build network: %w", err)
	}
	return n, nil
}

func (n *Net) build(c Config) error {
	if err := n.buildPublic(c.RouteTunnel); err != nil {
		return err
	}
	var err error
	if n.Client, err = n.lab.Host("client"); err != nil {
		return err
	}
	for i, u := range c.Uplinks {
		a := &access{key: u.Name, client: n.Client, uplink: u, index: i + 1, hostNumber: 2}
		if u.Client4.IsValid() {
			a.hostNumber = u.Client4.Addr().As4()[3]
		}
		if err := n.addAccess(a); err != nil {
			return fmt.Errorf("uplink %s: %w", u.Name, err)
		}
	}
	if c.SecondClient {
		if n.Client2, err = n.lab.Host("client2"); err != nil {
			return err
		}
		u := Uplink{Name: "wan", NAT: true, IPv6: true, Veth: true}
		a := &access{key: "client2", client: n.Client2, uplink: u, index: len(c.Uplinks) + 1, hostNumber: 2}
		if err := n.addAccess(a); err != nil {
			return fmt.Errorf("second client: %w", err)
		}
	}
	if c.Lan {
		if n.Lan, err = n.buildLan("lan", n.Client, lanClient4, lanClient6, lanNet4, lanNet6); err != nil {
			return err
		}
	}
	if c.SecondLan {
		n.Lan2, err = n.buildLan("lan2", n.Client2, lan2Client4, lan2Client6, lan2Net4, lan2Net6)
	}
	return err
}

// buildPublic makes core, server and internet.
func (n *Net) buildPublic(tunnel []netip.Prefix) error {
	for _, h := range []struct {
		to   **lab.Host
		name string
	}{{&n.Core, "core"}, {&n.Server, "server"}, {&n.Internet, "internet"}} {
		var err error
		if *h.to, err = n.lab.Host(h.name); err != nil {
			return err
		}
	}
	s := steps{}
	s.do(n.Core.SetForwarding(true))
	s.do(n.lab.Veth(n.Core, "server", n.Server, "wan"))
	s.addresses(n.Core, "server", coreNet4, coreNet6)
	s.addresses(n.Server, "wan", serverNet4, serverNet6)
	s.defaultRoutes(n.Server, "wan", 0, coreNet4.Addr(), coreNet6.Addr())

	s.do(n.lab.Veth(n.Server, "inet", n.Internet, "eth"))
	s.addresses(n.Server, "inet", inetServer4, inetServer6)
	s.addresses(n.Internet, "eth", internetNet4, internetNet6)
	for _, p := range append([]netip.Prefix{serverNet4, serverNet6}, tunnel...) {
		via := inetServer4.Addr()
		if p.Addr().Is6() {
			via = inetServer6.Addr()
		}
		s.do(n.Internet.AddRoute(lab.Route{Destination: p, Via: via, Interface: "eth"}))
	}
	return s.err
}

// buildLan makes a host behind a client.
func (n *Net) buildLan(name string, client *lab.Host, client4, client6, host4, host6 netip.Prefix) (*lab.Host, error) {
	h, err := n.lab.Host(name)
	if err != nil {
		return nil, err
	}
	s := steps{}
	s.do(client.SetForwarding(true))
	s.do(n.lab.Veth(client, "lan", h, "eth"))
	s.addresses(client, "lan", client4, client6)
	s.addresses(h, "eth", host4, host6)
	s.defaultRoutes(h, "eth", 0, client4.Addr(), client6.Addr())
	return h, s.err
}

package config

import (
	"net/netip"
	"slices"

	"braid/crypto"
)

// Client is a client's configuration.
type Client struct {
	Servers         []HostPort // in order of preference
	ServerPublicKey crypto.PublicKey
	PrivateKeyFile  string         // absolute when the file's folder is known
	Control         string         // path of the control socket
	Access          Access         // who else may use it
	Metrics         netip.AddrPort // where metrics are to be had; the zero value is nowhere
	State           string         // absolute path of the folder for what must outlive a restart
	Tunnel          ClientTunnel
	Limits          Limits
	Dashboard       Dashboard
	Rules           []PacketRule // in order; the first that matches counts
	Uplinks         []UplinkRule // in order; the method Uplink applies them
}

// ClientTunnel is what a client decides about its tunnel. The rest is the
// server's to give.
type ClientTunnel struct {
	Name    string         // of the interface
	Routes  []netip.Prefix // what goes into the tunnel
	Exclude []netip.Prefix // what does not, unless a longer one of Routes holds it
	// ExcludeInterfaces are patterns as of path.Match: the networks behind these
	// interfaces do not either.
	ExcludeInterfaces []string
	KillSwitch        bool       // whether Routes are blocked beside the tunnel
	Forwarding        bool       // whether the host is made a router
	Masquerade        Masquerade // what it forwards into the tunnel
	TCP               TCPMode
	Packets           []netip.Prefix // TCP from or to these travels as packets whatever TCP says
	Congestion        string         // of carriers of streams; "" is not given, see DefaultCongestion
	Copies            int            // per cent of the slower uplink\'s rate that copies of packets may take
	DNS               []netip.Addr   // whom this host asks for names through the tunnel, in order of preference
	ServerDNS         bool           // whether those are the server's to give, for full tunnels
}

// Masquerade is which packets that a client forwards into the tunnel get its own
// address there.
type Masquerade string

const (
	MasqueradeAuto   Masquerade = "auto"   // those of networks that the server does not know
	MasqueradeAlways Masquerade = "always" // all
	MasqueradeNever  Masquerade = "never"  // none
)

// ParseClient reads a client's configuration. A relative private_key_file is
// taken from the folder dir, or left alone when that is "". The error is
// *Errors.
func ParseClient(data []byte, dir string) (*Client, error) {
	root, errs := checkedTree(data, clientSchema)
	if root == nil {
		return nil, errs
	}
	tunnel := root.get("tunnel")
	c := &Client{
		ServerPublicKey: publicKey(root.get("server_public_key"), errs),
		PrivateKeyFile:  keyFile(root.get("private_key_file"), dir, errs),
		Control:         one(root.get("control"), errs, parseSocket),
		Access:          access(root, errs),
		State:           one(root.get("state"), errs, parseFolder),
		Tunnel: ClientTunnel{
			Name:       one(tunnel.get("name"), errs, parseDevice),
			KillSwitch: tunnel.isTrue("kill_switch"),
			Forwarding: tunnel.isTrue("forwarding"),
			Masquerade: one(tunnel.get("masquerade"), errs, choice(MasqueradeAuto, MasqueradeAlways, MasqueradeNever)),
			TCP:        tcpMode(tunnel, errs),
			Packets:    tcpPackets(tunnel, errs),
			Congestion: congestion(tunnel, errs),
			Copies:     copies(tunnel, errs),
			DNS:        bare(dnsServers(tunnel, errs)),
			ServerDNS:  tunnel.get("dns") == nil,
		},
		Limits: limits(root.get("limits"), errs),
		Rules:  packetRules(root.get("rule"), errs),
	}
	c.Metrics, c.Dashboard = views(root, dir, nil, errs)
	servers := root.get("server")
	c.Servers = bare(unique(each(servers, errs, parseServer), errs, removeOne))
	notEmptyList(servers, errs, "a client needs a server", `such as server = ["vpn.example.net:443"]`)

	routes := unique(each(tunnel.get("routes"), errs, parseRoute), errs, removeOne)
	exclude := unique(each(tunnel.get("exclude"), errs, parsePrefix), errs, removeOne)
	c.Tunnel.Routes, c.Tunnel.Exclude = bare(routes), bare(exclude)
	c.Tunnel.ExcludeInterfaces = bare(unique(each(tunnel.get("exclude_interfaces"), errs, parsePattern), errs, removeOne))
	for _, x := range exclude {
		i := slices.IndexFunc(routes, func(r at[netip.Prefix]) bool { return r.value == x.value })
		if i >= 0 {
			errs.add(x.node, "is a route too, "+routes[i].node.place(), removeOne)
		}
	}
	c.Uplinks = uplinkRules(root.get("uplink"), c.Tunnel.Name, errs)

	if err := errs.sorted(); err != nil {
		return nil, err
	}
	return c, nil
}

// checkedTree reads TOML and compares it with the schema. It returns no tree
// for what is not TOML.
func checkedTree(data []byte, s schema) (*node, *Errors) {
	errs := &Errors{}
	root, wrong := parseTree(data)
	if wrong != nil {
		errs.List = append(errs.List, wrong)
		return nil, errs
	}
	s.check(root, errs)
	return root, errs
}

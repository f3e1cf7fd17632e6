package config

import (
	"fmt"
	"net/netip"

	"braid/crypto"
)

// Server is a server's configuration.
type Server struct {
	Listen         []netip.AddrPort // [::] is IPv4 too
	Address        []HostPort       // where clients find it, for invites; may be empty
	PrivateKeyFile string           // absolute when the file's folder is known
	Control        string           // path of the control socket
	Access         Access           // who else may use it
	Metrics        netip.AddrPort   // where metrics are to be had; the zero value is nowhere
	Tunnel         ServerTunnel
	Egress         Egress
	Limits         ServerLimits
	Dashboard      Dashboard
	Rules          []PacketRule   // in order; the first that matches counts
	Clients        []ServerClient // in the order of the file
}

// ServerTunnel is the server's end of the tunnel, and what clients are given.
type ServerTunnel struct {
	Name       string         // of the interface
	Addresses  []netip.Prefix // the server's own, with the length of the range: at most one per family
	MTU        int            // bytes
	NAT        bool           // whether clients appear with the server's address
	TCP        TCPMode        // of connections toward clients
	Packets    []netip.Prefix // TCP from or to these travels as packets whatever TCP says
	Congestion string         // of carriers of streams; "" is not given, see DefaultCongestion
	Copies     int            // per cent of the slower uplink\'s rate that copies of packets may take
	DNS        []netip.Addr   // whom clients ask for names, in order of preference
}

// Prefix returns a client's address with the length of its range.
func (t ServerTunnel) Prefix(a netip.Addr) netip.Prefix {
	for _, p := range t.Addresses {
		if p.Contains(a) {
			return netip.PrefixFrom(a, p.Bits())
		}
	}
	return netip.Prefix{}
}

// ServerClient is a client as the server knows it. No two share a name, a
// key, an address or a route.
type ServerClient struct {
	Name      string
	PublicKey crypto.PublicKey
	Addresses []netip.Addr   // in the ranges of ServerTunnel.Addresses, at most one of each, none Reserved
	Routes    []netip.Prefix // networks behind the client
	Reach     []string       // names of other clients that it reaches; "*" is all
	Forwards  []Forward      // none of them overlaps another one's, or where the server listens
}

// Limits of the MTU in bytes: IPv6 works with no less (RFC 8200), and no IPv4
// packet is larger.
const (
	minMTU = 1280
	maxMTU = 65535
)

// ParseServer reads a server's configuration. A relative private_key_file is
// taken from the folder dir, or left alone when that is "". The error is
// *Errors.
func ParseServer(data []byte, dir string) (*Server, error) {
	root, errs := checkedTree(data, serverSchema)
	if root == nil {
		return nil, errs
	}
	tunnel := root.get("tunnel")
	s := &Server{
		PrivateKeyFile: keyFile(root.get("private_key_file"), dir, errs),
		Control:        one(root.get("control"), errs, parseSocket),
		Access:         access(root, errs),
		Tunnel: ServerTunnel{
			Name:       one(tunnel.get("name"), errs, parseDevice),
			MTU:        mtu(tunnel.get("mtu"), errs),
			NAT:        tunnel.isTrue("nat"),
			TCP:        tcpMode(tunnel, errs),
			Packets:    tcpPackets(tunnel, errs),
			Congestion: congestion(tunnel, errs),
			Copies:     copies(tunnel, errs),
		},
		Egress: egress(root.get("egress"), errs),
		Limits: serverLimits(root.get("limits"), errs),
		Rules:  packetRules(root.get("rule"), errs),
	}
	listen := root.get("listen")
	listening := listenConflicts(each(listen, errs, parseListen), errs)
	s.Listen = bare(listening)
	notEmptyList(listen, errs, "the server would listen nowhere", `write listen = [":443"]`)
	s.Metrics, s.Dashboard = views(root, dir, listening, errs)
	s.Address = invited(root.get("address"), s.Listen, errs)

	r := newRanges(tunnel.get("addresses"), errs)
	s.Tunnel.Addresses = bare(r.own)
	dns := dnsServers(tunnel, errs)
	r.answering(dns, errs)
	s.Tunnel.DNS = bare(dns)
	s.Clients = clients(root.get("client"), r, errs)
	reach(root.get("client"), s.Clients, errs)
	forwards(root.get("client"), s.Clients, listening, r, errs)

	if err := errs.sorted(); err != nil {
		return nil, err
	}
	return s, nil
}

func mtu(n *node, errs *Errors) int {
	if n == nil {
		return 0
	}
	if n.num < minMTU || n.num > maxMTU {
		errs.add(n, fmt.Sprintf("must be %d to %d bytes", minMTU, maxMTU), "leave it out for 1500")
		return 0
	}
	return int(n.num)
}

// clients reads the [[client]] tables.
func clients(list *node, r *ranges, errs *Errors) []ServerClient {
	var (
		clients []ServerClient
		names   []at[string]
		keys    []at[crypto.PublicKey]
		routes  []at[netip.Prefix]
		absent  []int // clients without addresses of their own
	)
	for i, n := range list.list() {
		c := ServerClient{
			Name:      one(n.get("name"), errs, parseClientName),
			PublicKey: publicKey(n.get("public_key"), errs),
		}
		if c.Name != "" {
			names = append(names, at[string]{c.Name, n.get("name")})
		}
		if !c.PublicKey.IsZero() {
			keys = append(keys, at[crypto.PublicKey]{c.PublicKey, n.get("public_key")})
		}
		if n.fields["addresses"] == nil {
			absent = append(absent, i)
		}
		c.Addresses = r.take(n.get("addresses"), errs)
		own := r.outside(each(n.get("routes"), errs, parseRoute), errs)
		c.Routes = bare(own)
		routes = append(routes, own...)
		clients = append(clients, c)
	}
	unique(names, errs, "choose another name")
	unique(routes, errs, "leave it to one of the clients")
	uniqueKeys(keys, errs)
	// What is given goes first, wherever it stands in the file.
	for _, i := range absent {
		clients[i].Addresses = r.assign(list.items[i], errs)
	}
	return clients
}

// uniqueKeys notes keys of two clients, which the server could not tell apart.
// The value is not shown, as in publicKey.
func uniqueKeys(keys []at[crypto.PublicKey], errs *Errors) {
	seen := map[crypto.PublicKey]*node{}
	for _, k := range keys {
		if before := seen[k.value]; before != nil {
			errs.addHidden(k.node, "must be this client's own key, but "+before.place()+" is the same",
				"make a key for each client with: braid keygen FILE")
			continue
		}
		seen[k.value] = k.node
	}
}

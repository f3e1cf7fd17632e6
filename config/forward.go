package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Forward is a range of the server's ports that leads to a client, or to a host
// behind it.
type Forward struct {
	// Listen is an address of the server; invalid: all of them but the
	// loopback's and those in the tunnel.
	Listen      netip.Addr
	First, Last uint16 // both included
	Protocol    ForwardProtocol
	To          netip.Addr   // in the client's routes; invalid: the client itself
	Port        uint16       // there; 0 is the port that was asked for
	Source      EgressSource // what the client sees of who connects
}

// ForwardProtocol is what a Forward is about.
type ForwardProtocol string

const (
	ForwardTCP  ForwardProtocol = "tcp"
	ForwardUDP  ForwardProtocol = "udp"
	ForwardBoth ForwardProtocol = "both"
)

// TCP and UDP report whether the protocol is among those of p.
func (p ForwardProtocol) TCP() bool { return p != ForwardUDP }

// UDP is like TCP.
func (p ForwardProtocol) UDP() bool { return p != ForwardTCP }

// Targets returns where a forward leads in each family that it has: one address
// or two.
func (f Forward) Targets(c ServerClient) []netip.Addr {
	if f.To.IsValid() {
		return []netip.Addr{f.To}
	}
	var out []netip.Addr
	for _, a := range c.Addresses {
		if !f.Listen.IsValid() || f.Listen.Is4() == a.Is4() {
			out = append(out, a)
		}
	}
	return out
}

// listens is the forward's address and ports as they are written.
func (f Forward) listens() string {
	host := ""
	if f.Listen.Is6() {
		host = "[" + f.Listen.String() + "]"
	} else if f.Listen.IsValid() {
		host = f.Listen.String()
	}
	if f.First == f.Last {
		return fmt.Sprintf("%s:%d", host, f.First)
	}
	return fmt.Sprintf("%s:%d-%d", host, f.First, f.Last)
}

// forwardListen is where a forward listens.
type forwardListen struct {
	addr        netip.Addr
	first, last uint16
}

// parseForwardListen reads ":2222", "203.0.113.10:8080", "[2001:db8::1]:443" or
// a range, ":6000-6100".
func parseForwardListen(text string) (forwardListen, *fault) {
	const example = `such as ":2222", "203.0.113.10:8080" or ":6000-6100"`
	host, portText, wrong := splitPort(text)
	if wrong != nil {
		return forwardListen{}, &fault{wrong.problem, example}
	}
	if portText == "" {
		mend := example
		if _, _, what, _ := parsePorts(host); what == "" {
			mend = write(":" + host)
		}
		return forwardListen{}, &fault{"must have a port", mend}
	}
	l := forwardListen{}
	first, last, what, known := parsePorts(portText)
	if first == 0 {
		first, last = 1, 65535
	}
	l.first, l.last = first, last
	if what != "" {
		mend := example
		if known {
			mend = write(fmt.Sprintf("%s:%d-%d", host, first, last))
		}
		return l, &fault{what, mend}
	}
	if host == "" {
		return l, nil
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return l, &fault{"must be an address of this host and a port, or only a port", write(":" + portText)}
	}
	if wrong := plainAddr(a); wrong != nil {
		return l, &fault{wrong.problem, write(Forward{Listen: a.WithZone("").Unmap(), First: first, Last: last}.listens())}
	}
	if what := specialAddr(a); what != "" {
		return l, &fault{"is " + what + " address, from which nothing can be forwarded", write(":" + portText)}
	}
	l.addr = a
	return l, nil
}

// forwardTo is where a forward leads.
type forwardTo struct {
	addr netip.Addr
	port uint16
}

// parseForwardTo reads "10.77.0.2:22", "10.77.0.2" or ":22".
func parseForwardTo(text string) (to forwardTo, wrong *fault) {
	host, portText, wrong := splitPort(text)
	if wrong != nil {
		return to, &fault{wrong.problem, `such as "10.77.0.2:22", "10.77.0.2" or ":22"`}
	}
	if portText != "" {
		port, err := strconv.ParseUint(portText, 10, 16)
		if err != nil || port == 0 {
			return to, &fault{fmt.Sprintf("port %q must be 1 to 65535", shortened(portText)), "leave the port out to keep it"}
		}
		to.port = uint16(port)
	}
	if host == "" && portText != "" {
		return to, nil
	}
	a, wrong := parseAddr(host)
	if wrong != nil {
		if strings.Trim(host, "0123456789") == "" && portText == "" {
			wrong.mend = write(":" + host)
		}
		return to, wrong
	}
	to.addr = a
	return to, nil
}

// readForward is a Forward with its place; node is where it listens.
type readForward struct {
	Forward
	client int
	node   *node
}

// forwards reads the [[client.forward]] tables, when the clients have their
// addresses. listen are the places where braid itself listens, ranges the
// tunnel's.
func forwards(list *node, clients []ServerClient, listen []at[netip.AddrPort], ranges *ranges, errs *Errors) {
	var all []readForward
	for i, n := range list.list() {
		for _, t := range n.get("forward").list() {
			where := t.get("listen")
			f := Forward{
				Protocol: one(t.get("protocol"), errs, choice(ForwardTCP, ForwardUDP, ForwardBoth)),
				Source:   one(t.get("source"), errs, choice(SourceTransparent, SourceServer)),
			}
			l := one(where, errs, parseForwardListen)
			f.Listen, f.First, f.Last = l.addr, l.first, l.last
			to := one(t.get("to"), errs, parseForwardTo)
			f.To, f.Port = to.addr, to.port
			if where == nil || errs.touches(where.path) || errs.touches(t.path+".to") || errs.touches(t.path+".protocol") {
				continue
			}
			r := readForward{f, i, where}
			if own := ranges.others(f.Listen); own != nil {
				errs.add(where, "is in the tunnel's range, given as "+own.place()+", and not the server's own", fmt.Sprintf("write \":%d\" for every address of the server", f.First))
				continue
			}
			if !errs.touches(n.path+".addresses") && !r.leads(clients[i], t.get("to"), errs) {
				continue
			}
			r.conflicts(all, clients, listen, errs)
			r.sources(all, clients, errs)
			all = append(all, r)
			clients[i].Forwards = append(clients[i].Forwards, f)
		}
	}
}

// leads checks where the forward goes.
func (r readForward) leads(c ServerClient, to *node, errs *Errors) bool {
	switch {
	case r.First != r.Last && r.Port != 0:
		mend := "leave it out"
		if r.To.IsValid() {
			mend = write(r.To)
		}
		errs.add(to, "must have no port: a range keeps its ports", mend)
	case r.To.IsValid() && r.Listen.IsValid() && r.To.Is4() != r.Listen.Is4():
		errs.add(to, "must be of the same family as "+r.node.place(), "forward IPv4 to IPv4, and IPv6 to IPv6")
	case r.To.IsValid() && !slices.Contains(c.Addresses, r.To) &&
		!slices.ContainsFunc(c.Routes, func(p netip.Prefix) bool { return p.Contains(r.To) }):
		errs.add(to, "must be an address of this client, or in one of its routes", "add its network to routes, or leave it out for the client itself")
	case len(r.Targets(c)) == 0:
		errs.add(r.node, "must be of a family of which the client has an address", "name a host behind the client in to, or add to tunnel.addresses")
	default:
		return true
	}
	return false
}

// conflicts notes what takes the same ports.
func (r readForward) conflicts(before []readForward, clients []ServerClient, listen []at[netip.AddrPort], errs *Errors) {
	// Of a port at every address both families count only as far as it leads on.
	families := func(f readForward) (v4, v6 bool) {
		for _, a := range f.Targets(clients[f.client]) {
			v4, v6 = v4 || a.Is4(), v6 || a.Is6()
		}
		return v4, v6
	}
	v4, v6 := families(r)
	for _, l := range listen {
		a := l.value.Addr()
		same := !r.Listen.IsValid() && (a.IsUnspecified() || a.Is4() && v4 || a.Is6() && v6) || a == r.Listen ||
			r.Listen.IsValid() && takesAll(a, r.Listen)
		if a == netip.IPv4Unspecified() && !v4 {
			same = false
		}
		if same && r.Protocol.TCP() && r.First <= l.value.Port() && l.value.Port() <= r.Last {
			errs.add(r.node, "would take clients' connections to braid itself, "+l.node.place(), "choose another port")
			return
		}
	}
	for _, o := range before {
		o4, o6 := families(o)
		same := v4 && o4 || v6 && o6
		if r.Listen.IsValid() && o.Listen.IsValid() {
			same = r.Listen == o.Listen
		}
		if same && (r.Protocol.TCP() && o.Protocol.TCP() || r.Protocol.UDP() && o.Protocol.UDP()) && r.First <= o.Last && o.First <= r.Last {
			errs.add(r.node, "overlaps "+o.node.place(), "choose another port, or another address of the server")
			return
		}
	}
}

// targets are the ports that a forward leads to.
func (f Forward) targets() (first, last uint16) {
	if f.Port != 0 {
		return f.Port, f.Port
	}
	return f.First, f.Last
}

// sources notes a forward that leads where another one leads, with another
// source: there the server cannot tell them apart.
func (r readForward) sources(before []readForward, clients []ServerClient, errs *Errors) {
	first, last := r.targets()
	for _, o := range before {
		oFirst, oLast := o.targets()
		meet := slices.ContainsFunc(r.Targets(clients[r.client]), func(a netip.Addr) bool { return slices.Contains(o.Targets(clients[o.client]), a) })
		both := r.Protocol.TCP() && o.Protocol.TCP() || r.Protocol.UDP() && o.Protocol.UDP()
		if meet && both && r.Source != o.Source && first <= oLast && oFirst <= last {
			errs.add(r.node, "leads to the same port as "+o.node.place()+", but with another source", "give both the same source")
			return
		}
	}
}

// everybody is all other clients, in client[].reach.
const everybody = "*"

// reach reads which other clients each one reaches, by their names.
func reach(list *node, clients []ServerClient, errs *Errors) {
	var names []string
	for _, c := range clients {
		names = append(names, c.Name)
	}
	for i, n := range list.list() {
		parse := func(text string) (string, *fault) {
			switch {
			case text == everybody || text != "" && text != names[i] && slices.Contains(names, text):
				return text, nil
			case text != "" && text == names[i]:
				return "", &fault{"is this client itself", "leave it out"}
			}
			mend := `name another [[client]], or write "*" for all`
			if near := nearest(text, names); near != "" && near != names[i] {
				mend = `did you mean "` + near + `"?`
			}
			return "", &fault{"must be the name of another client, or *", mend}
		}
		clients[i].Reach = bare(unique(each(n.get("reach"), errs, parse), errs, removeOne))
	}
}

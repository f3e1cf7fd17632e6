// Package hostnet is the only code of braid that reads or changes the host's
// network: it finds the uplinks, and it makes the routes, rules, addresses,
// nameservers, kernel settings and the nftables table that a tunnel needs.
//
// # Desired state
//
// The caller says what it wants as one value (Desired); a Manager compares
// that with what is there and changes the difference, additions before
// deletions. Undoing is wanting nothing. Everything of ours is recognised in
// the kernel (see Protocol); only what the kernel cannot tell, such as a
// setting's former value, is kept in a state file, so that Cleanup can finish
// what a killed daemon could not.
//
// # Routing
//
// The host's own routes in the table main and the tunnel's routes are one
// longest-prefix lookup in which the tunnel wins ties: the LAN stays
// reachable under a full tunnel, and a tunnel route inside the LAN's supernet
// still works. The tunnel's routes of prefix length L are in a table of their
// own, and rules ask for each L, longest first, "does main know something
// longer than L?", then the table. By priority, from the instance's first:
//
//	+10  fwmark M from ADDRESS lookup UPLINK-TABLE   one per uplink address
//	+15  from ADDRESS to SERVER lookup UPLINK-TABLE   and server
//	+20  fwmark M lookup main
//	+30+2·(bits−L)  not fwmark M lookup main suppress_prefixlength L
//	+31+2·(bits−L)  not fwmark M lookup TABLE-OF-L
//
// The first makes a carrier leave by the uplink whose address it has: the
// host has one best default route, and Linux 6.1 ignores the interface given
// to an MPTCP subflow. The second ends the matter for carriers, before the
// rules of other VPNs (which usually sit at 32,7xx): a carrier is a marked
// packet, and no rule of ours leads it into the tunnel, so no host route to
// the server is needed. The gaps leave room for what is to come between.
//
// An excluded prefix is a throw route in each table of a shorter L: the
// lookup there ends without an answer and the host's own routes decide. All
// this is the same for IPv4 and IPv6.
//
// The TUN's addresses are set without the kernel's prefix route; the prefix
// goes into the table of its length instead. In main it would catch carriers
// too, and would tie with a LAN of the same range.
//
// A socket bound to a device other than the TUN passes all tunnel tables by,
// because their routes do not fit it: DHCP clients and probes are undisturbed.
//
// One thing cannot be had: unreachable, blackhole and prohibit routes in main
// are answers that suppress_prefixlength does not suppress. One that covers a
// tunnel route silences it; Apply warns of each.
//
// # Kill switch
//
// Routes of a TUN go with its process, and then the host's own decide. A table of
// nftables stays (KillSwitch): what the tunnel's routes hold leaves by it or not
// at all. Whatever the routes say, it has the last word.
package hostnet

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Protocol is the number by which routes (RTA) and rules (FRA) carry the name
// of their maker. 98 is in no registry that we know of: iproute2's rt_protos
// names 0–18, 42, 99 and 186–192, FRR uses 186–198, Calico 80. Whatever
// carries it and lies in our priorities and tables is ours, so that cleaning
// up needs no memory.
const Protocol = 98

// Where our rules and tables lie. Several braids can run on one host (a
// server that is also a client); each has a slot.
const (
	// slots is how many braids can run in one network namespace.
	slots = 4

	// rulesBase is the first priority of slot 0: behind VRF (1000), mwan3
	// (1000–3999) and Tailscale (5210–5270), whose marks decide about their
	// own packets only; before main (32766) and the rules that wg-quick,
	// NetworkManager and systemd-networkd place close to it.
	rulesBase = 9000
	// rulesPerSlot holds two rules for each IPv6 prefix length, 0 to 128,
	// behind tunnelRules.
	rulesPerSlot = 300

	uplinkRules = 10 // offset of the rules by source address
	serverRules = 15 // offset of the rules by source address and server
	mainRule    = 20 // offset of the rule that ends the matter for carriers
	tunnelRules = 30 // offset of the first pair for the tunnel's routes

	// tablesBase + slot·tablesPerSlot + L is the table of the tunnel's routes
	// of prefix length L: in decimal the length can be read.
	tablesBase    = 98_000_000
	tablesPerSlot = 1000

	// uplinkTablesBase + slot·uplinkTablesPerSlot + interface index is an
	// uplink's table: two interfaces never share an index, and when an index
	// is used again the next Apply replaces what the table holds.
	uplinkTablesBase    = 1_000_000_000
	uplinkTablesPerSlot = 100_000_000
)

// Desired is all that braid wants of this host's network. It is a value and
// complete: what is absent is removed. The zero value wants nothing.
type Desired struct {
	// Device is the TUN's name; the caller has created it and its process
	// keeps it. Empty only if nothing below needs it.
	Device string
	// MTU of the TUN in bytes; 0 leaves it.
	MTU int
	// Addresses of the TUN, with the prefix length of the tunnel's network.
	// Any other address of the TUN, link-local ones apart, is removed.
	Addresses []netip.Prefix
	// Routes go into the tunnel. The networks of Addresses need not be named.
	Routes []netip.Prefix
	// Exclude are networks that Routes shall not take, unless a route is
	// longer than the exclusion.
	Exclude []netip.Prefix
	// ExcludeBehind are patterns of interfaces' names (path.Match). The networks
	// behind those, by whatever table, count as Exclude; default routes do not.
	ExcludeBehind []string
	// Mark is the firewall mark of the carriers' sockets, which never enter
	// the tunnel. 0: there are none (a server).
	Mark uint32
	// Servers are the carriers' destinations. What the kernel itself answers
	// for a carrier that is gone, a reset, has no mark, and shall not enter
	// the tunnel either.
	Servers []netip.Addr
	// Uplinks, as found by Watch; those that are not usable are left out.
	// They need a Mark.
	Uplinks []Uplink
	// Masquerade are networks whose packets, coming from the TUN, get the
	// host's own address where they leave by another device.
	Masquerade []netip.Prefix
	// Sources are networks whose packets enter the TUN with their own source;
	// all others of the same families get the TUN's address, if they do not
	// come from it. None: all keep theirs. In a family that the host does not
	// forward, nothing is done.
	Sources []netip.Prefix
	// Forwards are ports of this host that lead elsewhere by the TUN.
	Forwards []Forward
	// Passages are which connections may begin from the TUN to the TUN. None:
	// all may.
	Passages []Passage
	// KillSwitch is closed before anything else is changed, and lifted last.
	KillSwitch KillSwitch
	// Forwarding makes the host a router, for IPv4 and IPv6.
	Forwarding bool
	// Sysctls are further settings by key and value as sysctl(8) prints them
	// ("net.mptcp.blackhole_timeout": "0"); one that this kernel lacks is
	// skipped.
	Sysctls map[string]string
	// Nameservers are whom the programs of this host shall ask, in order of
	// preference; without any the host has its own.
	Nameservers []netip.Addr
	// KeepNameservers leaves them as they are, whatever Nameservers says: what a
	// dead process has set stays until it is known what is wanted.
	KeepNameservers bool
}

// empty reports whether nothing is wanted.
func (d Desired) empty() bool {
	return d.Device == "" && len(d.Uplinks) == 0 && !d.Forwarding && len(d.Sysctls) == 0 && d.KillSwitch.Device == "" && !d.KeepNameservers
}

// validate finds what no host could do.
func (d Desired) validate() error {
	if d.Device == "" && (len(d.Addresses)+len(d.Routes)+len(d.Nameservers) > 0 || d.filters() || d.MTU != 0) {
		return fmt.Errorf("addresses, routes, masquerading, forwards, nameservers and MTU need a device")
	}
	for _, name := range []string{d.Device, d.KillSwitch.Device} {
		if strings.ContainsAny(name, "/ \t\n") || name == "." || name == ".." || len(name) > 15 {
			return fmt.Errorf("device %q: not an interface name", name)
		}
	}
	for what, list := range map[string][]netip.Prefix{
		"address": d.Addresses, "route": d.Routes, "exclusion": d.Exclude, "masquerade": d.Masquerade, "source": d.Sources,
		"route of the kill switch": d.KillSwitch.Routes,
	} {
		for _, p := range list {
			if !p.IsValid() || p.Addr().Is4In6() {
				return fmt.Errorf("%s %v: not an IPv4 or IPv6 prefix", what, p)
			}
		}
	}
	for _, f := range d.Forwards {
		if err := f.validate(); err != nil {
			return err
		}
	}
	for _, p := range d.Passages {
		if err := p.validate(); err != nil {
			return err
		}
	}
	for _, a := range d.Nameservers {
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
			return fmt.Errorf("nameserver %v: not an IPv4 or IPv6 address", a)
		}
	}
	for _, u := range d.Uplinks {
		if d.Mark == 0 {
			return fmt.Errorf("uplink %s: uplinks need a mark", u.Name)
		}
		if u.Index <= 0 || u.Index >= uplinkTablesPerSlot {
			return fmt.Errorf("uplink %s: interface index %d is outside 1 to %d", u.Name, u.Index, uplinkTablesPerSlot-1)
		}
	}
	for key := range d.Sysctls {
		if _, err := sysctlPath(key); err != nil {
			return err
		}
		if managed(key) {
			return fmt.Errorf("setting %s: it follows from the other wishes", key)
		}
	}
	return nil
}

// filters reports whether a table of nftables is needed.
func (d Desired) filters() bool {
	return len(d.Masquerade)+len(d.Sources)+len(d.Forwards)+len(d.Passages) > 0
}

// masked returns the networks of a list in canonical order, each once.
func masked(list []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		out = append(out, p.Masked())
	}
	slices.SortFunc(out, comparePrefixes)
	return slices.Compact(out)
}

// comparePrefixes orders IPv4 before IPv6, then by address, then by length.
func comparePrefixes(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

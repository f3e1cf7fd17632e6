package hostnet

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// KillSwitch asks that what the tunnel's routes hold leaves by the tunnel or not
// at all. It is a table of nftables, so that it outlives the process; the next
// one changes it in one transaction, and only an Apply without it, Cleanup or
// LiftKillSwitches takes it away.
//
// The table looks at each packet alone, as it leaves, in output and forward, by
// the interface that routing has chosen. Nothing is let through for belonging to
// a connection: those from before the tunnel would go on beside it. What passes:
//
//   - what leaves by lo or the TUN, and what comes out of the TUN;
//   - carriers: TCP to Servers with Desired.Mark, which only a privileged
//     process can set. Without the mark resets alone, which the kernel itself
//     sends for a carrier that is gone;
//   - questions to Resolvers with the mark;
//   - what keeps an interface alive: DHCP, neighbour and router discovery, MLD,
//     IGMP, and whatever else cannot pass a router;
//   - directly attached networks with private addresses, by their interface
//     only, and with Names not this host's questions for names. Public ones do not: who answers DHCP could claim any network to be
//     attached, and have its traffic;
//   - what Desired.Exclude and ExcludeBehind name, the latter by its interface;
//   - what no route of the tunnel holds.
//
// Of the last four the longest prefix counts, as in routing.
type KillSwitch struct {
	// Device is the TUN's name, whether or not it exists yet. Empty: no switch.
	Device string
	// Routes are what must not leave beside the tunnel, with Desired.Routes and
	// the networks of Desired.Addresses.
	Routes []netip.Prefix
	// Learning is true until the server has said what it routes: what a switch
	// that is there blocks stays blocked.
	Learning bool
	// Servers are the carriers' destinations.
	Servers []netip.AddrPort
	// Resolvers are asked for the servers' addresses, on port 53.
	Resolvers []netip.Addr
	// Names: the host asks for names through the tunnel. So its programs may ask
	// nobody else, not even an attached network's router, which would ask on.
	// While Learning a switch that is there has the say.
	Names bool
}

// killSwitchPrefix begins the names of our tables, which tells them even when
// nobody remembers them.
const killSwitchPrefix = "braid-killswitch-"

func killSwitchTable(device string) string { return killSwitchPrefix + device }

// Network is one that is reached by an interface without the tunnel.
type Network struct {
	Device string
	Prefix netip.Prefix
}

// KillSwitchTable is a table of nftables that drops what its rules do not
// accept. Adding it replaces the rules of the one that is there, in one
// transaction; removing needs the name alone.
type KillSwitchTable struct {
	Table string
	// Output and Forward are asked first, Routes behind both.
	Output, Forward, Routes []KillSwitchRule
}

func (k KillSwitchTable) command(remove bool) string {
	if remove {
		return "nft delete table inet " + k.Table
	}
	return fmt.Sprintf("nft add table inet %s # kill switch, %d rules", k.Table, len(k.Output)+len(k.Forward)+len(k.Routes))
}

// texts are the rules, each behind the name of its chain.
func (k KillSwitchTable) texts() []string {
	var out []string
	for _, chain := range []struct {
		name  string
		rules []KillSwitchRule
	}{{killSwitchOutput, k.Output}, {killSwitchForward, k.Forward}, {chainRoutes, k.Routes}} {
		for _, r := range chain.rules {
			out = append(out, chain.name+": "+r.String())
		}
	}
	return out
}

// The chains of the table; the first two are where packets come in.
const (
	killSwitchOutput  = "output"
	killSwitchForward = "forward"
	chainRoutes       = "routes"
)

// KillSwitchRule accepts or drops packets that are as each of its fields says;
// a zero field says nothing.
type KillSwitchRule struct {
	In, Out          string // the interfaces by which it came and leaves
	Family           int    // unix.NFPROTO_IPV4 or NFPROTO_IPV6, where no To says it
	Mark             uint32
	To               netip.Prefix
	Protocol         int // unix.IPPROTO_TCP or IPPROTO_UDP
	FromPort, ToPort uint16
	Reset            bool // a TCP reset
	Neighbours       bool // neighbour and router discovery (RFC 4861), from this link
	Drop             bool
}

// String is the rule as nft(8) writes it.
func (r KillSwitchRule) String() string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if r.In != "" {
		add("iifname %s", r.In)
	}
	if r.Out != "" {
		add("oifname %s", r.Out)
	}
	if r.Mark != 0 {
		add("mark %#x", r.Mark)
	}
	switch {
	case r.To.IsValid() && r.To.Addr().Is4():
		add("ip daddr %s", r.To)
	case r.To.IsValid():
		add("ip6 daddr %s", r.To)
	case r.Family == unix.NFPROTO_IPV4:
		add("meta nfproto ipv4")
	case r.Family == unix.NFPROTO_IPV6:
		add("meta nfproto ipv6")
	}
	protocol := map[int]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp"}[r.Protocol]
	if r.FromPort != 0 {
		add("%s sport %d", protocol, r.FromPort)
	}
	if r.ToPort != 0 {
		add("%s dport %d", protocol, r.ToPort)
	}
	if r.Reset {
		add("tcp flags rst")
	}
	if r.Neighbours {
		add("icmpv6 type %d-%d ip6 hoplimit %d", firstNeighbourType, lastNeighbourType, neighbourHops)
	}
	if r.Drop {
		add("counter drop")
	} else {
		add("accept")
	}
	return strings.Join(words, " ")
}

// Neighbour discovery: router solicitation to redirect; a packet that a router
// has passed on has another hop limit (RFC 4861, section 4).
const (
	firstNeighbourType = 133
	lastNeighbourType  = 137
	neighbourHops      = 255
)

// linkOnly are destinations that no router passes on: all hosts, routers and
// groups of a link, and IPv6 link-local addresses.
var linkOnly = []netip.Prefix{
	netip.MustParsePrefix("224.0.0.0/24"), // RFC 5771
	netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("ff02::/16"), // RFC 4291
}

// private are the networks that the internet does not route: RFC 1918, 3927 and
// 4193.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fc00::/7"),
}

// within reports whether all of p lies in one of the networks.
func within(p netip.Prefix, networks []netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Bits() <= p.Bits() && n.Contains(p.Addr()) })
}

// killSwitchRules works out the table for d. attached are the networks on the
// interfaces' links, behind those that ExcludeBehind names; blocked is what the
// present table blocks.
func killSwitchRules(d Desired, attached, behind []Network, blocked []netip.Prefix) KillSwitchTable {
	k := d.KillSwitch
	t := KillSwitchTable{Table: killSwitchTable(k.Device)}
	t.Output = []KillSwitchRule{{Out: "lo"}, {Out: k.Device}}
	for _, s := range k.Servers {
		r := KillSwitchRule{To: single(s.Addr()), Protocol: unix.IPPROTO_TCP, ToPort: s.Port(), Mark: d.Mark}
		t.Output = append(t.Output, r)
		r.Mark, r.Reset = 0, true
		t.Output = append(t.Output, r)
	}
	for _, a := range k.Resolvers {
		for _, protocol := range []int{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
			t.Output = append(t.Output, KillSwitchRule{To: single(a), Protocol: protocol, ToPort: 53, Mark: d.Mark})
		}
	}
	exclude := masked(d.Exclude)
	if k.Names {
		t.Output = append(t.Output, nameRules(exclude, attached, behind, k.Device)...)
	}
	t.Output = append(t.Output,
		// The renewal of a lease (RFC 2131, section 4.4.5); all else of DHCP is
		// broadcast, or does not leave the link.
		KillSwitchRule{Protocol: unix.IPPROTO_UDP, FromPort: 68, ToPort: 67},
		KillSwitchRule{Neighbours: true})
	for _, p := range linkOnly {
		t.Output = append(t.Output, KillSwitchRule{To: p})
	}
	t.Forward = []KillSwitchRule{{Out: k.Device}, {In: k.Device}}

	covered := slices.Concat(d.Routes, k.Routes)
	if k.Learning {
		covered = append(covered, blocked...)
	}
	covered = slices.DeleteFunc(masked(covered), func(p netip.Prefix) bool { return slices.Contains(exclude, p) })
	for _, a := range d.Addresses {
		if !a.IsSingleIP() {
			covered = append(covered, a)
		}
	}
	t.Routes = routeRules(exclude, masked(covered), attached, behind, k.Device)
	return t
}

// linkLocal is where an IPv6 router may answer as a DNS server (RFC 8106).
var linkLocal = netip.MustParsePrefix("fe80::/10")

// nameRules keep questions for names from attached networks that would else be
// reached, but for those of which any part is excluded from the tunnel: whoever
// wants to ask there says so.
func nameRules(exclude []netip.Prefix, attached, behind []Network, device string) []KillSwitchRule {
	closed := []netip.Prefix{linkLocal}
	for _, n := range attached {
		p := n.Prefix.Masked()
		excluded := slices.ContainsFunc(exclude, p.Overlaps) ||
			slices.ContainsFunc(behind, func(b Network) bool { return b.Prefix.Overlaps(p) })
		if n.Device != device && within(p, private) && !excluded {
			closed = append(closed, p)
		}
	}
	var out []KillSwitchRule
	for _, p := range masked(closed) {
		for _, protocol := range []int{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
			out = append(out, KillSwitchRule{To: p, Protocol: protocol, ToPort: 53, Drop: true})
		}
	}
	return out
}

// keepsNames reads from the texts of a table's rules whether they keep questions
// for names from attached networks.
func keepsNames(texts []string) bool {
	return slices.ContainsFunc(texts, func(t string) bool {
		return strings.HasPrefix(t, killSwitchOutput+": ") && strings.HasSuffix(t, " udp dport 53 counter drop")
	})
}

// routeRules decide by destination: the longest prefix first; among equal ones
// what is excluded, then the tunnel's, then what is attached, as in routing.
func routeRules(exclude, covered []netip.Prefix, attached, behind []Network, device string) []KillSwitchRule {
	const excluded, tunnel, near = 0, 1, 2
	type decision struct {
		rule KillSwitchRule
		rank int
	}
	var list []decision
	for _, p := range exclude {
		list = append(list, decision{KillSwitchRule{To: p}, excluded})
	}
	for _, p := range covered {
		list = append(list, decision{KillSwitchRule{To: p, Drop: true}, tunnel})
	}
	for _, n := range behind {
		if n.Device != device {
			list = append(list, decision{KillSwitchRule{To: n.Prefix.Masked(), Out: n.Device}, excluded})
		}
	}
	for _, n := range attached {
		if n.Device != device && within(n.Prefix, private) {
			list = append(list, decision{KillSwitchRule{To: n.Prefix.Masked(), Out: n.Device}, near})
		}
	}
	slices.SortFunc(list, func(a, b decision) int {
		return cmp.Or(b.rule.To.Bits()-a.rule.To.Bits(), a.rank-b.rank, comparePrefixes(a.rule.To, b.rule.To), cmp.Compare(a.rule.Out, b.rule.Out))
	})
	var out []KillSwitchRule
	for _, d := range list {
		if !slices.Contains(out, d.rule) {
			out = append(out, d.rule)
		}
	}
	// What nothing of the above holds is not the tunnel's.
	for _, f := range []struct {
		family int
		all    netip.Prefix
	}{
		{unix.NFPROTO_IPV4, netip.PrefixFrom(netip.IPv4Unspecified(), 0)},
		{unix.NFPROTO_IPV6, netip.PrefixFrom(netip.IPv6Unspecified(), 0)},
	} {
		if !slices.Contains(covered, f.all) {
			out = append(out, KillSwitchRule{Family: f.family})
		}
	}
	return out
}

// blockedBy reads from the texts of a table's rules what they block.
func blockedBy(texts []string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		for _, family := range []string{"ip", "ip6"} {
			rest, ok := strings.CutPrefix(t, chainRoutes+": "+family+" daddr ")
			word, drop := strings.CutSuffix(rest, " counter drop")
			if p, err := netip.ParsePrefix(word); ok && drop && err == nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// single is the network of one address.
func single(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	return netip.PrefixFrom(a, a.BitLen())
}

// closeSwitch makes the kill switch as wanted. It comes before anything else is
// changed.
func (m *Manager) closeSwitch(d Desired, behind []Network) error {
	if d.KillSwitch.Device == "" {
		return nil
	}
	table := killSwitchTable(d.KillSwitch.Device)
	have, there, err := m.host.KillSwitch(table)
	if err != nil {
		return err
	}
	// Without the list nothing is attached: closed all the same.
	attached, failed := m.host.Attached()
	if k := &d.KillSwitch; k.Learning {
		k.Names = k.Names || keepsNames(have)
	}
	want := killSwitchRules(d, attached, behind, blockedBy(have))
	if there && slices.Equal(have, want.texts()) {
		return failed
	}
	if !slices.Contains(m.st.KillSwitches, table) {
		m.st.KillSwitches = append(m.st.KillSwitches, table)
		if err := m.st.write(m.path); err != nil {
			return err
		}
	}
	if err := m.do(Change{Object: want}); err != nil {
		return err
	}
	if !there {
		m.log.Info("kill switch closed: what the tunnel's routes hold leaves by the tunnel or not at all", "device", d.KillSwitch.Device)
	}
	return failed
}

// liftSwitches takes away the kill switches that are not wanted any more, when
// all else is done.
func (m *Manager) liftSwitches(d Desired) error {
	for _, table := range slices.Clone(m.st.KillSwitches) {
		device := strings.TrimPrefix(table, killSwitchPrefix)
		if device == d.KillSwitch.Device {
			continue
		}
		tables, err := m.host.KillSwitches()
		if err != nil {
			return err
		}
		if slices.Contains(tables, table) {
			if err := m.do(Change{Remove: true, Object: KillSwitchTable{Table: table}}); err != nil {
				return err
			}
			m.log.Info("kill switch lifted", "device", device)
		}
		m.st.KillSwitches = slices.DeleteFunc(m.st.KillSwitches, func(t string) bool { return t == table })
		if err := m.st.write(m.path); err != nil {
			return err
		}
	}
	return nil
}

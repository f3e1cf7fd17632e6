package policy

import (
	"net/netip"
	"slices"

	"braid/scheduler/queue"
)

// Rule says which flows a policy is for: those that meet all conditions that
// are there.
type Rule struct {
	// Protocols are numbers of what follows the IP headers, as queue.FlowKey has
	// them. ICMP errors are ICMP, whatever they quote.
	Protocols []uint8
	// SrcPorts and DstPorts are met by protocols with ports only, and not by
	// fragments, which do not show them.
	SrcPorts, DstPorts []PortRange
	Src, Dst           []netip.Prefix
	DSCP               []uint8 // of the packet that is asked about

	Policy int // what Rules.Policy answers: an index in a list of the caller's
}

// PortRange is the ports from First to Last.
type PortRange struct{ First, Last uint16 }

// Rules decide on the policy of flows. The zero value has none.
type Rules struct{ list []rule }

// rule is a Rule as it is asked.
type rule struct {
	protocols    set
	dscp         set
	sport, dport []PortRange
	src, dst     []network
	policy       int
}

// set is a set of numbers up to 255.
type set [4]uint64

func setOf(list []uint8) (s set) {
	for _, n := range list {
		s[n/64] |= 1 << (n % 64)
	}
	if len(list) == 0 {
		s = set{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
	}
	return s
}

func (s *set) has(n uint8) bool { return s[n/64]>>(n%64)&1 != 0 }

// network is a prefix as addresses in a queue.FlowKey are compared with it.
type network struct {
	version int
	address [16]byte // an IPv4 address in the first four bytes
	bits    int
}

func networksOf(list []netip.Prefix) []network {
	var networks []network
	for _, p := range list {
		n := network{version: 6, bits: p.Bits()}
		if p.Addr().Is4() {
			n.version = 4
		}
		copy(n.address[:], p.Masked().Addr().AsSlice())
		networks = append(networks, n)
	}
	return networks
}

func (n *network) has(version int, address *[16]byte) bool {
	if n.version != version {
		return false
	}
	whole := n.bits / 8
	if string(n.address[:whole]) != string(address[:whole]) {
		return false
	}
	rest := n.bits % 8
	return rest == 0 || (n.address[whole]^address[whole])>>(8-rest) == 0
}

// NewRules compiles a list of rules. It is not kept.
func NewRules(list []Rule) Rules {
	var r Rules
	for _, l := range list {
		r.list = append(r.list, rule{
			setOf(l.Protocols), setOf(l.DSCP),
			slices.Clone(l.SrcPorts), slices.Clone(l.DstPorts),
			networksOf(l.Src), networksOf(l.Dst), l.Policy,
		})
	}
	return r
}

// Policy returns that of the first rule that the packet meets, or -1. It is
// meant to be asked once for a flow.
func (r Rules) Policy(h *queue.Header) int {
	for i := range r.list {
		if r.list[i].meets(h) {
			return r.list[i].policy
		}
	}
	return -1
}

func (r *rule) meets(h *queue.Header) bool {
	k := &h.Key
	if !r.protocols.has(k.Protocol) || !r.dscp.has(h.DSCP) {
		return false
	}
	if len(r.sport)+len(r.dport) > 0 && !k.HasPorts() {
		return false
	}
	return hasPort(r.sport, k.SrcPort) && hasPort(r.dport, k.DstPort) &&
		hasAddress(r.src, k.Version(), &k.Src) && hasAddress(r.dst, k.Version(), &k.Dst)
}

// hasPort says whether a condition on a port is met, as none always is.
func hasPort(ranges []PortRange, port uint16) bool {
	for i := range ranges {
		if ranges[i].First <= port && port <= ranges[i].Last {
			return true
		}
	}
	return len(ranges) == 0
}

// hasAddress says whether a condition on an address is met.
func hasAddress(networks []network, version int, address *[16]byte) bool {
	for i := range networks {
		if networks[i].has(version, address) {
			return true
		}
	}
	return len(networks) == 0
}

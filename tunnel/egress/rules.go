package egress

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// node is all rules of one prefix. From it a search goes on to shorter ones,
// for a rule with ports may not fit:
//
//	lookup ─→ 10.1.0.0/16 ─ wider ─→ 10.0.0.0/8 ─ wider ─→ 0.0.0.0/0
//	          deny :22                allow                 deny :25
//
// The way is made once, because bart's own walk upward allocates.
type node struct {
	bits  int
	rules []rule // the most specific first
	wider *node
}

// rule is a Rule with its side.
type rule struct {
	Rule
	allow bool
	text  string
}

// everywhere is the networks of rules that have only ports.
var everywhere = []netip.Prefix{
	netip.PrefixFrom(netip.IPv4Unspecified(), 0),
	netip.PrefixFrom(netip.IPv6Unspecified(), 0),
}

func newRules(allow, deny []Rule) *bart.Table[*node] {
	t := new(bart.Table[*node])
	add := func(r Rule, allowed bool) {
		networks := everywhere
		if r.Network.IsValid() {
			networks = []netip.Prefix{r.Network.Masked()}
		}
		for _, p := range networks {
			n, ok := t.Get(p)
			if !ok {
				n = &node{bits: p.Bits()}
				t.Insert(p, n)
			}
			n.rules = append(n.rules, rule{r, allowed, r.String()})
		}
	}
	// Denials first: the sort keeps them before what is equally specific.
	for _, r := range deny {
		add(r, false)
	}
	for _, r := range allow {
		add(r, true)
	}
	for p, n := range t.All() {
		slices.SortStableFunc(n.rules, func(a, b rule) int { return cmp.Compare(a.ports(), b.ports()) })
		for _, wider := range t.Supernets(p) { // the longest first
			if wider != n {
				n.wider = wider
				break
			}
		}
	}
	return t
}

// find returns the most specific rule for a destination and the length of its
// prefix, or nil.
func find(t *bart.Table[*node], a netip.Addr, port uint16) (bits int, r *rule) {
	n, _ := t.Lookup(a)
	for ; n != nil; n = n.wider {
		for i := range n.rules {
			if n.rules[i].has(port) {
				return n.bits, &n.rules[i]
			}
		}
	}
	return 0, nil
}

package config

import (
	"fmt"
	"slices"
)

// PacketRule says which policy chooses the uplinks of the packets that match.
type PacketRule struct {
	Match  Match
	Policy string // one of Policies
}

// policies are those of package scheduler/policy, which is not imported here; a
// test of the command line compares the two.
var policies = []string{"auto", "redundant", "weighted", "roundrobin", "minrtt", "ecf"}

// Policies are the names that a PacketRule can have, the default first.
func Policies() []string { return slices.Clone(policies) }

// packetRules reads the [[rule]] tables.
func packetRules(list *node, errs *Errors) []PacketRule {
	var rules []PacketRule
	var before []at[Match]
	for _, n := range list.list() {
		policy := one(n.get("policy"), errs, choice(policies...))
		text := n.get("match")
		if text == nil {
			continue
		}
		match, faults := parseMatch(text.str)
		for _, f := range faults {
			errs.add(text, f.problem, f.mend)
		}
		if len(faults) > 0 {
			continue
		}
		i := slices.IndexFunc(before, func(b at[Match]) bool { return b.value.covers(match) })
		if i >= 0 {
			b := before[i].node
			errs.add(text, fmt.Sprintf("is never used: %s (%s) matches first", b.place(), b.text()), "put this rule above that one, or remove it")
		}
		before = append(before, at[Match]{match, text})
		rules = append(rules, PacketRule{match, policy})
	}
	return rules
}

// copies reads tunnel.copies.
func copies(tunnel *node, errs *Errors) int { return between(tunnel.get("copies"), errs, 0, 100) }

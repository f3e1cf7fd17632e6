package main

import (
	"slices"

	"braid/config"
	"braid/scheduler/policy"
	"braid/tunnel"
)

// packetPolicies makes the configuration's rules, and its share of copies in per
// cent, the tunnel's.
func packetPolicies(rules []config.PacketRule, copies int) tunnel.PacketPolicies {
	p := tunnel.PacketPolicies{Rules: packetRules(rules), Copies: float64(copies) / 100}
	if copies == 0 {
		p.Copies = -1
	}
	return p
}

// packetRules makes rules of the configuration's. What they answer is an index
// in policy.Names.
func packetRules(list []config.PacketRule) policy.Rules {
	var rules []policy.Rule
	for _, r := range list {
		rules = append(rules, policy.Rule{
			Protocols: r.Match.Protocols,
			SrcPorts:  portRanges(r.Match.SrcPorts),
			DstPorts:  portRanges(r.Match.DstPorts),
			Src:       r.Match.Src,
			Dst:       r.Match.Dst,
			DSCP:      r.Match.DSCP,
			Policy:    slices.Index(policy.Names(), r.Policy),
		})
	}
	return policy.NewRules(rules)
}

func portRanges(list []config.PortRange) []policy.PortRange {
	var ranges []policy.PortRange
	for _, r := range list {
		ranges = append(ranges, policy.PortRange(r))
	}
	return ranges
}

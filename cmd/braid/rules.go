package main

import (
	"slices"

	"braid/config"
	"braid/scheduler/policy"
)

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

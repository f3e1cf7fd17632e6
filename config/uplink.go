package config

import (
	"fmt"
	"path"
	"strings"
)

// Role says how an uplink is used.
type Role string

const (
	RoleBond     Role = "bond"     // together with all others of this role
	RoleOverflow Role = "overflow" // when those are full, or none of them works
	RoleBackup   Role = "backup"   // when none of all those works
	RoleNever    Role = "never"
)

// UplinkRule says how the interfaces whose names match are used.
type UplinkRule struct {
	Interface string // a pattern as of path.Match: "ppp0", "wwan*"
	Role      Role
	CapBytes  uint64 // in a month, for each interface; 0 is no cap
	Metered   bool   // whether each byte costs, as it does with a cap
}

// Matches reports whether the rule is about the interface.
func (r UplinkRule) Matches(name string) bool {
	ok, err := path.Match(r.Interface, name)
	return ok && err == nil
}

// Uplink returns the rule for an interface: the first that matches. With no
// rules at all every interface is bond; with some, those that match none are
// never. The tunnel is never its own uplink.
func (c *Client) Uplink(name string) UplinkRule {
	if name == c.Tunnel.Name {
		return UplinkRule{Interface: name, Role: RoleNever}
	}
	for _, r := range c.Uplinks {
		if r.Matches(name) {
			return r
		}
	}
	if len(c.Uplinks) == 0 {
		return UplinkRule{Interface: "*", Role: RoleBond}
	}
	return UplinkRule{Interface: name, Role: RoleNever}
}

// uplinkRules reads the [[uplink]] tables.
func uplinkRules(list *node, tunnel string, errs *Errors) []UplinkRule {
	var rules []UplinkRule
	var before []at[string] // the patterns
	for _, n := range list.list() {
		r := UplinkRule{
			Interface: one(n.get("interface"), errs, parsePattern),
			Role:      one(n.get("role"), errs, choice(RoleBond, RoleOverflow, RoleBackup, RoleNever)),
			CapBytes:  one(n.get("cap"), errs, parseCap),
		}
		r.Metered = r.CapBytes > 0
		if own := n.get("metered"); own != nil {
			r.Metered = own.flag
		}
		rules = append(rules, r)
		if r.Interface == "" {
			continue
		}
		pattern := at[string]{r.Interface, n.get("interface")}
		if r.Interface == tunnel && r.Role != RoleNever {
			errs.add(pattern.node, "is the tunnel itself (tunnel.name), which cannot be its own uplink", "remove this rule, or rename the tunnel")
		}
		if r.Interface == "lo" && r.Role != RoleNever {
			errs.add(pattern.node, "is the loopback interface, which leads nowhere", "remove this rule")
		}
		if hides := hidden(pattern, before); hides != nil {
			errs.add(pattern.node, fmt.Sprintf("is never used: %s (%s) matches first", hides.place(), hides.text()), "put this rule above that one, or remove it")
		}
		before = append(before, pattern)
	}
	if len(rules) > 0 && !usable(rules) {
		errs.add(list, "must use some interface: these rules only exclude, and what matches no rule is never used either",
			`add a last [[uplink]] with interface = "*"`)
	}
	return rules
}

// hidden returns the pattern that takes everything from p, or nil. It finds
// what people write, not every case: patterns inside patterns are rare.
func hidden(p at[string], before []at[string]) *node {
	for _, b := range before {
		all := b.value == "*" || b.value == p.value
		if !all && literal(p.value) {
			all = UplinkRule{Interface: b.value}.Matches(p.value)
		}
		if all {
			return b.node
		}
	}
	return nil
}

func usable(rules []UplinkRule) bool {
	for _, r := range rules {
		if r.Role != RoleNever {
			return true
		}
	}
	return false
}

// capUnits are decimal, as on a phone bill.
var capUnits = []unit{{"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}}

// parseCap reads "50GB/month".
func parseCap(text string) (uint64, *fault) {
	amount, ok := strings.CutSuffix(text, "/month")
	bytes, good := parseBytes(amount, capUnits)
	if !ok || !good {
		return 0, &fault{"must be a number, MB, GB or TB, and /month", `such as "50GB/month"`}
	}
	return bytes, nil
}

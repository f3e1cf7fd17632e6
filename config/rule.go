package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// EgressRule is a network and ports that clients may reach, or may not. Rules
// that mean the same are equal.
type EgressRule struct {
	Network netip.Prefix // without host bits; the zero value is every address of both families
	// Ports from First to Last. Both 0 is every port.
	First, Last uint16
}

// String is the rule as it is written in the file: "10.0.0.0/8",
// "192.0.2.7:22", "[2001:db8::/32]:80-443", ":25".
func (r EgressRule) String() string {
	network := ""
	if r.Network.IsValid() {
		network = r.Network.String()
		// 0.0.0.0/32 keeps its length: without it many mean 0.0.0.0/0.
		if a := r.Network.Addr(); r.Network.IsSingleIP() && !a.IsUnspecified() {
			network = a.String()
		}
	}
	switch {
	case r.First == 0 && r.Last == 0 && network == "":
		return ":1-65535"
	case r.First == 0 && r.Last == 0:
		return network
	case r.Network.Addr().Is6():
		network = "[" + network + "]"
	}
	network += ":" + strconv.Itoa(int(r.First))
	if r.Last != r.First {
		network += "-" + strconv.Itoa(int(r.Last))
	}
	return network
}

const ruleExample = `such as "10.0.0.0/8", "192.0.2.7:22", "[2001:db8::/32]:80-443" or ":25"`

// parseEgressRule reads a network, ports, or both:
//
//	10.0.0.0/8               192.0.2.7               2001:db8::/32
//	192.0.2.0/24:80-443      192.0.2.7:22            [2001:db8::/32]:443
//	:25                      ports of every address, IPv4 and IPv6
func parseEgressRule(text string) (EgressRule, *fault) {
	if bare := strings.Join(strings.Fields(text), ""); bare != text {
		r, wrong := parseEgressRule(bare)
		return faultyRule("must have no spaces", r, wrong == nil)
	}
	d := divideRule(text)

	// All of it is read even when something is wrong, so that the mend is a
	// whole rule. The first problem is the one to tell.
	problem, readable := d.problem, true
	note := func(what string, known bool) {
		if what != "" {
			problem = cmp.Or(problem, what)
			readable = readable && known
		}
	}
	r := EgressRule{}
	if !d.everywhere {
		p, what, known := parseRuleNetwork(d.network)
		note(what, known)
		r.Network = p
		switch {
		case !known:
		case d.brackets && p.Addr().Is4():
			note("must have no brackets around IPv4", true)
		case d.brackets && !d.colon:
			note("must have brackets only where ports follow", true)
		case !d.brackets && d.colon && p.Addr().Is6():
			note("must have brackets around IPv6 where ports follow", true)
		}
	}
	if d.colon {
		first, last, what, known := parsePorts(d.ports)
		// Beside a network, no ports at all are likely to mean every port.
		note(what, known || d.ports == "" && !d.everywhere)
		r.First, r.Last = first, last
	}
	if problem == "" {
		return r, nil
	}
	if first, last, what, _ := parsePorts(text); what == "" {
		return faultyRule("must have a colon before ports without a network", EgressRule{First: first, Last: last}, true)
	}
	return faultyRule(problem, r, readable)
}

// faultyRule makes the fault for a problem. Its mend is the rule that was
// meant, if that is known.
func faultyRule(problem string, meant EgressRule, known bool) (EgressRule, *fault) {
	if !known {
		return EgressRule{}, &fault{problem, ruleExample}
	}
	return EgressRule{}, &fault{problem, write(meant)}
}

// dividedRule is a rule taken apart, but not yet read.
type dividedRule struct {
	everywhere bool // no network at all
	network    string
	brackets   bool   // around the network
	ports      string // behind the colon
	colon      bool
	problem    string // when the parts are clear, but wrongly put together
}

func divideRule(text string) dividedRule {
	if strings.HasPrefix(text, ":") && !strings.HasPrefix(text, "::") {
		return dividedRule{everywhere: true, colon: true, ports: text[1:]}
	}
	if inside, ok := strings.CutPrefix(text, "["); ok {
		d := dividedRule{brackets: true}
		network, rest, closed := strings.Cut(inside, "]")
		length, ports, colon := strings.Cut(rest, ":")
		switch {
		case !closed:
			d.problem = "must have a closing bracket behind the network"
		case strings.HasPrefix(length, "/"):
			d.problem = "must have the prefix length inside of the brackets"
		case length != "":
			return dividedRule{network: text} // which is none
		}
		d.network, d.ports, d.colon = network+length, ports, colon
		return d
	}
	address, length, slash := strings.Cut(text, "/")
	switch {
	case slash:
		length, ports, colon := strings.Cut(length, ":")
		return dividedRule{network: address + "/" + length, ports: ports, colon: colon}
	case strings.Count(text, ":") == 1:
		network, ports, _ := strings.Cut(text, ":")
		return dividedRule{network: network, ports: ports, colon: true}
	}
	return dividedRule{network: text} // with more colons it is IPv6
}

// parseRuleNetwork reads a network or an address. When there is a problem,
// known says whether the network that was meant is returned.
func parseRuleNetwork(text string) (p netip.Prefix, problem string, known bool) {
	address, length, slash := strings.Cut(text, "/")
	address, _, zoned := strings.Cut(address, "%")
	a, err := netip.ParseAddr(address)
	if err != nil {
		return p, "must be a network, an address or ports; names are not looked up", false
	}
	bits := a.BitLen()
	if slash {
		p, err := netip.ParsePrefix(address + "/" + length)
		if err != nil {
			return p, fmt.Sprintf("must have a prefix length of 0 to %d", bits), false
		}
		bits = p.Bits()
	}
	mapped := a.Is4In6()
	if mapped {
		bits -= 96
		a = a.Unmap()
	}
	alone := !slash && a.IsUnspecified()
	if alone {
		bits = 0
	}
	p = netip.PrefixFrom(a, bits).Masked()
	switch {
	case zoned:
		return p, "must not have a zone", p.IsValid()
	case mapped:
		return p, "must be IPv4 in its own notation", p.IsValid()
	case alone:
		return p, "must have a prefix length, as no host has that address", true
	case p.Addr() != a:
		return p, fmt.Sprintf("must be a network, with nothing behind its first %d bits", bits), true
	}
	return p, "", true
}

// parsePorts reads one port or a range; every port is 0 and 0. When there is a
// problem, known says whether the ports that were meant are returned.
func parsePorts(text string) (first, last uint16, problem string, known bool) {
	if text == "" {
		return 0, 0, "must have a port after the colon", false
	}
	from, to, ranged := strings.Cut(text, "-")
	if !ranged {
		to = from
	}
	a, err := strconv.ParseUint(from, 10, 16)
	b, err2 := strconv.ParseUint(to, 10, 16)
	if err != nil || err2 != nil || a == 0 && b == 0 {
		return 0, 0, "must have one port or one range such as 80-443, from 1 to 65535", false
	}
	switch {
	case b == 0:
		problem, a, b = "must have ports from 1 to 65535", 1, a
	case a == 0:
		problem, a = "must have ports from 1 to 65535", 1
	case a > b:
		problem, a, b = "must have the lower port first", b, a
	}
	if a == 1 && b == 65535 {
		a, b = 0, 0
	}
	return uint16(a), uint16(b), problem, true
}

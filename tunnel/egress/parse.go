package egress

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// RuleError is what is wrong with the text of a rule. It is a crypto.Hinter.
type RuleError struct {
	Text    string // shortened when it is long
	Problem string // what is wrong and what is allowed
	Mend    string // what to write instead
}

func (e *RuleError) Error() string { return fmt.Sprintf("rule %q %s", e.Text, e.Problem) }

// Hint says how to mend it.
func (e *RuleError) Hint() string { return e.Mend }

// maxShown is how many bytes of a faulty rule are shown. No good one is longer.
const maxShown = 64

// ParseRule reads a network, ports, or both:
//
//	10.0.0.0/8               192.0.2.7               2001:db8::/32
//	192.0.2.0/24:80-443      192.0.2.7:22            [2001:db8::/32]:443
//	:25                      ports of every address, IPv4 and IPv6
//
// The error is *RuleError.
func ParseRule(text string) (Rule, error) {
	r, wrong := parse(text)
	if wrong == nil {
		return r, nil
	}
	wrong.Text = text
	if len(text) > maxShown {
		wrong.Text = text[:maxShown] + "…"
	}
	return Rule{}, wrong
}

const example = `such as "10.0.0.0/8", "192.0.2.7:22", "[2001:db8::/32]:80-443" or ":25"`

func parse(text string) (Rule, *RuleError) {
	if bare := strings.Join(strings.Fields(text), ""); bare != text {
		r, wrong := parse(bare)
		return fault("must have no spaces", r, wrong == nil)
	}
	d := divide(text)

	// All of it is read even when something is wrong, so that the mend is a
	// whole rule. The first problem is the one to tell.
	problem, readable := d.problem, true
	note := func(what string, known bool) {
		if what != "" {
			problem = cmp.Or(problem, what)
			readable = readable && known
		}
	}
	r := Rule{}
	if !d.everywhere {
		p, what, known := parseNetwork(d.network)
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
		return fault("must have a colon before ports without a network", Rule{First: first, Last: last}, true)
	}
	return fault(problem, r, readable)
}

// fault makes the error for a problem. Its mend is the rule that was meant, if
// that is known.
func fault(problem string, meant Rule, known bool) (Rule, *RuleError) {
	if !known {
		return Rule{}, &RuleError{Problem: problem, Mend: example}
	}
	return Rule{}, &RuleError{Problem: problem, Mend: fmt.Sprintf("write %q", meant.String())}
}

// divided is a rule taken apart, but not yet read.
type divided struct {
	everywhere bool // no network at all
	network    string
	brackets   bool   // around the network
	ports      string // behind the colon
	colon      bool
	problem    string // when the parts are clear, but wrongly put together
}

func divide(text string) divided {
	if strings.HasPrefix(text, ":") && !strings.HasPrefix(text, "::") {
		return divided{everywhere: true, colon: true, ports: text[1:]}
	}
	if inside, ok := strings.CutPrefix(text, "["); ok {
		d := divided{brackets: true}
		network, rest, closed := strings.Cut(inside, "]")
		length, ports, colon := strings.Cut(rest, ":")
		switch {
		case !closed:
			d.problem = "must have a closing bracket behind the network"
		case strings.HasPrefix(length, "/"):
			d.problem = "must have the prefix length inside of the brackets"
		case length != "":
			return divided{network: text} // which is none
		}
		d.network, d.ports, d.colon = network+length, ports, colon
		return d
	}
	address, length, slash := strings.Cut(text, "/")
	switch {
	case slash:
		length, ports, colon := strings.Cut(length, ":")
		return divided{network: address + "/" + length, ports: ports, colon: colon}
	case strings.Count(text, ":") == 1:
		network, ports, _ := strings.Cut(text, ":")
		return divided{network: network, ports: ports, colon: true}
	}
	return divided{network: text} // with more colons it is IPv6
}

// parseNetwork reads a network or an address. When there is a problem, known
// says whether the network that was meant is returned.
func parseNetwork(text string) (p netip.Prefix, problem string, known bool) {
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

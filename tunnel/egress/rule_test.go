package egress

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

// ParseRule reads what Rule.String writes, for the tests of this package.
// Whatever else people may write is package config's to read.
func ParseRule(text string) (Rule, error) {
	network, ports := text, ""
	if inside, ok := strings.CutPrefix(text, "["); ok {
		network, ports, _ = strings.Cut(inside, "]:")
	} else if n, p, ok := strings.Cut(text, ":"); ok && !strings.Contains(p, ":") {
		network, ports = n, p
	}
	r, err := Rule{}, error(nil)
	switch {
	case network == "":
	case strings.Contains(network, "/"):
		r.Network, err = netip.ParsePrefix(network)
	default:
		var a netip.Addr
		a, err = netip.ParseAddr(network)
		r.Network = single(a)
	}
	if err != nil || ports == "" {
		return r, err
	}
	from, to, ranged := strings.Cut(ports, "-")
	if !ranged {
		to = from
	}
	first, err := strconv.ParseUint(from, 10, 16)
	last, err2 := strconv.ParseUint(to, 10, 16)
	if err != nil || err2 != nil {
		return r, fmt.Errorf("ports %q", ports)
	}
	if first != 1 || last != 65535 {
		r.First, r.Last = uint16(first), uint16(last)
	}
	return r, nil
}

// The texts are those that package config reads.
func TestRuleString(t *testing.T) {
	for text, want := range map[string]Rule{
		"10.0.0.0/8":              {netip.MustParsePrefix("10.0.0.0/8"), 0, 0},
		"192.0.2.7":               {netip.MustParsePrefix("192.0.2.7/32"), 0, 0},
		"192.0.2.7:22":            {netip.MustParsePrefix("192.0.2.7/32"), 22, 22},
		"192.0.2.0/24:80-443":     {netip.MustParsePrefix("192.0.2.0/24"), 80, 443},
		"0.0.0.0/0":               {netip.MustParsePrefix("0.0.0.0/0"), 0, 0},
		"0.0.0.0/32":              {netip.MustParsePrefix("0.0.0.0/32"), 0, 0},
		"::/0":                    {netip.MustParsePrefix("::/0"), 0, 0},
		"::/128":                  {netip.MustParsePrefix("::/128"), 0, 0},
		"::1":                     {netip.MustParsePrefix("::1/128"), 0, 0},
		"2001:db8::/32":           {netip.MustParsePrefix("2001:db8::/32"), 0, 0},
		"2001:db8::1:443":         {netip.MustParsePrefix("2001:db8::1:443/128"), 0, 0},
		"[2001:db8::/32]:443":     {netip.MustParsePrefix("2001:db8::/32"), 443, 443},
		"[2001:db8::1]:1000-1002": {netip.MustParsePrefix("2001:db8::1/128"), 1000, 1002},
		":25":                     {netip.Prefix{}, 25, 25},
		":1-1023":                 {netip.Prefix{}, 1, 1023},
		":1-65535":                {},
	} {
		if got := want.String(); got != text {
			t.Errorf("%+v: %q, want %q", want, got, text)
		}
		if r, err := ParseRule(text); err != nil || r != want {
			t.Errorf("%s: %+v, %v", text, r, err)
		}
	}
}

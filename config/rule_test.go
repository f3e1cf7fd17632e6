package config

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

func TestEgressRule(t *testing.T) {
	for text, want := range map[string]EgressRule{
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
		r, wrong := parseEgressRule(text)
		if wrong != nil || r != want || r.String() != text {
			t.Errorf("%s: %+v, %q, %v", text, r, r.String(), wrong)
		}
	}
	// What can be written in several ways is printed in one.
	for text, want := range map[string]string{
		"192.0.2.7/32":          "192.0.2.7",
		"192.0.2.7:22-22":       "192.0.2.7:22",
		"192.0.2.7:1-65535":     "192.0.2.7",
		"192.0.2.7:022":         "192.0.2.7:22",
		"2001:DB8:0:0::1/128":   "2001:db8::1",
		"[2001:db8::1/128]:443": "[2001:db8::1]:443",
		"[2001:db8::1]:1-65535": "2001:db8::1",
	} {
		r, wrong := parseEgressRule(text)
		if wrong != nil || r.String() != want {
			t.Errorf("%s: %q, %v, want %q", text, r.String(), wrong, want)
		}
	}
}

func TestEgressRuleFaults(t *testing.T) {
	const noNetwork, noPorts = "must be a network, an address or ports; names are not looked up",
		"must have one port or one range such as 80-443, from 1 to 65535"
	for _, c := range []struct{ text, problem, mend string }{
		{"", noNetwork, ""},
		{"example.com:443", noNetwork, ""},
		{"*:25", noNetwork, ""},
		{"10.0.0/8", noNetwork, ""},
		{"[]:25", noNetwork, ""},
		{"[::1]2:25", noNetwork, ""},
		{":::25", noNetwork, ""},
		{"25", "must have a colon before ports without a network", ":25"},
		{"80-443", "must have a colon before ports without a network", ":80-443"},
		{" 10.0.0.0/8 : 22", "must have no spaces", "10.0.0.0/8:22"},
		{" example.com", "must have no spaces", ""},
		{"10.0.0.1/8", "must be a network, with nothing behind its first 8 bits", "10.0.0.0/8"},
		{"10.0.0.1/8:22", "must be a network, with nothing behind its first 8 bits", "10.0.0.0/8:22"},
		{"10.0.0.0/33", "must have a prefix length of 0 to 32", ""},
		{"10.0.0.0/", "must have a prefix length of 0 to 32", ""},
		{"2001:db8::/129", "must have a prefix length of 0 to 128", ""},
		{"0.0.0.0", "must have a prefix length, as no host has that address", "0.0.0.0/0"},
		{"0.0.0.0:25", "must have a prefix length, as no host has that address", "0.0.0.0/0:25"},
		{"[::]:25", "must have a prefix length, as no host has that address", "[::/0]:25"},
		{"::ffff:10.0.0.0/104", "must be IPv4 in its own notation", "10.0.0.0/8"},
		{"[::ffff:10.0.0.1]:22", "must be IPv4 in its own notation", "10.0.0.1:22"},
		{"::ffff:0.0.0.0/8", "must be IPv4 in its own notation", ""},
		{"fe80::1%eth0", "must not have a zone", "fe80::1"},
		{"[fe80::%eth0/64]:22", "must not have a zone", "[fe80::/64]:22"},
		{"2001:db8::/32:443", "must have brackets around IPv6 where ports follow", "[2001:db8::/32]:443"},
		{"[2001:db8::]/32:443", "must have the prefix length inside of the brackets", "[2001:db8::/32]:443"},
		{"[2001:db8::/32]", "must have brackets only where ports follow", "2001:db8::/32"},
		{"[2001:db8::/32", "must have a closing bracket behind the network", "2001:db8::/32"},
		{"[10.0.0.0/8]:80", "must have no brackets around IPv4", "10.0.0.0/8:80"},
		{":", "must have a port after the colon", ""},
		{"10.0.0.0/8:", "must have a port after the colon", "10.0.0.0/8"},
		{":0", noPorts, ""},
		{":65536", noPorts, ""},
		{":https", noPorts, ""},
		{":80,443", noPorts, ""},
		{":80-", noPorts, ""},
		{"10.0.0.0/8:80:90", noPorts, ""},
		{":0-1023", "must have ports from 1 to 65535", ":1-1023"},
		{":443-80", "must have the lower port first", ":80-443"},
	} {
		r, wrong := parseEgressRule(c.text)
		mend := ruleExample
		if c.mend != "" {
			mend = "write " + strconv.Quote(c.mend)
		}
		if r != (EgressRule{}) || wrong == nil || *wrong != (fault{c.problem, mend}) {
			t.Errorf("%q: %+v, %+v\nwant %s; %s", c.text, r, wrong, c.problem, mend)
		}
	}
}

// FuzzEgressRule checks that what parses is a rule that prints and parses again
// as itself, and that a mend which names a rule names a good one.
func FuzzEgressRule(f *testing.F) {
	for _, text := range []string{
		"10.0.0.0/8", "192.0.2.7:22", "192.0.2.0/24:80-443", "[2001:db8::/32]:443", ":25", ":1-65535", "::", "0.0.0.0/32",
		"[::1]2:3", "[::ffff:1.2.3.4%x/104]:5-4", " 25", "[fe80::%a:b]/10:0-9", "::ffff:0.0.0.0", "[::]:", "a\xff\u2028",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, wrong := parseEgressRule(text)
		if wrong != nil {
			if wrong.problem == "" || wrong.mend == "" || r != (EgressRule{}) {
				t.Fatalf("%q: %+v, %#v", text, wrong, r)
			}
			for _, c := range wrong.problem + wrong.mend {
				if !strconv.IsPrint(c) {
					t.Fatalf("not a printable line: %q", wrong.problem+wrong.mend)
				}
			}
			if mend, ok := strings.CutPrefix(wrong.mend, "write "); ok {
				good, err := strconv.Unquote(mend)
				if err != nil {
					t.Fatal(mend)
				}
				if _, wrong := parseEgressRule(good); wrong != nil || good == text {
					t.Fatalf("%q: %q is no mend: %+v", text, good, wrong)
				}
			}
			return
		}
		again, wrong := parseEgressRule(r.String())
		if wrong != nil || again != r || again.String() != r.String() {
			t.Fatalf("%q is %+v, %q, and again %+v, %+v", text, r, r.String(), again, wrong)
		}
		switch {
		case (r.First == 0) != (r.Last == 0), r.First > r.Last:
			t.Fatalf("%q: ports of %+v", text, r)
		case r.Network.IsValid() && (r.Network != r.Network.Masked() || r.Network.Addr().Is4In6() || r.Network.Addr().Zone() != ""):
			t.Fatalf("%q: network of %+v", text, r)
		}
	})
}

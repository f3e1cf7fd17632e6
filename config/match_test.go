package config

import (
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	ports := func(p ...uint16) (list []PortRange) {
		for i := 0; i < len(p); i += 2 {
			list = append(list, PortRange{p[i], p[i+1]})
		}
		return list
	}
	for text, want := range map[string]Match{
		"all":                                 {},
		"udp dport 5060":                      {Protocols: []uint8{17}, DstPorts: ports(5060, 5060)},
		"tcp sport 22,80-443,8080":            {Protocols: []uint8{6}, SrcPorts: ports(22, 22, 80, 443, 8080, 8080)},
		"icmp":                                {Protocols: []uint8{1, 58}},
		"proto 1":                             {Protocols: []uint8{1}},
		"proto 6,17 dport 53":                 {Protocols: []uint8{6, 17}, DstPorts: ports(53, 53)},
		"src 10.0.0.0/8,192.0.2.7,2001:db8::": {Src: prefixes("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/128")},
		"src 10.0.0.0/8 sport 1-65535 dst ::/0,0.0.0.0/0 dport 9 dscp ef": {},
		"dscp be,le,cs1,3,va,ef": {DSCP: []uint8{0, 1, 3, 8, 44, 46}},
	} {
		m, faults := parseMatch(text)
		if len(faults) > 0 {
			t.Errorf("%s: %+v", text, faults)
			continue
		}
		if strings.Contains(text, "::/0") { // sorted: IPv4 first
			want = Match{Src: prefixes("10.0.0.0/8"), SrcPorts: ports(1, 65535), Dst: prefixes("0.0.0.0/0", "::/0"), DstPorts: ports(9, 9), DSCP: []uint8{46}}
			text = "src 10.0.0.0/8 sport 1-65535 dst 0.0.0.0/0,::/0 dport 9 dscp ef"
		}
		if text == "dscp be,le,cs1,3,va,ef" {
			text = "dscp be,le,3,cs1,va,ef"
		}
		if !reflect.DeepEqual(m, want) || m.String() != text {
			t.Errorf("%s: %+v, %s", text, m, m)
		}
	}
	// What can be written in several ways is printed in one.
	for text, want := range map[string]string{
		"UDP and DPORT 5060 , 5061":               "udp dport 5060-5061",
		"dport 5060 udp":                          "udp dport 5060",
		"dport 30,10-20,15-25,26":                 "dport 10-26,30",
		"src 10.1.0.0/16,10.0.0.0/8,10.0.0.0/8":   "src 10.0.0.0/8",
		"proto 58,1":                              "icmp",
		"proto 17":                                "udp",
		"dscp 46,EF,cs0":                          "dscp be,ef",
		"src 2001:DB8:0::/33  and\tdst ::1/128 ":  "src 2001:db8::/33 dst ::1",
		"dst 0.0.0.0/32":                          "dst 0.0.0.0/32",
		"proto 255,0 dscp 63 and dscp":            "",
		"proto 6,17,17 and src 10.0.0.0/8 dscp 2": "proto 6,17 src 10.0.0.0/8 dscp 2",
	} {
		m, faults := parseMatch(text)
		if (want == "") != (len(faults) > 0) || want != "" && m.String() != want {
			t.Errorf("%s: %s, %+v", text, m, faults)
		}
	}
}

func TestMatchFaults(t *testing.T) {
	const dportExample = `such as "dport 5060,10000-20000"`
	for text, want := range map[string][]fault{
		"":                 {{"must not be empty", `write "all" for a rule about all packets`}},
		"uddp":             {{`"uddp" is no condition`, "did you mean udp?"}},
		"port 53":          {{`"port" is no condition`, "write sport or dport"}},
		"udp 5060":         {{`"5060" must have sport or dport before it`, `write "dport 5060"`}},
		"10.0.0.0/8":       {{`"10.0.0.0/8" must have src or dst before it`, `write "dst 10.0.0.0/8"`}},
		"frobnicates":      {{`"frobnicates" is no condition`, "known are all, and, tcp, udp, icmp, proto, sport, dport, src, dst, dscp"}},
		"and udp":          {{`"and" must stand between two conditions`, "leave it out"}},
		"udp and":          {{`"and" must stand between two conditions`, "leave it out"}},
		"udp and and icmp": {{`"and" must stand between two conditions`, "leave it out"}, {"must have one condition on protocols, for no packet has two", `write a list, such as "proto 6,17"`}},
		"udp dport":        {{`"dport" must have a value behind it`, dportExample}},
		"dport and udp":    {{`"dport" must have a value behind it`, dportExample}},
		"dport 443-80":     {{`dport "443-80": must have the lower port first`, `write "dport 80-443"`}},
		"dport 0-80":       {{`dport "0-80": must have ports from 1 to 65535`, `write "dport 1-80"`}},
		"dport sip":        {{`dport "sip": must have one port or one range such as 80-443, from 1 to 65535`, dportExample}},
		"dport 5060,":      {{`dport "": must have a port on both sides of a comma`, dportExample}},
		"dport 1 dport 2":  {{`must have one condition "dport" only`, "put its values in a list, with commas"}},
		"proto tcp":        {{`proto "tcp": must be a number of 0 to 255`, `write "tcp"`}},
		"proto 256":        {{`proto "256": must be a number of 0 to 255`, `such as "proto 47"`}},
		"dscp 64":          {{`dscp "64": must be a name or a number of 0 to 63`, `such as "dscp ef", "dscp af41" or "dscp 46"`}},
		"dscp af44":        {{`dscp "af44": must be a name or a number of 0 to 63`, "did you mean af41?"}},
		"src home":         {{`src "home": must be a network or an address; names are not looked up`, `such as "src 192.168.1.0/24"`}},
		"src 10.0.0.1/8":   {{`src "10.0.0.1/8": must be a network, with nothing behind its first 8 bits`, `write "src 10.0.0.0/8"`}},
		"src 10.0.0.0/33":  {{`src "10.0.0.0/33": must have a prefix length of 0 to 32`, `such as "src 192.168.1.0/24"`}},
		"icmp dport 5":     {{"must not have ports beside a protocol that has none", `such as "udp dport 5060"`}},
		"all udp":          {{`"all" must stand alone, for it is about all packets`, "leave it out"}},
		"src ::1 dst 10.0.0.0/8": {{"must have src and dst of one family, for no packet has both",
			"put networks of both in the lists, or make two rules"}},
	} {
		m, faults := parseMatch(text)
		if !reflect.DeepEqual(faults, want) || !reflect.DeepEqual(m, Match{}) {
			t.Errorf("%q: %+v, %+v\nwant %+v", text, m, faults, want)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, test := range []struct {
		outer, inner string
		want         bool
	}{
		{"all", "udp", true},
		{"all", "all", true},
		{"udp", "all", false},
		{"udp", "udp dport 53", true},
		{"udp dport 53", "udp", false},
		{"dport 50-60,70", "udp dport 53,70", true},
		{"dport 50-60,70", "udp dport 53,71", false},
		{"proto 6,17", "tcp", true},
		{"tcp", "proto 6,17", false},
		{"src 10.0.0.0/8", "src 10.1.0.0/16 dscp ef", true},
		{"src 10.0.0.0/8", "dst 10.1.0.0/16", false},
		{"src 10.0.0.0/8", "src 10.1.0.0/16,11.0.0.0/8", false},
		{"dscp ef,va", "dscp ef", true},
	} {
		outer, wrong := parseMatch(test.outer)
		inner, wrong2 := parseMatch(test.inner)
		if len(wrong)+len(wrong2) > 0 || outer.covers(inner) != test.want {
			t.Errorf("%q covers %q: %v", test.outer, test.inner, !test.want)
		}
	}
}

// FuzzMatch checks that what parses is a match that prints and parses again as
// itself, and that a mend which names a match names a good one.
func FuzzMatch(f *testing.F) {
	for _, text := range []string{
		"all", "udp dport 5060, 10000-20000", "src 10.0.0.0/8,::1 and dst 0.0.0.0/0 dscp ef,46", "proto 6,17 sport 1-65535",
		"and udp and", "dport 443-80,", "src ::ffff:1.2.3.4%x/104", "icmp port 5 \xff\u2028", "dst 10.0.0.1/8", "5060", "0.0.0.0/0",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, faults := parseMatch(text)
		for _, wrong := range faults {
			if wrong.problem == "" || wrong.mend == "" || !reflect.DeepEqual(m, Match{}) {
				t.Fatalf("%q: %+v, %#v", text, wrong, m)
			}
			for _, c := range wrong.problem + wrong.mend {
				if !strconv.IsPrint(c) {
					t.Fatalf("not a printable line: %q", wrong.problem+wrong.mend)
				}
			}
			if mend, ok := strings.CutPrefix(wrong.mend, `write "`); ok {
				good, _, _ := strings.Cut(mend, `"`)
				if _, faults := parseMatch(good); len(faults) > 0 || good == text {
					t.Fatalf("%q: %q is no mend: %+v", text, good, faults)
				}
			}
		}
		if len(faults) > 0 {
			return
		}
		again, faults := parseMatch(m.String())
		if len(faults) > 0 || !reflect.DeepEqual(again, m) || !m.covers(m) || !(Match{}).covers(m) {
			t.Fatalf("%q is %+v, %q, and again %+v, %+v", text, m, m, again, faults)
		}
		for _, p := range append(append([]netip.Prefix{}, m.Src...), m.Dst...) {
			if p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
				t.Fatalf("%q: network %v", text, p)
			}
		}
		for _, r := range append(append([]PortRange{}, m.SrcPorts...), m.DstPorts...) {
			if r.First == 0 || r.First > r.Last {
				t.Fatalf("%q: ports %v", text, r)
			}
		}
	})
}

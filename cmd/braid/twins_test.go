package main

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"braid/hostnet"
)

func TestTellApart(t *testing.T) {
	one, two, six := netip.MustParseAddr("192.168.8.100"), netip.MustParseAddr("192.168.9.100"), netip.MustParseAddr("2001:db8::1")
	for name, test := range map[string]struct {
		kernel   string
		found    [][]netip.Addr // of lte1, lte2 and lte3
		twins    []bool
		want     [][]netip.Addr
		unusable string // names
	}{
		"apart":       {"6.1.0-38-amd64", [][]netip.Addr{{one}, {two}}, []bool{false, false}, [][]netip.Addr{{one}, {two}}, ""},
		"twins":       {"6.1.0-38-amd64", [][]netip.Addr{{one}, {one}}, []bool{true, true}, [][]netip.Addr{{one}, {}}, "lte2"},
		"new kernel":  {"6.6.1", [][]netip.Addr{{one}, {one}}, []bool{true, true}, [][]netip.Addr{{one}, {one}}, ""},
		"newer":       {"7.0-rc1", [][]netip.Addr{{one}, {one}}, []bool{true, true}, [][]netip.Addr{{one}, {one}}, ""},
		"not known":   {"", [][]netip.Addr{{one}, {one}}, []bool{true, true}, [][]netip.Addr{{one}, {one}}, ""},
		"old kernel":  {"5.15.0", [][]netip.Addr{{one}, {one}, {one}}, []bool{true, true, true}, [][]netip.Addr{{one}, {}, {}}, "lte2 lte3"},
		"by IPv6":     {"6.1.0", [][]netip.Addr{{one}, {one, six}}, []bool{true, true}, [][]netip.Addr{{one}, {six}}, ""},
		"none at all": {"6.1.0", [][]netip.Addr{{one}, {}}, []bool{false, false}, [][]netip.Addr{{one}, {}}, ""},
	} {
		var found []hostnet.Uplink
		for i, list := range test.found {
			found = append(found, hostnet.Uplink{Name: "lte" + string(rune('1'+i)), Index: i + 5, Addresses: list})
		}
		for i, u := range found {
			if i < len(test.twins) && hasTwin(u, found) != test.twins[i] {
				t.Errorf("%s: %s has a twin: %v", name, u.Name, !test.twins[i])
			}
		}
		usable, unusable := tellApart(found, test.kernel)
		for i, u := range usable {
			if !slices.Equal(u.Addresses, test.want[i]) {
				t.Errorf("%s: %s has %v, want %v", name, u.Name, u.Addresses, test.want[i])
			}
		}
		if got := strings.Join(slices.Sorted(maps.Keys(unusable)), " "); got != test.unusable {
			t.Errorf("%s: unusable %q, want %q", name, got, test.unusable)
		}
		for _, why := range unusable {
			if !strings.Contains(why, "lte1, 192.168.8.100,") || !strings.Contains(why, test.kernel) {
				t.Errorf("%s: %s", name, why)
			}
		}
	}
}

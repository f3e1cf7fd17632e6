package main

import (
	"net/netip"
	"testing"

	"braid/tunnel"
)

func TestLost(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	up := func(name string, index int, addresses ...netip.Addr) tunnel.Uplink {
		return tunnel.Uplink{Name: name, Index: index, Addresses: addresses}
	}
	for name, test := range map[string]struct {
		before, after []tunnel.Uplink
		want          bool
	}{
		"first":           {nil, []tunnel.Uplink{up("dsl", 1, a)}, false},
		"the same":        {[]tunnel.Uplink{up("dsl", 1, a)}, []tunnel.Uplink{up("dsl", 1, a)}, false},
		"one more":        {[]tunnel.Uplink{up("dsl", 1, a)}, []tunnel.Uplink{up("lte", 2, b), up("dsl", 1, a)}, false},
		"another address": {[]tunnel.Uplink{up("dsl", 1, a)}, []tunnel.Uplink{up("dsl", 1, a, b)}, false},
		"gone":            {[]tunnel.Uplink{up("dsl", 1, a)}, nil, true},
		"one for another": {[]tunnel.Uplink{up("dsl", 1, a)}, []tunnel.Uplink{up("lte", 2, b)}, true},
		"address changed": {[]tunnel.Uplink{up("dsl", 1, a)}, []tunnel.Uplink{up("dsl", 1, b)}, true},
		"plugged in anew": {[]tunnel.Uplink{up("dsl", 1, a)}, []tunnel.Uplink{up("dsl", 7, a)}, true},
	} {
		if got := lost(test.before, test.after); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

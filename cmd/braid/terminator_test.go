package main

import (
	"net/netip"
	"slices"
	"testing"

	"braid/config"
	"braid/tunnel/terminate"
)

// What a configuration keeps free and what ends connections there must be the
// same addresses, and packages that do not know each other say which.
func TestReservedAddressesAreTheFakes(t *testing.T) {
	for _, text := range []string{
		"10.77.0.1/24", "10.77.0.2/24", "10.0.0.1/28", "10.0.0.1/29", "10.1.2.3/8", "10.0.0.0/31",
		"fd77:b4a1::1/64", "fd77::1/124", "fd77::1/125", "fd77::1/16",
	} {
		p := netip.MustParsePrefix(text)
		if a, b := config.Reserved(p), terminate.Fakes(p); !slices.Equal(a, b) {
			t.Errorf("%s: the configuration keeps %v, connections end at %v", text, a, b)
		}
	}
}

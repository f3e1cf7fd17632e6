package egress

import (
	"net/netip"
	"strconv"
)

// Rule is a network and ports that clients may reach, or may not. Package
// config, which imports none of tunnel, has a type of the same form, and the
// parser.
type Rule struct {
	Network netip.Prefix // the zero value is every address of both families
	// Ports from First to Last. Both 0 is every port.
	First, Last uint16
}

// String is the rule as configurations have it: "10.0.0.0/8", "192.0.2.7:22",
// "[2001:db8::/32]:80-443", ":25".
func (r Rule) String() string {
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

// has reports whether a port is among the rule's.
func (r Rule) has(port uint16) bool {
	return r.First == 0 && r.Last == 0 || r.First <= port && port <= r.Last
}

// ports is how many ports the rule has.
func (r Rule) ports() int {
	if r.First == 0 && r.Last == 0 {
		return 65535
	}
	return int(r.Last) - int(r.First) + 1
}

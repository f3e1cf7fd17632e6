package tunnel

import (
	"errors"
	"net/netip"
	"testing"
)

// Who cannot be reached for want of a family is told so, and that it is no want
// of uplinks.
func TestUnreachable(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("192.0.2.1:443"), netip.MustParseAddrPort("[2001:db8::1]:443")
	only4 := Uplink{Name: "dsl", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.2")}}
	only6 := Uplink{Name: "lte", Addresses: []netip.Addr{netip.MustParseAddr("2001:db8:1::2")}}
	for _, test := range []struct {
		servers      []netip.AddrPort
		uplinks      []Uplink
		says, reason string
	}{
		{[]netip.AddrPort{v6}, []Uplink{only4}, "dsl has no IPv6, and the server is known by IPv6 alone", "it has no IPv6, and the server is known by IPv6 alone"},
		{[]netip.AddrPort{v4}, []Uplink{only6}, "lte has no IPv4, and the server is known by IPv4 alone", "it has no IPv4, and the server is known by IPv4 alone"},
		{[]netip.AddrPort{v6, v6}, []Uplink{only4, only4}, "no usable uplink has IPv6, and the server is known by IPv6 alone", "it has no IPv6, and the server is known by IPv6 alone"},
		{[]netip.AddrPort{v6}, nil, "reach [[2001:db8::1]:443]: no usable uplink", "reach [[2001:db8::1]:443]: no usable uplink"},
	} {
		if len(candidates(test.servers, test.uplinks)) > 0 {
			t.Errorf("%v by %v: there is a way", test.servers, test.uplinks)
		}
		err := unreachable(test.servers, test.uplinks)
		if !errors.Is(err, ErrNoUplink) || err.Error() != test.says || reasonOf(err) != test.reason {
			t.Errorf("%v; %s", err, reasonOf(err))
		}
	}
}

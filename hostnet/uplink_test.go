package hostnet

import (
	"net/netip"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
)

// link is an interface that is up and has a carrier.
func link(index int, name string) foundLink {
	return foundLink{Link: Link{Name: name, Index: index, MTU: 1500, Up: true}, carrier: true}
}

func via(index int, dst, gateway string) foundRoute {
	r := foundRoute{index: index, dst: prefix(dst)}
	if gateway != "" {
		r.gateway = netip.MustParseAddr(gateway)
	}
	return r
}

func at(index int, addr string, flags uint32) foundAddress {
	return foundAddress{index, netip.MustParseAddr(addr), flags}
}

func TestFindUplinks(t *testing.T) {
	dsl := inventory{
		links:     []foundLink{link(2, "dsl")},
		addresses: []foundAddress{at(2, "192.0.2.7", 0), at(2, "fe80::7", 0), at(2, "2001:db8::7", 0)},
		routes:    []foundRoute{via(2, "192.0.2.0/24", ""), via(2, "0.0.0.0/0", "192.0.2.1"), via(2, "fe80::/64", "")},
	}
	want := Uplink{Name: "dsl", Index: 2, MTU: 1500, Addresses: addresses("192.0.2.7"), Subnets: prefixes("192.0.2.0/24"),
		Default4: true, Gateway4: netip.MustParseAddr("192.0.2.1")}
	with := func(change func(*inventory)) inventory {
		inv := inventory{
			append([]foundLink(nil), dsl.links...), append([]foundAddress(nil), dsl.addresses...), append([]foundRoute(nil), dsl.routes...),
		}
		change(&inv)
		return inv
	}
	for name, test := range map[string]struct {
		inv  inventory
		want []Uplink
	}{
		"plain":            {dsl, []Uplink{want}},
		"down":             {with(func(i *inventory) { i.links[0].Up = false }), nil},
		"no carrier":       {with(func(i *inventory) { i.links[0].carrier = false }), nil},
		"loopback":         {with(func(i *inventory) { i.links[0].loopback = true }), nil},
		"no default route": {with(func(i *inventory) { i.routes = i.routes[:1] }), nil},
		"no address": {with(func(i *inventory) { i.addresses = nil }), []Uplink{
			{Name: "dsl", Index: 2, MTU: 1500, Subnets: want.Subnets, Default4: true, Gateway4: want.Gateway4}}},
		"not allowed": {with(func(i *inventory) { i.links[0].Name = "braid0" }), nil},
		"both families": {
			with(func(i *inventory) { i.routes = append(i.routes, via(2, "::/0", "fe80::1")) }),
			[]Uplink{{Name: "dsl", Index: 2, MTU: 1500, Addresses: addresses("192.0.2.7", "2001:db8::7"), Subnets: want.Subnets,
				Default4: true, Gateway4: want.Gateway4, Default6: true, Gateway6: netip.MustParseAddr("fe80::1")}},
		},
		"point to point": {
			inventory{[]foundLink{link(9, "ppp0")}, []foundAddress{at(9, "198.51.100.9", 0)},
				[]foundRoute{via(9, "198.51.100.1/32", ""), via(9, "0.0.0.0/0", "")}},
			[]Uplink{{Name: "ppp0", Index: 9, MTU: 1500, Addresses: addresses("198.51.100.9"), Subnets: prefixes("198.51.100.1/32"), Default4: true}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := findUplinks(test.inv, func(name string) bool { return name != "braid0" })
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestUplinksByPreference(t *testing.T) {
	inv := inventory{
		links: []foundLink{link(2, "wwan0"), link(3, "dsl"), link(4, "cable")},
		routes: []foundRoute{
			{index: 2, dst: prefix("0.0.0.0/0"), metric: 700},
			{index: 3, dst: prefix("0.0.0.0/0"), metric: 100, gateway: netip.MustParseAddr("192.0.2.9")},
			{index: 3, dst: prefix("0.0.0.0/0"), metric: 50, gateway: netip.MustParseAddr("192.0.2.1")},
			{index: 4, dst: prefix("::/0"), metric: 1024},
		},
	}
	got := findUplinks(inv, nil)
	if len(got) != 3 || got[0].Name != "dsl" || got[1].Name != "wwan0" || got[2].Name != "cable" {
		t.Fatalf("got %+v", got)
	}
	if got[0].Gateway4.String() != "192.0.2.1" {
		t.Errorf("gateway %v is not that of the lowest metric", got[0].Gateway4)
	}
}

func TestSourceAddresses(t *testing.T) {
	list := []foundAddress{
		at(2, "fd00::2", 0),
		at(2, "2001:db8::bad", unix.IFA_F_TEMPORARY),
		at(2, "2001:db8::1", unix.IFA_F_DEPRECATED),
		at(2, "2001:db8::2", unix.IFA_F_TENTATIVE),
		at(2, "2001:db8::3", unix.IFA_F_TENTATIVE|unix.IFA_F_OPTIMISTIC),
		at(2, "2001:db8::4", unix.IFA_F_PERMANENT|unix.IFA_F_DADFAILED),
		at(2, "2001:db8::5", unix.IFA_F_PERMANENT),
		at(3, "2001:db8::6", 0),
		at(2, "fe80::1", 0),
		at(2, "192.0.2.8", unix.IFA_F_SECONDARY),
		at(2, "192.0.2.9", unix.IFA_F_PERMANENT),
		at(2, "169.254.7.7", 0),
		at(1, "198.51.100.1", 0),
	}
	for _, test := range []struct {
		v6        bool
		preferred string
		want      []netip.Addr
	}{
		{true, "", addresses("2001:db8::3", "2001:db8::5", "2001:db8::bad", "fd00::2")},
		{true, "fd00::2", addresses("fd00::2", "2001:db8::3", "2001:db8::5", "2001:db8::bad")},
		{false, "", addresses("192.0.2.9", "192.0.2.8")},
		{false, "192.0.2.8", addresses("192.0.2.8", "192.0.2.9")},
		{false, "198.51.100.1", addresses("198.51.100.1", "192.0.2.9", "192.0.2.8")}, // on lo
	} {
		var preferred netip.Addr
		if test.preferred != "" {
			preferred = netip.MustParseAddr(test.preferred)
		}
		if got := sources(list, 2, test.v6, preferred); !reflect.DeepEqual(got, test.want) {
			t.Errorf("v6 %v, preferred %q: %v, want %v", test.v6, test.preferred, got, test.want)
		}
	}
}

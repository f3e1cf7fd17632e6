package main

import (
	"net/netip"
	"strings"
	"testing"

	"braid/hostnet"
)

func TestReachableAt(t *testing.T) {
	uplink := func(addresses ...string) hostnet.Uplink {
		var u hostnet.Uplink
		for _, a := range addresses {
			u.Addresses = append(u.Addresses, netip.MustParseAddr(a))
		}
		return u
	}
	cloud := uplink("198.51.100.7", "2001:db8::7", "2001:db8::beef")
	for _, test := range []struct {
		what    string
		listen  string
		uplinks []hostnet.Uplink
		want    string
		public  bool
	}{
		{"a cloud's machine", "[::]:443", []hostnet.Uplink{cloud}, "198.51.100.7:443 [2001:db8::7]:443", true},
		{"IPv4 alone", "0.0.0.0:443", []hostnet.Uplink{cloud}, "198.51.100.7:443", true},
		{"its address alone", "[2001:db8::beef]:8443", []hostnet.Uplink{cloud}, "[2001:db8::beef]:8443", true},
		{"two ports", "[::]:443 [::]:8443", []hostnet.Uplink{uplink("198.51.100.7")}, "198.51.100.7:443 198.51.100.7:8443", true},
		{"at home", "[::]:443", []hostnet.Uplink{uplink("192.168.1.5", "fd00::5")}, "192.168.1.5:443 [fd00::5]:443", false},
		{"at home with IPv6", "[::]:443", []hostnet.Uplink{uplink("192.168.1.5", "2001:db8::5")}, "[2001:db8::5]:443", true},
		{"behind a carrier's NAT", "[::]:443", []hostnet.Uplink{uplink("100.72.1.1")}, "100.72.1.1:443", false},
		{"one of two", "[::]:443", []hostnet.Uplink{uplink("10.0.0.5"), uplink("198.51.100.7")}, "198.51.100.7:443", true},
		{"nothing", "[::]:443", nil, "", false},
		{"loopback", "127.0.0.1:443", []hostnet.Uplink{cloud}, "", false},
	} {
		list, public := reachableAt(addrPorts(strings.Fields(test.listen)...), test.uplinks)
		var got []string
		for _, h := range list {
			got = append(got, h.String())
		}
		if s := strings.Join(got, " "); s != test.want || public != test.public {
			t.Errorf("%s: %s, public %v", test.what, s, public)
		}
	}
}

func TestFreeRanges(t *testing.T) {
	for _, test := range []struct{ taken, v4, v6 string }{
		{"", "10.77.0.1/24", "fd77:b4a1::1/64"},
		{"0.0.0.0/0 ::/0 0.0.0.0/1 128.0.0.0/1 ::/1 8000::/1 10.1.0.0/16 fd00:1::/64", "10.77.0.1/24", "fd77:b4a1::1/64"},
		{"10.77.0.0/24", "10.78.0.1/24", "fd77:b4a1::1/64"},
		{"10.77.0.200/32 10.78.0.0/15 fd77:b4a1::5/128", "10.80.0.1/24", "fd77:b4a1:0:1::1/64"},
		{"10.0.0.0/8 fd00::/8", "172.18.77.1/24", "fc00:b4a1::1/64"},
		{"10.0.0.0/8 172.16.0.0/12", "192.168.77.1/24", "fd77:b4a1::1/64"},
		{"10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7", "invalid Prefix", "invalid Prefix"},
	} {
		var taken []netip.Prefix
		for _, p := range strings.Fields(test.taken) {
			taken = append(taken, netip.MustParsePrefix(p))
		}
		v4, v6 := freeRanges(taken)
		if v4.String() != test.v4 || v6.String() != test.v6 {
			t.Errorf("beside %s: %v and %v", test.taken, v4, v6)
		}
	}
}

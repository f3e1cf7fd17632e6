package terminate

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestFakes(t *testing.T) {
	tests := []struct{ own, want string }{
		{"10.77.0.2/24", "10.77.0.251 10.77.0.252 10.77.0.253 10.77.0.254"},
		{"10.77.0.253/24", "10.77.0.251 10.77.0.252 10.77.0.254"},
		{"10.77.0.250/24", "10.77.0.251 10.77.0.252 10.77.0.253 10.77.0.254"},
		{"10.77.0.255/24", "10.77.0.251 10.77.0.252 10.77.0.253 10.77.0.254"},
		{"10.77.1.2/16", "10.77.255.251 10.77.255.252 10.77.255.253 10.77.255.254"},
		{"10.77.0.18/28", "10.77.0.27 10.77.0.28 10.77.0.29 10.77.0.30"},
		{"10.77.0.18/29", ""},
		{"10.77.0.18/32", ""},
		{"fd77::2/64", "fd77::ffff:ffff:ffff:fffb fd77::ffff:ffff:ffff:fffc fd77::ffff:ffff:ffff:fffd fd77::ffff:ffff:ffff:fffe"},
		{"fd77::2/124", "fd77::b fd77::c fd77::d fd77::e"},
		{"fd77::2/125", ""},
		{"::ffff:10.77.0.2/120", "10.77.0.251 10.77.0.252 10.77.0.253 10.77.0.254"},
		{"::ffff:10.77.0.2/90", ""},
	}
	for _, tt := range tests {
		addr, bits, _ := strings.Cut(tt.own, "/")
		var n int
		fmt.Sscan(bits, &n)
		own := netip.PrefixFrom(netip.MustParseAddr(addr), n)
		var got []string
		for _, a := range Fakes(own) {
			got = append(got, a.String())
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %s, want %s", tt.own, s, tt.want)
		}
	}
	if Fakes(netip.Prefix{}) != nil || Fakes(netip.PrefixFrom(netip.MustParseAddr("10.0.0.1"), 33)) != nil {
		t.Error("fakes of no range")
	}
}

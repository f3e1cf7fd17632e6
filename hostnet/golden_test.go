package hostnet

import (
	"net/netip"
	"strings"
	"testing"
)

// The commands below are the contract: what an administrator would have
// typed, in the order that leaves no gap.

func checkLog(t *testing.T, what string, h *fakeHost, want string) {
	t.Helper()
	got := strings.Join(h.log, "\n")
	if want = strings.TrimSpace(want); got != want {
		t.Errorf("%s:\n%s\nlines that differ:\n%s", what, got, difference(got, want))
	}
	h.log = nil
}

func fullTunnel() Desired {
	return Desired{
		Device: "braid0", MTU: 1400, Mark: 0xb1,
		Addresses: prefixes("10.77.0.2/24", "fd77::2/64"),
		Routes:    prefixes("0.0.0.0/0", "::/0"),
		Exclude:   prefixes("192.168.0.0/16"),
		Uplinks: []Uplink{
			{Name: "dsl", Index: 2, Addresses: addresses("192.0.2.7", "2001:db8::7"), Subnets: prefixes("192.0.2.0/24"),
				Default4: true, Gateway4: netip.MustParseAddr("192.0.2.1"),
				Default6: true, Gateway6: netip.MustParseAddr("fe80::1")},
			{Name: "wwan0.5", Index: 3, Addresses: addresses("10.64.1.2"), Default4: true},
		},
		Servers: addresses("203.0.113.10"),
		Sysctls: map[string]string{"net.mptcp.blackhole_timeout": "0"},
	}
}

func TestCommandsOfAClient(t *testing.T) {
	h := newFakeHost()
	m := testManager(t, h)
	d := fullTunnel()
	mustApply(t, m, d)
	checkLog(t, "first Apply", h, `
ip link set braid0 mtu 1400
sysctl -w net.ipv6.conf.braid0.addr_gen_mode="1"
sysctl -w net.ipv4.conf.dsl.rp_filter="2"
sysctl -w net.mptcp.blackhole_timeout="0"
ip addr add 10.77.0.2/24 dev braid0 noprefixroute
ip addr add fd77::2/64 dev braid0 noprefixroute
ip link set braid0 up
ip -4 route replace 192.0.2.0/24 dev dsl table 1000000002 proto 98
ip -4 route replace 0.0.0.0/0 via 192.0.2.1 dev dsl onlink table 1000000002 proto 98
ip -4 route replace 0.0.0.0/0 dev wwan0.5 table 1000000003 proto 98
ip -4 route replace 10.77.0.0/24 dev braid0 table 98000024 proto 98
ip -4 route replace 0.0.0.0/0 dev braid0 table 98000000 proto 98
ip -4 route replace throw 192.168.0.0/16 table 98000000 proto 98
ip -6 route replace ::/0 via fe80::1 dev dsl onlink table 1000000002 proto 98
ip -6 route replace fd77::/64 dev braid0 table 98000064 proto 98
ip -6 route replace ::/0 dev braid0 table 98000000 proto 98
ip -4 rule add priority 9010 fwmark 0xb1 from 192.0.2.7 lookup 1000000002 protocol 98
ip -4 rule add priority 9015 from 192.0.2.7 to 203.0.113.10 lookup 1000000002 protocol 98
ip -4 rule add priority 9010 fwmark 0xb1 from 10.64.1.2 lookup 1000000003 protocol 98
ip -4 rule add priority 9015 from 10.64.1.2 to 203.0.113.10 lookup 1000000003 protocol 98
ip -4 rule add priority 9020 fwmark 0xb1 lookup main protocol 98
ip -4 rule add priority 9046 not fwmark 0xb1 lookup main suppress_prefixlength 24 protocol 98
ip -4 rule add priority 9047 not fwmark 0xb1 lookup 98000024 protocol 98
ip -4 rule add priority 9094 not fwmark 0xb1 lookup main suppress_prefixlength 0 protocol 98
ip -4 rule add priority 9095 not fwmark 0xb1 lookup 98000000 protocol 98
ip -6 rule add priority 9010 fwmark 0xb1 from 2001:db8::7 lookup 1000000002 protocol 98
ip -6 rule add priority 9020 fwmark 0xb1 lookup main protocol 98
ip -6 rule add priority 9158 not fwmark 0xb1 lookup main suppress_prefixlength 64 protocol 98
ip -6 rule add priority 9159 not fwmark 0xb1 lookup 98000064 protocol 98
ip -6 rule add priority 9286 not fwmark 0xb1 lookup main suppress_prefixlength 0 protocol 98
ip -6 rule add priority 9287 not fwmark 0xb1 lookup 98000000 protocol 98`)

	// One uplink is lost, the other gets a new gateway.
	d.Uplinks = d.Uplinks[:1]
	d.Uplinks[0].Gateway4 = netip.MustParseAddr("192.0.2.2")
	mustApply(t, m, d)
	checkLog(t, "uplinks change", h, `
ip -4 route replace 0.0.0.0/0 via 192.0.2.2 dev dsl onlink table 1000000002 proto 98
ip -4 rule del priority 9015 from 10.64.1.2 to 203.0.113.10 lookup 1000000003 protocol 98
ip -4 rule del priority 9010 fwmark 0xb1 from 10.64.1.2 lookup 1000000003 protocol 98
ip -4 route del 0.0.0.0/0 dev wwan0.5 table 1000000003 proto 98`)

	// A partial tunnel inside of the full one's networks.
	d.Routes = prefixes("10.0.0.0/8")
	d.Exclude = prefixes("10.1.0.0/16")
	mustApply(t, m, d)
	checkLog(t, "partial tunnel", h, `
ip -4 route replace 10.0.0.0/8 dev braid0 table 98000008 proto 98
ip -4 route replace throw 10.1.0.0/16 table 98000008 proto 98
ip -4 rule add priority 9078 not fwmark 0xb1 lookup main suppress_prefixlength 8 protocol 98
ip -4 rule add priority 9079 not fwmark 0xb1 lookup 98000008 protocol 98
ip -6 rule del priority 9287 not fwmark 0xb1 lookup 98000000 protocol 98
ip -6 rule del priority 9286 not fwmark 0xb1 lookup main suppress_prefixlength 0 protocol 98
ip -4 rule del priority 9095 not fwmark 0xb1 lookup 98000000 protocol 98
ip -4 rule del priority 9094 not fwmark 0xb1 lookup main suppress_prefixlength 0 protocol 98
ip -4 route del 0.0.0.0/0 dev braid0 table 98000000 proto 98
ip -4 route del throw 192.168.0.0/16 table 98000000 proto 98
ip -6 route del ::/0 dev braid0 table 98000000 proto 98`)
}

// Two uplinks of one network, and one address: rules for both, and no answer for
// the other's address.
func TestCommandsOfTwins(t *testing.T) {
	h := newFakeHost()
	m := testManager(t, h)
	d := Desired{Mark: 0xb1}
	for i, name := range []string{"dsl", "wwan0.5"} {
		d.Uplinks = append(d.Uplinks, Uplink{Name: name, Index: i + 2, Addresses: addresses("192.168.8.100"), Subnets: prefixes("192.168.8.0/24"),
			Default4: true, Gateway4: netip.MustParseAddr("192.168.8.1")})
	}
	h.sysctls["net.ipv4.conf.dsl.arp_ignore"] = "2" // stricter, and somebody else's
	mustApply(t, m, d)
	checkLog(t, "Apply", h, `
sysctl -w net.ipv4.conf.dsl.rp_filter="2"
sysctl -w net.ipv4.conf.dsl.arp_announce="2"
sysctl -w net.ipv4.conf.wwan0/5.arp_ignore="1"
sysctl -w net.ipv4.conf.wwan0/5.arp_announce="2"
ip -4 route replace 192.168.8.0/24 dev dsl table 1000000002 proto 98
ip -4 route replace 0.0.0.0/0 via 192.168.8.1 dev dsl onlink table 1000000002 proto 98
ip -4 route replace 192.168.8.0/24 dev wwan0.5 table 1000000003 proto 98
ip -4 route replace 0.0.0.0/0 via 192.168.8.1 dev wwan0.5 onlink table 1000000003 proto 98
ip -4 rule add priority 9010 fwmark 0xb1 from 192.168.8.100 lookup 1000000002 protocol 98
ip -4 rule add priority 9010 fwmark 0xb1 from 192.168.8.100 lookup 1000000003 protocol 98
ip -4 rule add priority 9020 fwmark 0xb1 lookup main protocol 98`)
	d.Uplinks = d.Uplinks[:1]
	mustApply(t, m, d)
	for key, want := range map[string]string{"dsl.arp_ignore": "2", "dsl.arp_announce": "0", "wwan0/5.arp_ignore": "0"} {
		if got := h.sysctls["net.ipv4.conf."+key]; got != want {
			t.Errorf("%s = %s after one has gone, want %s", key, got, want)
		}
	}
}

func TestCommandsOfAServer(t *testing.T) {
	h := newFakeHost()
	m := testManager(t, h)
	mustApply(t, m, Desired{
		Device: "braid0", Addresses: prefixes("10.77.0.1/24"), Routes: prefixes("192.168.10.0/24"),
		Masquerade: prefixes("10.77.0.0/24"), Forwarding: true,
		Sysctls: map[string]string{"net.mptcp.blackhole_timeout": "0"},
	})
	checkLog(t, "Apply", h, `
sysctl -w net.ipv6.conf.braid0.addr_gen_mode="1"
sysctl -w net.ipv6.conf.default.accept_ra="2"
sysctl -w net.ipv6.conf.dsl.accept_ra="2"
sysctl -w net.ipv6.conf.wwan0/5.accept_ra="2"
sysctl -w net.ipv6.conf.braid1.accept_ra="2"
sysctl -w net.mptcp.blackhole_timeout="0"
ip addr add 10.77.0.1/24 dev braid0 noprefixroute
ip link set braid0 up
ip -4 route replace 10.77.0.0/24 dev braid0 table 98000024 proto 98
ip -4 route replace 192.168.10.0/24 dev braid0 table 98000024 proto 98
ip -4 rule add priority 9046 lookup main suppress_prefixlength 24 protocol 98
ip -4 rule add priority 9047 lookup 98000024 protocol 98
nft add table inet braid-braid0 # postrouting: masquerade 10.77.0.0/24
sysctl -w net.ipv4.ip_forward="1"
sysctl -w net.ipv6.conf.all.forwarding="1"`)
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
	checkLog(t, "Undo", h, `
sysctl -w net.ipv6.conf.all.forwarding="0"
sysctl -w net.ipv6.conf.lan.forwarding="1"
sysctl -w net.ipv4.ip_forward="0"
sysctl -w net.ipv4.conf.lan.forwarding="1"
ip -4 rule del priority 9047 lookup 98000024 protocol 98
ip -4 rule del priority 9046 lookup main suppress_prefixlength 24 protocol 98
ip -4 route del 10.77.0.0/24 dev braid0 table 98000024 proto 98
ip -4 route del 192.168.10.0/24 dev braid0 table 98000024 proto 98
nft delete table inet braid-braid0
ip addr del 10.77.0.1/24 dev braid0
ip link set braid0 down
sysctl -w net.mptcp.blackhole_timeout="3600"
sysctl -w net.ipv6.conf.braid1.accept_ra="1"
sysctl -w net.ipv6.conf.wwan0/5.accept_ra="1"
sysctl -w net.ipv6.conf.dsl.accept_ra="1"
sysctl -w net.ipv6.conf.default.accept_ra="1"`)
}

package egress

import (
	"fmt"
	"net/netip"
	"testing"
)

// destinations take the ways through a decision that differ in cost.
var destinations = []struct {
	name string
	to   netip.AddrPort
}{
	{"default", netip.MustParseAddrPort("93.184.216.34:443")},
	{"rule", netip.MustParseAddrPort("8.8.8.8:53")},
	{"wider-rule", netip.MustParseAddrPort("8.8.8.8:25")},
	{"host", netip.MustParseAddrPort("203.0.113.5:22")},
	{"other-client", netip.MustParseAddrPort("[fd77::1:20]:22")},
	{"mapped", netip.MustParseAddrPort("[::ffff:169.254.169.254%eth0]:80")},
	{"teredo", netip.MustParseAddrPort("[2001:0:808:808::f7f7:f7f7]:80")},
}

// manyClients is a server with a thousand of them.
func manyClients(t testing.TB) *Policy {
	cfg := testConfig(t, "8.8.8.8:53 8.8.0.0/16:80", "8.0.0.0/8:53-80 :25")
	for i := range 1000 {
		cfg.Clients = append(cfg.Clients, Client{fmt.Sprint("client ", i), addrs(fmt.Sprintf("fd77::1:%x", i)), nil})
	}
	return New(cfg, testHost)
}

func TestDecideAllocatesNothing(t *testing.T) {
	p := manyClients(t)
	for _, d := range destinations {
		if n := testing.AllocsPerRun(100, func() { p.Decide("home", d.to) }); n > 0 {
			t.Errorf("%s: %v allocations", d.name, n)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	p := manyClients(b)
	for _, d := range destinations {
		b.Run(d.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Decide("home", d.to)
			}
		})
	}
}

// BenchmarkSetHost is what a change of the host's addresses costs.
func BenchmarkSetHost(b *testing.B) {
	p := manyClients(b)
	for b.Loop() {
		p.SetHost(testHost)
	}
}

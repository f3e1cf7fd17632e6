package main

import (
	"net/netip"
	"slices"
	"testing"

	"braid/config"
	"braid/tunnel"
)

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// Whom the programs of a host ask, by what its user and the server say.
func TestNameServiceUse(t *testing.T) {
	full, split := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	given := addrs("9.9.9.9", "2620:fe::9")
	for name, c := range map[string]struct {
		tunnel config.ClientTunnel
		given  []netip.Addr
		wanted bool
		want   []netip.Addr
	}{
		"the server's":                   {config.ClientTunnel{Routes: full, ServerDNS: true}, given, true, given},
		"the server has none":            {config.ClientTunnel{Routes: full, ServerDNS: true}, nil, true, nil},
		"the server's, for a split one":  {config.ClientTunnel{Routes: split, ServerDNS: true}, given, false, nil},
		"the user's":                     {config.ClientTunnel{Routes: full, DNS: addrs("10.1.1.1")}, given, true, addrs("10.1.1.1")},
		"the user's, for a split one":    {config.ClientTunnel{Routes: split, DNS: addrs("10.1.1.1")}, given, true, addrs("10.1.1.1")},
		"off":                            {config.ClientTunnel{Routes: full}, given, false, nil},
		"nonsense of the server is gone": {config.ClientTunnel{Routes: full, ServerDNS: true}, addrs("127.98.0.53", "0.0.0.0", "fe80::1", "ff02::1", "9.9.9.9"), true, addrs("9.9.9.9")},
	} {
		cfg := &config.Client{Tunnel: c.tunnel}
		n := &nameService{cfg: cfg}
		got, routes := n.use(tunnel.Settings{DNS: c.given})
		if !slices.Equal(got, c.want) || wantsNames(cfg) != c.wanted {
			t.Errorf("%s: %v, wanted %v", name, got, wantsNames(cfg))
		}
		for i, r := range routes {
			if !r.IsSingleIP() || r.Addr() != c.want[i] {
				t.Errorf("%s: route %v", name, r)
			}
		}
		if s := n.status(nil, nil); !slices.Equal(s.Servers, c.want) || s.Servers == nil || s.SetBy == nil {
			t.Errorf("%s: status %+v", name, s)
		}
	}
}

// The server's own name is asked of the host's own nameservers, not of ours.
func TestNameserverOfServers(t *testing.T) {
	r := newResolver(nil, nil)
	if got := r.nameserver("127.0.0.1:53"); got != "127.0.0.1:53" {
		t.Errorf("asks %s", got)
	}
	var own []netip.Addr
	r.own = func() []netip.Addr { return own }
	for _, c := range []struct {
		own       []netip.Addr
		says, ask string
	}{
		{nil, "127.98.0.53:53", "127.98.0.53:53"},
		{addrs("192.0.2.1", "fe80::1%eth0"), "127.98.0.53:53", "192.0.2.1:53"},
		{addrs("192.0.2.1", "fe80::1%eth0"), "127.98.0.53:53", "[fe80::1%eth0]:53"},
		{addrs("192.0.2.1"), "127.0.0.53:53", "192.0.2.1:53"},
		{addrs("192.0.2.1"), "198.51.100.1:53", "198.51.100.1:53"},
	} {
		own = c.own
		if got := r.nameserver(c.says); got != c.ask {
			t.Errorf("where the host says %s and has %v: asks %s", c.says, c.own, got)
		}
	}
}

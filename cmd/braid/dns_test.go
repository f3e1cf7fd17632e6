package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

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

// The server's own name is asked of all the host's own nameservers, of which one that
// answers is enough.
func TestAskAll(t *testing.T) {
	quiet, wrong, right := addrs("192.0.2.1")[0], addrs("192.0.2.2")[0], addrs("192.0.2.3")[0]
	answer := addrs("203.0.113.10")
	for name, c := range map[string]struct {
		own  []netip.Addr
		good bool
	}{
		"none known":        {nil, true},
		"one":               {[]netip.Addr{right}, true},
		"one is silent":     {[]netip.Addr{quiet, right}, true},
		"one has no answer": {[]netip.Addr{wrong, right}, true},
		"two do not help":   {[]netip.Addr{wrong, quiet, right}, true},
		"nobody helps":      {[]netip.Addr{wrong, quiet}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newResolver(nil, nil)
				r.own = func() []netip.Addr { return c.own }
				r.ask = func(ctx context.Context, _ string, server netip.Addr) ([]netip.Addr, error) {
					switch server {
					case quiet:
						<-ctx.Done()
						return nil, ctx.Err()
					case wrong:
						return nil, errors.New("no such host")
					}
					return answer, nil
				}
				ctx, cancel := context.WithTimeout(t.Context(), lookupTimeout)
				defer cancel()
				begun := time.Now()
				got, err := r.lookup(ctx, "vpn.test")
				if c.good != (err == nil) || c.good && (!slices.Equal(got, answer) || time.Since(begun) > 0) {
					t.Errorf("%v, %v after %v", got, err, time.Since(begun))
				}
			})
		})
	}
}

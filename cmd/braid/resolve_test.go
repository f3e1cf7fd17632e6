package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"braid/config"
)

func addrPorts(list ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range list {
		out = append(out, netip.MustParseAddrPort(s))
	}
	return out
}

func testResolver(lookup func(context.Context, string) ([]netip.Addr, error), names ...config.HostPort) *resolver {
	r := newResolver(names, slog.New(slog.DiscardHandler))
	r.lookup = lookup
	return r
}

func TestResolverKeepsOrderAndLastAddresses(t *testing.T) {
	answers := map[string][]netip.Addr{
		"one.example": {netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
		"two.example": {netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.1")},
	}
	down := false
	r := testResolver(func(_ context.Context, host string) ([]netip.Addr, error) {
		if down {
			return nil, errors.New("no such host")
		}
		return answers[host], nil
	}, config.HostPort{Host: "one.example", Port: 443}, config.HostPort{Host: "198.51.100.9", Port: 8443}, config.HostPort{Host: "two.example", Port: 443})

	want := addrPorts("192.0.2.1:443", "[2001:db8::1]:443", "198.51.100.9:8443", "192.0.2.2:443")
	for range 2 {
		got, err := r.addresses(t.Context())
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("addresses %v, %v; want %v", got, err, want)
		}
		down = true // what was known must do
	}
	for of, want := range map[string][]netip.AddrPort{
		"192.0.2.1:443":     addrPorts("[2001:db8::1]:443", "192.0.2.2:443", "198.51.100.9:8443"), // two names have it
		"198.51.100.9:8443": addrPorts("192.0.2.1:443", "[2001:db8::1]:443", "192.0.2.2:443"),
		"203.0.113.3:443":   nil,
	} {
		if got := r.siblings(netip.MustParseAddrPort(of)); !slices.Equal(got, want) {
			t.Errorf("siblings of %s: %v, want %v", of, got, want)
		}
	}
}

// Other names hold from the next look on, and what is known of those that stay
// is still known when nobody answers.
func TestResolverOfOtherNames(t *testing.T) {
	down := false
	one, two := config.HostPort{Host: "one.example", Port: 443}, config.HostPort{Host: "two.example", Port: 8443}
	r := testResolver(func(_ context.Context, host string) ([]netip.Addr, error) {
		if down {
			return nil, errors.New("no such host")
		}
		return []netip.Addr{netip.MustParseAddr(map[string]string{"one.example": "192.0.2.1", "two.example": "192.0.2.2"}[host])}, nil
	}, one)
	for _, step := range []struct {
		names []config.HostPort
		down  bool
		want  []netip.AddrPort
	}{
		{[]config.HostPort{one}, false, addrPorts("192.0.2.1:443")},
		{[]config.HostPort{two, one}, false, addrPorts("192.0.2.2:8443", "192.0.2.1:443")},
		{[]config.HostPort{one, two}, true, addrPorts("192.0.2.1:443", "192.0.2.2:8443")},
		{[]config.HostPort{two}, true, addrPorts("192.0.2.2:8443")},
	} {
		down = step.down
		r.setNames(step.names)
		if got, err := r.addresses(t.Context()); err != nil || !slices.Equal(got, step.want) {
			t.Errorf("%v: %v, %v; want %v", step.names, got, err, step.want)
		}
	}
	// While the old ones are looked up.
	r.lookup = func(context.Context, string) ([]netip.Addr, error) {
		r.setNames([]config.HostPort{one})
		return nil, errors.New("no such host")
	}
	if got, err := r.addresses(t.Context()); err == nil {
		t.Errorf("of names that are gone: %v", got)
	}
}

func TestResolverKnowsNothing(t *testing.T) {
	r := testResolver(func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") },
		config.HostPort{Host: "one.example", Port: 443})
	if got, err := r.addresses(t.Context()); err == nil || len(got) != 0 {
		t.Errorf("addresses %v, %v", got, err)
	}
}

// A nameserver that does not answer must not hold up a server that is known by
// address for longer than the timeout.
func TestResolverTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := testResolver(func(ctx context.Context, _ string) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, config.HostPort{Host: "slow.example", Port: 443}, config.HostPort{Host: "192.0.2.7", Port: 443})
		began := time.Now()
		got, err := r.addresses(t.Context())
		if err != nil || !slices.Equal(got, addrPorts("192.0.2.7:443")) {
			t.Errorf("addresses %v, %v", got, err)
		}
		if d := time.Since(began); d != lookupTimeout {
			t.Errorf("took %v", d)
		}
	})
}

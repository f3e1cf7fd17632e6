package egress

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

// The order of the package comment in its simplest form, without tables: all
// rules and all defaults are looked at, one after the other.

// reference decides as Policy.decide should.
func reference(cfg Config, host []netip.Addr, client string, to netip.AddrPort) Verdict {
	if !to.IsValid() || to.Port() == 0 {
		return Verdict{Reason: Invalid}
	}
	var v Verdict
	for i, a := range referenceForms(to.Addr()) {
		w := referenceJudge(cfg, host, client, a, to.Port())
		if !w.Allowed {
			return w
		}
		if i == 0 {
			v = w
		}
	}
	return v
}

// referenceForms is the address and the IPv4 addresses in it, by its text.
func referenceForms(a netip.Addr) []netip.Addr {
	a = a.WithZone("")
	if a.Is4() {
		return []netip.Addr{a}
	}
	digits := strings.ReplaceAll(a.StringExpanded(), ":", "")
	v4 := func(digits string, invert byte) netip.Addr {
		b, _ := hex.DecodeString(digits)
		for i := range b {
			b[i] ^= invert
		}
		a4, _ := netip.AddrFromSlice(b)
		return a4
	}
	switch {
	case strings.HasPrefix(digits, "00000000000000000000ffff"):
		return []netip.Addr{v4(digits[24:], 0)}
	case strings.HasPrefix(digits, "0064ff9b0000000000000000"), strings.HasPrefix(digits, "0000000000000000ffff0000"):
		return []netip.Addr{a, v4(digits[24:], 0)}
	case strings.HasPrefix(digits, "2002"):
		return []netip.Addr{a, v4(digits[4:12], 0)}
	case strings.HasPrefix(digits, "20010000"):
		return []netip.Addr{a, v4(digits[8:16], 0), v4(digits[24:], 0xff)}
	}
	return []netip.Addr{a}
}

func referenceJudge(cfg Config, host []netip.Addr, client string, a netip.Addr, port uint16) Verdict {
	var best Rule
	found, allow := false, false
	for i, r := range append(append([]Rule{}, cfg.Deny...), cfg.Allow...) {
		switch {
		case r.Network.IsValid() && !r.Network.Contains(a):
		case r.First != 0 && (port < r.First || port > r.Last):
		case !found, max(r.Network.Bits(), 0) > max(best.Network.Bits(), 0),
			max(r.Network.Bits(), 0) == max(best.Network.Bits(), 0) && r.ports() < best.ports():
			found, best, allow = true, r, i >= len(cfg.Deny)
		}
	}
	if found && !allow {
		return Verdict{false, DenyRule, best.String()}
	}

	// The longest default that holds the address; the last of equals.
	type choice struct {
		network, opener netip.Prefix
		reason          Reason
		own             bool
		owner           string
	}
	var c choice
	var owner string
	consider := func(network, opener netip.Prefix, reason Reason, own bool) {
		if network.Contains(a) && (!c.network.IsValid() || network.Bits() >= c.network.Bits()) {
			c = choice{network, opener, reason, own, owner}
		}
	}
	within := func(p netip.Prefix) bool { // something special
		for _, s := range special {
			if s.network.Bits() <= p.Bits() && s.network.Overlaps(p) {
				return true
			}
		}
		return false
	}
	for _, r := range cfg.Ranges {
		consider(r, r, Unassigned, false)
	}
	for _, o := range cfg.Clients {
		owner = o.Name
		for _, r := range o.Routes {
			if !within(r) {
				consider(r, r, OtherClient, o.Name == client)
			}
		}
	}
	for _, o := range cfg.Clients {
		owner = o.Name
		for _, x := range o.Addresses {
			opener := single(x)
			for _, r := range cfg.Ranges {
				if r.Contains(x) {
					opener = r
				}
			}
			if !within(single(x)) {
				consider(single(x), opener, OtherClient, o.Name == client)
			}
		}
	}
	for _, s := range special {
		consider(s.network, s.network, s.reason, false)
	}
	for _, h := range host {
		h = h.Unmap().WithZone("")
		if !h.IsLoopback() {
			consider(single(h), single(h), Host, false)
		}
	}
	for _, o := range cfg.Own {
		consider(single(o), single(o), Tunnel, true)
	}

	refused := c.network.IsValid() && !c.own
	switch {
	case refused && (!found || max(best.Network.Bits(), 0) < c.opener.Bits()):
		for _, name := range cfg.Reach[client] {
			if c.reason == OtherClient && (name == c.owner || name == "*") {
				return Verdict{true, Reach, Rule{Network: c.opener}.String()}
			}
		}
		for _, f := range cfg.Forwards {
			if c.reason == Host && port >= f.First && port <= f.Last && (!f.Network.IsValid() || f.Network.Contains(a)) {
				return Verdict{true, Forward, Rule{Network: c.opener}.String()}
			}
		}
		return Verdict{false, c.reason, Rule{Network: c.opener}.String()}
	case found:
		return Verdict{true, AllowRule, best.String()}
	case c.network.IsValid() && c.reason == Tunnel:
		return Verdict{true, Tunnel, Rule{Network: c.opener}.String()}
	}
	return Verdict{true, Default, ""}
}

// world makes random configurations and destinations out of few addresses, so
// that they meet.
type world struct{ *rand.Rand }

func pick[T any](w world, list []T) T { return list[w.IntN(len(list))] }

var roots = addrs(`10.77.0.0 10.77.0.128 172.16.10.0 8.8.8.0 127.0.0.0 169.254.169.252 0.0.0.0 224.0.0.0 255.255.255.252
	168.63.129.16 fd77:: fd77::1:0 2001:db8:: 2a00:: :: fe80:: fd00:ec2:: ff02:: 64:ff9b:1::`)

// addr is one of the four first addresses behind a root, now and then wrapped.
func (w world) addr() netip.Addr {
	a := pick(w, roots)
	for range w.IntN(4) {
		a = a.Next()
	}
	if a.Is6() || w.IntN(3) > 0 {
		return a
	}
	b := a.As4()
	var in [16]byte
	switch copy(in[12:], b[:]); w.IntN(5) {
	case 0:
		return netip.AddrFrom16(a.As16())
	case 1:
		in[1], in[2], in[3] = 0x64, 0xff, 0x9b
	case 2:
		in[8], in[9] = 0xff, 0xff
	case 3:
		in[0], in[1] = 0x20, 0x02
		copy(in[2:], b[:])
	case 4:
		other := netip.MustParseAddr("8.8.8.1").As4()
		if w.IntN(2) == 0 {
			b, other = other, b
		}
		in[0], in[1] = 0x20, 0x01
		copy(in[4:], b[:])
		for i := range 4 {
			in[12+i] = other[i] ^ 0xff
		}
	}
	return netip.AddrFrom16(in)
}

func (w world) prefix() netip.Prefix {
	a := w.addr().Unmap()
	bits := w.IntN(a.BitLen() + 1)
	if w.IntN(2) == 0 {
		bits = a.BitLen() - w.IntN(4)
	}
	return netip.PrefixFrom(a, bits).Masked()
}

// list makes up to n of something.
func list[T any](w world, n int, one func() T) []T {
	var l []T
	for range w.IntN(n + 1) {
		l = append(l, one())
	}
	return l
}

func (w world) rule() Rule {
	p := pick(w, [][2]uint16{{}, {}, {22, 22}, {80, 443}, {20, 30}, {25, 35}, {1, 65534}})
	r := Rule{First: p[0], Last: p[1]}
	if w.IntN(6) > 0 {
		r.Network = w.prefix()
	}
	return r
}

func (w world) plain() netip.Addr { return w.addr().Unmap() }

func (w world) config() Config {
	return Config{
		Own: list(w, 2, w.plain), Ranges: list(w, 1, w.prefix),
		Clients: []Client{{"a", list(w, 2, w.plain), list(w, 3, w.prefix)}, {"b", list(w, 2, w.plain), list(w, 3, w.prefix)}},
		Allow:   list(w, 6, w.rule), Deny: list(w, 6, w.rule),
		Reach: map[string][]string{"a": list(w, 2, func() string { return pick(w, []string{"b", "*", "c"}) })},
		Forwards: list(w, 2, func() Rule {
			r := Rule{First: 22, Last: 30}
			if w.IntN(2) == 0 {
				a := w.plain()
				r.Network = netip.PrefixFrom(a, a.BitLen())
			}
			return r
		}),
	}
}

func TestAgainstReference(t *testing.T) {
	w := world{rand.New(rand.NewPCG(1, 2))}
	seen := map[Reason]int{}
	for range 2000 {
		cfg, host := w.config(), list(w, 4, w.addr)
		p := New(cfg, list(w, 4, w.addr))
		p.SetHost(host)
		for range 20 {
			to := netip.AddrPortFrom(w.addr(), pick(w, []uint16{1, 22, 25, 30, 80, 443, 65535}))
			client := pick(w, []string{"a", "b", "c"})
			got, want := p.Decide(client, to), reference(cfg, host, client, to)
			if got != want {
				t.Fatalf("%s to %v: %+v, want %+v\n%+v\nhost %v", client, to, got, want, cfg, host)
			}
			seen[got.Reason]++
		}
	}
	for _, r := range reasons {
		if seen[r] < 50 && r != Invalid {
			t.Errorf("%s was met only %d times", r, seen[r])
		}
	}
}

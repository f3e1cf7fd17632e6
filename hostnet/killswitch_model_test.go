package hostnet

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// passes walks rules as the kernel does.
func passes(rules []KillSwitchRule, to netip.Addr, out string) bool {
	for _, r := range rules {
		four := r.Family == unix.NFPROTO_IPV4 || r.To.IsValid() && r.To.Addr().Is4()
		if four == to.Is4() && (r.Out == "" || r.Out == out) && (!r.To.IsValid() || r.To.Contains(to)) {
			return !r.Drop
		}
	}
	return false // the chains' policy
}

// mayLeave is what the rules are to be, asked of each prefix by itself: a packet
// is blocked when the tunnel's longest route for it is longer than every exclusion,
// and at least as long as every attached network that counts.
func mayLeave(exclude, covered []netip.Prefix, attached, behind []Network, device string, to netip.Addr, out string) bool {
	longest := func(list []netip.Prefix) int {
		bits := -1
		for _, p := range list {
			if p.Contains(to) {
				bits = max(bits, p.Bits())
			}
		}
		return bits
	}
	by := func(list []Network, ok func(netip.Prefix) bool) int {
		var here []netip.Prefix
		for _, n := range list {
			if n.Device == out && n.Device != device && ok(n.Prefix) {
				here = append(here, n.Prefix)
			}
		}
		return longest(here)
	}
	tunnel := longest(covered)
	near := by(attached, func(p netip.Prefix) bool { return within(p, private) })
	outside := max(longest(exclude), by(behind, func(netip.Prefix) bool { return true }))
	return tunnel < 0 || outside >= tunnel || near > tunnel
}

func TestKillSwitchModel(t *testing.T) {
	seeds(t, 300, func(t *testing.T, r *rand.Rand) {
		// Few addresses, so that prefixes meet.
		address := func() netip.Addr {
			if r.IntN(2) == 0 {
				return netip.AddrFrom4([4]byte{one(r, byte(10), 192, 203), one(r, byte(0), 168), byte(r.IntN(3)), byte(r.IntN(4))})
			}
			return netip.AddrFrom16([16]byte{one(r, byte(0xfd), 0x20), 1, byte(r.IntN(3)), 15: byte(r.IntN(4))})
		}
		prefixOf := func() netip.Prefix {
			a := address()
			return netip.PrefixFrom(a, one(r, 0, 1, 7, 8, 16, 24, a.BitLen()-1, a.BitLen())).Masked()
		}
		device := func() string { return one(r, "eth", "lan", "wg0", "braid0") }
		list := func() (out []netip.Prefix) {
			for range r.IntN(5) {
				out = append(out, prefixOf())
			}
			return out
		}
		networks := func() (out []Network) {
			for range r.IntN(5) {
				out = append(out, Network{device(), prefixOf()})
			}
			return out
		}
		d := Desired{Exclude: list(), KillSwitch: KillSwitch{Device: "braid0", Routes: list()}}
		attached, behind := networks(), networks()
		rules := killSwitchRules(d, attached, behind, nil).Routes
		for range 200 {
			to, out := address(), one(r, "eth", "lan", "wg0", "ppp0")
			if got, want := passes(rules, to, out), mayLeave(d.Exclude, d.KillSwitch.Routes, attached, behind, "braid0", to, out); got != want {
				t.Fatalf("to %v by %s: passes %v, want %v\nexclude %v\nroutes %v\nattached %v\nbehind %v\n%v", to, out, got, want,
					d.Exclude, d.KillSwitch.Routes, attached, behind, rules)
			}
		}
		// What is blocked can be read again.
		texts := KillSwitchTable{Routes: rules}.texts()
		got := blockedBy(texts)
		slices.SortFunc(got, comparePrefixes)
		want := slices.DeleteFunc(masked(d.KillSwitch.Routes), func(p netip.Prefix) bool { return slices.Contains(d.Exclude, p) })
		if !slices.Equal(got, want) {
			t.Fatalf("blocked read as %v, want %v", got, want)
		}
	})
}

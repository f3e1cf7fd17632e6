package hostnet

import (
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func checkRules(t *testing.T, what string, got []string, want string) {
	t.Helper()
	if text := strings.Join(got, "\n"); text != strings.TrimSpace(want) {
		t.Errorf("%s:\n%s\nlines that differ:\n%s", what, text, difference(text, strings.TrimSpace(want)))
	}
}

func closedTunnel() Desired {
	return Desired{Mark: 0xb1, Exclude: prefixes("203.0.113.0/28"), KillSwitch: KillSwitch{
		Device: "braid0", Routes: prefixes("0.0.0.0/0", "::/0"),
		Servers: []netip.AddrPort{netip.MustParseAddrPort("198.51.100.10:443"), netip.MustParseAddrPort("[2001:db8:1::1]:8443")},
	}}
}

// always is what passes whatever the tunnel's routes are.
const always = `
output: oifname lo accept
output: oifname braid0 accept
output: mark 0xb1 ip daddr 198.51.100.10/32 tcp dport 443 accept
output: ip daddr 198.51.100.10/32 tcp dport 443 tcp flags rst accept
output: mark 0xb1 ip6 daddr 2001:db8:1::1/128 tcp dport 8443 accept
output: ip6 daddr 2001:db8:1::1/128 tcp dport 8443 tcp flags rst accept
`

const linkRules = `output: udp sport 68 udp dport 67 accept
output: icmpv6 type 133-137 ip6 hoplimit 255 accept
output: ip daddr 224.0.0.0/24 accept
output: ip daddr 255.255.255.255/32 accept
output: ip6 daddr fe80::/10 accept
output: ip6 daddr ff02::/16 accept
forward: oifname braid0 accept
forward: iifname braid0 accept
`

func TestKillSwitchRules(t *testing.T) {
	attached := []Network{
		{"dsl", prefix("192.0.2.0/24")}, // public: anybody's DHCP could say so
		{"dsl", prefix("10.64.0.0/9")},
		{"lan", prefix("192.168.10.0/24")},
		{"lan", prefix("192.0.0.0/2")}, // holds a private one, and others
		{"lan", prefix("fd00:10::/64")},
		{"braid0", prefix("10.77.0.0/24")}, // the tunnel's own
		{"wg0", prefix("10.0.0.0/8")},      // as long as a route of the tunnel
		{"docker0", prefix("172.17.0.0/16")},
	}
	full := closedTunnel()
	full.KillSwitch.Resolvers = addresses("192.0.2.53")
	checkRules(t, "full tunnel", killSwitchRules(full, attached, nil, nil).texts(), always+`output: mark 0xb1 ip daddr 192.0.2.53/32 udp dport 53 accept
output: mark 0xb1 ip daddr 192.0.2.53/32 tcp dport 53 accept
`+linkRules+`routes: oifname lan ip6 daddr fd00:10::/64 accept
routes: ip daddr 203.0.113.0/28 accept
routes: oifname lan ip daddr 192.168.10.0/24 accept
routes: oifname docker0 ip daddr 172.17.0.0/16 accept
routes: oifname dsl ip daddr 10.0.0.0/9 accept
routes: oifname wg0 ip daddr 10.0.0.0/8 accept
routes: ip daddr 0.0.0.0/0 counter drop
routes: ip6 daddr ::/0 counter drop
`)

	// With the tunnel's DNS servers nobody near is asked for names, but braid's
	// own resolvers, and who is excluded.
	named := closedTunnel()
	named.KillSwitch.Resolvers, named.KillSwitch.Names = addresses("192.168.10.1"), true
	named.Exclude = prefixes("172.17.0.9/32")
	near := []Network{{"lan", prefix("192.168.10.0/24")}, {"dsl", prefix("192.0.2.0/24")}, {"docker0", prefix("172.17.0.0/16")},
		{"wg0", prefix("10.0.0.0/8")}, {"braid0", prefix("10.77.0.0/24")}}
	text := strings.Join(killSwitchRules(named, near, []Network{{"wg0", prefix("10.1.0.0/16")}}, nil).texts(), "\n")
	want := `output: mark 0xb1 ip daddr 192.168.10.1/32 udp dport 53 accept
output: mark 0xb1 ip daddr 192.168.10.1/32 tcp dport 53 accept
output: ip daddr 192.168.10.0/24 udp dport 53 counter drop
output: ip daddr 192.168.10.0/24 tcp dport 53 counter drop
output: ip6 daddr fe80::/10 udp dport 53 counter drop
output: ip6 daddr fe80::/10 tcp dport 53 counter drop
output: udp sport 68 udp dport 67 accept`
	if !strings.Contains(text, want) {
		t.Errorf("names:\n%s\nwant\n%s", text, want)
	}

	split := closedTunnel()
	split.Routes = prefixes("10.0.0.0/8", "192.168.10.128/25")
	split.Addresses = prefixes("10.77.0.2/24", "fd77::2/128")
	split.KillSwitch.Routes = prefixes("203.0.113.0/28", "203.0.113.0/24")
	split.KillSwitch.Learning = true
	behind := []Network{{"wg0", prefix("10.0.0.0/8")}, {"braid0", prefix("10.77.0.0/24")}, {"tailscale0", prefix("100.64.0.7/32")}}
	checkRules(t, "split tunnel", killSwitchRules(split, attached, behind, prefixes("198.18.0.0/15")).texts(), always+linkRules+`routes: oifname lan ip6 daddr fd00:10::/64 accept
routes: oifname tailscale0 ip daddr 100.64.0.7/32 accept
routes: ip daddr 203.0.113.0/28 accept
routes: ip daddr 192.168.10.128/25 counter drop
routes: ip daddr 10.77.0.0/24 counter drop
routes: ip daddr 203.0.113.0/24 counter drop
routes: oifname lan ip daddr 192.168.10.0/24 accept
routes: oifname docker0 ip daddr 172.17.0.0/16 accept
routes: ip daddr 198.18.0.0/15 counter drop
routes: oifname dsl ip daddr 10.0.0.0/9 accept
routes: oifname wg0 ip daddr 10.0.0.0/8 accept
routes: ip daddr 10.0.0.0/8 counter drop
routes: meta nfproto ipv4 accept
routes: meta nfproto ipv6 accept
`)
}

// A client that starts does not know yet whether the tunnel has DNS servers: as long
// as that is so, what the one before it knew holds.
func TestKillSwitchKeepsNames(t *testing.T) {
	h := newFakeHost()
	m := testManager(t, h)
	d := closedTunnel()
	d.KillSwitch.Names = true
	mustApply(t, m, d)
	m = testManager(t, h)
	d.KillSwitch.Names, d.KillSwitch.Learning = false, true
	mustApply(t, m, d)
	table := killSwitchTable("braid0")
	if have, _, err := h.KillSwitch(table); err != nil || !keepsNames(have) {
		t.Errorf("taken over: %v, %v", have, err)
	}
	d.KillSwitch.Learning = false
	mustApply(t, m, d)
	if have, _, err := h.KillSwitch(table); err != nil || keepsNames(have) {
		t.Errorf("the server has none: %v, %v", have, err)
	}
}

// The next Manager takes the table over: what the first had learnt from the
// server stays blocked until the second has learnt as much.
func TestKillSwitchTakenOver(t *testing.T) {
	h := newFakeHost()
	before := h.dump()
	m := testManager(t, h)
	d := closedTunnel()
	d.KillSwitch.Routes = prefixes("10.0.0.0/8")
	d.KillSwitch.Learning = true
	mustApply(t, m, d)
	if !strings.HasPrefix(h.log[0], "nft add table inet braid-killswitch-braid0") || len(h.log) != 1 {
		t.Errorf("first of all: %q", h.log)
	}
	d.Device, d.Routes, d.KillSwitch.Learning = "braid0", prefixes("10.0.0.0/8", "172.20.0.0/16"), false
	d.Addresses = prefixes("10.77.0.2/24")
	mustApply(t, m, d)
	blocked := func(want string) {
		t.Helper()
		texts, _, _ := h.KillSwitch(killSwitchTable("braid0"))
		var got []string
		for _, p := range blockedBy(texts) {
			got = append(got, p.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("blocked are %v, want %s", got, want)
		}
	}
	blocked("10.77.0.0/24 172.20.0.0/16 10.0.0.0/8")

	die(t, m.path)
	closed, err := KillSwitches(h, filepath.Dir(m.path))
	if err != nil || len(closed) != 1 || closed[0] != (ClosedSwitch{Device: "braid0"}) {
		t.Errorf("closed are %+v, %v", closed, err)
	}
	h.log = nil
	m = New(h, m.path, slog.New(slog.DiscardHandler))
	next := closedTunnel()
	next.KillSwitch.Routes = prefixes("10.0.0.0/8")
	next.KillSwitch.Learning = true
	mustApply(t, m, next)
	blocked("10.77.0.0/24 172.20.0.0/16 10.0.0.0/8")
	if slices.ContainsFunc(h.log, func(s string) bool { return strings.Contains(s, "delete table inet braid-killswitch") }) {
		t.Errorf("it was open for a moment: %q", h.log)
	}
	closed, err = KillSwitches(h, filepath.Dir(m.path))
	if err != nil || len(closed) != 1 || !closed[0].Running || closed[0].Owner == 0 {
		t.Errorf("closed are %+v, %v", closed, err)
	}
	if _, err := LiftKillSwitches(h, filepath.Dir(m.path)); !errors.Is(err, ErrOwned) {
		t.Errorf("lifted under its owner's feet: %v", err)
	}
	next.KillSwitch.Learning = false
	mustApply(t, m, next)
	blocked("10.0.0.0/8")

	// Another device, the former table goes.
	next.KillSwitch.Device = "braid1"
	mustApply(t, m, next)
	if tables, _ := h.KillSwitches(); !slices.Equal(tables, []string{killSwitchTable("braid1")}) {
		t.Errorf("tables %v", tables)
	}
	h.log = nil
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
	if len(h.log) == 0 || !strings.Contains(h.log[len(h.log)-1], "delete table inet braid-killswitch-braid1") {
		t.Errorf("last of all: %q", h.log)
	}
	mustEqual(t, "after Undo", h.dump(), before)
	mustBeGone(t, m.path)
}

// Nobody remembers the table: it is found by its name.
func TestKillSwitchForgotten(t *testing.T) {
	for name, lift := range map[string]func(t *testing.T, h *fakeHost, dir string) error{
		"by hand":    func(_ *testing.T, h *fakeHost, dir string) error { _, err := LiftKillSwitches(h, dir); return err },
		"by Cleanup": func(_ *testing.T, h *fakeHost, dir string) error { _, err := Cleanup(h, dir); return err },
		"by a start without": func(t *testing.T, h *fakeHost, dir string) error {
			m := New(h, StatePath(dir, "braid9"), slog.New(slog.DiscardHandler))
			h.links = append(h.links, Link{Name: "braid9", Index: 99, MTU: 1500})
			h.conf6("braid9")
			h.conf4("braid9", "0")
			return m.Apply(Desired{Device: "braid9"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFakeHost()
			m := testManager(t, h)
			d := closedTunnel()
			d.KillSwitch.Device = "braid9"
			mustApply(t, m, d)
			if err := removeState(m.path); err != nil {
				t.Fatal(err)
			}
			if err := lift(t, h, filepath.Dir(m.path)); err != nil {
				t.Fatal(err)
			}
			if tables, _ := h.KillSwitches(); len(tables) > 0 {
				t.Errorf("still there: %v", tables)
			}
		})
	}
}

// Lifting by hand leaves the rest to Cleanup, and the next start is not confused.
func TestKillSwitchLifted(t *testing.T) {
	h := newFakeHost()
	before := h.dump()
	m := testManager(t, h)
	d := closedTunnel()
	d.Sysctls = map[string]string{"net.mptcp.blackhole_timeout": "0"}
	mustApply(t, m, d)
	die(t, m.path)
	dir := filepath.Dir(m.path)
	if r, err := LiftKillSwitches(h, dir); err != nil || len(r.Removed) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if closed, err := KillSwitches(h, dir); err != nil || len(closed) > 0 {
		t.Errorf("closed are %+v, %v", closed, err)
	}
	if r, err := Cleanup(h, dir); err != nil || len(r.Removed) != 1 {
		t.Errorf("Cleanup: %+v, %v", r, err)
	}
	mustEqual(t, "after Cleanup", h.dump(), before)
}

// The networks behind named interfaces stay outside as if they were excluded.
func TestExcludeBehind(t *testing.T) {
	h := newFakeHost()
	m := testManager(t, h)
	mustApply(t, m, Desired{Device: "braid0", Mark: 0xb1, Routes: prefixes("0.0.0.0/0", "192.168.10.0/24"), ExcludeBehind: []string{"la[mn]"}})
	checkLog(t, "Apply", h, `
sysctl -w net.ipv6.conf.braid0.addr_gen_mode="1"
ip link set braid0 up
ip -4 route replace 0.0.0.0/0 dev braid0 table 98000000 proto 98
ip -4 route replace throw 192.168.10.0/24 table 98000000 proto 98
ip -4 rule add priority 9020 fwmark 0xb1 lookup main protocol 98
ip -4 rule add priority 9094 not fwmark 0xb1 lookup main suppress_prefixlength 0 protocol 98
ip -4 rule add priority 9095 not fwmark 0xb1 lookup 98000000 protocol 98`)
}

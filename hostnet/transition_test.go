package hostnet

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"
)

// some returns a random part of a list, in random order.
func some[T any](r *rand.Rand, list ...T) []T {
	var out []T
	for _, i := range r.Perm(len(list)) {
		if r.IntN(2) == 0 {
			out = append(out, list[i])
		}
	}
	return out
}

func one[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// randomDesired is any wish that fakeHost can fulfil.
func randomDesired(r *rand.Rand) Desired {
	d := Desired{
		Device:     one(r, "", "braid0", "braid0", "braid0", "braid1"),
		Mark:       one(r, uint32(0), 0x1, 0x2),
		Forwarding: r.IntN(2) == 0,
		Sysctls:    map[string]string{},
	}
	if r.IntN(2) == 0 {
		d.Sysctls["net.mptcp.blackhole_timeout"] = one(r, "0", "60", "3600")
	}
	if r.IntN(3) == 0 {
		d.Sysctls["net.none.such"] = "1"
	}
	if d.Mark != 0 {
		d.Uplinks = some(r,
			Uplink{Name: "dsl", Index: 2, Addresses: addresses("192.0.2.7", "2001:db8::7"), Default4: true, Default6: true,
				Gateway4: netip.MustParseAddr(one(r, "192.0.2.1", "192.0.2.2")), Gateway6: netip.MustParseAddr("fe80::1"),
				Subnets: prefixes("192.0.2.0/24", "2001:db8::/64")},
			Uplink{Name: "wwan0.5", Index: 3, Addresses: some(r, addresses("10.64.1.2", "10.64.1.3")...), Default4: true},
			Uplink{Name: "lan", Index: 4, Addresses: addresses("192.0.2.7"), Default4: true, Gateway4: netip.MustParseAddr("192.0.2.1")},
		)
	}
	d.Exclude = some(r, prefixes("192.168.0.0/16", "10.1.0.0/16", "fc00::/7", "203.0.113.0/24")...)
	d.ExcludeBehind = some(r, "la?", "dsl*")
	if r.IntN(2) == 0 {
		d.KillSwitch = KillSwitch{
			Device: cmp.Or(d.Device, "braid0"), Routes: some(r, prefixes("0.0.0.0/0", "::/0", "10.0.0.0/8", "192.168.1.0/24")...),
			Servers:   some(r, netip.MustParseAddrPort("203.0.113.10:443"), netip.MustParseAddrPort("[2001:db8:1::1]:443")),
			Resolvers: some(r, addresses("192.0.2.53", "2001:db8::53")...),
		}
	}
	if d.Device == "" {
		return d
	}
	d.MTU = one(r, 0, 1280, 1500, 9000) // less: TestMTUWithoutIPv6
	d.Addresses = some(r, prefixes("10.77.0.2/24", "10.77.0.3/24", "10.77.1.2/32", "fd77::2/64", "fd77::3/128")...)
	d.Routes = some(r, prefixes("0.0.0.0/0", "::/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/16", "192.168.1.0/24", "2001:db8:1::/48", "203.0.113.9/32")...)
	d.Masquerade = some(r, prefixes("10.77.0.0/24", "fd77::/64", "0.0.0.0/0")...)
	d.Sources = some(r, prefixes("10.77.0.2/32", "192.168.10.0/24")...)
	d.Forwards = some(r, Forward{First: 22, Last: 22, To: netip.MustParseAddrPort("10.77.0.2:22")})
	d.Passages = some(r, Passage{From: prefix("10.77.0.2/32")})
	d.Nameservers = some(r, addresses("127.98.0.53", "9.9.9.9", "2620:fe::9")...)
	return d
}

func seeds(t *testing.T, n uint64, f func(t *testing.T, r *rand.Rand)) {
	t.Helper()
	for seed := range n {
		if t.Failed() {
			return
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) { f(t, rand.New(rand.NewPCG(seed, 98))) })
	}
}

func mustApply(t *testing.T, m *Manager, d Desired) {
	t.Helper()
	if err := m.Apply(d); err != nil {
		t.Fatalf("%+v: %v", d, err)
	}
}

func mustEqual(t *testing.T, what string, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%s:\n%s", what, difference(got, want))
	}
}

func mustBeGone(t *testing.T, path string) {
	t.Helper()
	if list, _ := stateFiles(filepath.Dir(path)); len(list) > 0 {
		t.Fatalf("left behind: %v", list)
	}
}

// From any wish to any other the host becomes what it would be if the last
// one had been the only one; wishing again changes nothing; and undoing leaves
// what there was.
func TestTransitions(t *testing.T) {
	seeds(t, 80, func(t *testing.T, r *rand.Rand) {
		h := newFakeHost()
		before := h.dump()
		m := testManager(t, h)
		for range 6 {
			d := randomDesired(r)
			h.methods = some(r, DNSResolved, DNSResolvconf, DNSFile)
			mustApply(t, m, d)

			fresh := newFakeHost()
			fresh.methods = h.methods
			mustApply(t, testManager(t, fresh), d)
			mustEqual(t, fmt.Sprintf("after %+v", d), h.dump(), fresh.dump())

			h.log = nil
			mustApply(t, m, d)
			if len(h.log) > 0 {
				t.Fatalf("applying %+v again: %v", d, h.log)
			}
		}
		if err := m.Undo(); err != nil {
			t.Fatal(err)
		}
		mustEqual(t, "after Undo", h.dump(), before)
		mustBeGone(t, m.path)
	})
}

// Below 1280 bytes the kernel takes a device's IPv6 away, settings and all.
func TestMTUWithoutIPv6(t *testing.T) {
	h := newFakeHost()
	before := h.dump()
	m := testManager(t, h)
	d := Desired{Device: "braid0", Addresses: prefixes("10.77.0.2/24", "fd77::2/64"), Routes: prefixes("::/0")}
	for _, mtu := range []int{1500, 1000, 1500, 0} {
		d.MTU = mtu
		mustApply(t, m, d)
		h.log = nil
		mustApply(t, m, d)
		if len(h.log) > 0 {
			t.Fatalf("MTU %d: applying again: %v", mtu, h.log)
		}
		if got, want := len(h.addrs[5]), map[bool]int{true: 1, false: 2}[mtu == 1000]; got != want {
			t.Fatalf("MTU %d: %d addresses, want %d", mtu, got, want)
		}
	}
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "after Undo", h.dump(), before)
}

// failingSeeds is few, for each makes every single change of three wishes fail.
const failingSeeds = 2

// Wherever a change fails, or the process dies, everything can be recovered.
func TestTransitionsThatFail(t *testing.T) {
	recoveries := map[string]func(t *testing.T, h *fakeHost, m *Manager, d Desired, before string){
		"Undo": func(t *testing.T, h *fakeHost, m *Manager, d Desired, before string) {
			if err := m.Undo(); err != nil {
				t.Fatal(err)
			}
			mustEqual(t, "after Undo", h.dump(), before)
		},
		"Apply": func(t *testing.T, h *fakeHost, m *Manager, d Desired, before string) {
			mustApply(t, m, d)
			fresh := newFakeHost()
			mustApply(t, testManager(t, fresh), d)
			mustEqual(t, "after another Apply", h.dump(), fresh.dump())
			if err := m.Undo(); err != nil {
				t.Fatal(err)
			}
			mustEqual(t, "after Undo", h.dump(), before)
		},
		"a new Manager": func(t *testing.T, h *fakeHost, m *Manager, d Desired, before string) {
			m = New(h, m.path, slog.New(slog.DiscardHandler))
			mustApply(t, m, d)
			if err := m.Undo(); err != nil {
				t.Fatal(err)
			}
			mustEqual(t, "after Undo", h.dump(), before)
		},
		"Cleanup": func(t *testing.T, h *fakeHost, m *Manager, d Desired, before string) {
			die(t, m.path)
			if _, err := Cleanup(h, filepath.Dir(m.path)); err != nil {
				t.Fatal(err)
			}
			mustEqual(t, "after Cleanup", h.dump(), before)
		},
	}
	for name, recover := range recoveries {
		t.Run(name, func(t *testing.T) {
			seeds(t, failingSeeds, func(t *testing.T, r *rand.Rand) {
				// The last wish is one to undo, at times.
				wishes := []Desired{randomDesired(r), randomDesired(r), one(r, randomDesired(r), Desired{})}
				for step, failed := 1, true; failed; step++ {
					h := newFakeHost()
					before := h.dump()
					m := testManager(t, h)
					count, after, dead := 0, r.IntN(2) == 0, r.IntN(2) == 0
					h.fail = func(c Change) (bool, error) {
						if count++; count == step || dead && count > step {
							return after && count == step, errFake
						}
						return false, nil
					}
					for _, d := range wishes {
						if err := m.Apply(d); err != nil && !errors.Is(err, errFake) {
							t.Fatal(err)
						}
					}
					failed = count >= step // some may, without an error
					h.fail = nil
					recover(t, h, m, wishes[2], before)
				}
			})
		})
	}
}

// die makes the owner of a state file a process that does not exist.
func die(t *testing.T, path string) {
	t.Helper()
	s, err := readState(path)
	if missing(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Owner.Start++
	if err := s.write(path); err != nil {
		t.Fatal(err)
	}
}

// What is being given back counts as it was, whatever a change that failed has left.
func TestOriginalOfWhatIsUndone(t *testing.T) {
	h := newFakeHost()
	m := testManager(t, h)
	key := confKey("ipv4", "lan", "forwarding")
	m.st.Settings = []savedValue{
		{Key: forward4, Original: "0", Set: "1", Undoing: true}, {Key: key, Original: "1", Set: "1", Of: forward4},
	}
	h.sysctls[key] = "0" // the kernel's doing
	if v, err := m.original(key); v != "1" || err != nil {
		t.Errorf("%q, %v, want 1", v, err)
	}
}

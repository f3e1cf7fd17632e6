package hostnet

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestWishesThatNoHostFulfils(t *testing.T) {
	for name, d := range map[string]Desired{
		"routes without device":  {Routes: prefixes("::/0")},
		"name too long":          {Device: "braid-with-a-long-name"},
		"name with slash":        {Device: "a/b"},
		"invalid route":          {Device: "braid0", Routes: make([]netip.Prefix, 1)},
		"mapped address":         {Device: "braid0", Addresses: prefixes("::ffff:10.0.0.1/120")},
		"uplinks without mark":   {Uplinks: []Uplink{{Name: "dsl", Index: 2}}},
		"uplink without index":   {Mark: 1, Uplinks: []Uplink{{Name: "dsl"}}},
		"not a key":              {Sysctls: map[string]string{"net..x": "1"}},
		"key outside":            {Sysctls: map[string]string{"net./.x": "1"}},
		"key that is ours":       {Sysctls: map[string]string{"net.ipv4.ip_forward": "1"}},
		"another key of ours":    {Sysctls: map[string]string{"net.ipv6.conf.eth0/1.accept_ra": "1"}},
		"device that is not":     {Device: "braid9"},
		"masquerade, no device":  {Masquerade: prefixes("10.0.0.0/8")},
		"MTU without any device": {MTU: 1400},
	} {
		t.Run(name, func(t *testing.T) {
			h := newFakeHost()
			before := h.dump()
			m := testManager(t, h)
			if err := m.Apply(d); err == nil {
				t.Error("no error")
			}
			mustEqual(t, "host", h.dump(), before)
			if err := m.Undo(); err != nil {
				t.Error(err)
			}
			mustBeGone(t, m.path)
		})
	}
}

// What others change of what we set is theirs from then on.
func TestOthersChangeSettings(t *testing.T) {
	h := newFakeHost()
	m := testManager(t, h)
	d := fullTunnel()
	d.Forwarding = true
	mustApply(t, m, d)
	for key, value := range map[string]string{
		"net.ipv4.conf.dsl.rp_filter":     "0",
		"net.ipv4.conf.braid1.forwarding": "0",
		"net.mptcp.blackhole_timeout":     "7",
	} {
		h.sysctls[key] = value
	}
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"net.ipv4.conf.dsl.rp_filter":     "0", // not 1 again
		"net.ipv4.conf.braid1.forwarding": "0",
		"net.mptcp.blackhole_timeout":     "7", // not 3600
		"net.ipv4.conf.lan.forwarding":    "1", // as it was
		"net.ipv4.ip_forward":             "0",
	} {
		if got := h.sysctls[key]; got != want {
			t.Errorf("%s = %s, want %s", key, got, want)
		}
	}
}

// A renamed interface takes its settings along, one that is gone is forgotten.
func TestInterfacesComeAndGo(t *testing.T) {
	h := newFakeHost()
	m := testManager(t, h)
	d := fullTunnel()
	mustApply(t, m, d)
	h.link("dsl").Name = "ppp0"
	for _, key := range []string{"rp_filter", "forwarding"} {
		h.sysctls["net.ipv4.conf.ppp0."+key] = h.sysctls["net.ipv4.conf.dsl."+key]
		delete(h.sysctls, "net.ipv4.conf.dsl."+key)
	}
	h.log = nil
	mustApply(t, m, d)
	checkLog(t, "after renaming", h, "")
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
	if got := h.sysctls["net.ipv4.conf.ppp0.rp_filter"]; got != "1" {
		t.Errorf("rp_filter of the renamed interface is %s, want 1", got)
	}

	// The TUN goes with its process before Undo, as in a daemon that stops.
	mustApply(t, m, d)
	h.links = h.links[:4]
	h.flush(5, false)
	h.flush(5, true)
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
	if rules, _ := h.Rules(); len(rules) > 1 { // one is of somebody else
		t.Errorf("left: %v", rules)
	}
}

// Each of several braids in one namespace has a slot; the fifth gets none.
func TestSlots(t *testing.T) {
	h := newFakeHost()
	before := h.dump()
	dir := stateDir(t)
	manager := func(name string) *Manager { return New(h, StatePath(dir, name), slog.New(slog.DiscardHandler)) }
	var all []*Manager
	for _, name := range []string{"a", "b", "c", "d"} {
		m := manager(name)
		mustApply(t, m, Desired{Mark: 7, Uplinks: fullTunnel().Uplinks})
		all = append(all, m)
	}
	if rules, _ := h.Rules(); len(rules) != 1+4*5 {
		t.Errorf("%d rules", len(rules))
	}
	if err := manager("e").Apply(Desired{Mark: 7, Uplinks: fullTunnel().Uplinks}); err == nil || !strings.Contains(err.Error(), "taken") {
		t.Errorf("the fifth: %v", err)
	}
	for _, m := range all {
		if err := m.Undo(); err != nil {
			t.Fatal(err)
		}
	}
	mustEqual(t, "after all Undos", h.dump(), before)
}

// A daemon that comes back finds its former slot in use by another.
func TestSlotOfTheDead(t *testing.T) {
	h := newFakeHost()
	before := h.dump()
	dir := stateDir(t)
	a := New(h, StatePath(dir, "braid0"), slog.New(slog.DiscardHandler))
	mustApply(t, a, fullTunnel())
	die(t, a.path)
	d := fullTunnel()
	d.Device = "braid1"
	h.flush(5, false) // the routes went with the first one's TUN
	h.flush(5, true)
	b := New(h, StatePath(dir, "braid1"), slog.New(slog.DiscardHandler))
	mustApply(t, b, d)
	a = New(h, a.path, slog.New(slog.DiscardHandler))
	mustApply(t, a, fullTunnel())
	if a.st.Slot != 1 || b.st.Slot != 0 {
		t.Errorf("slots %d and %d", a.st.Slot, b.st.Slot)
	}
	h.log = nil
	mustApply(t, b, d)
	checkLog(t, "both apply again", h, "")
	for _, m := range []*Manager{b, a} {
		if err := m.Undo(); err != nil {
			t.Fatal(err)
		}
	}
	mustEqual(t, "after both Undos", h.dump(), before)
}

// A setting that is to change a second time and does not is still ours.
func TestSecondValueFails(t *testing.T) {
	h := newFakeHost()
	before := h.dump()
	m := testManager(t, h)
	const key = "net.mptcp.blackhole_timeout"
	mustApply(t, m, Desired{Sysctls: map[string]string{key: "60"}})
	h.fail = func(Change) (bool, error) { return false, errFake }
	for range 2 {
		if err := m.Apply(Desired{Sysctls: map[string]string{key: "0"}}); err == nil {
			t.Error("no error")
		}
	}
	h.fail = nil
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "after Undo", h.dump(), before)
}

// What a living process owns is left alone.
func TestOwnedByTheLiving(t *testing.T) {
	other := exec.Command("sleep", "60")
	if err := other.Start(); err != nil {
		t.Skip(err)
	}
	defer func() { other.Process.Kill(); other.Wait() }()
	h := newFakeHost()
	m := testManager(t, h)
	mustApply(t, m, fullTunnel())
	applied := h.dump()

	s, err := readState(m.path)
	if err != nil {
		t.Fatal(err)
	}
	s.Owner.PID = other.Process.Pid
	if s.Owner.Start, err = startTime(s.Owner.PID); err != nil {
		t.Fatal(err)
	}
	if err := s.write(m.path); err != nil {
		t.Fatal(err)
	}
	second := New(h, m.path, slog.New(slog.DiscardHandler))
	if err := second.Apply(fullTunnel()); !errors.Is(err, ErrOwned) {
		t.Errorf("Apply: %v", err)
	}
	if err := second.Undo(); !errors.Is(err, ErrOwned) {
		t.Errorf("Undo: %v", err)
	}
	report, err := Cleanup(h, filepath.Dir(m.path))
	if !errors.Is(err, ErrOwned) {
		t.Errorf("Cleanup: %v", err)
	}
	if len(report.Removed) > 0 || len(report.Left) == 0 {
		t.Errorf("Cleanup: %+v", report)
	}
	mustEqual(t, "host", h.dump(), applied)
}

// Without its state file a dead daemon's rules and routes are still known by
// their protocol.
func TestCleanupWithoutState(t *testing.T) {
	h := newFakeHost()
	before := h.dump()
	m := testManager(t, h)
	mustApply(t, m, Desired{Mark: 7, Uplinks: fullTunnel().Uplinks})
	if err := os.Remove(m.path); err != nil {
		t.Fatal(err)
	}
	h.sysctls["net.ipv4.conf.dsl.rp_filter"] = "1" // nobody can know this one
	report, err := Cleanup(h, filepath.Dir(m.path))
	if err != nil || len(report.Removed) == 0 {
		t.Errorf("%+v, %v", report, err)
	}
	mustEqual(t, "after Cleanup", h.dump(), before)
}

func TestDamagedState(t *testing.T) {
	h := newFakeHost()
	m := testManager(t, h)
	if err := os.WriteFile(m.path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Cleanup(h, filepath.Dir(m.path)); err == nil {
		t.Error("Cleanup says nothing")
	}
	mustApply(t, m, fullTunnel())
	if err := m.Undo(); err != nil {
		t.Error(err)
	}
	mustBeGone(t, m.path)
}

// Routes of the host that answer with an error silence the tunnel.
func TestWarnings(t *testing.T) {
	var log bytes.Buffer
	h := newFakeHost()
	h.rejects = prefixes("10.0.0.0/8", "172.16.0.0/12")
	m := New(h, StatePath(stateDir(t), "braid0"), slog.New(slog.NewTextHandler(&log, nil)))
	d := Desired{Device: "braid0", Routes: prefixes("10.5.0.0/16", "::/0")}
	h.sysctls["net.ipv6.conf.braid0.disable_ipv6"] = "1"
	mustApply(t, m, d)
	mustApply(t, m, d)
	for _, want := range []string{"host_route=10.0.0.0/8 tunnel_route=10.5.0.0/16", "without IPv6"} {
		if n := strings.Count(log.String(), want); n != 1 {
			t.Errorf("%q is said %d times:\n%s", want, n, &log)
		}
	}
	if strings.Contains(log.String(), "172.16") {
		t.Errorf("too much is said:\n%s", &log)
	}
}

// A client that happens to be a router does without masquerading where there is
// no nftables, and says so.
func TestSourcesWithoutNAT(t *testing.T) {
	h := newFakeHost()
	before := h.dump()
	h.fail = func(c Change) (bool, error) {
		if _, ok := c.Object.(NAT); ok && !c.Remove {
			return false, explainNAT("change nftables", os.ErrPermission)
		}
		return false, nil
	}
	var log bytes.Buffer
	m := testManager(t, h)
	m.log = slog.New(slog.NewTextHandler(&log, nil))
	d := Desired{Device: "braid0", Addresses: prefixes("10.77.0.2/24"), Sources: prefixes("10.77.0.2/32")}
	mustApply(t, m, d)
	mustApply(t, m, d)
	if strings.Count(log.String(), "keeps its source") != 1 || len(h.addrs[5]) != 1 {
		t.Errorf("%v, said\n%s", h.addrs[5], &log)
	}
	if err := m.Undo(); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, "after Undo", h.dump(), before)
}

// Forwarding stays off when masquerading fails: the tunnel's addresses would
// show outside.
func TestNoForwardingWithoutNAT(t *testing.T) {
	h := newFakeHost()
	h.fail = func(c Change) (bool, error) {
		if _, ok := c.Object.(NAT); ok {
			return false, explainNAT("change nftables", os.ErrPermission)
		}
		return false, nil
	}
	m := testManager(t, h)
	err := m.Apply(Desired{Device: "braid0", Masquerade: prefixes("10.77.0.0/24"), Forwarding: true})
	if err == nil || h.sysctls[forward4] != "0" {
		t.Errorf("%v, forwarding is %s", err, h.sysctls[forward4])
	}
}

package hostnet

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
)

// Nameservers are set last, in each way that the host needs, and once.
func TestCommandsOfNameservers(t *testing.T) {
	h := newFakeHost()
	m := testManager(t, h)
	d := Desired{Device: "braid0", KeepNameservers: true}
	mustApply(t, m, d)
	h.log = nil
	d.KeepNameservers, d.Nameservers = false, addresses("127.98.0.53")
	mustApply(t, m, d)
	checkLog(t, "a file", h, `mv /etc/resolv.conf /etc/resolv.conf.before-braid # then: nameserver 127.98.0.53`)

	h.methods = []DNSMethod{DNSResolved, DNSResolvconf}
	mustApply(t, m, d)
	checkLog(t, "systemd-resolved and resolvconf", h, `
resolvectl dns braid0 127.98.0.53; resolvectl domain braid0 ~.
resolvconf -a lo.braid0 # nameserver 127.98.0.53
mv /etc/resolv.conf.before-braid /etc/resolv.conf`)
	if got, err := m.DNSStatus(); !slices.Equal(got, h.methods) || err != nil {
		t.Errorf("set by %v", got)
	}

	delete(h.dns, savedDNS{DNSResolvconf, "braid0"}) // by somebody else
	mustApply(t, m, d)
	checkLog(t, "again", h, `resolvconf -a lo.braid0 # nameserver 127.98.0.53`)

	d.Nameservers = nil
	mustApply(t, m, d)
	checkLog(t, "none", h, `
resolvectl revert braid0
resolvconf -d lo.braid0`)
}

// What a killed daemon has set stays until the next one knows what it wants; what
// a crash of the machine left does not.
func TestNameserversLeft(t *testing.T) {
	h := newFakeHost()
	m := testManager(t, h)
	d := Desired{Device: "braid0", Nameservers: addresses("127.98.0.53")}
	mustApply(t, m, d)
	set := savedDNS{DNSFile, "braid0"}
	left := func() { h.leftDNS = "braid0" } // its process is dead

	next := New(h, m.path, slog.New(slog.DiscardHandler))
	left()
	mustApply(t, next, Desired{Device: "braid0", KeepNameservers: true})
	if h.dns[set] == nil {
		t.Error("taken away before it is known what is wanted")
	}
	// Another braid that starts meanwhile has no say in it.
	other := New(h, StatePath(filepath.Dir(m.path), "braid1"), slog.New(slog.DiscardHandler))
	left()
	mustApply(t, other, Desired{Device: "braid1"})
	if h.dns[set] == nil {
		t.Error("taken away by another braid")
	}
	if err := other.Undo(); err != nil {
		t.Fatal(err)
	}
	mustApply(t, next, Desired{Device: "braid0"})
	if len(h.dns) > 0 {
		t.Errorf("left: %v", h.dns)
	}
	if err := next.Undo(); err != nil {
		t.Fatal(err)
	}

	for what, undo := range map[string]func() error{
		"a start": func() error {
			return testManager(t, h).Apply(Desired{Device: "braid1", KeepNameservers: true})
		},
		"cleanup": func() error {
			_, err := Cleanup(h, stateDir(t))
			return err
		},
	} {
		h.dns[set] = addresses("127.98.0.53")
		left()
		if err := undo(); err != nil || h.dns[set] != nil {
			t.Errorf("after %s: %v, %v", what, h.dns, err)
		}
	}
}

func TestWrongNameservers(t *testing.T) {
	for name, d := range map[string]Desired{
		"no device": {Nameservers: addresses("9.9.9.9")},
		"mapped":    {Device: "braid0", Nameservers: addresses("::ffff:9.9.9.9")},
		"zone":      {Device: "braid0", Nameservers: addresses("fe80::1%dsl")},
		"nothing":   {Device: "braid0", Nameservers: make([]netip.Addr, 1)},
	} {
		if err := testManager(t, newFakeHost()).Apply(d); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

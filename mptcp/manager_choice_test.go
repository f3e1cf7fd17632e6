package mptcp

import (
	"errors"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUserspaceManagerOfOneSocket(t *testing.T) {
	l := newLab(t)
	e := l.serve(Options{})
	remote := netip.AddrPortFrom(service4, e.port())
	before := l.client.readSysctl("net/mptcp/pm_type")
	if before != "0" {
		t.Fatalf("the namespace begins with pm_type %s", before)
	}
	ours := l.dial(remote, Options{Mark: testMark, Local: clientA4, UserspacePathManager: true})
	if got := l.client.readSysctl("net/mptcp/pm_type"); got != before {
		t.Fatalf("pm_type is %s after Dial", got)
	}
	other := l.dial(remote, Options{Mark: testMark, Local: clientA4})
	exchange(t, ours, 10)
	exchange(t, other, 10)

	pm := l.pathManager(l.client)
	spec := SubflowSpec{ID: 1, Local: netip.AddrPortFrom(clientB4, 0), Remote: remote}
	token, err := other.Token()
	if err != nil {
		t.Fatal(err)
	}
	// The kernel refuses to manage a socket of its own manager.
	var pe *PathError
	if err := pm.CreateSubflow(token, spec); !errors.Is(err, unix.EINVAL) || !errors.As(err, &pe) || pe.Message == "" {
		t.Errorf("on another's socket: %v", err)
	}
	if token, err = ours.Token(); err != nil {
		t.Fatal(err)
	}
	if err := pm.CreateSubflow(token, spec); err != nil {
		t.Error(err)
	}
	awaitSubflows(t, ours, clientA4, clientB4)
	awaitSubflows(t, other, clientA4)
}

// Many at once, with sockets of other programs beside them: each gets its kind,
// and the sysctl is what it was.
func TestUserspaceManagerConcurrently(t *testing.T) {
	l := newLab(t)
	e := l.serve(Options{})
	remote := netip.AddrPortFrom(service4, e.port())
	const each = 8
	conns := make([]*Conn, each)
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			conns[i] = l.dial(remote, Options{UserspacePathManager: true, Mark: testMark, Local: clientA4})
		})
	}
	wg.Wait()
	pm := l.pathManager(l.client)
	for _, c := range conns {
		exchange(t, c, 10)
		token, err := c.Token()
		if err != nil {
			t.Fatal(err)
		}
		if err := pm.CreateSubflow(token, SubflowSpec{ID: 1, Local: netip.AddrPortFrom(clientB4, 0), Remote: remote}); err != nil {
			t.Error(err)
		}
	}
	if got := l.client.readSysctl("net/mptcp/pm_type"); got != "0" {
		t.Errorf("pm_type is %s", got)
	}
}

// A host that has the userspace manager for all keeps it.
func TestUserspaceManagerOfTheHost(t *testing.T) {
	l := newLab(t)
	l.client.sysctl("net/mptcp/pm_type", "1")
	e := l.serve(Options{})
	conn := l.bonded(e, clientA4, service4)
	if got := l.client.readSysctl("net/mptcp/pm_type"); got != "1" {
		t.Errorf("pm_type is %s", got)
	}
	if _, err := NewBond(conn, l.pathManager(l.client)).Sync([]Path{{Local: clientA4}, {Local: clientB4}}); err != nil {
		t.Error(err)
	}
	awaitSubflows(t, conn, clientA4, clientB4)
}

// Kernels before 6.16 have the older sysctl alone.
func TestOlderSysctl(t *testing.T) {
	all := managerSysctls
	defer func() { managerSysctls = all }()
	managerSysctls = managerSysctls[1:]
	l := newLab(t)
	e := l.serve(Options{})
	conn := l.bonded(e, clientA4, service4)
	if got := l.client.readSysctl("net/mptcp/pm_type"); got != "0" {
		t.Errorf("pm_type is %s", got)
	}
	if _, err := NewBond(conn, l.pathManager(l.client)).Sync([]Path{{Local: clientA4}, {Local: clientB4}}); err != nil {
		t.Error(err)
	}
	awaitSubflows(t, conn, clientA4, clientB4)
	managerSysctls = nil
	_, err := on(l.client, func() (*Conn, error) {
		return Dial(t.Context(), netip.AddrPortFrom(service4, e.port()), Options{UserspacePathManager: true})
	})
	if !errors.Is(err, ErrUserspaceManager) {
		t.Errorf("without the sysctl: %v", err)
	}
}

// What a process leaves that is killed around socket() is set back, and nothing else.
func TestRestoreManager(t *testing.T) {
	h := newHost(t)
	ask := func() (value string, userspace bool) {
		t.Helper()
		h.must(func() (err error) { value, userspace, err = DefaultManager(); return err })
		return value, userspace
	}
	restore := func(value string, want bool) {
		t.Helper()
		h.must(func() error {
			restored, err := RestoreManager(value)
			if restored != want {
				t.Errorf("restored to %s: %v, want %v", value, restored, want)
			}
			return err
		})
	}
	was, userspace := ask()
	if userspace || was == "" {
		t.Fatalf("the namespace begins with %q", was)
	}
	restore(was, false)
	h.sysctl("net/mptcp/pm_type", "1")
	if now, userspace := ask(); !userspace || now == was {
		t.Errorf("changed, it is %q", now)
	}
	restore(was, true)
	if now, userspace := ask(); userspace || now != was {
		t.Errorf("restored, it is %q", now)
	}
	restore(was, false)
}

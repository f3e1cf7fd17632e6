package mptcp

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// checkOn runs Check in a namespace and returns the findings by name.
func checkOn(t *testing.T, h *host) map[string]Finding {
	t.Helper()
	before := h.readSysctl("net/mptcp/pm_type")
	found := map[string]Finding{}
	fds := countFDs(t)
	h.must(func() error {
		for _, f := range Check() {
			found[f.Name] = f
			if f.Name == "" || f.Detail == "" || f.OK() != (f.Severity == Fine) || !f.OK() && f.Hint == "" {
				t.Errorf("%+v", f)
			}
		}
		return nil
	})
	if n := countFDs(t); n != fds {
		t.Errorf("%d descriptors, then %d", fds, n)
	}
	if after := h.readSysctl("net/mptcp/pm_type"); after != before {
		t.Errorf("pm_type %s became %s", before, after)
	}
	return found
}

// The tests need all this themselves.
func TestCheckHere(t *testing.T) {
	checkLeaks(t)
	h := newHost(t)
	for name, f := range checkOn(t, h) {
		if !f.OK() && name != "bbr" && name != "full-info" {
			t.Errorf("%+v", f)
		}
	}
	h.sysctl("net/mptcp/pm_type", "1")
	if f := checkOn(t, h)["userspace-path-manager"]; !f.OK() {
		t.Errorf("%+v", f)
	}
}

func TestCheckFinds(t *testing.T) {
	checkLeaks(t)
	h := newHost(t)
	expect := func(found map[string]Finding, want Severity, names ...string) {
		t.Helper()
		for _, n := range names {
			if f, ok := found[n]; !ok || f.Severity != want {
				t.Errorf("%s: %+v", n, f)
			}
		}
	}
	if _, err := os.Stat("/proc/sys/net/mptcp/blackhole_timeout"); err == nil {
		h.sysctl("net/mptcp/blackhole_timeout", "3600")
		expect(checkOn(t, h), Degraded, "blackhole-timeout")
	}
	h.sysctl("net/mptcp/allow_join_initial_addr_port", "0")
	expect(checkOn(t, h), Degraded, "join-initial-address")
	h.sysctl("net/mptcp/enabled", "0")
	found := checkOn(t, h)
	expect(found, Fatal, "mptcp")
	expect(found, Degraded, "mptcp-ipv6", "full-info")
	expect(found, Fine, "path-manager-netlink", "cap-net-admin")

	all := managerSysctls
	managerSysctls = nil
	found = checkOn(t, h)
	managerSysctls = all
	expect(found, Fatal, "userspace-path-manager")
}

// Without CAP_NET_ADMIN: Check says so, and what can work does.
func TestWithoutCapability(t *testing.T) {
	l := newLab(t)
	e := l.serve(Options{})
	l.client.must(func() error { // of this thread alone, which ends with the test
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&header, &data[0]); err != nil {
			return err
		}
		const lost = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW // the latter suffices for SO_MARK
		data[0].Effective &^= lost
		data[0].Permitted &^= lost
		return unix.Capset(&header, &data[0])
	})
	if f := checkOn(t, l.client)["cap-net-admin"]; f.Severity != Fatal {
		t.Errorf("%+v", f)
	}
	remote := netip.AddrPortFrom(service4, e.port())
	conn := l.dial(remote, Options{ReceiveBufferBytes: 1 << 30})
	exchange(t, conn, 10_000)
	if got, err := conn.ReceiveBuffer(); err != nil || got >= 1<<30 {
		t.Errorf("receive buffer %d, %v", got, err)
	}
	var oe *Error
	_, err := on(l.client, func() (*Conn, error) { return Dial(context.Background(), remote, Options{Mark: 1}) })
	if !errors.Is(err, unix.EPERM) || !errors.As(err, &oe) || oe.Hint == "" {
		t.Errorf("mark: %v", err)
	}
	pm := l.pathManager(l.client)
	if err := l.client.run(func() error { return pm.SetLimits(ServerLimits) }); !errors.Is(err, unix.EPERM) {
		t.Errorf("limits: %v", err)
	}
	if _, err := on(l.client, OpenEvents); err == nil {
		t.Error("events without the capability")
	}
}

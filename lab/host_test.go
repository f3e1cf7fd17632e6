package lab_test

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"braid/lab"

	"golang.org/x/sys/unix"
)

func TestHostDefaults(t *testing.T) {
	h := newHost(t, newLab(t), "a")
	check(t, h.SetReversePathFilter(lab.Strict))
	check(t, h.SetReversePathFilter(lab.Loose))
	for key, want := range map[string]string{
		"net.ipv4.ip_forward":                 "0",
		"net.ipv6.conf.all.forwarding":        "0",
		"net.ipv6.conf.default.accept_dad":    "0",
		"net.ipv4.conf.lo.rp_filter":          "2",
		"net/ipv4/conf/default/rp_filter":     "2",
		"net.ipv6.conf.default.accept_ra":     "0",
		"net.ipv4.ip_unprivileged_port_start": "1024",
	} {
		if got, err := h.Sysctl(key); err != nil || got != want {
			t.Errorf("%s = %q (%v), want %q", key, got, err, want)
		}
	}
	check(t, h.SetForwarding(true))
	if got, _ := h.Sysctl("net.ipv4.ip_forward"); got != "1" {
		t.Error("forwarding was not turned on")
	}
	if b, _ := os.ReadFile("/proc/sys/net/ipv4/conf/lo/rp_filter"); strings.TrimSpace(string(b)) == "" {
		t.Error("the machine's own settings cannot be read")
	}
	if err := h.SetSysctl("net.no.such.key", "1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("unknown sysctl: %v", err)
	}
	if names, err := h.Interfaces(); err != nil || len(names) != 1 || names[0] != "lo" {
		t.Errorf("interfaces %v (%v), want lo", names, err)
	}
}

func TestDo(t *testing.T) {
	h := newHost(t, newLab(t), "a")
	inode := func() (ino uint64) {
		var s unix.Stat_t
		check(t, unix.Stat("/proc/thread-self/ns/net", &s))
		return s.Ino
	}
	outside := inode()
	var inside uint64
	check(t, h.Do(func() error {
		inside = inode()
		return h.Do(func() error { // again, and processes too
			_, err := h.Start(t.Context(), exec.Command("true"))
			return err
		})
	}))
	if inside == outside {
		t.Error("Do ran outside the host")
	}
	wrong := errors.New("wrong")
	if err := h.Do(func() error { return wrong }); err != wrong {
		t.Errorf("Do answered %v", err)
	}
	if err := h.Do(func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("a function that ended the goroutine was no error")
	}
	eventually(t, "host is closed", time.Second, func() bool {
		return h.Do(func() error { return nil }) != nil
	})
	if now := inode(); now != outside {
		t.Error("the test has changed its namespace")
	}
}

func TestSocketsAndVeth(t *testing.T) {
	l := newLab(t)
	p := pair{a: newHost(t, l, "a"), b: newHost(t, l, "b"), aAddr: aPrefix.Addr(), bAddr: bPrefix.Addr()}
	check(t, l.Veth(p.a, "eth", p.b, "eth"))
	check(t, p.a.AddAddress("eth", aPrefix))
	check(t, p.a.AddAddress("eth", aPrefix)) // again is no error
	check(t, p.b.AddAddress("eth", bPrefix))
	listener, err := p.b.Listen(t.Context(), "tcp", p.bAddr.String()+":0")
	check(t, err)
	defer listener.Close()
	conn, err := p.a.DialContext(t.Context(), "tcp", listener.Addr().String())
	check(t, err)
	defer conn.Close()
	accepted, err := listener.Accept()
	check(t, err)
	defer accepted.Close()
	for _, c := range []net.Conn{conn, accepted} {
		if mptcp, err := c.(*net.TCPConn).MultipathTCP(); mptcp || err != nil {
			t.Errorf("%v: MPTCP %v (%v)", c.LocalAddr(), mptcp, err)
		}
	}
	if got := accepted.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); got != p.aAddr {
		t.Errorf("accepted from %v, want %v", got, p.aAddr)
	}
	const n = 1 << 20
	go func() { _, _ = conn.Write(make([]byte, n)); conn.Close() }()
	if got, err := io.Copy(io.Discard, accepted); got != n || err != nil {
		t.Errorf("%d bytes arrived (%v), want %d", got, err, n)
	}
	c, err := p.b.Counters("eth")
	check(t, err)
	if c.RxBytes < n || c.RxPackets == 0 || c.TxBytes == 0 || c.TxPackets == 0 {
		t.Errorf("counters %+v after receiving %d bytes", c, n)
	}
	check(t, p.a.SetMTU("eth", 1400))
	check(t, p.a.RemoveAddress("eth", aPrefix))
	if err := p.a.RemoveAddress("eth", aPrefix); err == nil {
		t.Error("the address was removed twice")
	}
	check(t, p.a.DeleteInterface("eth"))
	if names, err := p.b.Interfaces(); err != nil || len(names) != 1 {
		t.Errorf("with the cable deleted b has %v (%v)", names, err)
	}
}

func TestRoutes(t *testing.T) {
	l := newLab(t)
	a, router, b := newHost(t, l, "a"), newHost(t, l, "router"), newHost(t, l, "b")
	check(t, l.Veth(a, "eth", router, "a"))
	check(t, l.Veth(b, "eth", router, "b"))
	check(t, router.SetForwarding(true))
	for _, c := range []struct {
		host *lab.Host
		name string
		addr string
	}{
		{a, "eth", "10.1.0.2/24"}, {router, "a", "10.1.0.1/24"}, {b, "eth", "10.2.0.2/24"}, {router, "b", "10.2.0.1/24"},
		{a, "eth", "fd00:1::2/64"}, {router, "a", "fd00:1::1/64"}, {b, "eth", "fd00:2::2/64"}, {router, "b", "fd00:2::1/64"},
	} {
		check(t, c.host.AddAddress(c.name, prefix(c.addr)))
	}
	check(t, a.AddRoute(lab.Route{Destination: prefix("0.0.0.0/0"), Via: addr("10.1.0.1"), Interface: "eth"}))
	check(t, b.AddRoute(lab.Route{Destination: prefix("10.1.0.9/24"), Via: addr("10.2.0.1"), Interface: "eth", Metric: 7}))
	check(t, a.AddRoute(lab.Route{Destination: prefix("::/0"), Via: addr("fd00:1::1"), Interface: "eth", Metric: 5}))
	check(t, b.AddRoute(lab.Route{Destination: prefix("fd00:1::/64"), Via: addr("fd00:2::1"), Interface: "eth"}))
	for _, to := range []string{"10.2.0.2", "fd00:2::2"} {
		out, err := a.Run(t.Context(), "ping", "-n", "-c", "1", "-W", "2", to)
		if err != nil {
			t.Errorf("ping %s: %v: %s", to, err, out)
		}
	}
}

package mptcp

import (
	"errors"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func mustToken(t *testing.T, c *Conn) uint32 {
	t.Helper()
	token, err := c.Token()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestCreateSubflowTooEarly(t *testing.T) {
	l := newLab(t)
	e := l.serve(Options{})
	remote := netip.AddrPortFrom(service4, e.port())
	conn := l.dial(remote, Options{Mark: testMark, Local: clientA4, UserspacePathManager: true})
	pm := l.pathManager(l.client)
	spec := SubflowSpec{ID: 1, Local: netip.AddrPortFrom(clientB4, 0), Remote: remote}
	err := pm.CreateSubflow(mustToken(t, conn), spec)
	var pe *PathError
	if !errors.Is(err, ErrNotYet) || !errors.Is(err, unix.ENOTCONN) || !errors.As(err, &pe) || pe.ID != 1 || pe.Remote != remote {
		t.Fatalf("before any data: %v", err)
	}
	exchange(t, conn, 1)
	if err := pm.CreateSubflow(mustToken(t, conn), spec); err != nil {
		t.Fatalf("after the first data: %v", err)
	}
	awaitSubflows(t, conn, clientA4, clientB4)
}

func TestSubflowCarriesData(t *testing.T) {
	l := newLab(t)
	e := l.serve(Options{ReceiveBufferBytes: 8 << 20})
	conn := l.bonded(e, clientA4, service4)
	pm := l.pathManager(l.client)
	token := mustToken(t, conn)
	if err := pm.CreateSubflow(token, SubflowSpec{ID: 1, Local: netip.AddrPortFrom(clientB4, 0), Remote: conn.RemoteAddrPort()}); err != nil {
		t.Fatal(err)
	}
	awaitSubflows(t, conn, clientA4, clientB4)
	a, b := l.client.sent("a0"), l.client.sent("b0")
	exchange(t, conn, 8<<20)
	a, b = l.client.sent("a0")-a, l.client.sent("b0")-b
	if a < 100_000 || b < 100_000 {
		t.Errorf("A sent %d bytes, B %d", a, b)
	}

	// A backup carries nothing, in neither direction.
	for _, c := range []struct{ name, idle, busy string }{{"initial", "a0", "b0"}, {"joined", "b0", "a0"}} {
		for _, s := range established(t, conn) {
			want := (s.Local == conn.LocalAddrPort()) == (c.name == "initial")
			if err := pm.SetBackup(token, s.Local, s.Remote, want); err != nil {
				t.Fatal(err)
			}
		}
		exchange(t, conn, 100_000) // MP_PRIO has to arrive
		time.Sleep(20 * time.Millisecond)
		idle, busy := l.client.sent(c.idle), l.client.sent(c.busy)
		received := l.client.link(c.idle).Attrs().Statistics.RxBytes
		exchange(t, conn, 2<<20)
		idle, busy = l.client.sent(c.idle)-idle, l.client.sent(c.busy)-busy
		received = l.client.link(c.idle).Attrs().Statistics.RxBytes - received
		if idle > 200_000 || received > 200_000 || busy < 2<<20 {
			t.Errorf("%s subflow is backup: it sent %d and received %d, the other sent %d", c.name, idle, received, busy)
		}
	}
}

func TestRemoveAndDestroy(t *testing.T) {
	l := newLab(t)
	e := l.serve(Options{})
	conn := l.bonded(e, clientA4, service4)
	server := e.next(t)
	pm := l.pathManager(l.client)
	token := mustToken(t, conn)
	spec := SubflowSpec{ID: 7, Local: netip.AddrPortFrom(clientB4, 0), Remote: conn.RemoteAddrPort()}
	if err := pm.CreateSubflow(token, spec); err != nil {
		t.Fatal(err)
	}
	var joined Subflow
	for _, s := range awaitSubflows(t, conn, clientA4, clientB4) {
		if s.Local.Addr() == clientB4 {
			joined = s
		}
	}
	// An id names one address.
	spec.Local = netip.AddrPortFrom(clientA4, 0)
	if err := pm.CreateSubflow(token, spec); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a second address with the same id: %v", err)
	}
	spec.ID = 0
	if err := pm.CreateSubflow(token, spec); !errors.Is(err, unix.EINVAL) {
		t.Errorf("id 0: %v", err)
	}
	spec.ID = 7
	if err := pm.CreateSubflow(token, SubflowSpec{ID: 9}); !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Errorf("no addresses: %v", err)
	}
	if err := pm.RemoveAddress(token, 9); !errors.Is(err, unix.EINVAL) {
		t.Errorf("remove an unknown id: %v", err)
	}
	elsewhere := netip.AddrPortFrom(clientB4, joined.Local.Port()^1)
	if err := pm.DestroySubflow(token, elsewhere, joined.Remote); !errors.Is(err, unix.ESRCH) {
		t.Errorf("destroy an unknown subflow: %v", err)
	}
	if err := pm.SetBackup(token, elsewhere, joined.Remote, true); !errors.Is(err, unix.EINVAL) {
		t.Errorf("backup on an unknown subflow: %v", err)
	}
	if err := pm.RemoveAddress(token, 7); err != nil {
		t.Error(err)
	}
	if err := pm.DestroySubflow(token, joined.Local, joined.Remote); err != nil && !errors.Is(err, unix.ESRCH) {
		t.Error(err)
	}
	awaitSubflows(t, conn, clientA4)
	awaitSubflows(t, server, service4)
	exchange(t, conn, 100_000)

	// The initial one goes, too, and the connection takes another.
	if err := pm.RemoveAddress(token, 0); err != nil {
		t.Error(err)
	}
	if err := pm.DestroySubflow(token, conn.LocalAddrPort(), conn.RemoteAddrPort()); err != nil && !errors.Is(err, unix.ESRCH) {
		t.Error(err)
	}
	awaitSubflows(t, conn)
	if !conn.MPTCP() {
		t.Error("without subflows it is not MPTCP")
	}
	if err := pm.CreateSubflow(token, SubflowSpec{ID: 8, Local: netip.AddrPortFrom(clientB4, 0), Remote: conn.RemoteAddrPort()}); err != nil {
		t.Fatal(err)
	}
	awaitSubflows(t, conn, clientB4)
	exchange(t, conn, 100_000)

	conn.Close()
	err := pm.CreateSubflow(token, spec)
	if err == nil {
		t.Error("created a subflow of a closed connection")
	}
}

func TestLimits(t *testing.T) {
	l := newLab(t)
	pm := l.pathManager(l.server)
	// Two runs: the answer to one request must not be left for the next.
	for range 2 {
		before, err := pm.Limits()
		if err != nil {
			t.Fatal(err)
		}
		was, err := pm.SwapLimits(ServerLimits)
		if err != nil || was != before {
			t.Fatalf("was %+v, %v", was, err)
		}
		if now, err := pm.Limits(); err != nil || now != ServerLimits {
			t.Fatalf("%+v, %v", now, err)
		}
		if err := pm.RestoreLimits(ServerLimits, was); err != nil {
			t.Fatal(err)
		}
		if now, err := pm.Limits(); err != nil || now != before {
			t.Fatalf("%+v, %v", now, err)
		}
	}
	others := Limits{ExtraSubflows: 5, AcceptedAddresses: 3}
	if err := pm.SetLimits(others); err != nil {
		t.Fatal(err)
	}
	if err := pm.RestoreLimits(ServerLimits, Limits{ExtraSubflows: 2}); err != nil {
		t.Fatal(err)
	}
	if now, err := pm.Limits(); err != nil || now != others {
		t.Errorf("another's limits became %+v, %v", now, err)
	}
	if err := pm.SetLimits(Limits{ExtraSubflows: 1000}); !errors.Is(err, unix.EINVAL) {
		t.Errorf("1000 subflows: %v", err)
	}
}

func TestEndpoints(t *testing.T) {
	l := newLab(t)
	pm := l.pathManager(l.client)
	if eps, err := pm.Endpoints(); err != nil || len(eps) != 0 {
		t.Fatalf("%+v, %v", eps, err)
	}
	const cmdAddAddr = 1
	add := func(a addr) {
		t.Helper()
		if err := pm.request(&PathError{Op: "add"}, cmdAddAddr, 0, nil, func(ae *netlink.AttributeEncoder) {
			a.encode(ae, attrAddr)
		}); err != nil {
			t.Fatal(err)
		}
	}
	add(addr{AddrPort: netip.AddrPortFrom(clientA4, 0), id: 3, hasID: true, flags: addrFlagSubflow | addrFlagBackup, ifIndex: l.client.index("a0")})
	add(addr{AddrPort: netip.AddrPortFrom(clientB6, 4443), id: 4, hasID: true, flags: addrFlagSignal})
	want := []Endpoint{
		{ID: 3, Addr: clientA4, IfIndex: l.client.index("a0"), Subflow: true, Backup: true},
		{ID: 4, Addr: clientB6, Port: 4443, Signal: true},
	}
	for range 2 {
		eps, err := pm.Endpoints()
		if err != nil || len(eps) != 2 || eps[0] != want[0] || eps[1] != want[1] {
			t.Fatalf("%+v, %v", eps, err)
		}
		if _, err := pm.Limits(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPathManagerFromManyGoroutines(t *testing.T) {
	l := newLab(t)
	pm := l.pathManager(l.client)
	failed := make(chan error)
	for range 4 {
		go func() {
			var err error
			for range 50 {
				if _, e := pm.Limits(); e != nil {
					err = e
				}
				if e := pm.RemoveAddress(1, 1); !errors.Is(e, unix.EINVAL) {
					err = e
				}
			}
			failed <- err
		}()
	}
	for range 4 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// A connection whose subflows have all ended in peace lives on at the peer, which
// hears nothing of it. It goes when the peer closes it, and leaves no socket.
func TestConnectionWithoutSubflowsIsClosed(t *testing.T) {
	bl := newBondLab(t)
	bl.sync("created b 1", bl.a, bl.b)
	exchange(t, bl.conn, 100_000)
	bl.sync("removed a 0, removed b 1")
	awaitSubflows(t, bl.peer)
	sockets := func() int {
		var n int
		bl.server.must(func() error {
			out, err := exec.Command("ss", "--mptcp", "--no-header", "--numeric", "--all").Output()
			n = strings.Count(string(out), "\n") - strings.Count(string(out), "LISTEN")
			return err
		})
		return n
	}
	time.Sleep(300 * time.Millisecond)
	if n := sockets(); n != 1 {
		t.Errorf("%d connections before", n)
	}
	if err := bl.peer.Close(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); sockets() != 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d connections are left", sockets())
		}
	}
}

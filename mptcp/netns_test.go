package mptcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The tests' network: two namespaces, two paths, and a service address behind
// both. Every test has its own, so sysctls and limits are its own, too.
//
//	client                                     server
//	  a0 10.1.0.1/24 fd00:1::1/64 ──── a1 10.1.0.2/24 fd00:1::2/64
//	  b0 10.2.0.1/24 fd00:2::1/64 ──── b1 10.2.0.2/24 fd00:2::2/64
//	                                   lo 10.9.0.1/32 fd00:9::1/128
//
// The client's main table leads to the service over B alone; what comes from an
// address of A or B and carries testMark goes by that path's own table, as
// braid's rules on a host do.
const testMark = 0xb1

var (
	clientA4 = netip.MustParseAddr("10.1.0.1")
	clientB4 = netip.MustParseAddr("10.2.0.1")
	clientA6 = netip.MustParseAddr("fd00:1::1")
	clientB6 = netip.MustParseAddr("fd00:2::1")
	serverA4 = netip.MustParseAddr("10.1.0.2")
	serverA6 = netip.MustParseAddr("fd00:1::2")
	serverB4 = netip.MustParseAddr("10.2.0.2")
	service4 = netip.MustParseAddr("10.9.0.1")
	service6 = netip.MustParseAddr("fd00:9::1")
)

// patience is how long a test waits for what should take milliseconds: the
// machine may be busy with other things.
const patience = 10 * time.Second

// A host is a network namespace that lives as long as the thread of its one
// goroutine, which is never unlocked, so the runtime ends the thread with it.
type host struct {
	t    *testing.T
	tid  int
	jobs chan func()
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, jobs: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		h.tid = unix.Gettid()
		ready <- err
		if err != nil {
			return
		}
		for job := range h.jobs {
			job()
		}
	}()
	if err := <-ready; err != nil {
		if errors.Is(err, unix.EPERM) {
			t.Skip("network namespaces need root")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { close(h.jobs) })
	h.sysctl("net/ipv6/conf/all/accept_dad", "0")
	h.sysctl("net/ipv6/conf/default/accept_dad", "0")
	if _, err := os.Stat("/proc/sys/net/mptcp/blackhole_timeout"); err == nil {
		h.sysctl("net/mptcp/blackhole_timeout", "0")
	}
	h.must(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	return h
}

// run calls fn on the namespace's thread.
func (h *host) run(fn func() error) error {
	done := make(chan error)
	h.jobs <- func() { done <- fn() }
	return <-done
}

func (h *host) must(fn func() error) {
	h.t.Helper()
	if err := h.run(fn); err != nil {
		h.t.Fatal(err)
	}
}

// on is run with a result.
func on[T any](h *host, fn func() (T, error)) (v T, err error) {
	err = h.run(func() error {
		var err error
		v, err = fn()
		return err
	})
	return v, err
}

func mustOn[T any](h *host, fn func() (T, error)) T {
	h.t.Helper()
	v, err := on(h, fn)
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

func (h *host) sysctl(name, value string) {
	h.t.Helper()
	h.must(func() error { return writeSysctl("/proc/sys/"+name, value) })
}

func (h *host) readSysctl(name string) string {
	h.t.Helper()
	return mustOn(h, func() (string, error) { return readSysctl("/proc/sys/" + name) })
}

func (h *host) link(name string) netlink.Link {
	h.t.Helper()
	return mustOn(h, func() (netlink.Link, error) { return netlink.LinkByName(name) })
}

func (h *host) index(name string) int {
	h.t.Helper()
	return h.link(name).Attrs().Index
}

// sent is what has left the interface, in bytes.
func (h *host) sent(name string) uint64 {
	h.t.Helper()
	return h.link(name).Attrs().Statistics.TxBytes
}

func (h *host) setUp(name string) {
	h.t.Helper()
	l := h.link(name)
	h.must(func() error { return netlink.LinkSetUp(l) })
}

func (h *host) setDown(name string) {
	h.t.Helper()
	l := h.link(name)
	h.must(func() error { return netlink.LinkSetDown(l) })
}

func (h *host) addAddr(link, prefix string) {
	h.t.Helper()
	l := h.link(link)
	p := netip.MustParsePrefix(prefix)
	h.must(func() error { return netlink.AddrReplace(l, &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NODAD}) })
}

// blackhole gives a neighbour an address that nobody has, so that frames to it
// leave and never arrive: a path that dies without a sign.
func (h *host) blackhole(link string, neighbours ...netip.Addr) {
	h.t.Helper()
	index := h.index(link)
	for _, n := range neighbours {
		h.must(func() error {
			return netlink.NeighSet(&netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: n.AsSlice(),
				HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 0x99}})
		})
	}
}

// delNeighbour undoes blackhole, on the namespace's thread.
func delNeighbour(l netlink.Link, n netip.Addr) error {
	return netlink.NeighDel(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: n.AsSlice()})
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

type lab struct {
	t              *testing.T
	client, server *host
}

func newLab(t *testing.T) *lab {
	t.Helper()
	checkLeaks(t)
	l := &lab{t: t, client: newHost(t), server: newHost(t)}
	l.server.addAddr("lo", "10.9.0.1/32")
	l.server.addAddr("lo", "fd00:9::1/128")
	for i, name := range []string{"a", "b"} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name + "0"
		l.client.must(func() error {
			return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name + "1",
				PeerNamespace: netlink.NsPid(l.server.tid)})
		})
		l.client.addAddr(name+"0", fmt.Sprintf("10.%d.0.1/24", i+1))
		l.client.addAddr(name+"0", fmt.Sprintf("fd00:%d::1/64", i+1))
		l.server.addAddr(name+"1", fmt.Sprintf("10.%d.0.2/24", i+1))
		l.server.addAddr(name+"1", fmt.Sprintf("fd00:%d::2/64", i+1))
		l.server.setUp(name + "1")
		l.client.setUp(name + "0")
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			rule := netlink.NewRule()
			rule.Family, rule.Table, rule.Mark, rule.Priority = family, 101+i, testMark, 1000+i
			from := netip.MustParsePrefix(fmt.Sprintf("10.%d.0.1/32", i+1))
			if family == netlink.FAMILY_V6 {
				from = netip.MustParsePrefix(fmt.Sprintf("fd00:%d::1/128", i+1))
			}
			rule.Src = ipNet(from)
			l.client.must(func() error { return netlink.RuleAdd(rule) })
		}
		l.awaitCarrier(name)
		l.routes(name)
	}
	return l
}

// awaitCarrier waits until the kernel uses the link; a SYN before would be lost
// and cost its second.
func (l *lab) awaitCarrier(name string) {
	l.t.Helper()
	eventually(l.t, func() (string, bool) {
		near, far := l.client.link(name+"0").Attrs().OperState, l.server.link(name+"1").Attrs().OperState
		return fmt.Sprintf("path %s is %v and %v", name, near, far), near == netlink.OperUp && far == netlink.OperUp
	})
}

// comeBack ends the client's link being down. The kernel has deleted the routes
// over it meanwhile, and the IPv6 address.
func (l *lab) comeBack(name string) {
	l.t.Helper()
	l.client.setUp(name + "0")
	l.client.addAddr(name+"0", fmt.Sprintf("fd00:%d::1/64", name[0]-'a'+1))
	l.awaitCarrier(name)
	l.routes(name)
}

// routes to the service over a path.
func (l *lab) routes(name string) {
	l.t.Helper()
	i := int(name[0]-'a') + 1
	index := l.client.index(name + "0")
	for _, route := range []struct{ to, via string }{
		{"10.9.0.1/32", fmt.Sprintf("10.%d.0.2", i)},
		{"fd00:9::1/128", fmt.Sprintf("fd00:%d::2", i)},
	} {
		r := netlink.Route{LinkIndex: index, Dst: ipNet(netip.MustParsePrefix(route.to)),
			Gw: netip.MustParseAddr(route.via).AsSlice(), Table: 100 + i}
		l.client.must(func() error { return netlink.RouteReplace(&r) })
		if name == "b" {
			r.Table = unix.RT_TABLE_MAIN
			l.client.must(func() error { return netlink.RouteReplace(&r) })
		}
	}
}

// checkLeaks compares descriptors and goroutines before and after a test; it is
// the first cleanup to be registered and so the last to run.
func checkLeaks(t *testing.T) {
	t.Helper()
	fds, goroutines := countFDs(t), runtime.NumGoroutine()
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		deadline := time.Now().Add(patience)
		for countFDs(t) > fds || runtime.NumGoroutine() > goroutines {
			if time.Now().After(deadline) {
				stacks := make([]byte, 1<<16)
				stacks = stacks[:runtime.Stack(stacks, true)]
				t.Errorf("descriptors %d → %d, goroutines %d → %d\n%s", fds, countFDs(t), goroutines, runtime.NumGoroutine(), stacks)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

func countFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// eventually polls until ok, which says what it waits for while it is not so.
func eventually(t *testing.T, ok func() (string, bool)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		state, done := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %s", patience, state)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestMain(m *testing.M) {
	// The runtime's poller has descriptors of its own, from first use on.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close()
	}
	os.Exit(m.Run())
}

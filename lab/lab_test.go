package lab_test

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/emulator"
)

const ms = time.Millisecond

func TestMain(m *testing.M) {
	if os.Getenv(ownerVariable) != "" {
		os.Exit(ownLab())
	}
	os.Exit(m.Run())
}

// newLab returns a lab that is closed at the end of the test.
func newLab(t testing.TB) *lab.Lab {
	t.Helper()
	if err := lab.Supported(); err != nil {
		t.Skip(err)
	}
	l, err := lab.New(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func newHost(t testing.TB, l *lab.Lab, name string) *lab.Host {
	t.Helper()
	h, err := l.Host(name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pair is two hosts with a link between them, or a cable.
type pair struct {
	lab   *lab.Lab
	a, b  *lab.Host
	link  *lab.Link // nil for a cable
	aAddr netip.Addr
	bAddr netip.Addr
}

var (
	aPrefix = netip.MustParsePrefix("10.0.0.1/24")
	bPrefix = netip.MustParsePrefix("10.0.0.2/24")
)

// newPair connects host a, interface eth, with host b, interface eth.
func newPair(t testing.TB, c lab.LinkConfig) *pair {
	t.Helper()
	l := newLab(t)
	p := &pair{lab: l, a: newHost(t, l, "a"), b: newHost(t, l, "b"), aAddr: aPrefix.Addr(), bAddr: bPrefix.Addr()}
	for _, h := range []*lab.Host{p.a, p.b} {
		// Nothing but the test's packets shall be on the link.
		check(t, h.SetSysctl("net.ipv6.conf.default.disable_ipv6", "1"))
	}
	p.connect(t, l, c)
	return p
}

func (p *pair) connect(t testing.TB, l *lab.Lab, c lab.LinkConfig) {
	t.Helper()
	var err error
	if p.link, err = l.Link(p.a, "eth", p.b, "eth", c); err != nil {
		t.Fatal(err)
	}
	aMAC, bMAC := p.link.MAC()
	check(t, p.a.AddAddress("eth", aPrefix))
	check(t, p.b.AddAddress("eth", bPrefix))
	check(t, p.a.AddNeighbor("eth", p.bAddr, bMAC))
	check(t, p.b.AddNeighbor("eth", p.aAddr, aMAC))
}

// both is a link with the same shape in both directions.
func both(s emulator.Shape) lab.LinkConfig { return lab.LinkConfig{AToB: s, BToA: s, Seed: 1} }

// attempts is how often a measurement may fail on a machine that others use.
const attempts = 3

// accurately fails the test if a measurement fails each time.
func accurately(t *testing.T, measure func() error) {
	t.Helper()
	for i := range attempts {
		err := measure()
		if err == nil {
			return
		}
		if i == attempts-1 {
			t.Error(err)
			return
		}
		t.Logf("attempt %d: %v", i+1, err)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, within time.Duration, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !holds(); time.Sleep(2 * ms) {
		if time.Now().After(end) {
			t.Fatalf("not after %v: %s", within, what)
		}
	}
}

// usage is what a process holds of the machine.
type usage struct{ goroutines, threads, files int }

func present(t *testing.T) usage {
	t.Helper()
	count := func(dir string) int {
		entries, err := os.ReadDir(dir)
		check(t, err)
		return len(entries)
	}
	return usage{runtime.NumGoroutine(), count("/proc/self/task"), count("/proc/self/fd")}
}

func TestCloseLeavesNothing(t *testing.T) {
	witness := newLab(t) // holds the far ends of cables from labs that end
	w := newHost(t, witness, "witness")
	round := func() {
		l := newLab(t)
		a, b := newHost(t, l, "a"), newHost(t, l, "b")
		_, err := l.Link(a, "tap", b, "tap", lab.LinkConfig{})
		check(t, err)
		check(t, l.Veth(a, "veth", b, "veth"))
		check(t, l.Veth(a, "out", w, "in"))
		_, err = a.Run(t.Context(), "true")
		check(t, err)
		_, err = b.Run(t.Context(), "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 &")
		check(t, err)
		check(t, l.Close())
		check(t, l.Close()) // once more does nothing
		// The kernel deletes a namespace's interfaces when the last user is gone.
		eventually(t, "namespace deleted", 5*time.Second, func() bool {
			names, err := w.Interfaces()
			check(t, err)
			return !slices.Contains(names, "in")
		})
	}
	round() // what Go keeps for later use
	round()
	before := present(t)
	for range 5 {
		round()
	}
	after := present(t)
	for end := time.Now().Add(2 * time.Second); after.goroutines > before.goroutines && time.Now().Before(end); {
		time.Sleep(ms)
		after = present(t)
	}
	// Go keeps threads that were in a system call; a leak would be five or more.
	if after.goroutines > before.goroutines || after.files > before.files || after.threads > before.threads+4 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	out, err := w.Run(t.Context(), "ps", "axo", "args")
	check(t, err)
	if n := strings.Count(string(out), "sleep 1000"); n > 0 {
		t.Errorf("%d processes are left:\n%s", n, out)
	}
}

func TestAfterClose(t *testing.T) {
	l := newLab(t)
	a, b := newHost(t, l, "a"), newHost(t, l, "b")
	link, err := l.Link(a, "tap", b, "tap", lab.LinkConfig{})
	check(t, err)
	check(t, l.Close())
	_, hostErr := l.Host("c")
	_, linkErr := l.Link(a, "x", b, "x", lab.LinkConfig{})
	_, runErr := a.Run(t.Context(), "true")
	_, dialErr := a.DialContext(t.Context(), "udp", "127.0.0.1:9")
	_, counterErr := link.Counters(lab.AToB)
	for i, err := range []error{
		hostErr, linkErr, runErr, dialErr, counterErr,
		a.Do(func() error { return nil }), link.SetBlackHole(true), link.SetCarrier(false),
		a.SetUp("lo"), l.Veth(a, "v", b, "v"),
	} {
		if err == nil {
			t.Errorf("use %d after Close was no error", i)
		}
	}
	check(t, link.Remove()) // it is gone already
}

func TestDuplicateNames(t *testing.T) {
	l := newLab(t)
	a := newHost(t, l, "a")
	b := newHost(t, l, "b")
	if _, err := l.Host("a"); err == nil {
		t.Error("a second host a")
	}
	check(t, l.Veth(a, "x", b, "y"))
	for _, names := range [][2]string{{"x", "z"}, {"z", "y"}, {"much-too-long-for-linux", "z"}} {
		if _, err := l.Link(a, names[0], b, names[1], lab.LinkConfig{}); err == nil {
			t.Errorf("link %v was created", names)
		}
	}
	if names, err := a.Interfaces(); err != nil || fmt.Sprint(names) != "[lo x]" {
		t.Errorf("a failed link left something: %v (%v)", names, err)
	}
}

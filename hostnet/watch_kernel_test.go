package hostnet

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// seen is what Watch has reported last.
type seen struct {
	t       *testing.T
	reports chan []Uplink
	last    string
}

// brief is uplinks in a line: name, addresses, gateways.
func brief(list []Uplink) string {
	var out []string
	for _, u := range list {
		out = append(out, fmt.Sprintf("%s%v via %v %v", u.Name, u.Addresses, u.Gateway4, u.Gateway6))
	}
	slices.Sort(out)
	return strings.ReplaceAll(strings.Join(out, "; "), "invalid IP", "-")
}

// until waits for a report.
func (s *seen) until(want string) {
	s.t.Helper()
	for deadline := time.After(patience); s.last != want; {
		select {
		case u := <-s.reports:
			s.last = brief(u)
		case <-deadline:
			s.t.Fatalf("last report %q, want %q", s.last, want)
		}
	}
}

// still checks that nothing is reported.
func (s *seen) still() {
	s.t.Helper()
	select {
	case u := <-s.reports:
		s.t.Errorf("report without a change: %q", brief(u))
	case <-time.After(2 * settle):
	}
}

func watch(t *testing.T, s *space) *seen {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &seen{t: t, reports: make(chan []Uplink, 1000)}
	done := make(chan error, 1)
	k := s.host()
	go func() {
		done <- k.Watch(ctx, func(name string) bool { return name != "braid0" }, func(u []Uplink) { w.reports <- u })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

func TestKernelWatch(t *testing.T) {
	s, isp := newSpace(t), newSpace(t)
	w := watch(t, s)
	w.until("")

	s.veth("dsl", isp, "dsl")
	s.ip("addr add 192.0.2.7/24 dev dsl\nroute add default via 192.0.2.1 dev dsl metric 100")
	w.until("dsl[192.0.2.7] via 192.0.2.1 -")
	s.ip("-6 addr add 2001:db8::7/64 dev dsl\n-6 route add default via fe80::1 dev dsl")
	w.until("dsl[192.0.2.7 2001:db8::7] via 192.0.2.1 fe80::1")

	s.veth("lte", isp, "lte")
	s.ip("addr add 198.51.100.7/32 dev lte\nroute add default dev lte metric 200")
	w.until("dsl[192.0.2.7 2001:db8::7] via 192.0.2.1 fe80::1; lte[198.51.100.7] via - -")

	// The TUN, and what does not concern uplinks.
	tun := s.tun("braid0")
	defer tun.Close()
	s.ip(`link set braid0 up
		addr add 10.77.0.2/24 dev braid0
		route add default dev braid0 metric 1
		route add 10.0.0.0/8 dev lte table 99`)
	w.still()

	// Carrier down and up again.
	isp.ip("link set lte down")
	w.until("dsl[192.0.2.7 2001:db8::7] via 192.0.2.1 fe80::1")
	isp.ip("link set lte up")
	w.until("dsl[192.0.2.7 2001:db8::7] via 192.0.2.1 fe80::1; lte[198.51.100.7] via - -")

	// Addresses: another one, the first one goes.
	s.ip("addr add 198.51.100.8/32 dev lte")
	w.until("dsl[192.0.2.7 2001:db8::7] via 192.0.2.1 fe80::1; lte[198.51.100.7 198.51.100.8] via - -")
	s.ip("addr del 198.51.100.7/32 dev lte")
	w.until("dsl[192.0.2.7 2001:db8::7] via 192.0.2.1 fe80::1; lte[198.51.100.8] via - -")

	// The default route changes, goes, comes back, by a multipath route.
	s.ip("route change default via 192.0.2.9 dev dsl metric 100")
	w.until("dsl[192.0.2.7 2001:db8::7] via 192.0.2.9 fe80::1; lte[198.51.100.8] via - -")
	s.ip("route del default dev lte")
	w.until("dsl[192.0.2.7 2001:db8::7] via 192.0.2.9 fe80::1")
	s.ip("-6 route del default dev dsl")
	w.until("dsl[192.0.2.7] via 192.0.2.9 -")
	s.ip("route del default dev dsl\nroute add default nexthop via 192.0.2.1 dev dsl nexthop via 198.51.100.1 dev lte onlink")
	w.until("dsl[192.0.2.7] via 192.0.2.1 -; lte[198.51.100.8] via 198.51.100.1 -")

	// An interface is deleted and made again under its name.
	s.ip("route del default\nroute add default via 192.0.2.1\nlink del lte")
	w.until("dsl[192.0.2.7] via 192.0.2.1 -")
	s.veth("lte", isp, "lte")
	s.ip("addr add 198.51.100.7/32 dev lte\nroute add default dev lte metric 200")
	w.until("dsl[192.0.2.7] via 192.0.2.1 -; lte[198.51.100.7] via - -")
	s.ip("link set dsl down")
	w.until("lte[198.51.100.7] via - -")
	w.still()
}

// More events than a socket can hold: the kernel says so instead, and that is
// a signal like any other.
func TestKernelWatchOverrun(t *testing.T) {
	s := newSpace(t)
	s.veth("dsl", newSpace(t), "dsl")
	s.ip("addr add 192.0.2.7/24 dev dsl")
	var sockets [2]*netlink.Conn
	s.do(func() {
		for i := range sockets {
			var err error
			if sockets[i], err = subscribe(); err != nil {
				t.Error(err)
				return
			}
			if err := sockets[i].SetReadBuffer(4096); err != nil {
				t.Error(err)
			}
		}
	})
	if t.Failed() {
		return
	}
	var batch strings.Builder
	for i := range 500 {
		fmt.Fprintf(&batch, "route add 10.0.%d.0/24 via 192.0.2.1 table %d\n", i%250, 1000+i)
	}
	s.batch(batch.String())
	if _, err := sockets[0].Receive(); !errors.Is(err, unix.ENOBUFS) {
		t.Errorf("500 events in 4 KiB: %v", err)
	}
	sockets[0].Close()

	signal, done := make(chan struct{}, 1), make(chan error, 1)
	go func() { done <- readEvents(sockets[1], aboutUplinks, signal) }()
	for _, command := range []string{"", "route add default via 192.0.2.1"} { // the overrun, then an event
		if command != "" {
			s.ip(command)
		}
		select {
		case <-signal:
		case err := <-done:
			t.Fatalf("reading ended: %v", err)
		case <-time.After(patience):
			t.Fatalf("no signal, %q", command)
		}
	}
	sockets[1].Close()
	if err := <-done; err == nil {
		t.Error("reading a closed socket ends without an error")
	}
}

// Watch leaves no goroutine behind.
func TestKernelWatchEnds(t *testing.T) {
	s := newSpace(t)
	k := s.host()
	before := runtime.NumGoroutine()
	for range 5 {
		ctx, cancel := context.WithCancel(context.Background())
		err := k.Watch(ctx, nil, func([]Uplink) { cancel() })
		if err != nil {
			t.Error(err)
		}
		cancel()
	}
	eventually(t, func() bool { return runtime.NumGoroutine() <= before },
		func() string { return fmt.Sprintf("%d goroutines, %d before", runtime.NumGoroutine(), before) })
}

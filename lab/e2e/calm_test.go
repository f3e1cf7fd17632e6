package e2e

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"braid/lab/daemon"
	"braid/lab/probe"
	"braid/lab/topology"
)

// bounded is how many of the server's TCP connections have a bound on their rate,
// which ss prints behind the rate itself.
func (w *world) bounded() (n int) {
	w.Helper()
	for _, word := range strings.Fields(w.run(w.Net.Server, "ss", "-tinH")) {
		if rate, bound, ok := strings.Cut(word, "/"); ok && strings.HasSuffix(rate, "bps") && strings.HasSuffix(bound, "bps") {
			n++
		}
	}
	return n
}

// A download is bounded while somebody calls beside it, and only then.
func TestCallBesideDownload(t *testing.T) {
	w := begin(t, cellA(), daemon.Options{})
	s, err := probe.ServeEcho(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 7).String())
	w.must(err)
	defer s.Close()
	x := w.startTransfers(1<<30, 0)
	x.progress(8 << 20)
	if n := w.bounded(); n != 0 {
		t.Errorf("%d connections are bounded before the call", n)
	}
	e, err := probe.StartEcho(w.Net.Client, s.Addr, 20*time.Millisecond, 160)
	w.must(err)
	most := 0
	for end := time.Now().Add(patience); most < 2 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		most = max(most, w.bounded())
	}
	if most < 2 {
		t.Errorf("%d connections are bounded during the call, want those of both uplinks", most)
	}
	x.progress(16 << 20)
	r := e.Stop(time.Second)
	t.Logf("beside a download: %v", r)
	if r.Lost() > r.Sent/50 {
		t.Errorf("%d of %d are lost", r.Lost(), r.Sent)
	}
	for end := time.Now().Add(patience); w.bounded() > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d connections are bounded after the call", w.bounded())
		}
	}
}

// A transfer goes on beside a call. How fast, and what the call has to wait for, is
// logged; the goals are 91 % and 45/65 ms.
func TestCallBesideTransfers(t *testing.T) {
	for _, test := range []struct {
		name string
		cell topology.Config
		tcp  string
		up   bool
	}{
		{"A, download", topology.CellA(), "streams", false},
		{"A, upload", topology.CellA(), "streams", true},
		{"A, download in packets", topology.CellA(), "packets", false},
		{"B, download", topology.CellB(), "streams", false},
		{"C, download", topology.CellC(), "streams", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := begin(t, test.cell, daemon.Options{TCP: test.tcp})
			s, err := probe.ServeEcho(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 7).String())
			w.must(err)
			defer s.Close()
			down, up := int64(1<<30), int64(0)
			if test.up {
				down, up = 0, down
			}
			x := w.startTransfers(down, up)
			moved := func() int64 { return x.down.Total() + x.server.Uploads.Total() }
			rate := func() float64 {
				before, began := moved(), time.Now()
				time.Sleep(4 * time.Second)
				return float64(moved()-before) * 8 / time.Since(began).Seconds() / 1e6
			}
			call := func() *probe.Echo {
				e, err := probe.StartEcho(w.Net.Client, s.Addr, 20*time.Millisecond, 160)
				w.must(err)
				return e
			}
			time.Sleep(3 * time.Second)
			alone := rate()
			before := call()
			time.Sleep(2 * time.Second)
			e := call()
			before.Stop(0)
			beside := rate()
			r := e.Stop(time.Second)
			t.Logf("alone %.1f Mb/s, with a call %.1f, %.0f %%; %v", alone, beside, 100*beside/alone, r)
			if beside < 0.6*alone {
				t.Errorf("%.1f of %.1f Mb/s are left beside a call", beside, alone)
			}
			if r.Lost() > r.Sent/50 {
				t.Errorf("%d of %d are lost", r.Lost(), r.Sent)
			}
		})
	}
}

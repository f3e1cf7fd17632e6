package e2e

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"braid/lab/daemon"
	"braid/lab/probe"
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

// A download that travels as packets goes on while somebody calls beside it.
func TestCallBesidePackets(t *testing.T) {
	w := begin(t, cellA(), daemon.Options{TCP: "packets"})
	s, err := probe.ServeEcho(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 7).String())
	w.must(err)
	defer s.Close()
	x := w.startTransfers(1<<30, 0)
	x.progress(16 << 20)
	e, err := probe.StartEcho(w.Net.Client, s.Addr, 20*time.Millisecond, 160)
	w.must(err)
	time.Sleep(time.Second) // the call is known
	x.progress(16 << 20)
	r := e.Stop(time.Second)
	t.Logf("beside a download in packets: %v", r)
	if r.Lost() > r.Sent/50 {
		t.Errorf("%d of %d are lost", r.Lost(), r.Sent)
	}
}

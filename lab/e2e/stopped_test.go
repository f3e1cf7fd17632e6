package e2e

import (
	"syscall"
	"testing"
	"time"

	"braid/lab/daemon"
)

// A client that was stopped for some seconds, as on a starved host, blames no
// uplink for what it did not see; what runs goes on.
func TestStoppedClientBlamesNoUplink(t *testing.T) {
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{})
	x := w.startTransfers(60_000_000, 8_000_000)
	x.progress(500_000)
	before := [2]daemon.Uplink{w.uplink("dsl"), w.uplink("lte")}
	for range 3 {
		w.must(syscall.Kill(w.Client.PID(), syscall.SIGSTOP))
		time.Sleep(2 * time.Second)
		w.must(syscall.Kill(w.Client.PID(), syscall.SIGCONT))
		x.progress(500_000)
	}
	for i, u := range []daemon.Uplink{w.state("dsl", "up"), w.state("lte", "up")} {
		if u.Deaths != before[i].Deaths {
			t.Errorf("%s died: %+v\n%s", u.Interface, u, w.Client.Log())
		}
	}
	x.finish()
}

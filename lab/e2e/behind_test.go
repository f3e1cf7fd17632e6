package e2e

import (
	"testing"
	"time"

	"braid/lab/daemon"
	"braid/lab/emulator"
	"braid/lab/topology"
)

// A far uplink dies under a download, and under an upload. What it carried would
// come behind all that waits in the sender's kernel for the near one, so the
// stream goes on by another carrier, and nothing is lost or wrong. On a busy
// machine the near one may be as far for a moment: there is more than one try.
func TestDeathOfAFarUplink(t *testing.T) {
	w := begin(t, topology.Config{Uplinks: []topology.Uplink{
		topology.Line("near", 30*emulator.Mbps, 30*emulator.Mbps, 10*time.Millisecond),
		topology.Line("far", 30*emulator.Mbps, 30*emulator.Mbps, 200*time.Millisecond),
	}}, daemon.Options{})
	for _, test := range []struct {
		name     string
		down, up int64
	}{{"download", 25_000_000, 1}, {"upload", 1, 25_000_000}} {
		moved, tries := false, 0
		for ; tries < 5 && !moved; tries++ {
			moved = w.farDies(test.down, test.up)
		}
		t.Logf("%s: %d tries", test.name, tries)
		if !moved {
			t.Errorf("no %s took another carrier", test.name)
		}
	}
	w.must(w.Stop())
}

// farDies begins transfers, lets the far uplink die when it carries the larger
// one, and reports whether that took another carrier then.
func (w *world) farDies(down, up int64) (moved bool) {
	w.Helper()
	x := w.startTransfers(down, up)
	var carried uint64 // by the far one
	var before uint64  // its carrier
	end := time.Now().Add(2 * patience)
	for begun, dead := false, false; ; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("the transfers neither end nor move: %d and %d bytes", down, up)
		}
		own, _, _ := w.streams(w.Client)
		var s streamRow
		for _, o := range own.List {
			if o.RxBytes+o.TxBytes > s.RxBytes+s.TxBytes {
				s = o
			}
		}
		begun = begun || s.Carrier != 0
		if moved = dead && s.Carrier != 0 && s.Carrier != before; moved || begun && len(own.List) == 0 {
			break
		}
		is := w.carried("far").bytes
		grown := is - carried
		carried = is
		if !dead && s.RxBytes+s.TxBytes > 5_000_000 && grown > 20_000 {
			before, dead = s.Carrier, true
			w.must(w.Net.Links["far"].SetCarrier(false))
		}
	}
	x.finish()
	w.must(w.Net.Links["far"].SetCarrier(true))
	w.must(w.Client.WaitUp(w.patient(), 2))
	return moved
}

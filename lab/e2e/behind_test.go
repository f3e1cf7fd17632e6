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
// stream goes on by another carrier, and nothing is lost or wrong.
func TestDeathOfAFarUplink(t *testing.T) {
	t.Parallel()
	w := begin(t, topology.Config{Uplinks: []topology.Uplink{
		topology.Line("near", 20*emulator.Mbps, 20*emulator.Mbps, 20*time.Millisecond),
		topology.Line("far", 20*emulator.Mbps, 20*emulator.Mbps, 400*time.Millisecond),
	}}, daemon.Options{})
	for _, test := range []struct {
		name     string
		down, up int64
	}{{"download", 40_000_000, 1}, {"upload", 1, 40_000_000}} {
		x := w.startTransfers(test.down, test.up)
		large := func() (s streamRow) {
			own, _, _ := w.streams(w.Client)
			for _, o := range own.List {
				if o.RxBytes+o.TxBytes > s.RxBytes+s.TxBytes {
					s = o
				}
			}
			return s
		}
		var before uint64
		w.eventually("a "+test.name+" over both uplinks", func() bool {
			s := large()
			before = s.Carrier
			for _, u := range s.Uplinks {
				if u.SharePct < 10 {
					return false
				}
			}
			return len(s.Uplinks) == 2
		})
		w.must(w.Net.Links["far"].SetCarrier(false))
		var s streamRow
		w.eventually("another carrier of the "+test.name, func() bool {
			s = large()
			return s.Carrier != before
		})
		if s.Carrier == 0 {
			t.Errorf("the %s ended on carrier %d", test.name, before)
		}
		x.finish()
		w.must(w.Net.Links["far"].SetCarrier(true))
		w.must(w.Client.WaitUp(w.patient(), 2))
	}
	w.must(w.Stop())
}

package policy

import (
	"hash/maphash"
	"testing"
	"time"

	"braid/scheduler/queue"
)

// A sender that paces itself and makes no queue finds the second path as soon as it
// nearly fills the first, however little is known of the second.
func TestECFWithoutQueues(t *testing.T) {
	paths := []Path{
		{ID: 7, RTT: 30 * time.Millisecond, Rate: 60e6, Delivered: 50e6},
		{ID: 3, RTT: 60 * time.Millisecond, Delivered: 3e6},
	}
	for _, test := range []struct {
		rate        float64 // bits per second
		least, most float64 // what part of it goes on the second path
	}{
		{30e6, 0, 0},
		{44e6, 0, 0},
		{48e6, 0.04, 0.10},
		{60e6, 0.22, 0.30},
		{76e6, 0.36, 0.44},
	} {
		e, now := newECF(maphash.MakeSeed()), time.Unix(1e9, 0)
		on := [2]float64{}
		for range 20_000 {
			to := e.Pick(now, Packet{Class: queue.Bulk, Bytes: 1400}, paths, nil)
			if to[0] == 3 {
				on[1]++
			} else {
				on[0]++
			}
			now = now.Add(time.Duration(1400 * 8 / test.rate * float64(time.Second)))
		}
		if part := on[1] / (on[0] + on[1]); part < test.least || part > test.most {
			t.Errorf("%.0f Mb/s: %.3f on the second path, want %v to %v", test.rate/1e6, part, test.least, test.most)
		}
		// The order in which paths are given, and one that is gone, change nothing.
		paths[0], paths[1] = paths[1], paths[0]
		if to := e.Pick(now, Packet{Class: queue.Bulk, Bytes: 1400}, paths[:1], nil); to[0] != paths[0].ID {
			t.Errorf("goes on %v", to)
		}
		paths[0], paths[1] = paths[1], paths[0]
	}
}

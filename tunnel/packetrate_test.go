package tunnel

import (
	"testing"
	"time"
)

func TestDeliveryRate(t *testing.T) {
	now := time.Unix(1000, 0)
	var r deliveryRate
	run := func(d time.Duration, bits float64, rests bool) {
		const every = 25 * time.Millisecond
		for end := now.Add(d); now.Before(end); {
			now = now.Add(every)
			r.took(!rests)
			r.delivered(now, int(bits/8*every.Seconds()))
		}
	}
	near := func(what string, want float64) {
		t.Helper()
		if got := r.at(now); got < 0.9*want || got > 1.1*want {
			t.Errorf("%s: %.1f Mb/s, want %.1f", what, got/1e6, want/1e6)
		}
	}
	run(time.Second, 1e6, true)
	near("thin traffic says nothing", 0)
	run(time.Second, 50e6, false)
	near("asked for all", 50e6)
	run(10*time.Second, 2e6, true)
	near("thin again", 50e6)
	run(3*time.Second, 25e6, false)
	near("half of it", 25e6)
	run(time.Second, 100e6, false)
	near("four times", 100e6)
	if n := r.piece(); n < 45_000 || n > 55_000 {
		t.Errorf("pieces of %d bytes at 100 Mb/s", n)
	}
	run(2*time.Minute, 2e6, true)
	near("forgotten", 0)
	r = deliveryRate{}
	run(time.Second, 400e6, true)
	near("never asked for all", 0)
	if n := r.piece(); n != mostPiece {
		t.Errorf("pieces of %d bytes where 400 Mb/s pass", n)
	}
	r = deliveryRate{}
	r.took(false) // a copy, whose acknowledgement comes late
	for range 20 {
		now = now.Add(50 * time.Millisecond)
		r.delivered(now, 200)
	}
	near("nothing was taken meanwhile", 0)
	r = deliveryRate{}
	if r.piece() != firstPiece || r.unsent() != leastUnsent {
		t.Errorf("not known: pieces of %d, %d unsent", r.piece(), r.unsent())
	}
}

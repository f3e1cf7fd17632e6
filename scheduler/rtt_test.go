package scheduler

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestRTT(t *testing.T) {
	var e RTTEstimator
	for i, test := range []struct {
		sample time.Duration
		want   RTT
	}{
		// RFC 6298, 2.2 and 2.3; RFC 3550, 6.4.1.
		{80 * ms, RTT{Smoothed: 80 * ms, Variation: 40 * ms, Min: 80 * ms}},
		{80 * ms, RTT{Smoothed: 80 * ms, Variation: 30 * ms, Min: 80 * ms}},
		{160 * ms, RTT{Smoothed: 90 * ms, Variation: 42500 * time.Microsecond, Min: 80 * ms, Jitter: 5 * ms}},
		{10 * ms, RTT{Smoothed: 80 * ms, Variation: 51875 * time.Microsecond, Min: 10 * ms, Jitter: 14062500}},
	} {
		e.Add(epoch.Add(time.Duration(i)*time.Second), test.sample)
		if e.RTT != test.want {
			t.Errorf("sample %d: got %+v, want %+v", i, e.RTT, test.want)
		}
	}
}

// The filter may be later than the true minimum of a window, but never above
// what it would be in a window a quarter shorter, nor below the true one.
func TestWindowedMin(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	type sample struct {
		at time.Time
		v  time.Duration
	}
	var all []sample
	var w windowedMin
	now := epoch
	for i := range 1500 {
		now = now.Add(time.Duration(rng.IntN(200)) * ms)
		v := time.Duration(20+i%700/10+rng.IntN(50)) * ms
		all = append(all, sample{now, v})
		got := w.add(now, v)
		longest, shortest := v, v
		for _, s := range all {
			if age := now.Sub(s.at); age <= minWindow {
				longest = min(longest, s.v)
				if age <= minWindow/4 {
					shortest = min(shortest, s.v)
				}
			}
		}
		if got < longest || got > shortest {
			t.Fatalf("sample %d: got %v, want %v to %v", i, got, longest, shortest)
		}
	}
	if got := w.add(now.Add(time.Hour), time.Second); got != time.Second {
		t.Errorf("after an hour: %v", got)
	}
}

// One lost segment holds up all answers after it: a burst is one sample, the
// one that waited least.
func TestBurstIsOneSample(t *testing.T) {
	var h Health
	perform(t, &h, epoch, "newly", "")
	now := epoch.Add(5 * time.Second)
	for range 4 {
		h.Sent(now)
		now = now.Add(50 * ms)
	}
	for i := range 4 {
		h.Answered(now, time.Duration(200-50*i)*ms)
	}
	h.Sent(now)
	if r := h.RTT(); r.Smoothed != 32500*time.Microsecond {
		t.Errorf("%+v", r)
	}
}

func TestBeats(t *testing.T) {
	var b beats
	at := func(i int) time.Time { return epoch.Add(time.Duration(i) * 50 * ms) }
	for i := range maxBeats + 10 {
		b.push(at(i))
	}
	for _, test := range []struct {
		sent  time.Time
		known bool
		left  int
	}{
		{at(-1), false, maxBeats},
		{at(0).Add(500 * time.Microsecond), true, maxBeats - 1},
		{at(2).Add(10 * ms), false, maxBeats - 3},
		{at(9), true, maxBeats - 10},
		{at(9), false, maxBeats - 10},
		{at(maxBeats + 5), false, 0}, // it found no place
	} {
		if known := b.answered(test.sent); known != test.known || b.n != test.left {
			t.Errorf("%v: %v, %d left", test.sent.Sub(epoch), known, b.n)
		}
	}
}

package scheduler

import "time"

// RTT is what is known of an uplink's round trip. All are zero before the
// first sample.
type RTT struct {
	Smoothed  time.Duration // srtt of RFC 6298
	Variation time.Duration // rttvar of RFC 6298
	Min       time.Duration // least of the last ten seconds
	Jitter    time.Duration // interarrival jitter of RFC 3550, 6.4.1, of round trips
}

// minWindow is how long a minimum is believed: long enough to outlast a full
// queue, short enough to notice another route.
const minWindow = 10 * time.Second

// RTTEstimator turns samples into an RTT. The zero value is ready.
type RTTEstimator struct {
	RTT
	last time.Duration
	min  windowedMin
}

// Add takes a round trip that was measured just now.
func (e *RTTEstimator) Add(now time.Time, sample time.Duration) {
	e.Min = e.min.add(now, sample)
	if e.Smoothed == 0 {
		e.Smoothed, e.Variation, e.last = sample, sample/2, sample
		return
	}
	// RFC 6298, 2.3: the variation first, with the old average.
	e.Variation += ((sample - e.Smoothed).Abs() - e.Variation) / 4
	e.Smoothed += (sample - e.Smoothed) / 8
	e.Jitter += ((sample - e.last).Abs() - e.Jitter) / 16
	e.last = sample
}

// windowedMin is Kathleen Nichols' filter, as in Linux lib/win_minmax.c: the
// best, second and third best minimum, each younger than the one before, so
// that one is at hand when the best leaves the window.
type windowedMin struct {
	best [3]minSample
	set  bool
}

type minSample struct {
	at time.Time
	v  time.Duration
}

func (w *windowedMin) add(now time.Time, v time.Duration) time.Duration {
	s := minSample{now, v}
	b := &w.best
	if !w.set || v <= b[0].v || now.Sub(b[2].at) > minWindow {
		w.set = true
		b[0], b[1], b[2] = s, s, s
		return v
	}
	if v <= b[1].v {
		b[1], b[2] = s, s
	} else if v <= b[2].v {
		b[2] = s
	}
	switch age := now.Sub(b[0].at); {
	case age > minWindow:
		b[0], b[1], b[2] = b[1], b[2], s
		if now.Sub(b[0].at) > minWindow {
			b[0], b[1] = b[1], b[2]
		}
	case b[1].at.Equal(b[0].at) && age > minWindow/4:
		b[1], b[2] = s, s
	case b[2].at.Equal(b[1].at) && age > minWindow/2:
		b[2] = s
	}
	return b[0].v
}

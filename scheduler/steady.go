package scheduler

import (
	"slices"
	"time"
)

// SpeedSample is how much of a transfer had come by a time.
type SpeedSample struct {
	At    time.Duration // since it began, when the last byte came
	Bytes uint64        // in all, never fewer than before
}

const (
	// steadyFrom is when a transfer can be steady at the earliest: before, slow
	// start and what follows it are all that there is to see.
	steadyFrom = time.Second
	// steadyWindow is over how long a rate is looked at to find out. It is longer
	// than a round trip of most uplinks.
	steadyWindow = 500 * time.Millisecond
	// steadyPart of the usual rate is steady.
	steadyPart = 0.9
	// steadyKept of a transfer counts at least, however late it became steady.
	steadyKept = 0.5
)

// Steady returns the rate of a transfer once it had found it, and which of the
// samples are the first and the last of that. Samples are in order of time. With
// fewer than two of them, or no time between, the rate is 0.
//
// A transfer is steady when over steadyWindow it first brings steadyPart of what
// such windows bring in the middle (the median), but not before steadyFrom, and
// not later than halfway. What counts is the mean from there on, with its holes.
func Steady(samples []SpeedSample) (rate BitRate, first, last int) {
	last = len(samples) - 1
	if last < 1 {
		return 0, 0, max(last, 0)
	}
	end := samples[last].At
	from := min(steadyFrom, time.Duration(float64(end)*steadyKept))
	latest := time.Duration(float64(end) * (1 - steadyKept))
	begin := sampleAt(samples, from)
	var rates []BitRate
	for i := begin; i < last; i++ {
		if r, ok := windowRate(samples, i); ok {
			rates = append(rates, r)
		}
	}
	first = begin
	if len(rates) > 0 {
		usual := slices.Sorted(slices.Values(rates))[len(rates)/2]
		for first < last && samples[first].At < latest {
			if r, ok := windowRate(samples, first); !ok || r >= steadyPart*usual {
				break
			}
			first++
		}
	}
	return rateBetween(samples[first], samples[last]), first, last
}

// sampleAt is the first sample that is not before a time, or the last but one.
func sampleAt(samples []SpeedSample, at time.Duration) int {
	i := slices.IndexFunc(samples, func(s SpeedSample) bool { return s.At >= at })
	if i < 0 {
		i = len(samples) - 1
	}
	return min(i, max(len(samples)-2, 0))
}

// windowRate is the rate over the window that begins with a sample; false: the
// samples end before it does.
func windowRate(samples []SpeedSample, i int) (BitRate, bool) {
	for _, s := range samples[i+1:] {
		if s.At-samples[i].At >= steadyWindow {
			return rateBetween(samples[i], s), true
		}
	}
	return 0, false
}

func rateBetween(a, b SpeedSample) BitRate {
	if b.At <= a.At || b.Bytes < a.Bytes {
		return 0
	}
	return BitRate(8 * float64(b.Bytes-a.Bytes) / (b.At - a.At).Seconds())
}

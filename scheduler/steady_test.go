package scheduler

import (
	"testing"
	"time"
)

// transferOf makes the samples of a transfer, one each step, whose rate is a
// function of time.
func transferOf(length, step time.Duration, rate func(at time.Duration) BitRate) []SpeedSample {
	samples := []SpeedSample{{}}
	bytes := 0.0
	for at := step; at <= length; at += step {
		bytes += float64(rate(at-step)) / 8 * step.Seconds()
		samples = append(samples, SpeedSample{at, uint64(bytes)})
	}
	return samples
}

func TestSteady(t *testing.T) {
	const step = 100 * time.Millisecond
	ramp := func(until time.Duration) func(time.Duration) BitRate {
		return func(at time.Duration) BitRate { return 50e6 * min(1, BitRate(at.Seconds()/until.Seconds())) }
	}
	for _, c := range []struct {
		what     string
		samples  []SpeedSample
		low, top BitRate
		from     time.Duration // at the earliest
	}{
		{"nothing", nil, 0, 0, 0},
		{"one sample", []SpeedSample{{time.Second, 5}}, 0, 0, 0},
		{"no time", []SpeedSample{{time.Second, 5}, {time.Second, 9}}, 0, 0, 0},
		{"bytes that become fewer", []SpeedSample{{0, 9}, {time.Second, 5}}, 0, 0, 0},
		{"two samples", []SpeedSample{{0, 0}, {time.Second, 1e6}}, 8e6, 8e6, 0},
		{"a steady one", transferOf(6*time.Second, step, ramp(time.Millisecond)), 49.9e6, 50.1e6, time.Second},
		{"slow start", transferOf(6*time.Second, step, ramp(800*time.Millisecond)), 49.9e6, 50.1e6, time.Second},
		{"one that takes two seconds", transferOf(6*time.Second, step, ramp(2*time.Second)), 48e6, 50.1e6, 1500 * time.Millisecond},
		{"one that never becomes steady", transferOf(6*time.Second, step, ramp(6*time.Second)), 30e6, 45e6, 2 * time.Second},
		{"one with a hole, which counts", transferOf(6*time.Second, step, func(at time.Duration) BitRate {
			if at >= 4*time.Second && at < 4500*time.Millisecond {
				return 0
			}
			return 50e6
		}), 44e6, 46e6, time.Second},
		{"one that dies", transferOf(6*time.Second, step, func(at time.Duration) BitRate {
			if at < 500*time.Millisecond {
				return 50e6
			}
			return 0
		}), 0, 0, 0},
		{"a short one", transferOf(time.Second, step, ramp(300*time.Millisecond)), 49e6, 50.1e6, 500 * time.Millisecond},
		{"a slow one, a record each quarter of a second", transferOf(6*time.Second, 250*time.Millisecond, func(time.Duration) BitRate { return 524288 }),
			524000, 525000, time.Second},
	} {
		rate, first, last := Steady(c.samples)
		if rate < c.low || rate > c.top {
			t.Errorf("%s: %v, want %v to %v", c.what, rate, c.low, c.top)
		}
		if len(c.samples) > 0 && (first < 0 || last != len(c.samples)-1 || c.samples[first].At < c.from) {
			t.Errorf("%s: samples %d to %d of %d", c.what, first, last, len(c.samples))
		}
	}
}

// Whatever the samples are, what is returned lies within them.
func FuzzSteady(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 250, 6})
	f.Fuzz(func(t *testing.T, b []byte) {
		var samples []SpeedSample
		var now SpeedSample
		for len(b) >= 2 {
			now.At += time.Duration(b[0]) * 20 * time.Millisecond
			now.Bytes += uint64(b[1]) << 10
			samples, b = append(samples, now), b[2:]
		}
		rate, first, last := Steady(samples)
		if !(rate >= 0) || len(samples) > 0 && (first < 0 || first > last || last >= len(samples)) {
			t.Fatalf("%v, %d to %d of %d", rate, first, last, len(samples))
		}
	})
}

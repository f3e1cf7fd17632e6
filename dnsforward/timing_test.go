package dnsforward

import (
	"testing"
	"time"
)

const ms = time.Millisecond

func TestTiming(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	for name, c := range map[string]struct {
		do         func(*timing)
		wait, cost time.Duration
	}{
		"nothing known":           {func(*timing) {}, unknownWait, 0},
		"one answer":              {func(v *timing) { v.answered(40 * ms) }, 120 * ms, 60 * ms},
		"steady":                  {func(v *timing) { repeat(v, 50, 40*ms) }, leastWait, 40 * ms},
		"very fast":               {func(v *timing) { repeat(v, 50, ms) }, leastWait, ms},
		"very slow":               {func(v *timing) { repeat(v, 50, 5*time.Second) }, mostWait, 5 * time.Second},
		"asked again says little": {func(v *timing) { repeat(v, 50, 40*ms); v.answered(0) }, leastWait, 40 * ms},
		"late":                    {func(v *timing) { repeat(v, 50, 40*ms); v.overdue(start) }, leastWait, 240 * ms},
		"late for ever": {func(v *timing) {
			repeat(v, 50, 40*ms)
			for range 100 {
				v.overdue(start)
			}
		}, leastWait, 1040 * ms},
		"late, then there": {func(v *timing) { repeat(v, 50, 40*ms); v.overdue(start); v.answered(0) }, leastWait, 40 * ms},
		"late long ago":    {func(v *timing) { repeat(v, 50, 40*ms); v.overdue(start.Add(-time.Minute)) }, leastWait, 40 * ms},
		"late long ago, and now": {func(v *timing) {
			repeat(v, 50, 40*ms)
			for range 5 {
				v.overdue(start.Add(-time.Minute))
			}
			v.overdue(start)
		}, leastWait, 240 * ms},
	} {
		var v timing
		c.do(&v)
		if got := v.wait().Round(ms); got != c.wait {
			t.Errorf("%s: waits %v, want %v", name, got, c.wait)
		}
		if got := v.cost(start).Round(ms); got != c.cost {
			t.Errorf("%s: costs %v, want %v", name, got, c.cost)
		}
	}
}

func repeat(v *timing, n int, took time.Duration) {
	v.answered(took)
	v.deviation = 0
	for range n {
		v.answered(took)
	}
}

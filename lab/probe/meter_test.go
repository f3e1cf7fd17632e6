package probe_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"braid/lab/emulator"
	"braid/lab/probe"
)

func TestMeter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := probe.NewMeter()
		add := func(after time.Duration, n int64) {
			time.Sleep(after)
			m.Add(n)
		}
		add(50*ms, 1000)  // at 50
		add(40*ms, 1000)  // at 90
		add(60*ms, 500)   // at 150
		add(350*ms, 2000) // at 500
		if got, want := m.Bins(), []int64{2000, 500, 0, 0, 0, 2000}; !slices.Equal(got, want) {
			t.Errorf("bins %v, want %v", got, want)
		}
		if at, length := m.LongestStall(); at != 150*ms || length != 350*ms {
			t.Errorf("stall of %v at %v, want 350 ms at 150 ms", length, at)
		}
		if got := m.Rate(0, 200*ms); got != 100_000 {
			t.Errorf("rate %v, want 100 kb/s", got)
		}
		if got := m.Rate(150*ms, 250*ms); got != 20_000 { // bins 1 and 2
			t.Errorf("rate %v, want 20 kb/s", got)
		}
		time.Sleep(500 * ms)
		if at, length := m.LongestStall(); at != 500*ms || length != 500*ms {
			t.Errorf("stall of %v at %v, want the one that lasts, 500 ms at 500 ms", length, at)
		}
		if at, length := m.LongestStallSince(150 * ms); at != 600*ms || length != 500*ms {
			t.Errorf("stall of %v at %v, want 500 ms at 600 ms", length, at)
		}
		m.Stop()
		m.Stop()
		time.Sleep(time.Hour)
		m.Add(1)
		_, stall := m.LongestStall()
		if got := m.MeanRate(); got != 36*emulator.Kbps || m.Total() != 4500 || m.Elapsed() != time.Second || stall != 500*ms {
			t.Errorf("stopped: rate %v, total %d, elapsed %v, stall %v", got, m.Total(), m.Elapsed(), stall)
		}
	})
}

func TestMeterWithoutAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := probe.NewMeter()
		if m.MeanRate() != 0 || m.Rate(time.Second, 2*time.Second) != 0 || m.Rate(time.Second, 0) != 0 {
			t.Error("a rate without time")
		}
		time.Sleep(time.Second)
		if _, stall := m.LongestStall(); stall != time.Second {
			t.Errorf("stall %v, want all the time", stall)
		}
	})
}

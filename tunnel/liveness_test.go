package tunnel

import (
	"math"
	"testing"
	"time"
)

func TestLiveness(t *testing.T) {
	type tick struct {
		now, heard float64 // seconds
		uses       uint64
		progress   uint64
		want       linkAction
	}
	tests := []struct {
		name   string
		rarely time.Duration
		ticks  []tick
	}{
		{"a busy link is left alone", askRarely, []tick{
			{1, 0.5, 1, 1, linkFine}, {2, 1.9, 2, 2, linkFine}, {60, 59.1, 3, 3, linkFine},
		}},
		{"an idle link is asked ever more seldom", 4 * time.Second, []tick{
			{0.9, 0, 0, 0, linkFine}, {1, 0, 0, 0, linkAsk}, {2.9, 1, 0, 0, linkFine},
			{3, 1, 0, 0, linkAsk}, {6.9, 3, 0, 0, linkFine},
			{7, 3, 0, 0, linkAsk}, {10.9, 7, 0, 0, linkFine},
			{11, 7, 0, 0, linkAsk}, {14.9, 11, 0, 0, linkFine}, {15, 11, 0, 0, linkAsk},
		}},
		{"use makes it soon again", askRarely, []tick{
			{1, 0, 0, 0, linkAsk}, {3, 1, 0, 0, linkAsk}, {7, 3, 0, 0, linkAsk},
			{20, 19.5, 1, 0, linkFine}, {20.5, 19.5, 1, 0, linkAsk},
		}},
		{"no answer", askRarely, []tick{
			{1, 0, 0, 0, linkAsk}, {2.9, 0, 0, 0, linkFine}, {3, 0, 0, 0, linkSuspect},
			{10, 0, 5, 0, linkSuspect}, {15.9, 0, 5, 0, linkSuspect}, {16, 0, 5, 0, linkDead},
		}},
		{"a late answer saves", askRarely, []tick{
			{1, 0, 0, 0, linkAsk}, {3, 0, 0, 0, linkSuspect}, {15, 14.9, 0, 0, linkFine},
			{16.8, 14.9, 0, 0, linkFine}, {16.9, 14.9, 0, 0, linkAsk}, {18, 14.9, 0, 0, linkFine},
		}},
		{"what was under way before the question is no answer", askRarely, []tick{
			{1, 0, 0, 0, linkAsk}, {3, 0.99, 0, 0, linkSuspect},
		}},
		{"the kernel moves", askRarely, []tick{
			{1, 0, 0, 7, linkAsk}, {3, 0, 0, 8, linkFine}, {4.9, 0, 0, 8, linkFine}, {5, 0, 0, 8, linkSuspect},
			{17, 0, 0, 9, linkFine}, {19, 0, 0, 9, linkSuspect}, {31.9, 0, 0, 9, linkSuspect}, {32, 0, 0, 9, linkDead},
		}},
	}
	at := func(s float64) time.Duration { return time.Duration(math.Round(s*1000)) * time.Millisecond }
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var v liveness
			for i, x := range tt.ticks {
				got := v.step(at(x.now), at(x.heard), x.uses, tt.rarely, func() uint64 { return x.progress })
				if got != x.want {
					t.Fatalf("tick %d, after %v s: %d, want %d", i, x.now, got, x.want)
				}
			}
		})
	}
}

// Looking at the kernel's connection costs a system call: it is done only when
// it matters.
func TestLivenessAsksTheKernelSeldom(t *testing.T) {
	var v liveness
	calls := 0
	for now := time.Duration(0); now < time.Minute; now += livenessTick {
		v.step(now, now-now%time.Second, 1, askRarely, func() uint64 { calls++; return 0 })
	}
	if calls != 0 {
		t.Errorf("%d times for a busy link", calls)
	}
}

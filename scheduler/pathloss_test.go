package scheduler

import (
	"testing"
	"time"
)

func TestPathLoss(t *testing.T) {
	tests := []struct {
		name  string
		every uint64        // segments for one that is lost; 0: none is
		queue time.Duration // every five seconds, so long
		want  bool
	}{
		{"a wire", 0, 0, false},
		{"a wire that loses now and then", 20_000, 0, false},
		{"radio", 50, 0, true},
		{"a satellite", 200, 0, true},
		{"a queue that is full now and then", 0, 3 * time.Second, false},
		{"radio with a queue now and then", 100, time.Second, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const step, rate = 500 * time.Millisecond, 1000 // segments in a step
			var l PathLoss
			var segments, again uint64
			lossy := false
			for at := time.Duration(0); at < 20*time.Second; at += step {
				before := segments
				segments += rate
				if tt.every > 0 {
					again += segments/tt.every - before/tt.every
				}
				queue := at%(5*time.Second) < tt.queue
				if queue {
					again += 20 // overflow
				}
				was := lossy
				if lossy = l.Add(time.Unix(1000, 0).Add(at), segments, again, queue); was && !lossy {
					t.Fatalf("after %v it loses no more", at)
				}
			}
			if lossy != tt.want {
				t.Errorf("it loses: %v", lossy)
			}
		})
	}
	var l PathLoss
	for _, n := range []uint64{5, 0, 1 << 63, 7} { // counters of another connection
		l.Add(time.Time{}, n, n/2, false)
	}
}

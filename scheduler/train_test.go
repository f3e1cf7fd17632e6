package scheduler

import (
	"testing"
	"time"
)

func TestTrain(t *testing.T) {
	start := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name        string
		mbps        float64
		rtt         time.Duration
		least, most float64
	}{
		{"a thin line", 2, 30 * time.Millisecond, 1.9, 2.1},
		{"a thin one far away", 2, 600 * time.Millisecond, 1.9, 2.1},
		{"10 Mb/s", 10, 60 * time.Millisecond, 9, 11},
		{"50 Mb/s far away", 50, 600 * time.Millisecond, 48, 52},
		{"too fast to tell", 1e5, 60 * time.Millisecond, 0, 0},
	}
	for _, tt := range tests {
		var train Train
		done := false
		for i := range TrainFrames {
			// The first window has ten frames, all others come a round trip later.
			const record = 16 // frames, which can be read only together
			last := min(i-i%record+record-1, TrainFrames-1)
			at := time.Duration(float64(last+1) * TrainBytes * 8 / tt.mbps * float64(time.Microsecond))
			if last >= 10 {
				at = max(at, tt.rtt+time.Duration(float64(last-9)*TrainBytes*8/tt.mbps*float64(time.Microsecond)))
			}
			done = train.Add(start.Add(at), TrainBytes)
		}
		if got := float64(train.Rate()) / 1e6; !done || got < tt.least || got > tt.most {
			t.Errorf("%s: %.2f Mb/s, done %v", tt.name, got, done)
		}
	}
	var train Train
	for range TrainFrames {
		train.Add(start, TrainBytes)
	}
	if train.Rate() != 0 {
		t.Errorf("all at once: %v", train.Rate())
	}
}

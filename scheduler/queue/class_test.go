package queue

import (
	"testing"
	"time"
)

const ms = time.Millisecond

var epoch = time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)

func TestClass(t *testing.T) {
	// Each phase sends packets of so many bytes so many times a second.
	type phase struct {
		bytes, perSecond int
		seconds          float64
		want             Class // at its end
	}
	tests := []struct {
		name   string
		dscp   uint8
		phases []phase
	}{
		{"call", 0, []phase{{200, 50, 60, Sparse}}},
		{"game", 0, []phase{{300, 128, 60, Sparse}}},
		{"DNS", 0, []phase{{80, 3, 10, Sparse}}},
		{"terminal", 0, []phase{{100, 10, 10, Sparse}, {1500, 2, 10, Sparse}}},
		{"film", 0, []phase{{1250, 300, 2, Bulk}}},
		{"backup", 0, []phase{{64000, 2, 1, Bulk}}},
		{"one super-packet", 0, []phase{{64000, 1, 0.5, Bulk}}},
		{"small packets, many", 0, []phase{{200, 2000, 1, Bulk}}},
		{"full packets count double", 0, []phase{{1200, 30, 10, Bulk}}},
		{"smaller ones do not", 0, []phase{{900, 40, 10, Sparse}}},
		{"rests and is forgiven", 0, []phase{{1500, 500, 1, Bulk}, {200, 50, 3, Sparse}}},
		{"not by half a second", 0, []phase{{1500, 500, 1, Bulk}, {200, 50, 0.5, Bulk}}},
		{"hysteresis", 0, []phase{{900, 40, 10, Sparse}, {900, 200, 3, Bulk}, {900, 40, 10, Bulk}, {900, 20, 5, Sparse}}},
		{"video call marked EF", 46, []phase{{1100, 150, 20, Sparse}}},
		{"the same, CS4", 32, []phase{{1100, 150, 20, Sparse}}},
		{"the same, VA", 44, []phase{{1100, 150, 20, Sparse}}},
		{"the same, unmarked", 0, []phase{{1100, 150, 20, Bulk}}},
		{"the same, AF41", 34, []phase{{1100, 150, 20, Bulk}}},
		{"backup marked EF", 46, []phase{{1500, 2000, 1, Bulk}}},
		{"LE", 1, []phase{{100, 1, 3, Bulk}}},
		{"CS1", 8, []phase{{100, 1, 3, Bulk}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var b Behaviour
			now := epoch
			if b.Class() != Sparse {
				t.Fatal("a new flow is not sparse")
			}
			for i, p := range test.phases {
				h := Header{DSCP: test.dscp, Segments: 1, SegmentBytes: min(p.bytes, 1510)}
				for range max(1, int(p.seconds*float64(p.perSecond))) {
					if got := b.Sent(now, &h, p.bytes); got != b.Class() {
						t.Fatalf("Sent says %v, Class %v", got, b.Class())
					}
					now = now.Add(time.Second / time.Duration(p.perSecond))
				}
				if b.Class() != p.want {
					t.Fatalf("phase %d: %v with %.0f bytes", i, b.Class(), b.level)
				}
			}
		})
	}
}

func TestClassQueued(t *testing.T) {
	var b Behaviour
	h := Header{Segments: 1, SegmentBytes: 200}
	now := epoch
	turns := func(every int, packets int) Class {
		for i := range packets {
			b.Sent(now, &h, 200)
			if i%every == 0 {
				b.Queued(DefaultQuantum)
			}
			now = now.Add(20 * ms)
		}
		return b.Class()
	}
	if c := turns(8, 400); c != Sparse {
		t.Fatalf("%v after a queue now and then", c)
	}
	if c := turns(1, 100); c != Bulk {
		t.Fatalf("%v after a queue all the time", c)
	}
}

func TestClassTimeBack(t *testing.T) {
	var b Behaviour
	h := Header{Segments: 1, SegmentBytes: 200}
	b.Sent(epoch, &h, 200)
	if b.Sent(epoch.Add(-time.Hour), &h, 200) != Sparse || b.level != 400 {
		t.Fatalf("level %v", b.level)
	}
	if Sparse.String() != "sparse" || Bulk.String() != "bulk" {
		t.Fatal("names")
	}
}

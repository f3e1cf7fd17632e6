package probe_test

import (
	"testing"
	"time"

	"braid/lab/probe"
)

func TestGaps(t *testing.T) {
	begin := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	at := func(n int) time.Time { return begin.Add(time.Duration(n) * ms) }
	g := probe.NewGaps(begin)
	// Silences: 0–5 (too short to keep), 5–25, 25–425, 425–430, 430–490.
	for _, n := range []int{5, 25, 425, 430, 490} {
		g.Arrived(at(n))
	}
	for _, test := range []struct {
		what     string
		from, to int
		want     time.Duration
	}{
		{"all", 0, 490, 400 * ms},
		{"the short one at the beginning", 0, 24, 20 * ms},
		{"the larger part of the longest", 100, 430, 400 * ms},
		{"the smaller part of it", 300, 430, 0},
		{"exactly half of it", 225, 425, 400 * ms},
		{"what follows it", 425, 490, 60 * ms},
		{"a silence that lasts", 425, 600, 110 * ms},
		{"only that", 492, 600, 110 * ms},
		{"it does not last long enough to count", 488, 495, 0},
		{"nothing", 0, 0, 0},
	} {
		if got := g.Longest(at(test.from), at(test.to)); got != test.want {
			t.Errorf("%s: the longest of %d to %d is %v, want %v", test.what, test.from, test.to, got, test.want)
		}
	}
	for _, test := range []struct {
		moment, end int
		want        time.Duration
	}{{2, 600, 0}, {5, 600, 20 * ms}, {30, 600, 395 * ms}, {425, 600, 0}, {500, 600, 100 * ms}, {500, 495, 0}} {
		if got := g.After(at(test.moment), at(test.end)); got != test.want {
			t.Errorf("after %d the silence lasted %v, want %v", test.moment, got, test.want)
		}
	}
}

package main

import (
	"math"
	"slices"
	"testing"
	"time"

	"braid/lab/emulator"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		list []float64
		want float64
	}{
		{[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(test.list); got != test.want {
			t.Errorf("median of %v is %v, want %v", test.list, got, test.want)
		}
	}
}

func TestRatios(t *testing.T) {
	if got := ratios([]float64{97, 50}, []float64{100, 25}); !slices.Equal(got, []float64{0.97, 2}) {
		t.Errorf("ratios %v", got)
	}
	if got := ratios([]float64{1, 2}, []float64{1}); got != nil {
		t.Errorf("ratios %v of rounds that do not match", got)
	}
}

func TestPercentile(t *testing.T) {
	var list []time.Duration
	for i := 100; i > 0; i-- {
		list = append(list, time.Duration(i))
	}
	for p, want := range map[float64]time.Duration{0: 1, 50: 51, 90: 91, 100: 100} {
		if got := percentile(list, p); got != want {
			t.Errorf("percentile %v is %d, want %d", p, got, want)
		}
	}
	if got := percentile(nil, 50); got != 0 {
		t.Errorf("percentile of nothing is %d", got)
	}
}

func TestDifference(t *testing.T) {
	sum, smallest := difference([]int64{10, 0, 5}, []int64{110, 300, 55})
	if sum != 450 || smallest != 50 {
		t.Errorf("sum %v, smallest %v", sum, smallest)
	}
}

// The order of the rounds is kept, so that ratios are of the same round.
func TestColumn(t *testing.T) {
	r := &report{}
	for round := range 2 {
		for _, c := range []string{"braid", "mptcp"} {
			r.Transfers = append(r.Transfers, transferResult{Suite: "cellA", Contender: c, Run: "up1", Round: round + 1, Mbps: float64(10 * (round + 1))})
		}
	}
	if got := r.column("cellA", "mptcp", "up1", rate); !slices.Equal(got, []float64{10, 20}) {
		t.Errorf("column %v", got)
	}
}

func TestPairs(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range pairs {
		if seen[p.name()] {
			t.Errorf("%s is there twice", p.name())
		}
		seen[p.name()] = true
		if err := p.config().Validate(); err != nil {
			t.Errorf("%s: %v", p.name(), err)
		}
		for _, u := range p.config().Uplinks {
			for _, s := range []emulator.Shape{u.Down, u.Up} {
				if err := s.Validate(); err != nil {
					t.Errorf("%s: %v", p.name(), err)
				}
			}
		}
	}
	if len(pairs) < 30 {
		t.Errorf("%d pairs, want at least 30", len(pairs))
	}
	p := pair{mbps: [2]float64{50, 2}, rttMs: [2]int{30, 600}, loss: [2]float64{0, 0.5}, bloat: [2]bool{false, true}}
	if want := "50/2 30/600ms 0/0.5% bloat2"; p.name() != want {
		t.Errorf("name %q, want %q", p.name(), want)
	}
	// Handshake and request take 1.2 s, the bytes 8 s.
	if got := p.leastSmall(1); got != 9200 {
		t.Errorf("2 MB take at least %v ms", got)
	}
}

func TestChoosePairs(t *testing.T) {
	count := func(names []string, part, of int) int {
		t.Helper()
		list, err := choosePairs(names, part, of)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if got := count(nil, 1, 1); got != len(pairs) {
		t.Errorf("without names %d pairs", got)
	}
	// A name that is the beginning of others means that one alone.
	if got := count([]string{"50/30 30/60ms"}, 1, 1); got != 1 {
		t.Errorf("%d pairs have one name", got)
	}
	if got := count([]string{"50/2 "}, 1, 1); got != 6 {
		t.Errorf("%d pairs of 50/2", got)
	}
	sum := 0
	for part := range 4 {
		sum += count(nil, part+1, 4)
	}
	if sum != len(pairs) {
		t.Errorf("four parts have %d pairs of %d", sum, len(pairs))
	}
	if _, err := choosePairs([]string{"7/7"}, 1, 1); err == nil {
		t.Error("a pair that is not there was found")
	}
}

func TestJudge(t *testing.T) {
	var list []gridResult
	add := func(pair string, round int, contender string, mbps, small float64) {
		list = append(list, gridResult{Pair: pair, Round: round, Contender: contender, Mbps: mbps, SmallMs: small})
	}
	// The uplink with the better rate is not the quicker one.
	add("p", 1, "one", 40, 800)
	add("p", 1, "two", 20, 600)
	add("p", 1, "braid", 44, 750)
	add("p", 2, "one", 50, 800)
	add("p", 2, "two", 0, 0) // left out
	add("p", 2, "braid", 45, 800)
	add("other", 1, "one", 1, 1)
	add("other", 1, "two", 1, 1)
	v := judge(list, "p", "braid")
	if math.Abs(v.down-(1.1+0.9)/2) > 1e-9 || math.Abs(v.two-(0.8+1)/2) > 1e-9 || v.mbps != 44.5 || v.smallMs != 775 {
		t.Errorf("%+v", v)
	}
	if got, want := misses(list, "p", "braid"), []string{"2 MB 0.90"}; !slices.Equal(got, want) {
		t.Errorf("misses %q, want %q", got, want)
	}
	if v := judge(list, "other", "braid"); !math.IsNaN(v.mbps) || !math.IsNaN(v.down) || len(misses(list, "other", "braid")) != 0 {
		t.Errorf("of what was not measured: %+v", v)
	}
	// What brought nothing misses.
	add("none", 1, "one", 40, 800)
	add("none", 1, "braid", 0, 60_000)
	if got := misses(list, "none", "braid"); len(got) != 2 {
		t.Errorf("misses %q", got)
	}
}

func TestShare(t *testing.T) {
	was := map[string]uint64{"dsl": 100, "lte": 0}
	if got := share(was, map[string]uint64{"dsl": 400, "lte": 100}, "lte"); got != 0.25 {
		t.Errorf("share %v", got)
	}
	if got := share(was, was, "lte"); got != 0 {
		t.Errorf("share of nothing %v", got)
	}
}

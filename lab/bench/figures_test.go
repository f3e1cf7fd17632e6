package main

import (
	"slices"
	"testing"
	"time"
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

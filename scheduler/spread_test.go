package scheduler

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func line(mbps float64, rttMs int, lossPct float64) Line {
	return Line{RTT: time.Duration(rttMs) * time.Millisecond, Rate: BitRate(mbps * 1e6), Loss: lossPct / 100}
}

func warm(l Line) Line {
	l.Warm = true
	return l
}

const (
	kb = 1e3
	mb = 1e6
)

func TestSpread(t *testing.T) {
	tests := []struct {
		name    string
		lines   []Line
		bytes   float64
		sharing int
		want    Set
	}{
		{"none", nil, mb, 1, 0},
		{"one", []Line{line(50, 30, 0)}, mb, 1, 0b1},
		{"nothing is known, little", []Line{{}, {}}, 10 * kb, 1, 0b01},
		{"nothing is known, much", []Line{{}, {}}, mb, 1, 0b11},
		{"equal, a request", []Line{line(50, 30, 0), line(50, 30, 0)}, 30 * kb, 1, 0b01},
		{"equal, a download", []Line{line(50, 30, 0), line(50, 30, 0)}, 20 * mb, 1, 0b11},
		{"slow ones gain early", []Line{line(5, 40, 0), line(5, 40, 0)}, mb, 1, 0b11},
		{"cell A, a request", []Line{line(50, 30, 0), line(30, 60, 0)}, 100 * kb, 1, 0b01},
		{"cell A, a download", []Line{line(50, 30, 0), line(30, 60, 0)}, 10 * mb, 1, 0b11},
		{"cell B, an image", []Line{line(50, 30, 0), line(30, 200, 0.5)}, 2 * mb, 1, 0b01},
		{"cell B, a download", []Line{warm(line(50, 30, 0)), line(30, 200, 0.5)}, 60 * mb, 1, 0b11},
		{"far away, 2 MB", []Line{line(50, 30, 0), line(30, 600, 0)}, 4 * mb, 1, 0b01},
		{"far away, much", []Line{warm(line(50, 30, 0)), line(30, 600, 0)}, 1e3 * mb, 1, 0b11},
		{"far away, 300 MB", []Line{warm(line(50, 30, 0)), line(30, 600, 0)}, 300 * mb, 1, 0b01},
		{"thin, 10 MB", []Line{line(50, 30, 0), line(2, 30, 0)}, 10 * mb, 1, 0b01},
		{"thin, much", []Line{line(50, 30, 0), line(2, 30, 0)}, 200 * mb, 1, 0b01},
		{"a fifth far away, much", []Line{line(50, 30, 0), line(10, 300, 0)}, 1e3 * mb, 1, 0b01},
		{"a fifth, much", []Line{line(50, 30, 0), line(10, 60, 0)}, 200 * mb, 1, 0b11},
		{"a tenth, much", []Line{line(50, 30, 0), line(5, 30, 0)}, 200 * mb, 1, 0b11},
		{"too late for what is fast", []Line{line(500, 30, 0), line(100, 600, 0)}, 1e3 * mb, 1, 0b01},
		{"thin, shared by many", []Line{line(50, 30, 0), line(2, 30, 0)}, 10 * mb, 8, 0b01},
		{"cell A, shared by many", []Line{line(50, 30, 0), line(30, 60, 0)}, mb, 8, 0b11},
		{"the thin one is quicker: a request", []Line{line(2, 30, 0), line(50, 60, 0)}, 5 * kb, 1, 0b01},
		{"the thin one is quicker: a page", []Line{line(2, 30, 0), line(50, 60, 0)}, 500 * kb, 1, 0b10},
		{"the thin one is quicker: much", []Line{line(2, 30, 0), line(50, 60, 0)}, 200 * mb, 1, 0b10},
		{"three, one of them useless", []Line{line(50, 30, 0), line(30, 40, 0), line(1, 300, 2)}, 20 * mb, 1, 0b011},
		{"one that is not known is tried", []Line{line(50, 30, 0), {}}, 5 * mb, 1, 0b11},
		{"loss costs a round trip", []Line{line(50, 30, 0), line(30, 60, 2)}, 2 * mb, 1, 0b01},
	}
	for _, tt := range tests {
		if got := Spread(tt.lines, tt.bytes, tt.sharing); got != tt.want {
			t.Errorf("%s: %b, want %b", tt.name, got, tt.want)
		}
	}
}

// A line that carries already is left later than it would be taken.
func TestSpreadKeepsWhatIsWarm(t *testing.T) {
	lines := []Line{line(50, 30, 0), line(30, 60, 0)}
	taken := SpreadFrom(lines, 1, kb, 1e3*mb)
	lines[0].Warm, lines[1].Warm = true, true
	kept := SpreadFrom(lines, 1, kb, 1e3*mb)
	if taken == 0 || kept >= taken {
		t.Errorf("taken from %v bytes, kept from %v", taken, kept)
	}
	if n := SpreadFrom([]Line{line(50, 30, 0), line(0.1, 3000, 0)}, 1, kb, mb); n != 0 {
		t.Errorf("used from %v bytes", n)
	}
}

// Behind the eighth there is no weighing.
func TestSpreadOfMany(t *testing.T) {
	lines := make([]Line, spreadMost+3)
	for i := range lines {
		lines[i] = line(20, 30, 0)
	}
	if got := Spread(lines, 1e3*mb, 1); got.Len() != len(lines) {
		t.Errorf("%b", got)
	}
	if got := Spread(lines, kb, 1); got != 1 {
		t.Errorf("%b", got)
	}
}

// Whatever is known, somebody carries it, of those that there are; what is
// better than another in everything is not left out for it.
func TestSpreadAlways(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	some := []float64{0, 1, 1e3, math.MaxFloat64, math.Inf(1), math.NaN(), -1}
	for range 20_000 {
		lines := make([]Line, 1+r.IntN(4))
		for i := range lines {
			lines[i] = line(math.Exp(r.Float64()*8-1), 1+r.IntN(900), r.Float64()*5)
			if r.IntN(10) == 0 {
				lines[i] = Line{RTT: time.Duration(r.Int64()), Rate: BitRate(some[r.IntN(len(some))]), Loss: some[r.IntN(len(some))]}
			}
		}
		bytes := math.Exp(r.Float64() * 20)
		set := Spread(lines, bytes, r.IntN(9))
		if set == 0 || set >= 1<<len(lines) {
			t.Fatalf("%b of %v", set, lines)
		}
	}
	for range 20_000 {
		a := line(math.Exp(r.Float64()*5), 1+r.IntN(300), r.Float64()*3)
		b := a
		b.RTT, b.Rate, b.Loss = b.RTT*2, b.Rate/2, b.Loss*2
		if set := Spread([]Line{b, a}, math.Exp(r.Float64()*20), 1); !set.Has(1) {
			t.Fatalf("%v is left out beside %v", a, b)
		}
	}
}

func TestCapacity(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	var c Capacity
	full := false
	want := func(when string, rate BitRate) {
		t.Helper()
		if c.Rate() != rate {
			t.Errorf("%s: %v, want %v", when, c.Rate(), rate)
		}
	}
	add := func(rate BitRate, elapsed time.Duration) {
		now = now.Add(elapsed)
		c.Add(now, rate, elapsed, full)
	}
	want("at first", 0)
	full = true
	add(10e3, time.Second)
	add(1e6, 0)
	want("nothing but whispers", 0)
	full = false
	for range 10 {
		add(2e6, time.Second)
		add(1e3, time.Second)
	}
	want("first moments", 0)
	add(40e6, time.Second)
	add(20e6, time.Second)
	want("no more than it was given", 0)
	add(20e6, time.Second)
	want("the most", 40e6)
	now = now.Add(30 * time.Hour)
	add(1e3, time.Second)
	want("a day without use", 40e6)
	for range 600 {
		add(5e6, time.Second)
	}
	want("ten minutes in which it carried less", 5e6)
	for range 100 {
		add(8e6, time.Second)
	}
	want("more again", 8e6)
	c = Capacity{}
	full = true
	add(3e6, 500*time.Millisecond)
	want("it was full", 3e6)
}

func TestLoss(t *testing.T) {
	var l Loss
	if l.Add(100, 50); l.Part() != 0 {
		t.Error("a guess from a hundred segments")
	}
	l.Add(900, 0)
	if p := l.Part(); p != 0.05 {
		t.Errorf("%v", p)
	}
	for range 50 {
		l.Add(1000, 20)
	}
	if p := l.Part(); math.Abs(p-0.02) > 0.001 {
		t.Errorf("%v, and it has been 0.02 for long", p)
	}
	if l.Add(1, 10); l.Part() > 1 {
		t.Error("more lost than sent")
	}
}

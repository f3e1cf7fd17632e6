package sequence

import (
	"math"
	"math/rand/v2"
	"testing"
)

// model remembers all numbers.
type model struct {
	seen map[uint64]bool
	next uint64
}

func (m *model) take(n uint64) bool {
	if n < m.next && m.next-n > Size || m.seen[n] {
		return false
	}
	m.seen[n] = true
	m.next = max(m.next, n+1)
	return true
}

func (m *model) missing() (n int) {
	for i := m.next - min(m.next, Size); i < m.next; i++ {
		if !m.seen[i] {
			n++
		}
	}
	return n
}

func TestWindow(t *testing.T) {
	for _, tt := range []struct {
		name  string
		order []uint64
		first []bool
	}{
		{"in order", []uint64{0, 1, 2, 2, 1, 0}, []bool{true, true, true, false, false, false}},
		{"out of order", []uint64{5, 3, 5, 4, 3, 0}, []bool{true, true, false, true, false, true}},
		{"the oldest that fits", []uint64{Size, 1, 0, 1}, []bool{true, true, false, false}},
		{"a leap", []uint64{1, 1 << 40, 1<<40 - Size + 1, 1<<40 - Size, 1}, []bool{true, true, true, false, false}},
		{"the places of old ones are used again", []uint64{7, Size + 6, Size + 7, Size + 6}, []bool{true, true, true, false}},
		{"just the window further", []uint64{0, Size, 1}, []bool{true, true, true}},
		{"near the end", []uint64{math.MaxUint64 - 1, math.MaxUint64 - 1, math.MaxUint64 - 2}, []bool{true, false, true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w Window
			for i, n := range tt.order {
				if got := w.Take(n); got != tt.first[i] {
					t.Errorf("%d: first %v", n, got)
				}
			}
		})
	}
}

func TestWindowLikeModel(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		var w Window
		m := model{seen: map[uint64]bool{}}
		for range 200_000 {
			n := m.next + r.Uint64N(4)
			switch r.IntN(50) {
			case 0:
				n += r.Uint64N(Size + 200)
			case 1:
				n -= min(n, r.Uint64N(Size+200))
			default:
				n -= min(n, r.Uint64N(300))
			}
			if got, want := w.Take(n), m.take(n); got != want {
				t.Fatalf("seed %d: %d behind %d: first %v, want %v", seed, n, m.next, got, want)
			}
		}
		if w.Next() != m.next || w.Missing() != m.missing() {
			t.Errorf("next %d, missing %d; want %d, %d", w.Next(), w.Missing(), m.next, m.missing())
		}
	}
}

func FuzzWindow(f *testing.F) {
	f.Add(uint64(0), uint64(1), uint64(Size), uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, a, b, c, d uint64) {
		var w Window
		for _, n := range []uint64{a, b, c, d} {
			w.Take(n)
			if n != math.MaxUint64 && w.Take(n) {
				t.Errorf("%d twice", n)
			}
		}
	})
}

func BenchmarkTake(b *testing.B) {
	var w Window
	n := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		w.Take(n)
		n++
	}
}

package choice

import (
	"hash/maphash"
	"testing"
	"time"

	"braid/scheduler/queue"
)

var start = time.Unix(1e9, 0)

func key(port uint16) queue.FlowKey { return queue.FlowKey{SrcPort: port, Protocol: 17, Kind: 4} }

func pick(t *testing.T, d *Pinned, now time.Time, port uint16, class queue.Class, bytes int, paths []Path) int {
	t.Helper()
	got := d.Pick(now, Packet{Key: key(port), Class: class, Bytes: bytes}, paths, nil)
	if len(got) != 1 {
		t.Fatalf("picked %v", got)
	}
	return got[0]
}

func newPinned() *Pinned { return NewPinned(maphash.MakeSeed()) }

func TestSparseTakesTheShortest(t *testing.T) {
	ms := time.Millisecond
	for _, tt := range []struct {
		name  string
		paths []Path
		want  int
	}{
		{"shortest", []Path{{ID: 1, RTT: 60 * ms}, {ID: 2, RTT: 30 * ms}}, 2},
		{"not known is longest", []Path{{ID: 1}, {ID: 2, RTT: 300 * ms}}, 2},
		{"nothing is known", []Path{{ID: 7}, {ID: 2}}, 7},
		{"standby only alone", []Path{{ID: 1, RTT: 60 * ms}, {ID: 2, RTT: 30 * ms, Standby: true}}, 1},
		{"standby alone", []Path{{ID: 1, RTT: 60 * ms, Standby: true}, {ID: 2, RTT: 30 * ms, Standby: true}}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := pick(t, newPinned(), start, 1, queue.Sparse, 100, tt.paths); got != tt.want {
				t.Errorf("path %d, want %d", got, tt.want)
			}
		})
	}
	if got := newPinned().Pick(start, Packet{}, nil, nil); len(got) != 0 {
		t.Errorf("picked %v of none", got)
	}
}

func TestSparseStaysUnlessAnotherIsMuchShorter(t *testing.T) {
	d := newPinned()
	paths := []Path{{ID: 1, RTT: 30 * time.Millisecond}, {ID: 2, RTT: 60 * time.Millisecond}}
	for _, step := range []struct {
		a, b time.Duration
		want int
	}{{30, 60, 1}, {62, 60, 1}, {74, 60, 1}, {80, 60, 2}, {55, 60, 2}, {40, 60, 1}} {
		paths[0].RTT, paths[1].RTT = step.a*time.Millisecond, step.b*time.Millisecond
		if got := pick(t, d, start, 1, queue.Sparse, 100, paths); got != step.want {
			t.Errorf("%d and %d ms: path %d, want %d", step.a, step.b, got, step.want)
		}
	}
	if got := pick(t, d, start, 1, queue.Sparse, 100, paths[1:]); got != 2 {
		t.Errorf("its path is gone, and it goes on path %d", got)
	}
}

// lab offers load to paths that carry no more than their rates.
type lab struct {
	t       *testing.T
	d       *Pinned
	now     time.Time
	rates   []float64 // bits per second
	paths   []Path
	waiting []float64 // bytes
}

func newLab(t *testing.T, rates ...float64) *lab {
	l := &lab{t: t, d: newPinned(), now: start, rates: rates, waiting: make([]float64, len(rates))}
	for i, r := range rates {
		l.paths = append(l.paths, Path{ID: i, RTT: time.Duration(30*(i+1)) * time.Millisecond, Rate: r})
	}
	return l
}

// run offers for so long each flow's rate, and returns how much of it each path
// took and how often a flow changed its path.
func (l *lab) run(d time.Duration, flows ...float64) (carried []float64, moves int) {
	carried = make([]float64, len(l.rates))
	last := make([]int, len(flows))
	for i := range last {
		last[i] = -1
	}
	const tick = time.Millisecond
	for end := l.now.Add(d); l.now.Before(end); l.now = l.now.Add(tick) {
		for i := range l.rates {
			room := l.rates[i] / 8 * tick.Seconds()
			sent := min(room, l.waiting[i])
			l.waiting[i] -= sent
			carried[i] += sent
		}
		for i, rate := range flows {
			bytes := rate / 8 * tick.Seconds()
			for p := range l.paths {
				l.paths[p].Queued = int(l.waiting[p])
			}
			to := pick(l.t, l.d, l.now, uint16(i), queue.Bulk, int(bytes), l.paths)
			l.waiting[to] = min(l.waiting[to]+bytes, l.rates[to]/8*0.05) // CoDel
			if last[i] >= 0 && last[i] != to {
				moves++
			}
			last[i] = to
		}
	}
	return carried, moves
}

func TestOneBulkFlowStaysOnTheBest(t *testing.T) {
	l := newLab(t, 50e6, 30e6)
	carried, moves := l.run(20*time.Second, 200e6)
	if moves > 0 || carried[0] < 0.95*50e6/8*20 {
		t.Errorf("carried %v, %d moves", carried, moves)
	}
}

func TestTwoBulkFlowsUseBoth(t *testing.T) {
	for _, rates := range [][]float64{{50e6, 30e6}, {30e6, 50e6}, {100e6, 100e6}} {
		l := newLab(t, rates...)
		l.run(3*time.Second, 200e6, 200e6)
		carried, moves := l.run(10*time.Second, 200e6, 200e6)
		if moves > 0 || carried[0] < 0.95*rates[0]/8*10 || carried[1] < 0.95*rates[1]/8*10 {
			t.Errorf("%v: carried %v, %d moves", rates, carried, moves)
		}
	}
}

// What it does not know it tries, and then it goes where there is more.
func TestBulkFindsTheBetterPath(t *testing.T) {
	l := newLab(t, 10e6, 40e6)
	l.paths[0].Rate, l.paths[1].Rate = 0, 0
	for range 10 {
		carried, _ := l.run(time.Second, 200e6)
		for i := range carried {
			if carried[i] > 100_000 { // it was asked, and so it is known
				l.paths[i].Rate = l.rates[i]
			}
		}
	}
	if carried, moves := l.run(5*time.Second, 200e6); carried[1] < 0.95*40e6/8*5 || moves > 0 {
		t.Errorf("carried %v, %d moves", carried, moves)
	}
}

func TestBulkLeavesWhatIsGone(t *testing.T) {
	l := newLab(t, 50e6, 30e6)
	l.run(time.Second, 20e6)
	l.paths, l.waiting, l.rates = l.paths[1:], l.waiting[1:], l.rates[1:]
	if got := pick(t, l.d, l.now, 0, queue.Bulk, 1000, l.paths); got != 1 {
		t.Errorf("goes on path %d", got)
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	l := newLab(t, 50e6, 30e6)
	dst := make([]int, 0, 4)
	if n := testing.AllocsPerRun(1000, func() {
		dst = l.d.Pick(l.now, Packet{Key: key(1), Class: queue.Bulk, Bytes: 1400}, l.paths, dst[:0])
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

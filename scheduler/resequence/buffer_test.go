package resequence

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const ms = time.Millisecond

var epoch = time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)

// TestOrder: each step pushes a packet at a time, or lets Expire look.
func TestOrder(t *testing.T) {
	type step struct {
		at   time.Duration
		path int
		seq  int // -1 is none
		want []int
	}
	tests := []struct {
		name   string
		params Params
		steps  []step
	}{
		{"in order", Params{}, []step{{0, 1, 0, []int{0}}, {1, 1, 1, []int{1}}, {2, 2, 2, []int{2}}}},
		{"one late", Params{}, []step{{0, 1, 1, nil}, {1 * ms, 1, 2, nil}, {5 * ms, 2, 0, []int{0, 1, 2}}}},
		{"one lost", Params{}, []step{{0, 1, 1, nil}, {5 * ms, 1, 2, nil}, {19 * ms, 0, -1, nil}, {20 * ms, 0, -1, []int{1, 2}}}},
		{"two gaps, each with its own time", Params{}, []step{{0, 1, 1, nil}, {5 * ms, 1, 3, nil}, {20 * ms, 0, -1, []int{1}}, {24 * ms, 0, -1, nil}, {25 * ms, 0, -1, []int{3}}}},
		{"late is released at once", Params{}, []step{{0, 1, 1, nil}, {20 * ms, 0, -1, []int{1}}, {21 * ms, 2, 0, []int{0}}, {22 * ms, 1, 2, []int{2}}}},
		{"both paths have passed it", Params{}, []step{{0, 1, 0, []int{0}}, {1 * ms, 2, 1, []int{1}}, {2 * ms, 1, 3, nil}, {3 * ms, 2, 4, []int{3, 4}}}},
		{"a path that was silent says nothing", Params{}, []step{{0, 1, 0, []int{0}}, {0, 2, 1, []int{1}}, {300 * ms, 1, 3, nil}, {301 * ms, 1, 4, nil}, {320 * ms, 0, -1, []int{3, 4}}}},
		{"duplicate", Params{}, []step{{0, 1, 1, nil}, {1, 2, 1, nil}, {2, 1, 0, []int{0, 1}}}},
		{"too many bytes", Params{Bytes: 250}, []step{{0, 1, 1, nil}, {1, 1, 3, nil}, {2, 1, 5, []int{1}}, {3, 2, 0, []int{0}}}},
		{"too far ahead", Params{Packets: 4}, []step{{0, 1, 1, nil}, {1, 1, 3, nil}, {2, 1, 6, []int{1, 3}}, {3, 1, 5, nil}, {4, 1, 4, []int{4, 5, 6}}}},
		{"very far ahead", Params{}, []step{{0, 1, 1, nil}, {1, 1, math.MaxInt, []int{1}}, {20 * ms, 0, -1, nil}, {21 * ms, 0, -1, []int{math.MaxInt}}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []int
			b := New(test.params, 0, func(i int) { got = append(got, i) }, nil)
			b.SetWait(20 * ms)
			for i, s := range test.steps {
				got = nil
				if s.seq < 0 {
					b.Expire(epoch.Add(s.at))
				} else {
					b.Push(epoch.Add(s.at), uint64(s.seq), s.path, 100, s.seq)
				}
				if !slices.Equal(got, s.want) {
					t.Fatalf("step %d: released %v, want %v", i, got, s.want)
				}
			}
		})
	}
}

func TestCounters(t *testing.T) {
	dropped := 0
	b := New(Params{}, 10, func(int) {}, func(int) { dropped++ })
	b.SetWait(time.Second)
	for _, seq := range []uint64{10, 12, 12, 15} {
		b.Push(epoch, seq, 0, 50, 0)
	}
	if b.Len() != 2 || b.Bytes() != 100 {
		t.Fatalf("%d packets, %d bytes", b.Len(), b.Bytes())
	}
	if at, ok := b.Deadline(); !ok || at != epoch.Add(time.Second) {
		t.Fatalf("deadline %v, %v", at, ok)
	}
	b.Flush()
	b.Push(epoch, 11, 0, 50, 0)
	want := Counters{Released: 4, Waited: 2, Passed: 3, Late: 1, Duplicate: 1}
	if b.Counters() != want || dropped != 1 || b.Len() != 0 || b.Bytes() != 0 {
		t.Fatalf("%+v, %d dropped", b.Counters(), dropped)
	}
	if _, ok := b.Deadline(); ok {
		t.Fatal("a deadline for nothing")
	}
}

func TestWait(t *testing.T) {
	for _, test := range []struct {
		paths []Delay
		want  time.Duration
	}{
		{nil, 0},
		{[]Delay{{30 * ms, 10 * ms}}, 0},
		{[]Delay{{15 * ms, 0}, {15 * ms, 0}}, 2 * ms},
		{[]Delay{{15 * ms, 1 * ms}, {30 * ms, 2 * ms}}, 23 * ms},
		{[]Delay{{30 * ms, 2 * ms}, {15 * ms, 10 * ms}}, 40 * ms},
		{[]Delay{{15 * ms, 0}, {time.Hour, math.MaxInt64}}, 500 * ms},
	} {
		if got := Wait(test.paths); got != test.want {
			t.Errorf("Wait(%v) = %v, want %v", test.paths, got, test.want)
		}
	}
}

// model holds a Buffer to what it promises, by a map instead of slots.
type model struct {
	t        *testing.T
	b        *Buffer[uint64]
	p        Params
	now      time.Time
	wait     time.Duration
	next     uint64 // as released so far
	waiting  map[uint64]time.Time
	bytes    map[uint64]int
	released map[uint64]int
	pushed   uint64 // the packet that is being pushed
	late     bool   // it comes after its turn
}

func newModel(t *testing.T, p Params, wait time.Duration) *model {
	m := &model{t: t, p: p, now: epoch, wait: wait,
		waiting: map[uint64]time.Time{}, bytes: map[uint64]int{}, released: map[uint64]int{}}
	m.b = New(p, 0, m.release, nil)
	m.b.SetWait(wait)
	return m
}

// release is told of each packet: one that waits, in ascending order, or the
// one that has just come.
func (m *model) release(seq uint64) {
	m.released[seq]++
	if seq == m.pushed && m.late {
		return
	}
	if seq < m.next {
		m.t.Fatalf("%d released after %d", seq, m.next-1)
	}
	if _, ok := m.waiting[seq]; !ok {
		m.t.Fatalf("%d was not there", seq)
	}
	for other := range m.waiting {
		if other < seq {
			m.t.Fatalf("%d released while %d waits", seq, other)
		}
	}
	delete(m.waiting, seq)
	delete(m.bytes, seq)
	m.next = seq + 1
}

func (m *model) push(seq uint64, path, bytes int) {
	m.late = seq < m.next
	m.pushed = seq
	if _, ok := m.waiting[seq]; !ok && !m.late {
		m.waiting[seq], m.bytes[seq] = m.now, bytes
	}
	before := m.released[seq]
	m.b.Push(m.now, seq, path, bytes, seq)
	if m.late && m.released[seq] != before+1 {
		m.t.Fatalf("late %d was not released", seq)
	}
	m.late = false
	m.check()
}

func (m *model) pass(d time.Duration) {
	m.now = m.now.Add(d)
	m.b.Expire(m.now)
	m.check()
}

func (m *model) check() {
	bytes, first := 0, uint64(math.MaxUint64)
	for seq := range m.waiting {
		bytes += m.bytes[seq]
		first = min(first, seq)
	}
	if m.b.Len() != len(m.waiting) || m.b.Bytes() != bytes {
		m.t.Fatalf("%d packets and %d bytes wait, the model has %d and %d", m.b.Len(), m.b.Bytes(), len(m.waiting), bytes)
	}
	if len(m.waiting) > m.p.Packets || bytes > m.p.Bytes {
		m.t.Fatalf("%d packets, %d bytes wait, more than %+v", len(m.waiting), bytes, m.p)
	}
	at, ok := m.b.Deadline()
	if ok != (len(m.waiting) > 0) {
		m.t.Fatal("deadline")
	}
	if ok && (at != m.waiting[first].Add(m.wait) || !at.After(m.now)) {
		m.t.Fatalf("deadline %v at %v: the first waits since %v", at, m.now, m.waiting[first])
	}
	if ok && m.waiting[m.next] != (time.Time{}) {
		m.t.Fatalf("%d waits though it is next", m.next)
	}
}

// TestModel sends packets over three paths that lose and delay them.
func TestModel(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 5))
		m := newModel(t, Params{Packets: 1 << (2 + seed%6), Bytes: 2000 + int(seed)*500}, time.Duration(rng.IntN(40))*ms)
		type arrival struct {
			at   time.Duration
			seq  uint64
			path int
		}
		var list []arrival
		var free [3]time.Duration // paths keep their order
		kept := 0
		for seq := range uint64(500) {
			path := rng.IntN(3)
			at := max(free[path], time.Duration(seq)*ms+time.Duration(5+10*path+rng.IntN(3))*ms)
			free[path] = at
			if rng.IntN(20) == 0 {
				continue
			}
			kept++
			list = append(list, arrival{at, seq, path})
		}
		slices.SortStableFunc(list, func(a, b arrival) int { return int(a.at - b.at) })
		for _, a := range list {
			m.pass(max(0, epoch.Add(a.at).Sub(m.now)))
			m.push(a.seq, a.path, 100+rng.IntN(1400))
		}
		m.pass(time.Second)
		if c := m.b.Counters(); len(m.released) != kept || c.Released != uint64(kept) || m.b.Len() != 0 || c.Duplicate != 0 {
			t.Fatalf("seed %d: %d of %d released, %+v", seed, len(m.released), kept, c)
		}
	}
}

// TestComplete: with a wait as long as the paths differ, what is not lost comes
// in order.
func TestComplete(t *testing.T) {
	m := newModel(t, Params{Packets: 1024, Bytes: 4 << 20}, Wait([]Delay{{15 * ms, ms}, {30 * ms, ms}}))
	type arrival struct {
		at   time.Duration
		seq  uint64
		path int
	}
	var list []arrival
	for seq := range uint64(5000) {
		path := int(seq % 3 / 2)
		list = append(list, arrival{time.Duration(seq)*200*time.Microsecond + time.Duration(15+15*path)*ms, seq, path})
	}
	slices.SortStableFunc(list, func(a, b arrival) int { return int(a.at - b.at) })
	for _, a := range list {
		m.pass(epoch.Add(a.at).Sub(m.now))
		m.push(a.seq, a.path, 1400)
	}
	if c := m.b.Counters(); c.Late != 0 || c.Passed != 0 || c.Released != 5000 {
		t.Fatalf("%+v", c)
	}
}

func FuzzBuffer(f *testing.F) {
	f.Add([]byte{3, 1, 0, 2, 0, 3, 1, 0xff, 9, 4, 2, 200, 100})
	f.Add([]byte{0, 0, 0xf0, 0xff, 0xf1, 0xff, 0xf2})
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newModel(t, Params{Packets: 16, Bytes: 4000}, 10*ms)
		seq := uint64(0)
		for i, c := range data {
			switch c >> 5 {
			case 7:
				m.pass(time.Duration(c&31) * ms)
			case 6:
				seq += uint64(c&31) << (c & 31)
			default:
				seq = max(seq, 16) - 16 + uint64(c&31)
				if seq == math.MaxUint64 { // is no number of a packet: 580 years at a billion per second
					return
				}
				m.push(seq, int(c>>5)&3, 100*(i%20))
			}
		}
		m.pass(time.Second)
		if m.b.Len() != 0 {
			t.Fatalf("%d left", m.b.Len())
		}
	})
}

func TestAllocations(t *testing.T) {
	b := New(Params{}, 0, func(int) {}, nil)
	b.SetWait(20 * ms)
	seq, now := uint64(0), epoch
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(ms)
		b.Push(now, seq+1, 0, 1400, 0)
		if seq%10 != 0 {
			b.Push(now, seq, 1, 1400, 0)
		}
		seq += 2
		b.Deadline()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPush(b *testing.B) {
	r := New(Params{}, 0, func(int) {}, nil)
	r.SetWait(20 * ms)
	now, seq := epoch, uint64(0)
	b.ReportAllocs()
	for b.Loop() { // every second packet is out of order
		now = now.Add(10 * time.Microsecond)
		r.Push(now, seq^1, int(seq&1), 1400, 0)
		seq++
	}
}

func TestReset(t *testing.T) {
	var got []int
	b := New(Params{}, 0, func(i int) { got = append(got, i) }, nil)
	b.SetWait(20 * ms)
	b.Push(epoch, 2, 1, 100, 2)
	b.Push(epoch, 3, 2, 100, 3)
	b.Reset(10)
	if want := []int{2, 3}; !slices.Equal(got, want) || b.Len() != 0 || b.Bytes() != 0 {
		t.Fatalf("released %v, want %v; %d wait", got, want, b.Len())
	}
	got = nil
	b.Push(epoch, 11, 1, 100, 11) // no path of the flow before counts
	b.Push(epoch, 12, 2, 100, 12)
	if len(got) > 0 && got[0] != 11 || b.Next() > 13 {
		t.Fatalf("released %v, next %d", got, b.Next())
	}
	b.Push(epoch, 10, 1, 100, 10)
	if !slices.Equal(got, []int{11, 12, 10}) && !slices.Equal(got, []int{10, 11, 12}) {
		t.Fatalf("released %v", got)
	}
	if c := b.Counters(); c.Released != 5 {
		t.Fatalf("%+v", c)
	}
}

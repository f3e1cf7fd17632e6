package queue

import (
	"hash/maphash"
	"math"
	"slices"
	"testing"
	"time"
)

// bench is a Queue with a clock.
type bench struct {
	t       testing.TB
	q       *Queue[int]
	now     time.Time
	dropped []int
}

func newBench(t testing.TB, p Params) *bench {
	b := &bench{t: t, now: epoch}
	b.q = New(p, maphash.MakeSeed(), func(id int) { b.dropped = append(b.dropped, id) })
	return b
}

func (b *bench) push(id int, s spec) Class {
	b.t.Helper()
	payload := s.build()
	h, ok := Parse(payload)
	if !ok {
		b.t.Fatalf("%+v has no flow", s)
	}
	return b.q.Push(b.now, &h, Packet[int]{Payload: payload, Meta: id})
}

// pop returns the packets that leave until so many have or none waits.
func (b *bench) pop(n int) (ids []int) {
	for range n {
		p, ok := b.q.Pop(b.now, math.MaxInt)
		if !ok {
			break
		}
		ids = append(ids, p.Meta)
	}
	return ids
}

func (b *bench) want(got, want []int) {
	b.t.Helper()
	if !slices.Equal(got, want) {
		b.t.Fatalf("got %v, want %v", got, want)
	}
}

// small, full and super are packets of a flow.
func small(flow int) spec   { return spec{udp: true, sport: uint16(flow), data: 100} }
func full(flow int) spec    { return spec{udp: true, sport: uint16(flow), data: 1472} }
func super64(flow int) spec { return spec{sport: uint16(flow), data: 64000, size: 1000, flags: 0x10} }

func TestTurns(t *testing.T) {
	b := newBench(t, Params{})
	for i := range 4 {
		b.push(10+i, full(1))
		b.push(20+i, full(2))
	}
	// A full packet is a turn.
	b.want(b.pop(3), []int{10, 20, 11})
	// A new flow goes before old ones, for one turn.
	b.push(30, full(3))
	b.push(31, full(3))
	b.want(b.pop(4), []int{30, 21, 31, 12})
	b.want(b.pop(9), []int{22, 13, 23})
	if b.q.Len() != 0 || b.q.Bytes() != 0 {
		t.Fatalf("%d packets, %d bytes left", b.q.Len(), b.q.Bytes())
	}
}

func TestTurnsAreBytes(t *testing.T) {
	b := newBench(t, Params{})
	bytes := map[int]int{}
	for range 3000 {
		b.push(1, small(1))
		b.push(2, full(2))
	}
	for range 1500 {
		p, _ := b.q.Pop(b.now, math.MaxInt)
		bytes[p.Meta] += len(p.Payload)
	}
	if d := bytes[1] - bytes[2]; d < -2*DefaultQuantum || d > 2*DefaultQuantum {
		t.Fatalf("%v bytes", bytes)
	}
}

// TestSparseReturns: a sparse flow that is back within its turn does not wait
// for the next one, but has no more than a turn either.
func TestSparseReturns(t *testing.T) {
	b := newBench(t, Params{})
	for range 20 {
		b.push(0, full(1))
		b.push(0, full(2))
	}
	b.want(b.pop(2), []int{0, 0})
	for range 10 { // 138 bytes each: a turn is 11 of them
		b.push(1, small(3))
		b.want(b.pop(2), []int{1, 0})
	}
	b.push(2, small(3))
	b.push(3, small(3))
	b.push(4, small(3))
	b.want(b.pop(6), []int{2, 0, 3, 4, 0, 0})
}

func TestBackground(t *testing.T) {
	b := newBench(t, Params{})
	le := full(9)
	le.dscp = 1
	for range 100 {
		b.push(9, le)
	}
	for range 400 {
		b.push(1, full(1))
		b.push(2, full(2))
	}
	got := b.pop(340)
	if got[0] == 9 || slices.Index(got, 9) < 10 {
		t.Fatalf("background first: %v", got[:20])
	}
	n := 0
	for _, id := range got {
		if id == 9 {
			n++
		}
	}
	if n < 19 || n > 21 { // one in 17
		t.Fatalf("%d of 340 are background", n)
	}
	if b.q.Class(&FlowKey{}) != Sparse || b.push(9, le) != Bulk {
		t.Fatal("classes")
	}
	for b.q.others() != inNone {
		b.pop(1)
	}
	left := b.q.Len()
	if left == 0 || len(b.pop(200)) != left {
		t.Fatal("the background does not get what nobody else wants")
	}
}

func TestTooOld(t *testing.T) {
	b := newBench(t, Params{MaxAge: [classes]time.Duration{Sparse: 300 * ms, Bulk: time.Second}})
	b.push(1, small(1))
	b.push(2, super64(2))
	b.push(3, super64(2))
	b.now = b.now.Add(200 * ms)
	b.push(4, small(1))
	b.now = b.now.Add(101 * ms)
	b.want(b.pop(2), []int{4, 2})
	b.want(b.dropped, []int{1})
	b.now = b.now.Add(700 * ms)
	b.want(b.pop(2), nil)
	b.want(b.dropped, []int{1, 3})
	if s, k := b.q.Counters(Sparse), b.q.Counters(Bulk); s.TooOld != 1 || k.TooOld != 64 || s.Packets != 1 || k.Packets != 64 {
		t.Fatalf("%+v\n%+v", s, k)
	}
}

// TestSince: a packet that has waited elsewhere keeps its age.
func TestSince(t *testing.T) {
	b := newBench(t, Params{})
	payload := small(1).build()
	h, _ := Parse(payload)
	b.q.Push(b.now, &h, Packet[int]{Payload: payload, Meta: 1, Since: b.now.Add(-2 * time.Second)})
	b.q.Push(b.now, &h, Packet[int]{Payload: payload, Meta: 2, Since: b.now.Add(-500 * ms)})
	b.want(b.pop(2), []int{2})
	b.want(b.dropped, []int{1})
	if c := b.q.Counters(Sparse); c.DelayMax != 500*ms || c.DelaySmoothed != 500*ms/16 {
		t.Fatalf("%+v", c)
	}
	b.q.ResetDelay()
	if c := b.q.Counters(Sparse); c.DelayMax != 0 || c.Packets != 1 {
		t.Fatalf("%+v", c)
	}
}

func TestOverflow(t *testing.T) {
	b := newBench(t, Params{Limit: 100_000})
	b.push(1, small(1))
	for i := range 60 {
		b.push(100+i, full(2))
	}
	if len(b.dropped) != 0 {
		t.Fatalf("dropped %v", b.dropped)
	}
	for i := range 2 {
		b.push(200+i, full(3))
	}
	// Half of the fattest, from its front.
	if len(b.dropped) != 30 || b.dropped[0] != 100 || b.dropped[29] != 129 {
		t.Fatalf("dropped %v", b.dropped)
	}
	if b.q.Len() != 33 || b.q.Counters(Bulk).Overflowed != 30 {
		t.Fatalf("%d wait, counters %+v", b.q.Len(), b.q.Counters(Bulk))
	}
}

// TestOverflowSegments: of super-packets, too, no more than needed goes.
func TestOverflowSegments(t *testing.T) {
	b := newBench(t, Params{Limit: 150_000})
	for i := range 3 {
		b.push(i, super64(1))
	}
	b.want(b.dropped, []int{0})
	if c := b.q.Counters(Bulk); c.Overflowed != dropMost || b.q.Len() != 2 {
		t.Fatalf("%+v, %d wait", c, b.q.Len())
	}
	b = newBench(t, Params{Limit: 50_000})
	b.push(0, super64(1))
	p, ok := b.q.Pop(b.now, math.MaxInt)
	if c := b.q.Counters(Bulk); !ok || len(b.dropped) != 0 || c.Overflowed != 33 || len(segments(p.Payload)) != 31 {
		t.Fatalf("%+v, %d bytes", c, len(p.Payload))
	}
}

// TestOverflowOfTiny: packets without data are bounded too.
func TestOverflowOfTiny(t *testing.T) {
	b := newBench(t, Params{Limit: 100_000})
	for i := range 10_000 {
		b.push(i, spec{udp: true, sport: uint16(i % 3000)})
	}
	if most := 100_000 / overhead; b.q.Len() > most || len(b.dropped)+b.q.Len() != 10_000 {
		t.Fatalf("%d wait, %d dropped", b.q.Len(), len(b.dropped))
	}
}

func TestOverflowLargerThanLimit(t *testing.T) {
	b := newBench(t, Params{Limit: 100})
	b.push(1, full(1))
	b.want(b.dropped, []int{1})
	if _, ok := b.q.Pop(b.now, math.MaxInt); ok || b.q.full() {
		t.Fatal("something waits")
	}
}

func TestParams(t *testing.T) {
	b := newBench(t, Params{})
	b.q.SetDelays(-1, 0)
	if b.q.delays != (delays{0, 1}) {
		t.Fatalf("%+v", b.q.delays)
	}
	if p := b.q.params; p.Flows != 1024 || p.Quantum != 1510 || p.Limit != 4<<20 || p.MaxAge != [classes]time.Duration{time.Second, 2 * time.Second} {
		t.Fatalf("%+v", p)
	}
	New[int](Params{Limit: 1}, maphash.MakeSeed(), nil).Push(epoch, &Header{}, Packet[int]{})
}

// TestSparseDoNotStarve: many flows that always have one small packet, each
// sparse by its rate, leave one that is not its share.
func TestSparseDoNotStarve(t *testing.T) {
	b := newBench(t, Params{MaxAge: [classes]time.Duration{time.Hour, time.Hour}, Target: time.Hour})
	const flows = 50
	for i := 1; i <= flows; i++ {
		b.push(i, small(i))
	}
	for range 3000 {
		b.push(0, full(0))
	}
	bulk, sum := 0, 0
	for range 20_000 {
		b.now = b.now.Add(10 * ms)
		p, ok := b.q.Pop(b.now, math.MaxInt)
		if !ok {
			t.Fatal("nothing waits")
		}
		sum += len(p.Payload)
		if p.Meta == 0 {
			bulk += len(p.Payload)
		} else if c := b.push(p.Meta, small(p.Meta)); c != Sparse {
			t.Fatalf("flow %d is %v", p.Meta, c)
		}
	}
	share := float64(bulk) / float64(sum)
	t.Logf("share %.4f", share)
	if share < 0.9/(flows+1) {
		t.Fatalf("a share of %.4f", share)
	}
}

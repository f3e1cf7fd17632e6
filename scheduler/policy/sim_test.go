package policy

import (
	"container/heap"
	"hash/maphash"
	"slices"
	"testing"
	"time"

	"braid/scheduler/queue"
	"braid/scheduler/resequence"
)

// world simulates a session on two uplinks in virtual time. Each has the queue
// that is in front of uplinks, and a wire behind it:
//
//	call, terminal ─┐        ┌─▶ Queue ─▶ 50 Mb/s, 15 ms ─┐
//	                ├─ Pick ─┤                            ├─▶ once each, in order ─▶
//	downloads ──────┘        └─▶ Queue ─▶ 30 Mb/s, 30 ms ─┘
//
// At four seconds the first becomes a black hole. The policy is told 200 ms
// later, and what has no answer is sent again.
type world struct {
	now    time.Duration
	events events
	n      int // of events so far
	policy Policy
	hedge  *Hedge // nil but for auto
	wires  []*wire
	dst    []int

	thin []*thinFlow
	bulk []*bulkFlow
}

const (
	simDeath = 4 * time.Second
	simEnd   = 8 * time.Second
	simBulk  = 1510 // bytes of a packet of a download
)

type wire struct {
	path    Path
	delay   time.Duration // one way
	queue   *queue.Queue[*simPacket]
	busy    bool
	dead    bool
	gone    bool // and its owner knows
	flight  map[*simPacket]bool
	measure Delivery
}

// simPacket is a packet, its copies included.
type simPacket struct {
	thin    *thinFlow
	bulk    *bulkFlow
	seq     int
	bytes   int
	since   time.Duration
	arrived bool
	acked   bool
	copied  bool
	again   bool // the copy was sent later
	by      int  // ID of the first path
}

// thinFlow sends at a steady rate.
type thinFlow struct {
	key   queue.FlowKey
	bytes int
	every time.Duration
	sent  int
	took  []time.Duration // of packets sent between one second and the death
	got   []time.Duration // when packets came
}

// bulkFlow is crude TCP: its window grows by some segments in a round trip,
// and is cut when three later segments are answered first, or none for long.
type bulkFlow struct {
	key           queue.FlowKey
	window        float64
	next          int
	flight        map[int]bool
	calm          int // no second cut before this one is answered
	highest, low  int // answered
	heard         time.Duration
	before, after int // bytes that arrived, each once
	cuts          int
	seen          map[int]bool
	order         *resequence.Buffer[int]
	orderSet      time.Duration // when order looks again
}

type event struct {
	at time.Duration
	n  int
	do func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].n < e[j].n
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func (w *world) in(d time.Duration, do func()) {
	w.n++
	heap.Push(&w.events, event{w.now + d, w.n, do})
}

func (w *world) time() time.Time { return epoch.Add(w.now) }

func newWorld(t *testing.T, name string, downloads int) *world {
	w := &world{policy: newPolicy(t, name)}
	if name == "auto" {
		w.hedge = NewHedge(0)
		w.policy = NewAuto(maphash.MakeSeed(), w.hedge)
	}
	for _, p := range cellA() {
		target, interval := queue.DelaysFor(p.Rate, simBulk)
		w.wires = append(w.wires, &wire{path: p, delay: p.RTT / 2, flight: map[*simPacket]bool{},
			queue: queue.New[*simPacket](queue.Params{Target: target, Interval: interval}, maphash.MakeSeed(), nil)})
	}
	w.thin = []*thinFlow{
		{key: key(1), bytes: 210, every: 20 * ms},
		{key: key(2), bytes: 700, every: 50 * ms}, // too large for copies at once
	}
	for i := range downloads {
		f := &bulkFlow{key: key(10 + i), window: 10, flight: map[int]bool{}, seen: map[int]bool{}}
		if Spreads(name) {
			f.order = resequence.New(resequence.Params{}, 0, func(seq int) { w.answer(f, seq) }, nil)
			f.order.SetWait(resequence.Wait([]resequence.Delay{{Mean: 15 * ms, Variation: 2 * ms}, {Mean: 30 * ms, Variation: 2 * ms}}))
		}
		w.bulk = append(w.bulk, f)
	}
	return w
}

func (w *world) run() {
	for i, f := range w.thin {
		w.in(time.Duration(i)*7*ms, func() { w.talk(f) })
	}
	for i, f := range w.bulk {
		w.in(time.Duration(i)*300*ms, func() { w.fill(f) })
		w.in(500*ms, func() { w.timeout(f) })
	}
	w.in(simDeath, func() { w.wires[0].dead = true })
	w.in(simDeath+200*ms, func() { w.bury(w.wires[0]) })
	for len(w.events) > 0 {
		e := heap.Pop(&w.events).(event)
		if e.at > simEnd {
			return
		}
		w.now = e.at
		e.do()
	}
}

func (w *world) talk(f *thinFlow) {
	f.sent++
	w.send(&simPacket{thin: f, seq: f.sent, bytes: f.bytes, since: w.now})
	if w.now < simEnd-time.Second {
		w.in(f.every, func() { w.talk(f) })
	}
}

func (w *world) fill(f *bulkFlow) {
	for len(f.flight) < int(f.window) {
		f.flight[f.next] = true
		w.send(&simPacket{bulk: f, seq: f.next, bytes: simBulk, since: w.now})
		f.next++
	}
}

// paths is what the policy is told.
func (w *world) paths(class queue.Class) []Path {
	var paths []Path
	for _, l := range w.wires {
		if l.gone {
			continue
		}
		p := l.path
		if class == queue.Bulk {
			p.Queued = l.queue.Bytes()
		}
		paths = append(paths, p)
	}
	return paths
}

func (w *world) wire(id int) *wire { return w.wires[id-1] }

// send sends a packet on the paths that the policy picks.
func (w *world) send(p *simPacket) {
	packet := Packet{Class: queue.Sparse, Bytes: p.bytes}
	if p.bulk != nil {
		packet.Class, packet.Key = queue.Bulk, p.bulk.key
	} else {
		packet.Key = p.thin.key
	}
	w.dst = w.policy.Pick(w.time(), packet, w.paths(packet.Class), w.dst)
	p.by, p.copied = w.dst[0], len(w.dst) > 1
	for _, id := range w.dst {
		w.push(w.wire(id), p, packet.Key)
	}
	if w.hedge != nil && p.thin != nil && !p.copied {
		w.in(w.hedge.Late(w.wire(p.by).measure), func() { w.again(p, packet.Key) })
	}
}

// again sends what has no answer on a second path.
func (w *world) again(p *simPacket, key queue.FlowKey) {
	paths := w.paths(queue.Sparse)
	second, ok := Second(paths, p.by)
	if p.acked || p.copied || !ok || !w.hedge.Allow(w.time(), Again, p.bytes, paths) {
		return
	}
	p.copied, p.again = true, true
	w.push(w.wire(second), p, key)
}

var simPayload [simBulk]byte

func (w *world) push(l *wire, p *simPacket, key queue.FlowKey) {
	h := queue.Header{Key: key, Segments: 1, SegmentBytes: p.bytes}
	l.queue.Push(w.time(), &h, queue.Packet[*simPacket]{Payload: simPayload[:p.bytes], Meta: p, Since: epoch.Add(p.since)})
	w.pump(l)
}

func (w *world) pump(l *wire) {
	if l.busy {
		return
	}
	q, ok := l.queue.Pop(w.time(), 1<<20)
	if !ok {
		return
	}
	p, sent := q.Meta, w.now
	l.busy = true
	l.flight[p] = true
	takes := time.Duration(float64(p.bytes) * 8 / l.path.Rate * 1e9)
	w.in(takes, func() { l.busy = false; w.pump(l) })
	w.in(takes+l.delay, func() {
		if l.dead {
			return
		}
		w.arrive(l, p)
		w.in(l.delay, func() {
			if !l.dead {
				l.measure.Took(w.now - sent)
				delete(l.flight, p)
				p.acked = true
			}
		})
	})
}

func (w *world) arrive(l *wire, p *simPacket) {
	if p.arrived {
		return
	}
	p.arrived = true
	if w.hedge != nil && p.copied && l.path.ID != p.by {
		kind := AtOnce
		if p.again {
			kind = Again
		}
		w.hedge.Won(kind, true)
	}
	if f := p.thin; f != nil {
		f.got = append(f.got, w.now)
		if p.since > time.Second && p.since < simDeath-100*ms {
			f.took = append(f.took, w.now-p.since)
		}
		return
	}
	f := p.bulk
	if f.order == nil {
		w.answer(f, p.seq)
		return
	}
	f.order.Push(w.time(), uint64(p.seq), l.path.ID, p.bytes, p.seq)
	w.look(f)
}

// look has a buffer release what is due, then and later.
func (w *world) look(f *bulkFlow) {
	f.order.Expire(w.time())
	if at, ok := f.order.Deadline(); ok && f.orderSet <= w.now {
		f.orderSet = at.Sub(epoch)
		w.in(f.orderSet-w.now, func() { w.look(f) })
	}
}

// answer is when a download's receiver gets a segment; its sender hears of it
// after some way back.
func (w *world) answer(f *bulkFlow, seq int) {
	switch {
	case f.seen[seq]:
	case w.now > time.Second && w.now <= simDeath:
		f.before += simBulk
	case w.now > simDeath+time.Second:
		f.after += simBulk
	}
	f.seen[seq] = true
	w.in(15*ms, func() { w.answered(f, seq) })
}

func (w *world) answered(f *bulkFlow, seq int) {
	f.heard = w.now
	f.highest = max(f.highest, seq)
	if f.flight[seq] {
		delete(f.flight, seq)
		f.window += 3 / f.window
		if f.cuts == 0 {
			f.window++ // slow start
		}
	}
	for ; f.low < f.highest-3; f.low++ { // what is late by three counts as lost
		if f.flight[f.low] {
			delete(f.flight, f.low)
			if f.low >= f.calm {
				f.window, f.calm = max(f.window*0.7, 4), f.next
				f.cuts++
			}
		}
	}
	w.fill(f)
}

func (w *world) timeout(f *bulkFlow) {
	if w.now-f.heard > 500*ms {
		clear(f.flight)
		f.window, f.heard = 10, w.now
		w.fill(f)
	}
	w.in(100*ms, func() { w.timeout(f) })
}

// bury takes a dead path away, and sends again what is young.
func (w *world) bury(l *wire) {
	l.gone = true
	var list []*simPacket
	for p := range l.flight {
		list = append(list, p)
	}
	l.queue.Drain(func(p queue.Packet[*simPacket]) { list = append(list, p.Meta) })
	slices.SortFunc(list, func(a, b *simPacket) int { return int(a.since - b.since) })
	for _, p := range list {
		if !p.arrived && w.now-p.since < time.Second {
			w.send(p)
		}
	}
}

func (f *thinFlow) quantile(q float64) time.Duration {
	slices.Sort(f.took)
	return f.took[int(q*float64(len(f.took)-1))]
}

// silence is the longest around the death.
func (f *thinFlow) silence() (longest time.Duration) {
	slices.Sort(f.got)
	for i := 1; i < len(f.got); i++ {
		if f.got[i] > simDeath-100*ms && f.got[i-1] < simDeath+time.Second {
			longest = max(longest, f.got[i]-f.got[i-1])
		}
	}
	return longest
}

// goodput of all downloads, Mb/s, before the death and after it.
func (w *world) goodput() (before, after float64, cuts int) {
	for _, f := range w.bulk {
		before += float64(f.before*8) / 3e6
		after += float64(f.after*8) / 3e6
		cuts += f.cuts
	}
	return before, after, cuts
}

// TestSpreadOne: what one download gets. On one path it has what that has;
// spread and put in order it has both.
func TestSpreadOne(t *testing.T) {
	got := map[string]float64{}
	for _, name := range Names() {
		w := newWorld(t, name, 1)
		w.run()
		before, after, cuts := w.goodput()
		got[name] = before
		t.Logf("%-11s before %5.1f, after %5.1f Mb/s, %d cuts", name, before, after, cuts)
	}
	if got["ecf"] < 65 || got["auto"] < 43 {
		t.Error("too little")
	}
}

// TestSimulation prints what each policy makes of two uplinks, and holds it
// loosely to what it is for.
func TestSimulation(t *testing.T) {
	tests := map[string]struct {
		p50, p99, silence time.Duration // of the call, at most
		before, after     float64       // Mb/s of both downloads, at least
	}{
		"auto":       {18 * ms, 25 * ms, 60 * ms, 68, 25},
		"redundant":  {18 * ms, 25 * ms, 60 * ms, 24, 25},
		"weighted":   {33 * ms, 36 * ms, 300 * ms, 60, 25},
		"roundrobin": {33 * ms, 36 * ms, 300 * ms, 40, 25},
		"minrtt":     {18 * ms, 25 * ms, 300 * ms, 43, 25},
		"ecf":        {18 * ms, 35 * ms, 300 * ms, 65, 25},
	}
	t.Logf("%-11s %8s %8s %8s %6s %9s %9s %6s", "", "p50", "p99", "silence", "lost", "before", "after", "cuts")
	for _, name := range Names() {
		w := newWorld(t, name, 2)
		w.run()
		before, after, cuts := w.goodput()
		for i, f := range w.thin {
			line := name
			if i > 0 {
				line = "  terminal"
			}
			t.Logf("%-11s %8.1f %8.1f %8.1f %6d %9.1f %9.1f %6d", line, f.quantile(0.5).Seconds()*1e3, f.quantile(0.99).Seconds()*1e3,
				f.silence().Seconds()*1e3, f.sent-len(f.got), before, after, cuts)
		}
		want, call := tests[name], w.thin[0]
		if call.quantile(0.5) > want.p50 || call.quantile(0.99) > want.p99 || call.silence() > want.silence || before < want.before || after < want.after {
			t.Errorf("%s: want at most %v, %v, %v and at least %v, %v", name, want.p50, want.p99, want.silence, want.before, want.after)
		}
		if lost := call.sent - len(call.got); lost > 0 {
			t.Errorf("%s: %d packets of the call are lost", name, lost)
		}
		if w.hedge != nil {
			t.Logf("  copies at once %+v, again %+v", w.hedge.Copies(AtOnce), w.hedge.Copies(Again))
			if s := w.thin[1].silence(); s > 150*ms {
				t.Errorf("%s: the terminal was silent for %v", name, s)
			}
		}
	}
}

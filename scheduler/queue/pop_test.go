package queue

import (
	"bytes"
	"math"
	"slices"
	"testing"
)

// TestParts: a super-packet that is longer than there is room for leaves in
// parts, between those of others.
func TestPopParts(t *testing.T) {
	for _, s := range supers() {
		b := newBench(t, Params{})
		s.sport = 7
		want := segments(s.build())
		b.push(1, s)
		b.push(2, s)
		room := s.size*3 + 200
		var got [][]byte
		for more := true; more; {
			p, ok := b.q.Pop(b.now, room)
			if !ok || p.Meta != 1 || !p.More && len(p.Payload) > room || p.More && !sane(p.Payload) {
				t.Fatalf("%+v: packet %v, %v, more %v, %d bytes", s, p.Meta, ok, p.More, len(p.Payload))
			}
			got = append(got, segments(p.Payload)...)
			more = p.More
			clear(p.Payload[len(p.Payload)-1:]) // it is the caller's, more or less
		}
		for i := range got { // the last byte of each part was cleared after it was read
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("%+v: segment %d of %d\n%x\nwant\n%x", s, i, len(got), head(got[i]), head(want[i]))
			}
		}
		if len(got) != len(want) || b.q.Len() != 1 || b.q.Bytes() != len(s.build()) {
			t.Fatalf("%+v: %d segments, want %d; %d bytes left", s, len(got), len(want), b.q.Bytes())
		}
	}
}

func TestPopPartsTakeTurns(t *testing.T) {
	b := newBench(t, Params{})
	b.push(1, super64(1))
	b.push(2, super64(2))
	var got []int
	for range 40 {
		p, _ := b.q.Pop(b.now, 2100)
		if n := len(segments(p.Payload)); n != 2 {
			t.Fatalf("%d segments", n)
		}
		got = append(got, p.Meta)
	}
	sum := 0
	for _, id := range got {
		sum += id
	}
	if sum < 59 || sum > 61 {
		t.Fatalf("turns %v", got)
	}
	b.push(3, small(3)) // waits for nothing but what left before
	p, _ := b.q.Pop(b.now, 2100)
	if p.Meta != 3 {
		t.Fatalf("packet %d before it", p.Meta)
	}
	// Too little room is one segment.
	if p, ok := b.q.Pop(b.now, 0); !ok || len(segments(p.Payload)) != 1 {
		t.Fatalf("%d bytes, %v", len(p.Payload), ok)
	}
}

// TestPushBetweenParts: what was popped stays as it is until the next Pop,
// though memory is short meanwhile.
func TestPushBetweenParts(t *testing.T) {
	b := newBench(t, Params{Limit: 140_000})
	b.push(1, super64(1))
	want := segments(super64(1).build())
	p, _ := b.q.Pop(b.now, 5200)
	part := slices.Clone(p.Payload)
	for i := range 100 {
		b.push(10+i, full(1))
		b.push(10+i, full(2))
	}
	if !bytes.Equal(part, p.Payload) || len(b.dropped) == 0 || slices.Contains(b.dropped, 1) || b.q.full() {
		t.Fatalf("dropped %v", b.dropped)
	}
	for {
		p, ok := b.q.Pop(b.now, math.MaxInt)
		if !ok {
			t.Fatal("the rest is gone")
		}
		if p.Meta == 1 {
			equal(t, segments(p.Payload), want[len(segments(part)):])
			return
		}
	}
}

func TestECN(t *testing.T) {
	for _, test := range []struct {
		ecn   byte
		marks bool
	}{{NotECT, false}, {ECT0, true}, {ECT1, true}, {CE, true}} {
		b := newBench(t, Params{})
		s := spec{data: 1000, ecn: test.ecn}
		for i := range 400 {
			b.push(i, s)
		}
		marked := uint64(0)
		for range 300 {
			b.now = b.now.Add(2 * ms)
			p, _ := b.q.Pop(b.now, math.MaxInt)
			h, _ := Parse(p.Payload)
			if p.Marked {
				marked++
			}
			if (h.ECN == CE) != (p.Marked || test.ecn == CE) {
				t.Fatalf("ECN %d, marked %v", h.ECN, p.Marked)
			}
			checkComplete(t, segments(p.Payload))
		}
		c := b.q.Counters(Bulk)
		if (len(b.dropped) > 0) == test.marks || (marked > 0) != test.marks || c.Marked != marked || c.Dropped != uint64(len(b.dropped)) {
			t.Fatalf("ECN %d: %d marked, %d dropped, %+v", test.ecn, marked, len(b.dropped), c)
		}
	}
}

func TestCEThreshold(t *testing.T) {
	b := newBench(t, Params{CEThreshold: ms})
	b.push(1, spec{data: 5000, size: 1000, ecn: ECT0})
	b.push(2, spec{data: 1000, sport: 2})
	p, _ := b.q.Pop(b.now.Add(ms), 2200)
	if p.Marked || !p.More {
		t.Fatalf("at the threshold: %+v", p)
	}
	p, _ = b.q.Pop(b.now.Add(ms+1), math.MaxInt)
	if p.Meta != 2 || p.Marked {
		t.Fatalf("who does not heed marks: %+v", p)
	}
	// The mark is on the part that leaves, not on the rest.
	p, _ = b.q.Pop(b.now.Add(ms+1), 1100)
	if h, _ := Parse(p.Payload); !p.Marked || h.ECN != CE || !p.More {
		t.Fatalf("above it: %+v", h)
	}
	p, _ = b.q.Pop(b.now, 5000)
	if h, _ := Parse(p.Payload); h.ECN != ECT0 || h.Segments != 3-1 || p.More {
		t.Fatalf("the rest: %+v", h)
	}
	if c := b.q.Counters(Sparse); c.Marked != 1 {
		t.Fatalf("%+v", c)
	}
}

func TestDrain(t *testing.T) {
	b := newBench(t, Params{Flows: 2})
	for i := range 5 {
		b.push(10+i, full(1))
		b.push(20+i, full(2))
		b.push(30+i, full(3)) // a guest
	}
	b.push(40, super64(1))
	b.pop(3)
	b.now = b.now.Add(ms)
	last := map[int]int{}
	n := 0
	b.q.Drain(func(p Packet[int]) {
		n++
		if last[p.Meta/10] >= p.Meta || !p.Since.Equal(epoch) || p.More {
			t.Fatalf("%+v after %v", p.Meta, last)
		}
		last[p.Meta/10] = p.Meta
	})
	if n != 13 || b.q.Len() != 0 || b.q.Bytes() != 0 || len(b.dropped) != 0 {
		t.Fatalf("%d drained, %d left", n, b.q.Len())
	}
	b.push(1, full(4))
	b.want(b.pop(2), []int{1})
}

// TestGuests: more flows than queues keep their order, and share.
func TestGuests(t *testing.T) {
	b := newBench(t, Params{Flows: 4})
	next := map[int]int{}
	id := 0
	for round := range 200 {
		for flow := range 9 {
			if (round/7+flow)%3 == 0 {
				b.push(id*16+flow, small(flow))
				id++
			}
		}
		for _, got := range b.pop(3) {
			if flow := got % 16; got/16 < next[flow] {
				t.Fatalf("flow %d: packet %d after %d", flow, got/16, next[flow])
			} else {
				next[flow] = got / 16
			}
		}
	}
}

// TestPopSparse: a call leaves while the rest is held back, for as long as that
// takes, and the rest is untouched.
func TestPopSparse(t *testing.T) {
	b := newBench(t, Params{})
	for i := range 40 {
		b.push(100+i, full(1))
	}
	b.pop(20) // it is bulk by now
	if _, ok := b.q.PopSparse(b.now, 4000); ok || b.q.HasSparse() {
		t.Fatal("a bulk flow goes before itself")
	}
	waiting := b.q.Len()
	for i := range 200 { // more than a turn
		b.now = b.now.Add(10 * ms)
		b.push(i, small(2))
		p, ok := b.q.PopSparse(b.now, 4000)
		if !ok || p.Meta != i || p.Class != Sparse {
			t.Fatalf("packet %d of the call: %v, %v", i, p.Meta, ok)
		}
		if _, ok := b.q.PopSparse(b.now, 4000); ok || b.q.HasSparse() || b.q.Len() != waiting {
			t.Fatalf("%d wait, want %d", b.q.Len(), waiting)
		}
	}
	b.now = epoch.Add(ms)
	if got := b.pop(1); len(got) != 1 || got[0] < 100 {
		t.Fatalf("then %v leaves", got)
	}
}

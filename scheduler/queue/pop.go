package queue

import "time"

// Pop returns the packet to be sent next; ok is false when none waits. Of a
// super-packet that is longer than maxBytes it returns the first segments, as
// many as fit but at least one; the others come later, in their order, each
// part with headers of its own. Another packet that is longer comes whole. A mark
// is on what is returned, all of its segments, and not on what comes later.
func (q *Queue[M]) Pop(now time.Time, maxBytes int) (p Packet[M], ok bool) {
	return q.pop(now, maxBytes, false)
}

// PopSparse is Pop for when nothing but what goes before the rest may be sent; ok
// is false when there is none of that.
func (q *Queue[M]) PopSparse(now time.Time, maxBytes int) (p Packet[M], ok bool) {
	return q.pop(now, maxBytes, true)
}

// HasSparse reports whether PopSparse may find something.
func (q *Queue[M]) HasSparse() bool { return q.lists[inSparse].first != none }

func (q *Queue[M]) pop(now time.Time, maxBytes int, sparse bool) (p Packet[M], ok bool) {
	q.rejoin()
	t := q.at(now)
	for {
		from := q.next()
		if sparse {
			if from = inSparse; !q.HasSparse() {
				return p, false
			}
		}
		if from == inNone {
			return p, false
		}
		i := q.lists[from].first
		f := q.flow(i)
		if f.deficit <= 0 && sparse { // nobody else has a turn
			f.deficit += q.params.Quantum
			q.move(inSparse, i)
			continue
		}
		if f.deficit <= 0 {
			q.turn(i, f)
			continue
		}
		q.dropOld(f, t)
		mark := q.judge(f, t)
		if f.packets > 0 {
			return q.take(f, from, t, maxBytes, mark), true
		}
		if from < inOld && q.lists[inOld].first != none {
			q.move(inOld, i) // or it would be new again with its next packet
		} else {
			q.remove(i)
			q.table.release(i)
		}
	}
}

// next chooses the list to serve.
func (q *Queue[M]) next() place {
	others := q.others()
	if q.lists[inBackground].first == none {
		q.credit = 0
		return others
	}
	if others == inNone || q.credit >= float64(q.params.Quantum) {
		return inBackground
	}
	return others
}

// others chooses among the lists before the background.
func (q *Queue[M]) others() place {
	for at := inSparse; at < inBackground; at++ {
		if q.lists[at].first != none {
			return at
		}
	}
	return inNone
}

// turn ends a flow's turn.
func (q *Queue[M]) turn(i int32, f *flow) {
	f.deficit += q.params.Quantum
	if f.packets > 0 {
		f.behaviour.Queued(q.params.Quantum)
	}
	to := inOld
	if f.background {
		to = inBackground
	}
	q.move(to, i)
	if q.alone(i) {
		f.deficit = q.params.Quantum // nobody else has a turn in between
	}
}

func (q *Queue[M]) alone(i int32) bool {
	for _, l := range q.lists[inSparse:] {
		if l.first != none && (l.first != i || l.last != i) {
			return false
		}
	}
	return true
}

// dropOld drops what is too old from the front of a flow's queue.
func (q *Queue[M]) dropOld(f *flow, now time.Duration) {
	c := f.behaviour.Class()
	for f.packets > 0 && now-q.waiting[f.first].since > q.params.MaxAge[c] {
		q.counters[c].TooOld += uint64(q.dropFirst(f, int(q.waiting[f.first].segments)))
	}
}

// judge is CoDel's dequeue (RFC 8289, section 5.5): it drops what is to be
// dropped before the flow's next packet leaves, or says that this is to be
// marked instead, as Linux does.
func (q *Queue[M]) judge(f *flow, now time.Duration) (mark bool) {
	c := &f.codel
	above := q.above(f, now)
	switch {
	case c.dropping:
		c.dropping = above
		for c.dropping && now >= c.dropNext {
			c.count++
			if q.canMark(f) {
				c.dropNext = c.next(c.dropNext, q.delays)
				return true
			}
			q.dropOne(f)
			if c.dropping = q.above(f, now); c.dropping {
				c.dropNext = c.next(c.dropNext, q.delays)
			}
		}
	case above:
		if mark = q.canMark(f); !mark {
			q.dropOne(f)
			q.above(f, now)
		}
		c.enter(now, q.delays)
	}
	return mark || q.overThreshold(f, now)
}

func (q *Queue[M]) above(f *flow, now time.Duration) bool {
	if f.packets == 0 {
		return f.codel.above(now, 0, 0, 0, q.delays)
	}
	w := &q.waiting[f.first]
	return f.codel.above(now, now-w.since, f.bytes-int(w.segmentBytes), f.mtu, q.delays)
}

func (q *Queue[M]) canMark(f *flow) bool { return q.waiting[f.first].ecn != NotECT }

func (q *Queue[M]) overThreshold(f *flow, now time.Duration) bool {
	return q.params.CEThreshold > 0 && f.packets > 0 && q.canMark(f) &&
		now-q.waiting[f.first].since > q.params.CEThreshold
}

// take lets the flow's first packet go, or its first segments.
func (q *Queue[M]) take(f *flow, from place, now time.Duration, maxBytes int, mark bool) Packet[M] {
	class := f.behaviour.Class()
	n := q.detach(f)
	w := &q.waiting[n]
	p := Packet[M]{Payload: w.payload, Meta: w.meta, Since: q.epoch.Add(w.since), Class: class}
	segments := int(w.segments)
	waited := now - w.since
	if s, k := q.part(w, maxBytes); k > 0 {
		q.cutOff(f, n, s, k)
		p.Payload, p.More = s.keepFirst(p.Payload, k), true
		segments = k
	} else {
		q.forget(f, n)
	}
	if mark && MarkCE(p.Payload) {
		p.Marked = true
		q.counters[class].Marked += uint64(segments)
	}
	q.counters[class].left(segments, len(p.Payload), waited)
	q.charge(f, from, len(p.Payload))
	return p
}

// charge takes the bytes from the flow's turn, and keeps the balance between
// background flows and others.
func (q *Queue[M]) charge(f *flow, from place, bytes int) {
	f.deficit -= bytes
	switch {
	case from != inBackground:
		if q.lists[inBackground].first != none {
			q.credit += backgroundPart * float64(bytes)
		}
	case q.others() != inNone:
		q.credit -= float64(bytes)
	default:
		q.credit = 0
	}
}

package queue

// full says that more waits than may.
func (q *Queue[M]) full() bool { return q.bytes+overhead*q.packets > q.params.Limit }

// dropFattest drops from the queue with the most bytes, until it has half of
// them or dropMost segments are gone: finding it takes a look at all. It is
// false when nothing can be dropped.
func (q *Queue[M]) dropFattest() bool {
	var f *flow
	most := 0
	for _, l := range q.lists[inSparse:] {
		for i := l.first; i != none; {
			g := q.flow(i)
			if g.bytes > most {
				f, most = g, g.bytes
			}
			i = g.after
		}
	}
	if f == nil {
		return false
	}
	for left := dropMost; left > 0 && f.bytes > most/2; {
		n := q.dropFirst(f, min(left, q.excess(f, most/2)))
		q.counters[f.behaviour.Class()].Overflowed += uint64(n)
		left -= n
	}
	return true
}

// excess is how many segments of a flow's first packet have to go for its queue
// to have no more than so many bytes; those of another packet do not count.
func (q *Queue[M]) excess(f *flow, bytes int) int {
	s, ok := shapeOf(q.waiting[f.first].payload)
	if !ok {
		return 1
	}
	return (f.bytes - bytes + s.size - 1) / s.size
}

// dropOne drops the first segment of a flow's queue, for CoDel.
func (q *Queue[M]) dropOne(f *flow) {
	q.counters[f.behaviour.Class()].Dropped += uint64(q.dropFirst(f, 1))
}

// dropFirst drops at most so many segments of the first packet of a flow's
// queue, and returns how many.
func (q *Queue[M]) dropFirst(f *flow, segments int) int {
	n := f.first
	w := &q.waiting[n]
	if segments < int(w.segments) {
		if s, ok := shapeOf(w.payload); ok {
			w.payload = s.dropFirst(w.payload, segments)
			w.segments -= int32(segments)
			w.segmentBytes = min(w.segmentBytes, int32(len(w.payload)))
			f.bytes -= segments * s.size
			q.bytes -= segments * s.size
			return segments
		}
	}
	whole, meta := int(w.segments), w.meta
	q.detach(f)
	q.forget(f, n)
	q.dropped(meta)
	return whole
}

// Drain empties the Queue, as when its uplink is gone: each gets all that
// waits, each flow's packets in their order, with Since, and they are their
// caller's. Nothing is counted. What the last Pop returned may no longer be
// read.
func (q *Queue[M]) Drain(each func(Packet[M])) {
	q.rejoin()
	for at := inSparse; at < places; at++ {
		for q.lists[at].first != none {
			i := q.lists[at].first
			f := q.flow(i)
			for f.packets > 0 {
				n := q.detach(f)
				w := &q.waiting[n]
				p := Packet[M]{Payload: w.payload, Meta: w.meta, Since: q.epoch.Add(w.since), Class: f.behaviour.Class()}
				q.forget(f, n)
				each(p)
			}
			f.codel = codel{}
			q.remove(i)
			q.table.release(i)
		}
	}
}

package queue

import (
	"hash/maphash"
	"time"
)

// Packet is a packet before, in and after a Queue, with what its owner wants
// to know of it.
type Packet[M any] struct {
	// Payload is the virtio-net header and the IP packet. From Push on it is
	// the Queue's, which changes it, until Pop returns it or it is dropped.
	Payload []byte
	Meta    M

	// Since is when the wait began. Push takes zero for now; a packet that has
	// waited elsewhere keeps its age.
	Since time.Time

	// The rest is set by Pop.

	Class Class
	// Marked says that it was marked here.
	Marked bool
	// More says that it is the first part of a super-packet: Payload may be
	// read until the next Pop, and is still the Queue's. The last part has
	// More unset, and Payload is its caller's.
	More bool
}

// Queue is what waits in front of an uplink. Its methods do not allocate, once
// it has been as full as it gets.
type Queue[M any] struct {
	params  Params
	delays  delays
	dropped func(M)
	epoch   time.Time // the first time that it was told

	table  *Table[flow]
	lists  [places]list
	credit float64 // bytes that background flows may send before others

	waiting  []waiting[M]
	free     int32 // first of those unused
	packets  int
	bytes    int
	out      cut
	counters [classes]Counters
}

// flow is one flow's queue.
type flow struct {
	in            place
	before, after int32 // in its list
	first, last   int32 // waiting packets
	packets       int   // that wait, and their bytes, without the rest of one
	bytes         int   // that is cut
	deficit       int   // bytes that it may still send in this turn
	mtu           int   // largest segment, bytes
	guests        int   // packets of flows that have no queue of their own
	background    bool
	behaviour     Behaviour
	codel         codel
}

// waiting is a packet in a flow's queue.
type waiting[M any] struct {
	payload      []byte
	meta         M
	since        time.Duration
	next         int32
	segments     int32
	segmentBytes int32
	ecn          uint8
	guest        bool
}

// New makes an empty Queue. dropped is called, from within Push and Pop, for
// each packet that is dropped, whose payload is then its owner's again; it must
// not call the Queue. It may be nil. It is not called for a segment dropped out
// of a super-packet.
func New[M any](p Params, seed maphash.Seed, dropped func(M)) *Queue[M] {
	p = p.withDefaults()
	if dropped == nil {
		dropped = func(M) {}
	}
	q := &Queue[M]{
		params:  p,
		delays:  delays{p.Target, p.Interval},
		dropped: dropped,
		table:   NewTable[flow](p.Flows, seed),
		free:    none,
		out:     cut{packet: none},
	}
	for i := range q.lists {
		q.lists[i] = list{none, none}
	}
	return q
}

// SetDelays changes CoDel's parameters; DelaysFor gives those of an uplink.
func (q *Queue[M]) SetDelays(target, interval time.Duration) {
	q.delays = delays{max(target, 0), max(interval, 1)}
}

// Len returns how many packets wait, a super-packet being one.
func (q *Queue[M]) Len() int { return q.packets }

// Bytes returns how many bytes wait, virtio-net headers included.
func (q *Queue[M]) Bytes() int { return q.bytes }

// Class returns the class of a flow; Sparse if it is not known.
func (q *Queue[M]) Class(key *FlowKey) Class {
	if i := q.table.find(key, new(Hash)); i != none {
		return q.flow(i).behaviour.Class()
	}
	return Sparse
}

func (q *Queue[M]) flow(i int32) *flow { return &q.table.entries[i].value }

// at is a time as it is kept here.
func (q *Queue[M]) at(t time.Time) time.Duration {
	if q.epoch.IsZero() {
		q.epoch = t
	}
	return t.Sub(q.epoch)
}

// Push takes in a packet whose header Parse has read, and returns its flow's
// class. The header's hash, if it is known, must be by the Queue's seed; else Push
// may note it. Of Packet it heeds Payload, Meta and Since. When more would wait than
// may, the fattest queue is made half as long, from its front.
func (q *Queue[M]) Push(now time.Time, h *Header, p Packet[M]) Class {
	since := q.at(now)
	if !p.Since.IsZero() {
		since = q.at(p.Since)
	}
	i, guest := q.queueOf(&h.Key, &h.Hash)
	f := q.flow(i)
	class := f.behaviour.Sent(now, h, len(p.Payload))
	f.background = isBackground(h.DSCP)
	f.mtu = max(f.mtu, h.SegmentBytes)
	q.activate(i, f)

	n := q.node()
	q.waiting[n] = waiting[M]{p.Payload, p.Meta, since, none,
		int32(h.Segments), int32(h.SegmentBytes), h.ECN, guest}
	if guest {
		f.guests++
	}
	if f.packets == 0 {
		f.first = n
	} else {
		q.waiting[f.last].next = n
	}
	f.last = n
	f.packets++
	f.bytes += len(p.Payload)
	q.packets++
	q.bytes += len(p.Payload)
	for q.full() && q.dropFattest() {
	}
	return class
}

// queueOf finds the queue of a flow. Where all are in use, it is the guest of
// another, and stays there as long as one of its packets may, so that they
// keep their order.
func (q *Queue[M]) queueOf(key *FlowKey, hash *Hash) (i int32, guest bool) {
	if i = q.table.find(key, hash); i != none {
		return i, false
	}
	host := int32(hash.sum >> 32 % uint64(len(q.table.entries)))
	if q.flow(host).guests > 0 {
		return host, true
	}
	if i = q.table.insert(key, hash.sum); i != none {
		return i, false
	}
	return host, true
}

// activate puts a flow that gets a packet into a list.
func (q *Queue[M]) activate(i int32, f *flow) {
	switch {
	case f.in == inNone:
		q.table.hold(i)
		f.deficit = q.params.Quantum
		switch {
		case f.background:
			q.enlist(inBackground, i)
		case f.behaviour.Class() == Sparse:
			q.enlist(inSparse, i)
		default:
			q.enlist(inNew, i)
		}
	case f.in == inOld && f.packets == 0 && f.deficit > 0 && !f.background && f.behaviour.Class() == Sparse:
		q.move(inSparse, i)
	}
}

// node returns an unused place for a packet.
func (q *Queue[M]) node() int32 {
	if n := q.free; n != none {
		q.free = q.waiting[n].next
		return n
	}
	q.waiting = append(q.waiting, waiting[M]{})
	return int32(len(q.waiting) - 1)
}

// detach takes the first packet out of a flow's queue.
func (q *Queue[M]) detach(f *flow) (n int32) {
	n = f.first
	w := &q.waiting[n]
	f.first = w.next
	f.packets--
	f.bytes -= len(w.payload)
	return n
}

// forget ends a detached packet's time here.
func (q *Queue[M]) forget(f *flow, n int32) {
	w := &q.waiting[n]
	if w.guest {
		f.guests--
	}
	q.packets--
	q.bytes -= len(w.payload)
	*w = waiting[M]{next: q.free}
	q.free = n
}

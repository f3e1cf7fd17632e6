package tunnel

import (
	"time"

	"braid/scheduler/policy"
	"braid/scheduler/queue"
	"braid/tunnel/wire"
)

// A sparse packet is sent again on a second path when the peer's word on it is
// late. One timer serves a lane, and runs while there is such a packet.
//
//	take: outstanding ─▶ armLocked ─▶ overdue: copies of what is late ─▶ armLocked
//	arrived: not outstanding any more

// CopyStatus is what copies of one kind did in this session; packets.
type CopyStatus struct {
	Sent, Bytes uint64
	Useful      uint64 // came before the original, or instead of it
	Refused     uint64 // for want of budget
}

// outstanding are sparse packets that a carrier's writer took, and that are to be
// sent again when they are late, by their index on the carrier; oldest first.
type outstanding struct {
	list  []sentAt
	first int
}

type sentAt struct {
	index uint64
	at    time.Time
}

func (o *outstanding) add(index uint64, at time.Time) { o.list = append(o.list, sentAt{index, at}) }

func (o *outstanding) head() (s sentAt, ok bool) {
	if o.first == len(o.list) {
		return s, false
	}
	return o.list[o.first], true
}

func (o *outstanding) pop() {
	if o.first++; o.first == len(o.list) {
		o.list, o.first = o.list[:0], 0
	} else if o.first > len(o.list)/2 {
		o.list, o.first = o.list[:copy(o.list, o.list[o.first:])], 0
	}
}

// below pops those below an index.
func (o *outstanding) below(index uint64) {
	for s, ok := o.head(); ok && s.index < index; s, ok = o.head() {
		o.pop()
	}
}

// canHedgeLocked reports whether there is a path for copies of what p carries.
func (l *packetLane) canHedgeLocked(p *packetPath) bool {
	for _, o := range l.paths {
		if o != p && o.usable && !o.standby && !o.last {
			return !p.last
		}
	}
	return false
}

// armLocked sees to it that overdue is called when the oldest that is outstanding
// on the path is late.
func (l *packetLane) armLocked(now time.Time, p *packetPath) {
	oldest, ok := p.kept.sparse.head()
	if !ok || l.closed {
		return
	}
	at := oldest.at.Add(l.policies.Hedge().Late(p.took))
	if !l.lateAt.IsZero() && !at.Before(l.lateAt) {
		return
	}
	l.lateAt = at
	if wait := max(at.Sub(now), 0); l.late == nil {
		l.late = time.AfterFunc(wait, l.overdue)
	} else {
		l.late.Reset(wait)
	}
}

// overdue sends copies of what is late.
func (l *packetLane) overdue() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lateAt.IsZero() {
		return
	}
	now := time.Now()
	l.lateAt = time.Time{}
	l.lookLocked(now)
	for _, p := range l.paths {
		late := l.policies.Hedge().Late(p.took)
		for s, ok := p.kept.sparse.head(); ok && now.Sub(s.at) >= late; s, ok = p.kept.sparse.head() {
			p.kept.sparse.pop()
			if c := p.kept.nth(s.index); c != nil && p.usable && !c.copied && !c.stale(now) {
				l.againLocked(now, p, c)
			}
		}
		l.armLocked(now, p)
	}
	l.wakeLocked()
}

// againLocked sends a copy of what a path carries on another, if the budget allows.
func (l *packetLane) againLocked(now time.Time, p *packetPath, c *parcel) {
	paths := l.view.told[queue.Sparse]
	id, ok := policy.Second(paths, p.id)
	if !ok || !l.policies.Hedge().Allow(now, policy.Again, len(c.packet), paths) {
		return
	}
	c.copied = true
	l.view.of(id, len(c.packet)).queueLocked(now, c.clone(wire.CopyAgain))
}

// doubtLocked sends copies of what is sparse, and may not have arrived, on another
// path, because this one may be dead.
func (p *packetPath) doubtLocked(now time.Time) {
	l := p.lane
	l.lookLocked(now)
	id, ok := policy.Second(l.view.told[queue.Sparse], p.id)
	if !ok {
		return
	}
	to := l.view.of(id, 0)
	if to.late {
		return
	}
	p.kept.each(func(c *parcel) {
		if c.class == queue.Sparse && !c.copied && !c.isCopy() && !c.stale(now) {
			c.copied = true
			l.resent++
			to.queueLocked(now, c.clone(wire.Moved))
		}
	})
}

// copyStatusLocked returns what copies of one kind did, and what was refused.
func (l *packetLane) copyStatusLocked(k policy.Copy) CopyStatus {
	s := l.copies[k]
	s.Refused = l.policies.Hedge().Copies(k).Refused
	return s
}

package tunnel

import (
	"slices"
	"sync/atomic"
	"time"

	"braid/scheduler"
	"braid/scheduler/policy"
	"braid/scheduler/queue"
	"braid/tunnel/wire"
)

// packetPath is a carrier as a path of the packet lane. The lane's mutex guards
// what is not said to be guarded otherwise.
//
//	newPath ─▶ attach ─▶ take, wrote, arrived ... ─▶ detach
type packetPath struct {
	lane  *packetLane
	id    int
	last  bool          // the bond: for when there is no path carrier
	ready chan struct{} // holds a token while there may be something to take
	count pathCount
	begun atomic.Bool // it was attached once

	attached bool
	usable   bool
	standby  bool
	late     bool                  // an answer is overdue: it may be dead
	q        *queue.Queue[*parcel] // nil: nothing ever was
	kept     kept
	rtt      scheduler.RTTEstimator
	told     struct { // what others measured; 0: nothing
		rtt  time.Duration
		rate scheduler.BitRate
		loss float64
	}
	rate   deliveryRate
	bound  bulkBound
	took   policy.Delivery // of sparse packets, until the peer's word
	copies pathCopies

	in arrivals
}

// pathCount is what a path carried; packets and bytes of IP, duplicates counted.
type pathCount struct {
	txPackets, txBytes, rxPackets, rxBytes atomic.Uint64
}

// newPath makes a carrier's path; last is for the bond. say queues a control
// frame on the carrier.
func (l *packetLane) newPath(last bool, say func(frame []byte) error) *packetPath {
	p := &packetPath{lane: l, last: last, ready: make(chan struct{}, 1)}
	p.in.say = say
	return p
}

// attach lets the lane use the carrier.
func (p *packetPath) attach(now time.Time, usable, standby bool) {
	l := p.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || p.attached {
		return
	}
	p.begun.Store(true)
	p.attached, p.usable, p.standby, p.id = true, usable, standby, l.ids
	l.ids++
	l.paths = append(l.paths, p)
	if !p.last {
		for _, o := range l.paths {
			switch {
			case !o.last:
			case o.stuckLocked(now):
				o.leaveLocked(now)
			default: // it is not needed any more
				l.moveLocked(now, o.q)
			}
		}
	}
	l.settleLocked(now)
}

// detach ends that, and sends again elsewhere what may not have arrived. The
// carrier may go on reading.
func (p *packetPath) detach(now time.Time) {
	l := p.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.attached {
		l.detachLocked(now, p)
		l.settleLocked(now)
	}
	p.in.end()
}

func (l *packetLane) detachLocked(now time.Time, p *packetPath) {
	l.paths = slices.DeleteFunc(l.paths, func(o *packetPath) bool { return o == p })
	p.attached, p.usable = false, false
	p.bound.set(time.Now(), 0)
	p.leaveLocked(now)
	if p.q != nil {
		for c := range l.gone {
			add(&l.gone[c], p.q.Counters(queue.Class(c)))
		}
		p.q = nil
	}
}

// leaveLocked sends elsewhere what was given to the path.
func (p *packetPath) leaveLocked(now time.Time) {
	l := p.lane
	l.lookLocked(now)
	list := p.kept.leave(l.scratch.parcels[:0])
	l.scratch.parcels = nil // moveLocked has its own
	for _, c := range list {
		l.placeAgainLocked(now, c)
	}
	clear(list)
	l.scratch.parcels = list
	l.moveLocked(now, p.q)
}

// use says whether the path works, whether it is only for when no other does, and
// whether an answer on it is late. What is sparse does not wait for the end of
// that doubt: it takes another path, and what is on its way goes there as well.
// Bulk flows stay, since most doubts are none.
func (p *packetPath) use(now time.Time, usable, standby, late bool) {
	l := p.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	if !p.attached || p.usable == usable && p.standby == standby && p.late == late {
		return
	}
	left, doubted := p.usable && !usable, late && !p.late
	p.usable, p.standby, p.late = usable, standby, late
	switch {
	case left:
		p.leaveLocked(now)
	case doubted && usable:
		p.doubtLocked(now)
	}
	l.settleLocked(now)
}

// stuckAfter is how long the bond may say nothing before no more packets are
// given to it: its uplinks may all be dead, and what it holds cannot be taken
// back.
const stuckAfter = 300 * time.Millisecond

func (p *packetPath) stuckLocked(now time.Time) bool {
	oldest, ok := p.kept.oldest()
	return ok && now.Sub(oldest) > max(stuckAfter, 2*p.rtt.Smoothed)
}

func (p *packetPath) queueLocked(now time.Time, c *parcel) {
	if p.q == nil {
		p.q = p.lane.newQueue()
	}
	enqueue(p.q, now, c)
}

func (p *packetPath) wake() {
	select {
	case p.ready <- struct{}{}:
	default:
	}
}

// backlog reports whether there is something to take. Only the carrier's writer
// asks.
func (p *packetPath) backlog() bool {
	p.lane.mu.Lock()
	defer p.lane.mu.Unlock()
	if p.q == nil || p.q.Len() == 0 {
		return false
	}
	now := time.Now()
	return !(p.last && p.stuckLocked(now)) && (p.bound.allows(now, p) || p.q.HasSparse())
}

// take appends the frames that are to be written next, together about as long as
// the path's rate allows for without holding up what comes behind. They may be
// read until wrote is called, which must follow. unsent is how much the kernel
// should hold at most before it says that it has room, 0 for what it does now.
func (p *packetPath) take(now time.Time, frames [][]byte) (_ [][]byte, unsent int) {
	l := p.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.q == nil {
		return frames, 0
	}
	if !p.last {
		unsent = p.rate.unsent()
	}
	hedged, before, bytes := l.canHedgeLocked(p), len(frames), 0
	for room := p.rate.piece(); room > 0; {
		var x queue.Packet[*parcel]
		var ok bool
		open := p.bound.allows(now, p)
		if open {
			x, ok = p.q.Pop(now, max(room, leastPiece))
		} else {
			x, ok = p.q.PopSparse(now, max(room, leastPiece))
		}
		if !ok {
			break
		}
		c := x.Meta
		if x.More { // the rest lies where this part is
			c = newParcel(x.Payload)
			c.header, c.since, c.policy = x.Meta.header, x.Since, x.Meta.policy
			c.header.Segments = 1
		} else {
			c.packet = x.Payload
		}
		c.class, c.sent = x.Class, now
		l.numberLocked(c)
		p.takenLocked(c, hedged)
		bytes += len(c.packet) - wire.VnetLen
		room -= len(c.packet)
		frame := c.frame()
		if frames = append(frames, frame); c.class == queue.Bulk {
			p.bound.spend(len(frame))
		}
	}
	p.rate.took(p.q.Len() > 0)
	p.count.txPackets.Add(uint64(len(frames) - before))
	p.count.txBytes.Add(uint64(bytes))
	if hedged {
		l.armLocked(now, p)
	}
	return frames, unsent
}

// takenLocked keeps and counts what is going to be written. hedged says that there
// is another path for copies of what is late.
func (p *packetPath) takenLocked(c *parcel, hedged bool) {
	index := p.kept.take(c)
	if c.kind < wire.Moved {
		p.copies.sent[c.kind]++
	}
	switch l := p.lane; c.kind {
	case wire.CopyAtOnce:
		l.copies[policy.AtOnce].count(c)
	case wire.CopyAgain:
		l.copies[policy.Again].count(c)
	default:
		if hedged && c.class == queue.Sparse && !c.copied && l.policies.Hedges(c.policy) {
			p.kept.sparse.add(index, c.sent)
		}
	}
}

func (s *CopyStatus) count(c *parcel) {
	s.Sent++
	s.Bytes += uint64(len(c.packet) - wire.VnetLen)
}

// wrote says that the frames of the last take have left, or never will.
func (p *packetPath) wrote() {
	p.lane.mu.Lock()
	defer p.lane.mu.Unlock()
	p.kept.wrote()
}

// add adds up counters.
func add(to *queue.Counters, c queue.Counters) {
	to.Packets += c.Packets
	to.Bytes += c.Bytes
	to.Dropped += c.Dropped
	to.Overflowed += c.Overflowed
	to.TooOld += c.TooOld
	to.Marked += c.Marked
	to.DelayMax = max(to.DelayMax, c.DelayMax)
}

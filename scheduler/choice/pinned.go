package choice

import (
	"hash/maphash"
	"time"

	"braid/scheduler/queue"
)

const (
	// nearer is what part of its path's round trip another path must have for
	// a sparse flow to move there: less is noise, and moving turns packets
	// around.
	nearer      = 0.8
	nearerLeast = 2 * time.Millisecond

	// A path is full when what waits in front of it takes longer than fullDelay,
	// and has for fullFor: CoDel lets that pass in a burst. It is no more once
	// it takes less than spareDelay.
	fullDelay  = 10 * time.Millisecond
	spareDelay = 2 * time.Millisecond
	fullFor    = 300 * time.Millisecond

	// gain is how much more a bulk flow must find elsewhere to be worth moving.
	gain = 1.1
	// movePause is between two moves of one flow, stagger between those of
	// any: each changes what the next would decide by.
	movePause = time.Second
	stagger   = 250 * time.Millisecond

	// loadTime is over how long loads are averaged.
	loadTime = time.Second

	pinnedFlows = 1024
	pinnedPaths = 17 // IDs that it keeps state of, by remainder
)

// Pinned keeps each flow on one path. A sparse flow takes the path with the
// shortest round trip. A bulk flow takes the one with the most capacity to
// spare, and moves when its path is gone, or is full and another has more for
// it. It sends no copies.
type Pinned struct {
	flows *queue.Table[pin]
	state [pinnedPaths]pathState
	moved time.Time
}

// pin is what is known of a flow.
type pin struct {
	path  int
	class queue.Class
	set   bool
	load  load
	moved time.Time
}

// pathState is what is known of a path besides what is told.
type pathState struct {
	load load      // of bulk flows
	full time.Time // since when; zero: it is not
}

// load is a rate, averaged over loadTime.
type load struct {
	bytes float64
	at    time.Time
}

// add counts bytes. The sum decays so that it is what a second brings.
func (l *load) add(now time.Time, bytes float64) {
	l.bytes = l.left(now) + bytes
	l.at = now
}

func (l *load) left(now time.Time) float64 {
	part := float64(now.Sub(l.at)) / float64(loadTime)
	if l.at.IsZero() || part >= 4 {
		return 0
	}
	part = max(part, 0)
	return l.bytes / (1 + part + part*part/2) // close enough to e^-part, and cheaper
}

// rate is in bits per second.
func (l *load) rate(now time.Time) float64 { return 8 * l.left(now) / loadTime.Seconds() }

// NewPinned makes a Pinned; the seed is as for queue.NewTable.
func NewPinned(seed maphash.Seed) *Pinned {
	return &Pinned{flows: queue.NewTable[pin](pinnedFlows, seed)}
}

// Pick implements Policy.
func (d *Pinned) Pick(now time.Time, p Packet, paths []Path, dst []int) []int {
	standby := allStandBy(paths)
	f, _ := d.flows.Get(&p.Key)
	at := d.at(f, paths, standby)
	if f.class != p.Class {
		at, f.class = -1, p.Class
	}
	to := at
	if p.Class == queue.Sparse {
		to = d.sparse(at, paths, standby)
	} else {
		to = d.bulk(now, f, at, paths, standby)
	}
	if to < 0 {
		return dst
	}
	f.path, f.set = paths[to].ID, true
	if p.Class == queue.Bulk {
		f.load.add(now, float64(p.Bytes))
		d.of(f.path).load.add(now, float64(p.Bytes))
	}
	return append(dst, f.path)
}

// at is the index of the flow's path, -1 where it has none that works.
func (d *Pinned) at(f *pin, paths []Path, standby bool) int {
	for i := range paths {
		if f.set && paths[i].ID == f.path && paths[i].Standby == standby {
			return i
		}
	}
	return -1
}

func (d *Pinned) of(id int) *pathState { return &d.state[uint(id)%pinnedPaths] }

// allStandBy reports whether there is nothing but paths that stand by.
func allStandBy(paths []Path) bool {
	for i := range paths {
		if !paths[i].Standby {
			return false
		}
	}
	return true
}

// sparse chooses for a sparse flow that is on path at.
func (d *Pinned) sparse(at int, paths []Path, standby bool) int {
	best := -1
	for i := range paths {
		if paths[i].Standby == standby && (best < 0 || shorter(paths[i].RTT, paths[best].RTT)) {
			best = i
		}
	}
	if at >= 0 && best >= 0 && best != at && paths[at].RTT > 0 {
		if is := paths[at].RTT; paths[best].RTT > time.Duration(nearer*float64(is)) || paths[best].RTT+nearerLeast > is {
			return at
		}
	}
	return best
}

// shorter compares round trips, of which one that is not known is the longest.
func shorter(a, b time.Duration) bool { return a > 0 && (b == 0 || a < b) }

// bulk chooses for a bulk flow that is on path at.
func (d *Pinned) bulk(now time.Time, f *pin, at int, paths []Path, standby bool) int {
	for i := range paths {
		d.watch(now, &paths[i])
	}
	if at < 0 {
		f.moved = now
		return d.roomiest(now, paths, standby, -1)
	}
	s := d.of(paths[at].ID)
	if s.full.IsZero() || now.Sub(s.full) < fullFor || now.Sub(f.moved) < movePause || now.Sub(d.moved) < stagger {
		return at
	}
	to := d.roomiest(now, paths, standby, at)
	if to < 0 || !d.of(paths[to].ID).full.IsZero() {
		return at
	}
	if rate := paths[to].Rate; rate > 0 {
		share := paths[at].Rate
		if all := s.load.rate(now); all > 0 {
			share *= min(1, f.load.rate(now)/all)
		}
		if d.spare(now, &paths[to]) < gain*share {
			return at
		}
	}
	f.moved, d.moved = now, now
	return to
}

// watch notes since when a path is full.
func (d *Pinned) watch(now time.Time, p *Path) {
	s := d.of(p.ID)
	switch delay := drain(p); {
	case delay < spareDelay:
		s.full = time.Time{}
	case delay > fullDelay && s.full.IsZero():
		s.full = now
	}
}

// drain is how long it takes until what waits has left.
func drain(p *Path) time.Duration {
	if p.Queued == 0 {
		return 0
	}
	if p.Rate <= 0 {
		return fullDelay // something waits, and it is not known for how long
	}
	return time.Duration(8 * float64(p.Queued) / p.Rate * float64(time.Second))
}

// spare is what bulk flows leave of a path's rate, bits per second.
func (d *Pinned) spare(now time.Time, p *Path) float64 { return p.Rate - d.of(p.ID).load.rate(now) }

// roomiest is the path with the most to spare besides one; those of which
// nothing is known are tried first, the shortest of them.
func (d *Pinned) roomiest(now time.Time, paths []Path, standby bool, besides int) int {
	best := -1
	for i := range paths {
		if i == besides || paths[i].Standby != standby {
			continue
		}
		if best < 0 || d.roomier(now, &paths[i], &paths[best]) {
			best = i
		}
	}
	return best
}

func (d *Pinned) roomier(now time.Time, a, b *Path) bool {
	switch {
	case a.Rate == 0 && b.Rate == 0:
		if la, lb := d.of(a.ID).load.rate(now), d.of(b.ID).load.rate(now); min(la, lb) < 0.9*max(la, lb) {
			return la < lb
		}
		return shorter(a.RTT, b.RTT)
	case a.Rate == 0 || b.Rate == 0:
		// The one that is known may have enough to spare: that is the safe way.
		return (a.Rate == 0) != (d.spare(now, known(a, b)) > known(a, b).Rate/2)
	}
	return d.spare(now, a) > d.spare(now, b)
}

// known is the one of the two whose rate is.
func known(a, b *Path) *Path {
	if a.Rate > 0 {
		return a
	}
	return b
}

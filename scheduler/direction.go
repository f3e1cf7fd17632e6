package scheduler

import (
	"math"
	"time"
)

const (
	// The capacity follows higher rates at once, but for a fluke, and lower
	// ones slowly: slow start has a backlog too, and is no measure.
	capacityRises = 250 * time.Millisecond
	capacityFalls = 5 * time.Second

	// A backlog below this part of the capacity is not the uplinks' doing.
	atWork = 0.5

	// When less than pausedPart of what is usual moves, for no longer than
	// mostPause, the sender has paused, as bbr does every ten seconds
	// (PROBE_RTT): the backlog of that is no need for more, for catchUp times as
	// long. What is usual is a mean over usualTime.
	pausedPart = 0.8
	mostPause  = 500 * time.Millisecond
	catchUp    = 3
	usualTime  = time.Second

	// mostSpans hold maxFullTime at leastStep.
	mostSpans = int(maxFullTime/leastStep) + 1
)

// direction is what OverflowControl knows of one direction of the bond.
type direction struct {
	capacity BitRate // of the bond, while there was backlog
	demand   BitRate // of everything, last
	backlog  bool
	usual    BitRate       // demand without backlog
	paused   time.Duration // for how long, of late
	resumed  time.Time     // when that ended, or will at the earliest

	spans    [mostSpans]span // latest Steps, a ring
	next, nr int
}

// span is the time between two Steps.
type span struct {
	end  time.Time
	took time.Duration
	full bool // there was backlog, and the bond worked
}

func (d *direction) step(now time.Time, took time.Duration, bond, overflow BitRate, backlog bool) {
	bond, overflow = sane(bond), sane(overflow)
	d.demand, d.backlog = bond+overflow, backlog
	switch {
	case backlog && d.capacity == 0:
		d.capacity = bond
	case backlog && bond < d.capacity:
		d.capacity += (bond - d.capacity) * part(took, capacityFalls)
	case backlog, d.capacity > 0 && bond > d.capacity:
		d.capacity += (bond - d.capacity) * part(took, capacityRises)
	}
	d.look(now, took)
	full := backlog && bond > 0 && bond >= atWork*d.capacity && now.Sub(d.resumed) > catchUp*d.paused
	d.spans[d.next] = span{end: now, took: took, full: full}
	d.next = (d.next + 1) % mostSpans
	d.nr = min(d.nr+1, mostSpans)
}

// look finds pauses.
func (d *direction) look(now time.Time, took time.Duration) {
	if d.demand < pausedPart*d.usual {
		if now.Sub(d.resumed) > catchUp*d.paused {
			d.paused = 0
		}
		d.paused += took
		d.resumed = now
		if d.paused > mostPause { // it has ended, or become less
			d.usual, d.paused = d.demand, 0
		}
		return
	}
	if !d.backlog || d.usual == 0 {
		d.usual += (d.demand - d.usual) * part(took, usualTime)
	}
}

// full reports whether the bond was full for four fifths of the time asked for.
func (d *direction) full(now time.Time, asked time.Duration) bool {
	var full time.Duration
	for i := range d.nr {
		s := d.spans[(d.next-1-i+mostSpans)%mostSpans]
		if now.Sub(s.end) >= asked {
			break
		}
		if s.full {
			full += s.took
		}
	}
	return full >= asked*4/5
}

// calm reports whether the bond alone would do. What it could do is unknown
// before there was a backlog.
func (d *direction) calm() bool {
	return !d.backlog && (d.capacity == 0 || d.load() < suffices)
}

// load is the demand as a part of the bond's capacity.
func (d *direction) load() float64 {
	if d.capacity == 0 {
		return 0
	}
	return float64(d.demand / d.capacity)
}

// part is how far a mean with that time constant moves.
func part(took, constant time.Duration) BitRate {
	return BitRate(1 - math.Exp(-float64(took)/float64(constant)))
}

// sane keeps a division by zero somewhere from being learnt.
func sane(r BitRate) BitRate {
	if !(r > 0) || math.IsInf(float64(r), 0) {
		return 0
	}
	return r
}

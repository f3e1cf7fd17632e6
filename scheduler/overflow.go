package scheduler

import (
	"fmt"
	"time"
)

const (
	// fullTime of backlog, but for a fifth, calls the overflow. A short
	// transfer is over by then.
	fullTime = 500 * time.Millisecond

	// A call that helped for less than briefHelp was for a burst. Then twice
	// the time is asked for, up to maxFullTime, until burstsForgotten has
	// passed without such a call. So the files of a web page or a sync do
	// not each end on a line that is paid by volume.
	briefHelp       = time.Second
	maxFullTime     = 2 * time.Second
	burstsForgotten = time.Minute

	// The overflow leaves when the bond alone has sufficed for leaveTime, or
	// nothing has moved for idleTime. If it is called again within flapsIn,
	// the next leaveTime is twice as long.
	leaveTime    = 3 * time.Second
	maxLeaveTime = 30 * time.Second
	flapsIn      = 10 * time.Second
	idleTime     = 2 * time.Second

	// suffices is how much of the bond's capacity may be in use for the
	// overflow to leave: less than the least at which there is backlog.
	suffices = 0.8

	// nothing is a rate that keeps a connection open, but moves no data.
	nothing = BitRate(50e3)

	// leastStep is the shortest time that rates are taken seriously over,
	// mostStep the longest that one backlog stands for.
	leastStep = 50 * time.Millisecond
	mostStep  = 250 * time.Millisecond
)

// OverflowInput is what OverflowControl judges from. The rates are means since
// the last Step.
type OverflowInput struct {
	// Names are the bond uplinks in use, for people: "dsl" or "dsl, cable".
	// When they change, the capacity is learnt anew.
	Names    string
	Bond     Rates // what the bond uplinks carried
	Overflow Rates // what the overflow uplinks carried

	// RxBacklog and TxBacklog say that data waits unsent at the sender of
	// that direction because the uplinks take no more; not data that a
	// slow receiver holds up.
	RxBacklog, TxBacklog bool
}

// OverflowControl decides whether overflow uplinks join the bond. The zero
// value is ready, and has them stand by.
type OverflowControl struct {
	last   time.Time
	names  string
	rx, tx direction

	engaged   bool
	reason    string
	need      time.Duration // of backlog; 0 means fullTime
	needSince time.Time
	leave     time.Duration // of calm
	changed   time.Time     // when engaged last changed
	needed    time.Time     // when the bond alone last did not suffice
	moved     time.Time
}

// Step takes in what happened since the last Step, and reports whether Engaged
// has changed. It wants to be called every 100 to 250 ms; calls sooner than
// 50 ms after the last are ignored.
func (o *OverflowControl) Step(now time.Time, in OverflowInput) bool {
	took := now.Sub(o.last)
	if !o.last.IsZero() && took >= 0 && took < leastStep {
		return false
	}
	o.last = now
	took = min(max(took, 0), mostStep)
	if in.Names != o.names {
		o.names = in.Names
		o.rx, o.tx = direction{}, direction{}
	}
	o.rx.step(now, took, in.Bond.Rx, in.Overflow.Rx, in.RxBacklog)
	o.tx.step(now, took, in.Bond.Tx, in.Overflow.Tx, in.TxBacklog)
	if o.engaged {
		return o.stepEngaged(now)
	}
	return o.stepStandby(now)
}

// Engaged reports whether overflow uplinks should be used.
func (o *OverflowControl) Engaged() bool { return o.engaged }

// Reason says for people why they are, or are not.
func (o *OverflowControl) Reason() string {
	if o.reason == "" {
		return "the bond suffices"
	}
	return o.reason
}

// Capacity is what the bond uplinks have been seen to carry at most; zero
// where there has been no backlog yet.
func (o *OverflowControl) Capacity() Rates { return Rates{Rx: o.rx.capacity, Tx: o.tx.capacity} }

func (o *OverflowControl) stepStandby(now time.Time) bool {
	if o.need == 0 || now.Sub(o.needSince) > burstsForgotten {
		o.need = fullTime
	}
	d, word := &o.rx, "down"
	if !d.full(now, o.need) {
		d, word = &o.tx, "up"
	}
	if !d.full(now, o.need) {
		return false
	}
	if !o.changed.IsZero() && now.Sub(o.changed) < flapsIn {
		o.leave = min(2*o.leave, maxLeaveTime)
	} else {
		o.leave = leaveTime
	}
	o.engaged, o.changed, o.needed, o.moved = true, now, now, now
	o.reason = o.words("is full", d, word)
	return true
}

func (o *OverflowControl) stepEngaged(now time.Time) bool {
	if !o.rx.calm() || !o.tx.calm() {
		o.needed = now
	}
	if o.rx.demand > nothing || o.tx.demand > nothing {
		o.moved = now
	}
	switch {
	case now.Sub(o.moved) >= idleTime:
		o.reason = "nothing moves"
	case now.Sub(o.needed) >= o.leave:
		d, word := &o.rx, "down"
		if o.tx.load() > d.load() {
			d, word = &o.tx, "up"
		}
		o.reason = o.words("suffices", d, word)
	default:
		return false
	}
	o.need, o.needSince = o.nextNeed(), now
	o.engaged, o.changed = false, now
	return true
}

// nextNeed is the backlog time asked for after this engagement.
func (o *OverflowControl) nextNeed() time.Duration {
	if o.needed.Sub(o.changed) < briefHelp {
		return min(2*o.need, maxFullTime)
	}
	return fullTime
}

func (o *OverflowControl) words(what string, d *direction, word string) string {
	who := o.names
	if who == "" {
		who = "the bond"
	}
	if d.capacity == 0 {
		return fmt.Sprintf("%s %s: %v %s", who, what, d.demand, word)
	}
	// The mean may lag behind.
	return fmt.Sprintf("%s %s: %.1f of %v %s", who, what, float64(d.demand)/1e6, max(d.capacity, d.demand), word)
}

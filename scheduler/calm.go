package scheduler

import "time"

// Calm finds the rate at which streams fill an uplink, in one direction, without
// a queue in front of it: what somebody who sends little has to wait for.
//
// It goes by the queue that it sees, which is how much longer a round trip is
// than the shortest. A short one says that there may be more to have, and the
// rate is raised, slowly at first; a long one that this is more than the uplink
// delivers, and the rate becomes a little less than what was delivered. What it
// cannot shorten is somebody else's queue, and then there is no bound for a
// while: who steps back before a greedy neighbour starves.
//
// The zero value begins with what is delivered. A Calm belongs to one goroutine.
type Calm struct {
	rate  BitRate       // the bound; 0: none
	base  time.Duration // the shortest round trip
	mean  BitRate       // delivered, smoothed
	full  BitRate       // delivered when there last was a queue
	delay time.Duration // the last round trip
	seen  time.Duration // for how long this runs
	pause time.Duration // for how long hardly anything was delivered
	held  time.Duration // since there last was a queue
	step  float64       // by which the rate was raised last
	// drains: the bound is below what the uplink delivers, for the queue's sake.
	drains bool
	rest   time.Duration // until the rate is lowered again
	queue  time.Duration // when that was last asked
	long   time.Duration // for how long the queue has been long
	free   time.Duration // until there is a bound again
}

const (
	// calmBelow what is delivered leaves an uplink without a queue, for the rate
	// of who sends is never quite even. From there it is raised again, and the
	// less that takes the more often there is a queue.
	calmBelow = 0.97
	// calmDrain is what remains while a queue drains.
	calmDrain = 0.85
	// calmShort and calmLong are queues that nobody notices and that a call does.
	// Round trips vary by themselves, more so the longer they are.
	calmShort     = 5 * time.Millisecond
	calmLong      = 10 * time.Millisecond
	calmShortPart = 0.08
	calmLongPart  = 0.2
	// calmHold is how long it stays a little below what was delivered when the
	// queue was last long. Then it is raised by calmStep at a time, so that the
	// queue grows slowly when it does, and beyond calmKnown of what was known by
	// calmFaster more each time, up to calmStepMost: on a link that has become
	// quicker.
	calmHold     = time.Second
	calmStep     = 0.005
	calmKnown    = 1.02
	calmFaster   = 1.25
	calmStepMost = 0.08
	// calmUsed of the bound must be in use that more is of any use.
	calmUsed = 0.85
	// calmEvery is how often Step is meant to be called.
	calmEvery = 100 * time.Millisecond
	// calmMean is how long what is delivered is smoothed: bbr's rate goes up and
	// down by a quarter in eight round trips.
	calmMean = 300 * time.Millisecond
	// calmPause is how long nothing may be delivered, as when bbr looks for the
	// shortest round trip or a segment is lost, without being taken for a rate;
	// and calmFall is what is left at least of what was known, for the same reason.
	calmPause = 500 * time.Millisecond
	calmFall  = 0.75
	// calmOver is after how long without anything what was known of the rate says
	// little.
	calmOver = time.Second
	// calmGiveUp is how long a queue stays long that is another's, whatever this
	// one does; calmFree for how long there is no bound then.
	calmGiveUp = 2 * time.Second
	calmFree   = 5 * time.Second
	// calmLeast is a bound that is no use to anybody.
	calmLeast BitRate = 200e3
	// calmRTT is a round trip below which nobody waits for a queue.
	calmRTT = 5 * time.Millisecond
)

// CalmInput is what streams did on an uplink since the last Step.
type CalmInput struct {
	Elapsed   time.Duration
	Delivered uint64        // bytes acknowledged
	RTT       time.Duration // smoothed, of who sent most; 0: not known
	MinRTT    time.Duration // the shortest of the recent minutes; 0: not known
}

// Step returns the bound of all streams together; 0: there is none.
func (c *Calm) Step(in CalmInput) BitRate {
	if in.Elapsed <= 0 || in.RTT <= 0 {
		return c.rate
	}
	if in.Delivered == 0 { // and the round trip is an old one
		if c.pause += in.Elapsed; c.pause > calmOver {
			c.Reset()
		}
		return c.rate
	}
	c.measure(in)
	if c.free > 0 {
		c.free -= in.Elapsed
		return 0
	}
	if c.base < calmRTT && in.RTT < 2*calmRTT || c.seen < calmMean {
		return 0
	}
	queue := min(c.delay, in.RTT) - c.base // one alone may be jitter
	c.delay = in.RTT
	short := max(calmShort, time.Duration(calmShortPart*float64(c.base)))
	long := max(calmLong, time.Duration(calmLongPart*float64(c.base)))
	c.rest -= in.Elapsed
	switch {
	case queue > long:
		c.lower(in, queue)
	case queue > short:
		c.long = 0
		if c.rate == 0 {
			c.rate, c.full = calmBelow*c.mean, c.mean
		} else if !c.drains && c.mean > calmUsed*c.rate {
			// On a slow uplink a few packets are as long; it may be no queue.
			c.rate += BitRate(calmStep/4*in.Elapsed.Seconds()/calmEvery.Seconds()) * c.rate
		}
	default:
		c.raise(in)
	}
	return c.rate
}

// measure takes in what was delivered and how long it took.
func (c *Calm) measure(in CalmInput) {
	delivered := BitRate(8 * float64(in.Delivered) / in.Elapsed.Seconds())
	if c.seen == 0 {
		c.mean = delivered
	}
	if c.pause += in.Elapsed; delivered > c.mean/10 {
		c.pause = 0
	}
	over := max(calmMean, 3*c.base)
	if c.pause == 0 || c.pause > calmPause {
		c.mean += BitRate(min(1, in.Elapsed.Seconds()/over.Seconds())) * (delivered - c.mean)
	}
	shortest := in.RTT
	if in.MinRTT > 0 {
		shortest = min(shortest, in.MinRTT)
	}
	if c.base == 0 || shortest < c.base {
		c.base = shortest
	}
	c.seen += in.Elapsed
}

// lower steps below what is delivered, and looks again when that must have
// helped.
func (c *Calm) lower(in CalmInput, queue time.Duration) {
	if c.long += in.Elapsed; c.long > calmGiveUp {
		// Or the way has become longer, and what was the shortest is no more.
		c.long, c.rate, c.drains, c.free, c.base = 0, 0, false, calmFree, 0
		return
	}
	if c.rest > 0 {
		return
	}
	falls := queue < c.queue-c.queue/8
	c.queue = queue
	if c.drains && falls {
		return
	}
	// While there is a queue, what is delivered is what the uplink carries.
	c.full = max(c.mean, calmFall*c.full)
	less := BitRate(calmDrain)
	if c.drains {
		less *= calmDrain
	}
	c.rate = max(less*c.full, calmLeast)
	c.drains = true
	c.rest = c.base + 2*in.Elapsed // until that shows
}

// raise asks for a little more, if what there is was used.
func (c *Calm) raise(in CalmInput) {
	c.long = 0
	if c.rate == 0 { // no queue, and no bound: there is none to make
		return
	}
	if c.drains {
		c.drains, c.held = false, 0
		c.rate = calmBelow * c.full
		return
	}
	if c.held += in.Elapsed; c.held < calmHold || c.mean < calmUsed*c.rate {
		return
	}
	if c.rate < calmKnown*c.full {
		c.step = calmStep
	} else {
		c.step = min(max(c.step*calmFaster, calmStep), calmStepMost)
	}
	c.rate += BitRate(c.step*in.Elapsed.Seconds()/calmEvery.Seconds()) * c.rate
}

// Bound is what Step returned last.
func (c *Calm) Bound() BitRate { return c.rate }

// Reset forgets the bound and keeps what is known of the uplink.
func (c *Calm) Reset() { *c = Calm{base: c.base} }

package scheduler

import (
	"slices"
	"time"
)

// Calm finds the rate at which bulk fills an uplink, in one direction, without a
// queue in front of it: what somebody who sends little has to wait for.
//
// It goes by the queue that it sees, which is how much longer a round trip is than
// the shortest. A short one says that there may be more to have, and the rate is
// raised, slowly at first. A long one says that this is more than the uplink
// delivers: for as long as it drains the rate is well below what was delivered, and
// then a little. What draining does not shorten is no queue of this one: jitter, a
// way that has become longer, or somebody else's. From then on only what is more
// than that counts; and where it is much there is no bound for a while: who steps
// back before a greedy neighbour starves.
//
//	no bound ── long ──▶ drains ── short ──▶ bound, raised ── long ──▶ drains
//	    ▲                  │ │                   ▲
//	    └── does not help ─┘ └─ the rest is little ─┘
//
// The zero value begins with what is delivered. A Calm belongs to one goroutine.
type Calm struct {
	rate  BitRate       // the bound; 0: none
	base  time.Duration // the shortest round trip
	floor time.Duration // how much longer it is whatever this does
	mean  BitRate       // delivered, smoothed
	full  BitRate       // delivered when there last was a queue
	was   BitRate       // and the time before
	last  calmSamples   // delivered in the last steps, without pauses
	each  calmSamples   // with them
	delay time.Duration // the last round trip
	seen  time.Duration // for how long this runs
	pause time.Duration // for how long hardly anything was delivered
	held  time.Duration // since there last was a queue
	step  float64       // by which the rate was raised last
	free  time.Duration // until there is a bound again

	drains int           // how often the rate was lowered for the present queue; 0: it is not
	queue  time.Duration // when it last fell
	stays  time.Duration // for how long it does not fall
}

const (
	// calmBelow what is delivered leaves an uplink without a queue, for the rate
	// of who sends is never quite even. From there it is raised again, and the
	// less that takes the more often there is a queue.
	calmBelow = 0.97
	// calmDrain is what remains while a queue drains, and as much of that again
	// where it does not fall: what was delivered was not known well.
	calmDrain = 0.85
	// calmShort and calmLong are queues that nobody notices and that a call does,
	// or parts of the round trip, since that varies by itself, or packets, since a
	// sender's come two or four at a time, up to calmPacketsMost.
	calmShort        = 5 * time.Millisecond
	calmLong         = 10 * time.Millisecond
	calmShortPart    = 0.08
	calmLongPart     = 0.2
	calmShortPackets = 4
	calmLongPackets  = 8
	calmPacketsMost  = 30 * time.Millisecond // of a long one
	// calmHold is how long it stays a little below what was delivered when the
	// queue was last long. Then it is raised by calmStep at a time, so that the
	// queue grows slowly when it does, and beyond calmKnown of what was known by
	// calmFaster more each time, up to calmStepMost: on a link that has become
	// quicker. Beside a queue that is not quite short it is calmSlower of that. What
	// was delivered the time before, too, is asked for by calmBack: it fell for a
	// reason that is gone, or a queue says so soon.
	calmHold     = 500 * time.Millisecond
	calmStep     = 0.005
	calmBack     = 0.02
	calmKnown    = 1.02
	calmFaster   = 1.25
	calmStepMost = 0.08
	calmSlower   = 0.25
	// calmUsed of the bound must be in use that more is of any use.
	calmUsed = 0.85
	// calmFull is that of a bound beside a queue: the rest is what makes it.
	calmFull = 0.95
	// calmEvery is how often Step is meant to be called.
	calmEvery = 100 * time.Millisecond
	// calmSeen is how long it looks before it bounds anything.
	calmSeen = 300 * time.Millisecond
	// calmFew and calmMany are how many steps are looked at together, the latter
	// from round trips of calmFar on. bbr's rate goes up and down by a quarter in
	// eight round trips, and in one of a hundred it stands still for 200 ms: two
	// steps may say what they like.
	calmFew  = 5
	calmMany = 8
	calmFar  = 100 * time.Millisecond
	// calmSteady of the most in one step is about as much.
	calmSteady = 0.25
	// calmPause is how long hardly anything may be delivered without being taken
	// for a rate; and calmFall is what is left at least of what was known, for the
	// same reason.
	calmPause = 500 * time.Millisecond
	calmFall  = 0.6
	// calmOver is after how long without anything what was known of the rate says
	// little.
	calmOver = time.Second
	// calmTries is how often the rate is lowered for a queue that does not fall;
	// once for one of less than two long ones.
	calmTries = 4
	// calmFree is for how long there is no bound beside somebody else's queue.
	calmFree = 5 * time.Second
	// calmLeast is a bound that is no use to anybody.
	calmLeast BitRate = 200e3
	// calmRTT is a round trip below which nobody waits for a queue.
	calmRTT = 5 * time.Millisecond
	// calmPacket is a full packet, bits.
	calmPacket = 8 * 1500
)

// CalmInput is what subflows did on an uplink since the last Step.
type CalmInput struct {
	Elapsed   time.Duration
	Delivered uint64        // bytes acknowledged
	RTT       time.Duration // smoothed, of who sent most; 0: not known
	MinRTT    time.Duration // the shortest of the recent minutes; 0: not known
}

func (in *CalmInput) delivered() BitRate {
	return BitRate(8 * float64(in.Delivered) / in.Elapsed.Seconds())
}

// Step returns the bound of all of them together; 0: there is none.
func (c *Calm) Step(in CalmInput) BitRate {
	if in.Elapsed <= 0 || in.RTT <= 0 {
		return c.rate
	}
	c.each.add(in.delivered())
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
	if c.base < calmRTT && in.RTT < 2*calmRTT || c.seen < calmSeen {
		return 0
	}
	queue := min(c.delay, in.RTT) - c.base - c.floor // one alone may be jitter
	c.delay = in.RTT
	if queue < 0 {
		c.floor, queue = max(0, c.floor+queue), 0
	}
	short, long := c.thresholds()
	switch {
	case c.drains > 0:
		c.drain(in, queue, short, long)
	case queue > long && c.each.steady(): // what comes at once now and then says nothing
		c.lower(in, queue)
	case c.rate > 0:
		c.raise(in, queue > short)
	}
	return c.rate
}

// thresholds are a short queue and a long one.
func (c *Calm) thresholds() (short, long time.Duration) {
	packet := time.Duration(calmPacket / float64(max(c.mean, calmLeast)) * float64(time.Second))
	packet = min(packet, calmPacketsMost/calmLongPackets)
	return max(calmShort, time.Duration(calmShortPart*float64(c.base)), calmShortPackets*packet),
		max(calmLong, time.Duration(calmLongPart*float64(c.base)), calmLongPackets*packet)
}

// measure takes in what was delivered and how long it took.
func (c *Calm) measure(in CalmInput) {
	delivered := in.delivered()
	if c.pause += in.Elapsed; delivered > c.mean/10 {
		c.pause = 0
	}
	if c.pause == 0 || c.pause > calmPause {
		many := calmFew
		if c.base >= calmFar {
			many = calmMany
		}
		c.last.add(delivered)
		c.mean = c.last.middle(many)
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

// lower steps below what is delivered, which is what the uplink carries while there
// is a queue.
func (c *Calm) lower(in CalmInput, queue time.Duration) {
	c.was, c.full = c.full, max(c.mean, calmFall*c.full)
	less := BitRate(calmDrain)
	if c.drains > 0 {
		less *= calmDrain
	}
	c.rate = max(less*c.full, calmLeast)
	c.drains++
	// What this does shows a round trip later.
	c.queue, c.stays = queue, -c.base-queue
}

// drain looks whether the queue falls, and ends when it is short.
func (c *Calm) drain(in CalmInput, queue, short, long time.Duration) {
	if queue <= short {
		c.settle()
		return
	}
	if queue < c.queue-c.queue/8 {
		c.queue, c.stays = queue, min(c.stays, 0)
		return
	}
	if c.stays += in.Elapsed; c.stays < 2*in.Elapsed {
		return
	}
	switch little := queue < 2*long; {
	case little:
		c.floor += queue
		c.settle()
	case c.drains < calmTries:
		c.lower(in, queue)
	default:
		c.floor += queue
		c.settle()
		c.rate, c.free = 0, calmFree
	}
}

// settle ends draining.
func (c *Calm) settle() {
	c.drains, c.held, c.step = 0, 0, 0
	c.rate = max(calmBelow*c.full, calmLeast)
}

// raise asks for a little more, if what there is was used.
func (c *Calm) raise(in CalmInput, slowly bool) {
	if c.held += in.Elapsed; c.held < calmHold || c.mean < calmUsed*c.rate || slowly && c.mean < calmFull*c.rate {
		return
	}
	step := calmSlower * calmStep
	if !slowly {
		switch {
		case c.rate < calmBelow*c.was:
			c.step = calmBack
		case c.rate < calmKnown*c.full:
			c.step = calmStep
		default:
			c.step = min(max(c.step*calmFaster, calmStep), calmStepMost)
		}
		step = c.step
	}
	c.rate += BitRate(step*in.Elapsed.Seconds()/calmEvery.Seconds()) * c.rate
}

// calmSamples are what was delivered in the latest steps.
type calmSamples struct {
	list [calmMany]BitRate
	n    int // added so far
}

func (s *calmSamples) add(r BitRate) {
	s.list[s.n%len(s.list)] = r
	s.n++
}

// middle is the mean of the middle half of so many of them.
func (s *calmSamples) middle(many int) (mean BitRate) {
	var space [calmMany]BitRate
	many = min(many, s.n)
	for i := range many {
		space[i] = s.list[(s.n-1-i)%len(s.list)]
	}
	list := space[:many]
	slices.Sort(list)
	list = list[many/4 : many-many/4]
	for _, r := range list {
		mean += r / BitRate(len(list))
	}
	return mean
}

// steady reports whether there was about as much in the last calmFew of them, but
// for one, and in three at least.
func (s *calmSamples) steady() bool {
	few := min(calmFew, s.n)
	var most BitRate
	for i := range few {
		most = max(most, s.list[(s.n-1-i)%len(s.list)])
	}
	n := 0
	for i := range few {
		if s.list[(s.n-1-i)%len(s.list)] > calmSteady*most {
			n++
		}
	}
	return n >= max(few-1, 3)
}

// Bound is what Step returned last.
func (c *Calm) Bound() BitRate { return c.rate }

// Reset forgets the bound and keeps what is known of the uplink.
func (c *Calm) Reset() { *c = Calm{base: c.base, floor: c.floor} }

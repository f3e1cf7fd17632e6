package queue

import (
	"math"
	"time"
)

// Target and interval that RFC 8289 recommends (section 4).
const (
	DefaultTarget   = 5 * time.Millisecond
	DefaultInterval = 100 * time.Millisecond
)

// DelaysFor returns CoDel's target and interval for an uplink of a rate in bits
// per second of which burst bytes are taken at a time. A queue has to hold one
// burst while another is on its way, so the target is one and a half times what
// it takes, if that is more than 5 ms, and the interval grows by as much: the
// rule of CAKE (cake_set_rate of net/sched/sch_cake.c). A rate of 0 is unknown.
func DelaysFor(rate float64, burst int) (target, interval time.Duration) {
	target, interval = DefaultTarget, DefaultInterval
	if rate <= 0 {
		return target, interval
	}
	// A minute is longer than anybody waits, and no overflow.
	seconds := min(float64(max(burst, 0))*8/rate, 60)
	target = max(target, time.Duration(1.5*seconds*float64(time.Second)))
	return target, max(interval+target-DefaultTarget, 2*target)
}

// codel is the state of RFC 8289's algorithm for one queue. Times are since
// the Queue's first.
type codel struct {
	firstAbove time.Duration // when the delay will have been too long for an interval; 0 is not
	dropNext   time.Duration
	count      uint32 // of drops since the dropping began
	lastCount  uint32
	dropping   bool
}

// delays are CoDel's two parameters.
type delays struct{ target, interval time.Duration }

// above is the second half of the RFC's dodequeue: it takes in that the packet
// at the head waited so long and that so many bytes are behind it, and says
// whether it may be dropped. An empty queue has neither.
//
// behind counts from the end of the head's first segment, and mtu is the
// largest segment: what is left of a super-packet is a queue like any other.
func (c *codel) above(now, waited time.Duration, behind, mtu int, d delays) bool {
	if waited < d.target || behind <= mtu {
		c.firstAbove = 0
		return false
	}
	if c.firstAbove == 0 {
		c.firstAbove = now + d.interval
		return false
	}
	return now >= c.firstAbove
}

// enter begins dropping, after the first drop.
func (c *codel) enter(now time.Duration, d delays) {
	c.dropping = true
	delta := c.count - c.lastCount
	c.count = 1
	if delta > 1 && now-c.dropNext < 16*d.interval {
		c.count = delta
	}
	c.dropNext = c.next(now, d)
	c.lastCount = c.count
}

// next is the RFC's control_law.
func (c *codel) next(t time.Duration, d delays) time.Duration {
	return t + time.Duration(float64(d.interval)/math.Sqrt(float64(c.count)))
}

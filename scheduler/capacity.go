package scheduler

import "time"

const (
	// capacityLeast is a rate below which a sample says nothing: hardly
	// anybody used the uplink.
	capacityLeast BitRate = 64e3

	// capacityWindow is for how long, in time in which the uplink carried
	// something, the most that it carried counts; it counts for one window
	// more. capacityAge is the least of the clock for that.
	capacityWindow = time.Minute
	capacityAge    = 5 * time.Minute
)

// Capacity is the most that an uplink was seen to carry in one direction,
// lately: what it can carry, once something large went over it. Time in which
// it carries nothing says nothing, and ages nothing.
//
// The zero value knows nothing.
type Capacity struct {
	now, before BitRate       // the most in this window, and in the last
	used        time.Duration // of this window
	began       time.Time
}

// Add takes what was carried in the time elapsed before now.
func (c *Capacity) Add(now time.Time, rate BitRate, elapsed time.Duration) {
	if rate < capacityLeast || elapsed <= 0 {
		return
	}
	if c.began.IsZero() {
		c.began = now
	}
	if c.used >= capacityWindow && now.Sub(c.began) >= capacityAge {
		*c = Capacity{before: c.now, began: now}
	}
	c.used += elapsed
	c.now = max(c.now, rate)
}

// Rate is the most that was carried; 0 is unknown.
func (c *Capacity) Rate() BitRate { return max(c.now, c.before) }

// Loss is the part of an uplink's segments that was lost lately.
//
// The zero value knows nothing.
type Loss struct{ sent, again float64 }

const (
	// lossKnown is how many segments say something, lossKept after how many
	// half of it is forgotten.
	lossKnown = 300
	lossKept  = 6000
)

// Add takes how many segments were sent, and how many of them again.
func (l *Loss) Add(sent, again uint64) {
	l.sent += float64(sent)
	l.again += float64(min(sent, again))
	if l.sent > lossKept {
		l.sent, l.again = l.sent/2, l.again/2
	}
}

// Part is the part that was lost, 0 to 1, and 0 where too little is known.
func (l *Loss) Part() float64 {
	if l.sent < lossKnown {
		return 0
	}
	return l.again / l.sent
}

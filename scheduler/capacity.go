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

	// capacityRun is longer than most windows need to open.
	capacityRun = 3 * time.Second
)

// Capacity is the most that an uplink was seen to carry in one direction,
// lately. It is known once the uplink was full, or carried something for a
// while: what it carried in the first moments of a transfer is no more than what
// it was given. Time in which it carries nothing says nothing, and ages nothing.
// It is for decisions, within a second; Delivery, over two, is what is shown.
//
// The zero value knows nothing.
type Capacity struct {
	now, before carried       // the most in this window, and in the last
	used        time.Duration // of this window
	began       time.Time
	run         time.Duration // without a pause
}

type carried struct {
	rate  BitRate
	known bool
	full  bool // once, while it carried as much or less
}

// Add takes what was carried in the time elapsed before now; full says that the
// uplink had a queue.
func (c *Capacity) Add(now time.Time, rate BitRate, elapsed time.Duration, full bool) {
	if rate < capacityLeast || elapsed <= 0 {
		c.run = 0
		return
	}
	if c.began.IsZero() {
		c.began = now
	}
	if c.used >= capacityWindow && now.Sub(c.began) >= capacityAge {
		*c = Capacity{before: c.now, began: now, run: c.run}
	}
	c.used += elapsed
	c.run += elapsed
	c.now.rate = max(c.now.rate, rate)
	c.now.known = c.now.known || full || c.run >= capacityRun
	c.now.full = c.now.full || full
}

// Full reports whether the uplink was full once. Else it may be that nobody asked
// more of it than Rate.
func (c *Capacity) Full() bool { return c.now.full || c.before.full }

// Rate is the most that was carried; 0 is unknown.
func (c *Capacity) Rate() BitRate {
	if !c.now.known && !c.before.known {
		return 0
	}
	return max(c.now.rate, c.before.rate)
}

// QueueFrom is the round trip from which on an uplink with that shortest one has
// a queue.
func QueueFrom(shortest time.Duration) time.Duration {
	return shortest + shortest/4 + 5*time.Millisecond
}

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

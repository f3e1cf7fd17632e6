package scheduler

import (
	"math"
	"time"
)

const (
	// maxPatience is the most that wrong deaths add.
	maxPatience = time.Second

	// forgetting is the time in which what was learnt falls to 1/e. Loss of
	// 3 % shows its long silences every half minute, so less would forget
	// them in between.
	forgetting = 2 * time.Minute
)

// patience is what an uplink has taught about its silences.
type patience struct {
	quiet  time.Duration // longest overdue time of late that ended by itself
	extra  time.Duration // beside confirmation
	faded  time.Time     // when decay last ran
	deadAt time.Time     // of the last death by silence, until it was called spurious
}

// harmless notes that a sign of life came so much later than expected.
func (p *patience) harmless(overdue time.Duration) { p.quiet = max(p.quiet, overdue) }

func (p *patience) died(now time.Time) { p.deadAt = now }

// spurious takes in the answer to a beat of that time, and reports whether it
// shows that the last death was none: the beat was sent before the death and
// was not lost. Longer after it than the most patience there is, the path was
// away in truth, and TCP sent again.
func (p *patience) spurious(now, sent time.Time, allowance time.Duration) bool {
	if p.deadAt.IsZero() || !sent.Before(p.deadAt) || now.Sub(p.deadAt) > maxPatience {
		return false
	}
	p.deadAt = time.Time{}
	p.extra = min(p.extra+(allowance+confirmation+p.extra)/2, maxPatience)
	return true
}

// decay is to be called now and then.
func (p *patience) decay(now time.Time) {
	left := math.Exp(-float64(now.Sub(p.faded)) / float64(forgetting))
	p.faded = now
	p.quiet = time.Duration(float64(p.quiet) * left)
	p.extra = time.Duration(float64(p.extra) * left)
}

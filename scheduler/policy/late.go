package policy

import "time"

// Delivery is what a path's answers say of it: how long it takes from sending a
// packet to the answer that it has arrived. The zero value is ready. It is
// smoothed as RFC 6298 does round trips (section 2).
type Delivery struct {
	Smoothed  time.Duration // 0 is unknown
	Variation time.Duration
}

// Took takes in one packet's time.
func (d *Delivery) Took(t time.Duration) {
	t = min(max(t, 1), longest)
	if d.Smoothed == 0 {
		d.Smoothed, d.Variation = t, t/2
		return
	}
	d.Variation += ((t - d.Smoothed).Abs() - d.Variation) / 4
	d.Smoothed += (t - d.Smoothed) / 8
}

const (
	// An answer may be late by so many variations. It begins with less than RFC
	// 6298's four, for a copy costs less than a timeout does, and grows to eight
	// where copies turn out to be in vain. One that was useful undoes four that
	// were not.
	leastCalm, mostCalm  = 3, 8
	calmGrows, calmFalls = 0.125, 0.5

	// leastVariation is what timers and answers sent together make of none.
	leastVariation = 2 * time.Millisecond

	// unknownLate is for a path of which nothing is known.
	unknownLate = 100 * time.Millisecond
	// mostLate is when an answer is late whatever the statistics say: a sparse
	// packet is dropped as too old after a second (package queue).
	mostLate = 500 * time.Millisecond
)

// Late says how long after it was sent a sparse packet should be sent again on
// a second path if no answer has come from the first, whose Delivery it is.
func (h *Hedge) Late(d Delivery) time.Duration {
	if d.Smoothed <= 0 {
		return unknownLate
	}
	slack := time.Duration(h.calm * float64(min(max(d.Variation, leastVariation), longest)))
	return min(d.Smoothed+slack, mostLate)
}

// Second returns the ID of the path on which a packet should be sent again that
// went on the path first: the one on which it arrives first, one that is late
// after all others. It is false when there is none but such as stand by, which
// carry no copies.
func Second(paths []Path, first int) (id int, ok bool) {
	best, least := -1, time.Duration(0)
	for i := range paths {
		p := &paths[i]
		if p.ID == first || p.Standby {
			continue
		}
		at := p.arrival()
		if p.Late {
			at += longest
		}
		if best < 0 || at < least {
			best, least = i, at
		}
	}
	if best < 0 {
		return 0, false
	}
	return paths[best].ID, true
}

// learn takes in whether a packet that was sent again needed it.
func (h *Hedge) learn(useful bool) {
	if useful {
		h.calm = max(h.calm-calmFalls, leastCalm)
	} else {
		h.calm = min(h.calm+calmGrows, mostCalm)
	}
}

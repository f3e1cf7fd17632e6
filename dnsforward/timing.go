package dnsforward

import "time"

// Bounds of how long an answer is waited for before somebody is asked again.
const (
	// unknownWait is for a server that has not answered yet: most answer sooner,
	// through two uplinks of a household.
	unknownWait = 200 * time.Millisecond
	// leastWait: an answer from a server's cache says little about one that it has
	// to look for.
	leastWait = 50 * time.Millisecond
	// mostWait keeps a lookup below a second when an uplink has swallowed the
	// question, whatever was measured.
	mostWait = 300 * time.Millisecond
	// lateCost is what each late answer makes a server count as slower; lateMemory
	// is how long. With maxLate it is behind any other that answers.
	lateCost   = 200 * time.Millisecond
	lateMemory = 30 * time.Second
	maxLate    = 5
)

// timing is how long a server takes to answer: the mean and the deviation of RFC
// 6298, section 2, and how often it was late of late.
type timing struct {
	mean, deviation time.Duration // 0: never answered
	late            int
	lateAt          time.Time
}

// answered notes an answer to a question that was asked once. To one that was
// asked again it may belong to either (Karn), and took is 0.
func (t *timing) answered(took time.Duration) {
	t.late = 0
	switch {
	case took <= 0:
	case t.mean == 0:
		t.mean, t.deviation = took, took/2
	default:
		t.deviation += ((t.mean - took).Abs() - t.deviation) / 4
		t.mean += (took - t.mean) / 8
	}
}

// overdue notes that no answer came within wait.
func (t *timing) overdue(now time.Time) {
	if now.Sub(t.lateAt) > lateMemory {
		t.late = 0
	}
	t.late, t.lateAt = min(t.late+1, maxLate), now
}

// wait is how long to wait for an answer.
func (t *timing) wait() time.Duration {
	if t.mean == 0 {
		return unknownWait
	}
	return min(max(t.mean+4*t.deviation, leastWait), mostWait)
}

// cost is what servers are put in order by, the least first. One that has not
// answered yet goes first, so that all are known soon.
func (t *timing) cost(now time.Time) time.Duration {
	cost := t.mean + t.deviation
	if now.Sub(t.lateAt) <= lateMemory {
		cost += time.Duration(t.late) * lateCost
	}
	return cost
}

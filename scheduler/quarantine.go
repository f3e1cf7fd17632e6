package scheduler

import (
	"fmt"
	"time"
)

const (
	// quarantineAfter is how long an uplink must have been useless: what is
	// known of it may be an accident.
	quarantineAfter = 5 * time.Second

	// It is left out for quarantineFirst, and each time that it turns out to
	// be useless still twice as long, up to quarantineMost. That is forgotten
	// when it was of use for quarantineForget.
	quarantineFirst  = time.Minute
	quarantineMost   = time.Hour
	quarantineForget = 10 * time.Minute
)

// Quarantine decides how long an uplink is left out that answers, but makes
// nothing faster. The zero value is ready, and leaves nothing out.
type Quarantine struct {
	useless time.Time     // since when it is; zero: it is of use
	useful  time.Time     // since when it is; zero: it never was, or is not
	until   time.Time     // it is left out; zero: it is not
	wait    time.Duration // the last time
	reason  string
}

// Step takes whether the uplink is of use, with the reason if not, and reports
// whether it is left out now. again is true when its time is over: what was
// known of it is to be forgotten, so that it is tried.
func (q *Quarantine) Step(now time.Time, use bool, reason string) (out, again bool) {
	if use {
		q.useless, q.until = time.Time{}, time.Time{}
		if q.useful.IsZero() {
			q.useful = now
		}
		if now.Sub(q.useful) >= quarantineForget {
			q.wait = 0
		}
		return false, false
	}
	q.useful, q.reason = time.Time{}, reason
	if q.useless.IsZero() {
		q.useless = now
	}
	switch {
	case !q.until.IsZero() && now.Before(q.until):
		return true, false
	case !q.until.IsZero():
		q.useless, q.until = time.Time{}, time.Time{}
		return false, true
	case now.Sub(q.useless) < quarantineAfter:
		return false, false
	}
	q.wait = min(max(2*q.wait, quarantineFirst), quarantineMost)
	q.until = now.Add(q.wait)
	return true, false
}

// Out reports whether the uplink is left out, as of the last Step.
func (q *Quarantine) Out() bool { return !q.until.IsZero() }

// Reason says for people why it is left out, and until when.
func (q *Quarantine) Reason(now time.Time) string {
	return fmt.Sprintf("%s; tried again in %v", q.reason, max(q.until.Sub(now), 0).Round(time.Second))
}

const (
	// The transfers that an uplink might be of use for, in bytes.
	usefulLeast = 64 << 10
	usefulMost  = 1 << 30
)

// Useful reports whether any transfer is through sooner with the line of that
// index, and if not why. A line whose rate is not known is.
func Useful(lines []Line, i int) (bool, string) {
	if lines[i].Rate <= 0 && lines[i].Guess <= 0 || SpreadFrom(lines, i, usefulLeast, usefulMost) > 0 {
		return true, ""
	}
	l, best := lines[i], 0
	if l.Rate <= 0 {
		l.Rate = l.Guess
	}
	for j, o := range lines {
		if o.Rate > lines[best].Rate {
			best = j
		}
	}
	reason := fmt.Sprintf("%v in %s", l.Rate, inMillis(l.RTT))
	if l.Loss >= 0.001 {
		reason += fmt.Sprintf(" with %.1f %% loss", 100*l.Loss)
	}
	return false, fmt.Sprintf("%s make nothing faster beside %v in %s", reason, lines[best].Rate, inMillis(lines[best].RTT))
}

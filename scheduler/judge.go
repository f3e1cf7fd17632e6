package scheduler

import "time"

const (
	// leastAllowance is below what timers and a loaded host add.
	leastAllowance = 10 * time.Millisecond

	// grace keeps an answer that comes just then from being called late.
	grace = 10 * time.Millisecond

	// confirmation is between late and dead: two beats at the quick pace,
	// whose answers would have told otherwise.
	confirmation = 100 * time.Millisecond

	// lateFirst is how long at least an uplink has been seen late, with two
	// beats under way, before it is dead, so that a process that was held up
	// reads first what came.
	lateFirst = 50 * time.Millisecond

	// unknownRTT is expected where nothing was measured (RFC 6298, 2.1).
	unknownRTT = time.Second

	// quickDeath is the longest from a black hole's beginning to death, for
	// round trips of up to 200 ms; it grows with 2.5 round trips. Beyond it
	// a call or a game is lost anyway, below it loss is taken for death.
	quickDeath = 500 * time.Millisecond

	// answerLimit is how long a beat may be unanswered, beside two round
	// trips, even though segments come: some networks acknowledge in the
	// server's place.
	answerLimit = 5 * time.Second
)

// Step judges anew and returns what has changed since the last Step, oldest
// first; nil when nothing did.
func (h *Health) Step(now time.Time) []Transition {
	due := h.Deadline()
	h.advance(now)
	if !due.IsZero() && h.now.Sub(due) > lateFirst {
		h.lateSeen = time.Time{} // the owner overslept
	}
	h.judge()
	changes := h.pending
	h.pending = nil
	return changes
}

// Deadline is when Step should be called at the latest, even if nothing
// happens. Zero means that time alone changes nothing.
func (h *Health) Deadline() time.Time {
	switch h.state {
	case Dead, Quarantined, Off:
		return h.orPending(time.Time{})
	case Probing:
		if h.settling.done() {
			return h.now
		}
	}
	lateAt, waits := h.lateAt()
	switch {
	case h.state == Late && !h.woken && (!waits || h.now.Before(lateAt)):
		return h.now
	case !waits:
		return h.orPending(time.Time{})
	case h.beats.n < 2 && !h.lateSeen.IsZero():
		return h.orPending(time.Time{}) // the next beat will tell
	case h.beats.n < 2:
		return h.orPending(lateAt)
	case h.lateSeen.IsZero():
		return h.orPending(earlier(lateAt, h.answerAt()))
	}
	return h.orPending(earlier(h.deadAt(lateAt), h.answerAt()))
}

func (h *Health) orPending(t time.Time) time.Time {
	if len(h.pending) > 0 {
		return h.now
	}
	return t
}

func (h *Health) judge() {
	if h.state != Probing && h.state != Up && h.state != Late {
		return
	}
	lateAt, waits := h.lateAt()
	late := waits && !h.now.Before(lateAt)
	if !late {
		h.lateSeen = time.Time{}
	}
	switch {
	case h.beats.n >= 2 && !h.now.Before(h.answerAt()):
		h.die("acknowledged, but not answered for " + inMillis(h.now.Sub(h.beats.oldest())))
	case late:
		h.judgeLate(lateAt)
	case h.state == Late && !h.woken:
		h.enter(Up)
	case h.state == Probing && h.settling.done():
		h.settling.up(h.now)
		h.enter(Up)
	}
}

func (h *Health) judgeLate(lateAt time.Time) {
	if h.lateSeen.IsZero() {
		h.lateSeen = h.now
		if h.state == Up {
			h.enter(Late)
		}
		// Answers with a gap are not steady ones.
		h.settling.restart(h.now)
	}
	if h.beats.n >= 2 && !h.now.Before(h.deadAt(lateAt)) {
		if h.state != Probing {
			h.patience.died(h.now)
		}
		h.die("no answer for " + inMillis(h.silence()))
	}
}

// expected is when a sign of life was or is due, if one is waited for.
func (h *Health) expected() (at time.Time, waits bool) {
	if h.beats.n == 0 {
		return time.Time{}, false
	}
	rtt := h.rtt.Smoothed
	if rtt == 0 || h.woken {
		rtt = max(rtt, unknownRTT)
	}
	return later(h.beats.oldest().Add(rtt), h.heard), true
}

func (h *Health) lateAt() (at time.Time, waits bool) {
	at, waits = h.expected()
	return at.Add(h.allowance() + grace), waits
}

// deadAt is meaningful once the uplink has been seen late, and while two
// beats are waited for.
func (h *Health) deadAt(lateAt time.Time) time.Time {
	at := lateAt.Add(confirmation + h.patience.extra)
	return later(at, later(h.lateSeen, h.beats.second()).Add(lateFirst))
}

// answerAt is meaningful while two beats are waited for.
func (h *Health) answerAt() time.Time {
	return h.beats.oldest().Add(answerLimit + 2*h.rtt.Smoothed)
}

// allowance is how much longer than expected a sign of life may take before
// the uplink is late.
func (h *Health) allowance() time.Duration {
	return min(max(leastAllowance, 4*h.rtt.Variation, h.patience.quiet), h.mostAllowance())
}

func (h *Health) mostAllowance() time.Duration {
	srtt := h.rtt.Smoothed
	// A black hole may begin just after a beat, so the quick pace counts too.
	return max(5*srtt/2, quickDeath) - srtt - QuickPace - confirmation - grace
}

// hear takes a sign of life in, and learns from how long it took.
func (h *Health) hear(at time.Time) {
	if !at.After(h.heard) {
		return
	}
	if due, waits := h.expected(); waits && (h.state == Up || h.state == Late && !h.woken) {
		h.patience.harmless(min(at.Sub(due), h.mostAllowance()))
	}
	h.heard = at
	h.lateSeen = time.Time{}
	h.woken = false
}

// sample is a round trip that is not in the estimate yet. Answers that come
// between two beats have waited for one lost segment, all but the last; so
// only the last counts, in the spirit of RFC 6298's rule 3 (Karn's).
type sample struct {
	at  time.Time
	rtt time.Duration
	set bool
}

func (h *Health) takeSample() {
	if h.sample.set {
		h.rtt.Add(h.sample.at, h.sample.rtt)
		h.sample.set = false
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

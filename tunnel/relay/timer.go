package relay

import "time"

// armLocked sets the one timeout that a relay has.
func (r *Relay) armLocked(d time.Duration) {
	r.disarmLocked()
	seq := r.timerSeq
	r.timer = time.AfterFunc(d, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if seq == r.timerSeq {
			r.expired = true
			poke(r.changed)
		}
	})
}

func (r *Relay) disarmLocked() {
	r.timerSeq++
	r.expired = false
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
}

// ackDelay is how long an Ack may wait for company when a quarter of the
// window has not moved. It frees memory of the peer and nobody waits for it.
const ackDelay = 25 * time.Millisecond

// ackSoonLocked sees to it that the peer hears what has arrived: at once when
// it may be waiting for room, with the next data, or after ackDelay.
func (r *Relay) ackSoonLocked() {
	if r.in.Urgent() {
		r.wakeLinkLocked()
		return
	}
	if r.flushArmed || !r.in.News() || r.reset != nil {
		return
	}
	r.flushArmed = true
	if r.flush != nil {
		r.flush.Reset(ackDelay)
		return
	}
	r.flush = time.AfterFunc(ackDelay, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.flushArmed, r.flushNow = false, true
		r.wakeLinkLocked()
	})
}

// A link is spared many tiny writes, which cost as much as large ones, and
// which fill the receive buffer of an MPTCP connection with next to nothing:
// less than smallBytes of data waits until smallPause has passed since the
// last. What comes after a pause, as from a keyboard, goes at once.
const (
	smallBytes = 1 << 10
	smallPause = 2 * time.Millisecond
)

// holdLocked reports whether data is to wait for more, and then sees to it
// that writeLink looks again.
func (r *Relay) holdLocked(att *attachment) bool {
	if r.out.Closed() || r.out.Sendable() >= smallBytes {
		return false
	}
	wait := smallPause - time.Since(att.wrote)
	if wait <= 0 {
		return false
	}
	if r.holdArmed {
		return true
	}
	r.holdArmed = true
	if r.hold != nil {
		r.hold.Reset(wait)
		return true
	}
	r.hold = time.AfterFunc(wait, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.holdArmed = false
		r.wakeLinkLocked()
	})
	return true
}

// stopTimersLocked is for the end.
func (r *Relay) stopTimersLocked() {
	r.disarmLocked()
	for _, t := range []*time.Timer{r.flush, r.hold} {
		if t != nil {
			t.Stop()
		}
	}
}

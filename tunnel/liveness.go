package tunnel

import "time"

const (
	// livenessTick is how often step is called for a link that is in use.
	livenessTick = 250 * time.Millisecond
	// askAfter: a link that was just busy and is quiet for this long is asked
	// whether it is there. A download's receiver has nothing to say by
	// itself, and it is the client who has to find another way.
	askAfter = time.Second
	// askRarely is the longest pause between two questions: an idle stream
	// costs a few bytes a second, and no NAT forgets it.
	askRarely = time.Minute
	// askIdle is that of a link without a stream, of which a metered uplink
	// has five or more.
	askIdle = 10 * time.Minute
	// suspectAfter is how long the answer may take, on top of askAfter, before
	// another carrier is looked for. To be wrong costs one handshake: nothing
	// changes before another one is there.
	suspectAfter = 2 * time.Second
	// linkDeadAfter ends a carrier on which nothing moves any more. Kernels
	// repeat themselves in steps that double: after so long a silence they are
	// slower than a new connection.
	linkDeadAfter = 15 * time.Second
)

// linkAction is what to do about a link.
type linkAction int

const (
	linkFine    linkAction = iota
	linkAsk                // send a ping
	linkSuspect            // look for another
	linkDead               // close it
)

// liveness judges a link from when it was heard and used. It is pure: the
// time is an argument, all times count from one origin.
//
//	       quiet for askAfter, then twice that, ...      no answer
//	fine ───────────────────────────────────▶ asked ──────────────▶ suspect ──▶ dead
//	  ▲                                          │                     │
//	  └──────────── bytes, or the kernel moves ──┴─────────────────────┘
type liveness struct {
	pause   time.Duration // before the next question
	uses    uint64        // at the last step
	asked   time.Duration // when the unanswered question was put
	waiting bool
	moved   uint64 // progress of the kernel's connection when last looked at
	since   time.Duration
}

// step takes the time, when bytes last came, a number that changes when a
// stream uses the link, the longest pause between two questions, and what
// tells how far the kernel's connection has come, which is asked only while an
// answer is late.
func (v *liveness) step(now, heard time.Duration, uses uint64, rarely time.Duration, progress func() uint64) linkAction {
	if v.waiting && heard >= v.asked {
		v.waiting = false
	}
	if uses != v.uses || v.pause == 0 {
		v.uses, v.pause = uses, askAfter
	}
	if !v.waiting {
		if now-heard < v.pause {
			return linkFine
		}
		v.waiting, v.asked, v.since = true, now, now
		v.moved = progress()
		v.pause = min(2*v.pause, rarely)
		return linkAsk
	}
	if now-v.since < suspectAfter {
		return linkFine
	}
	// A thin line brings half a frame in all that time, or takes it away.
	if p := progress(); p != v.moved {
		v.moved, v.since = p, now
		return linkFine
	}
	if now-v.since >= linkDeadAfter {
		return linkDead
	}
	return linkSuspect
}

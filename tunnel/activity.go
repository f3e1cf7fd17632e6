package tunnel

import (
	"sync/atomic"
	"time"
)

// activity tells a ticker whether anything moves: what is idle is looked at
// less often, and a tunnel that nobody uses costs next to nothing.
type activity struct {
	moved atomic.Bool
	wake  chan struct{} // holds a token after the first thing that moved
	last  time.Time     // of the ticker alone
}

const (
	// activeFor is how long something is looked at often after it moved.
	activeFor = 20 * time.Second
	// idleTick is livenessTick where nothing moves. What the peer asks on an
	// idle link waits for it.
	idleTick = time.Second
)

func newActivity() *activity { return &activity{wake: make(chan struct{}, 1)} }

// note says that something moved. It costs a load where something just did.
func (a *activity) note() {
	if !a.moved.Load() && a.moved.CompareAndSwap(false, true) {
		a.poke()
	}
}

// poke wakes the ticker.
func (a *activity) poke() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// next returns how long the ticker shall wait, and what ends that early; nil
// where it is short anyhow.
func (a *activity) next(now time.Time) (time.Duration, <-chan struct{}) {
	if a.moved.Swap(false) || a.last.IsZero() {
		a.last = now
	}
	if now.Sub(a.last) < activeFor {
		return livenessTick, nil
	}
	return idleTick, a.wake
}

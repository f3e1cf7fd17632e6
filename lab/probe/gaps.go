package probe

import (
	"sync"
	"time"
)

// gapLeast is the shortest silence that Gaps keeps: below it are the pauses of
// any bulk transfer, which would fill memory and say nothing.
const gapLeast = 10 * time.Millisecond

// Gaps keeps the silences between arrivals, so that afterwards the longest
// around any moment can be told. Safe for concurrent use. Times must not
// decrease from call to call of Arrived.
type Gaps struct {
	mu   sync.Mutex // guards what follows
	last time.Time
	list []gap
}

type gap struct{ from, to time.Time }

// NewGaps returns Gaps whose first silence begins now.
func NewGaps(now time.Time) *Gaps { return &Gaps{last: now} }

// Arrived ends the present silence.
func (g *Gaps) Arrived(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Sub(g.last) >= gapLeast {
		g.list = append(g.list, gap{g.last, now})
	}
	g.last = now
}

// allLocked is all silences, the one that lasts as of end included.
func (g *Gaps) allLocked(end time.Time) []gap {
	if end.Sub(g.last) < gapLeast {
		return g.list
	}
	return append(g.list[:len(g.list):len(g.list)], gap{g.last, end})
}

// Longest returns the longest silence that belongs to a span of time: at least
// half of it lies within. The whole of it counts; one that lasts still counts
// until the span's end. It is 0 when all were shorter than 10 ms.
func (g *Gaps) Longest(from, to time.Time) (longest time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.allLocked(to) {
		inside := earlier(s.to, to).Sub(later(s.from, from))
		if length := s.to.Sub(s.from); 2*inside >= length {
			longest = max(longest, length)
		}
	}
	return longest
}

// After returns how much longer than a moment the silence lasted in which that
// moment lay: until an arrival, or until end. It is 0 when there was none of
// 10 ms and more.
func (g *Gaps) After(moment, end time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.allLocked(end) {
		if !moment.Before(s.from) && moment.Before(s.to) {
			return s.to.Sub(moment)
		}
	}
	return 0
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

package resequence

import "time"

// silent is after how much silence a path does not bring packets of this flow
// any more, at least.
const silent = 200 * time.Millisecond

// note takes in what a path has brought.
func (b *Buffer[M]) note(now time.Time, id int, seq uint64) {
	for i := range b.paths[:b.known] {
		if p := &b.paths[i]; p.id == id {
			p.to, p.at = max(p.to, seq+1), now
			return
		}
	}
	if b.known < maxPaths {
		b.paths[b.known] = brought{id, seq + 1, now}
		b.known++
		return
	}
	oldest := &b.paths[0]
	for i := range b.paths {
		if b.paths[i].at.Before(oldest.at) {
			oldest = &b.paths[i]
		}
	}
	b.crowded = b.crowded || b.isLive(now, oldest)
	*oldest = brought{id, seq + 1, now}
}

// isLive says whether a path brings packets at present.
func (b *Buffer[M]) isLive(now time.Time, p *brought) bool {
	return now.Sub(p.at) <= max(silent, 2*b.wait)
}

// lost returns a number below which nothing can come any more in order: each
// path that brings packets has brought a higher one. With one path alone there
// is no telling: the other may be slow to begin.
func (b *Buffer[M]) lost(now time.Time) uint64 {
	var least uint64
	live := 0
	for i := range b.paths[:b.known] {
		p := &b.paths[i]
		if !b.isLive(now, p) {
			continue
		}
		if live == 0 || p.to < least {
			least = p.to
		}
		live++
	}
	if live < 2 || b.crowded {
		return 0
	}
	return least
}

// Delay is how long a path takes, one way, and by how much that varies. Their
// difference matters, so that any constant part may be in them: round trips
// halved will do.
type Delay struct{ Mean, Variation time.Duration }

const (
	// leastWait is what schedulers of the kernels at both ends make of equal
	// paths.
	leastWait = 2 * time.Millisecond
	// mostWait is how long nothing waits any more: what is inside has noticed.
	mostWait = 500 * time.Millisecond
)

// Wait returns for how long a packet of a flow on these paths should wait for a
// missing one: by as much as the slowest may come after the quickest.
func Wait(paths []Delay) time.Duration {
	if len(paths) < 2 {
		return 0
	}
	quick, slow := paths[0].Mean, time.Duration(0)
	for _, p := range paths {
		quick = min(quick, p.Mean)
		slow = max(slow, p.Mean+min(max(4*p.Variation, 0), mostWait))
	}
	return min(max(slow-quick, leastWait), mostWait)
}

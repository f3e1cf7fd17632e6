package policy

import "time"

// roundRobin gives each path a packet in turn.
type roundRobin struct {
	choice choice
	last   int // ID
	begun  bool
}

func (r *roundRobin) Pick(_ time.Time, p Packet, paths []Path, dst []int) []int {
	dst = dst[:0]
	paths = r.choice.of(paths, p.Class)
	if len(paths) == 0 {
		return dst
	}
	next := 0
	if r.begun {
		next = (find(paths, r.last) + 1) % len(paths)
	}
	r.last, r.begun = paths[next].ID, true
	return append(dst, r.last)
}

package policy

import "time"

const (
	// leastGain and gainPart are by how much a packet must arrive earlier on
	// another path for a sparse flow to move: less than that is noise.
	leastGain = 2 * time.Millisecond
	gainPart  = 1.0 / 8

	// sparsePatience is for how long it must have been so.
	sparsePatience = 100 * time.Millisecond

	// leap and leapPart are by how much it must be to move at once: a queue has
	// come up in front of the path, and each packet would wait in it.
	leap     = 15 * time.Millisecond
	leapPart = 0.5
	// sparseDwell is how long after a move there is none at once: what fills and
	// empties a queue in turns shall not take the flow along.
	sparseDwell = 250 * time.Millisecond
)

// sparse returns the index of the path for a packet of a sparse flow: the one
// on which it arrives first, with some inertia.
func (f *flow) sparse(now time.Time, paths []Path, rested bool) int {
	best := earliest(paths, -1)
	i := -1
	if f.placed && !rested {
		i = find(paths, f.path)
	}
	if i < 0 {
		f.placed, f.path, f.better = true, paths[best].ID, time.Time{}
		return best
	}
	at := paths[i].arrival()
	gain := at - paths[best].arrival()
	if gain <= max(leastGain, time.Duration(gainPart*float64(at))) {
		f.better = time.Time{}
		return i
	}
	if f.better.IsZero() {
		f.better = now
	}
	atOnce := gain > max(leap, time.Duration(leapPart*float64(at))) && now.Sub(f.moved) >= sparseDwell
	if !atOnce && now.Sub(f.better) < sparsePatience {
		return i
	}
	f.path, f.moved, f.better = paths[best].ID, now, time.Time{}
	return best
}

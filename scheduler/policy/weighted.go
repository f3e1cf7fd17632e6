package policy

import (
	"hash/maphash"
	"time"

	"braid/scheduler/queue"
)

// weighted deals flows to paths in proportion to their rates. A flow stays
// where it is as long as its path is there. There is no such policy for single
// packets: ECF does that, and knows besides what waits.
type weighted struct {
	choice choice
	flows  *queue.Table[weightedFlow]
	debts  debts
}

type weightedFlow struct {
	id   int
	last time.Time // that it sent
}

func newWeighted(seed maphash.Seed) *weighted {
	return &weighted{flows: queue.NewTable[weightedFlow](maxFlows, seed)}
}

func (w *weighted) Pick(now time.Time, p Packet, paths []Path, dst []int) []int {
	dst = dst[:0]
	paths = w.choice.of(paths, p.Class)
	if len(paths) == 0 {
		return dst
	}
	f, fresh := w.flows.GetHashed(&p.Key, &p.Hash)
	if fresh || now.Sub(f.last) > restingFlow || find(paths, f.id) < 0 {
		f.id = w.debts.next(paths)
	}
	f.last = now
	return append(dst, f.id)
}

// debts deals in proportion to weights, evenly mixed: smooth weighted round
// robin, as nginx has it. Each path is owed its weight at every deal; the one
// owed most gets it, and pays the sum.
type debts struct {
	owed [maxPaths]debt
	n    int
}

type debt struct {
	id   int
	owed float64 // in deals, so that rates may change
}

// next deals one and returns the ID of who gets it.
func (d *debts) next(paths []Path) int {
	if !d.knows(paths) {
		d.n = len(paths)
		for i := range paths {
			d.owed[i] = debt{id: paths[i].ID}
		}
	}
	best, sum := bestRate(paths), 0.0
	for i := range paths {
		sum += rateOr(&paths[i], best)
	}
	most := 0
	for i := range paths {
		d.owed[i].owed += rateOr(&paths[i], best) / sum
		if d.owed[i].owed > d.owed[most].owed+1e-9 {
			most = i
		}
	}
	d.owed[most].owed--
	return d.owed[most].id
}

// knows says whether the paths are those of the last deal.
func (d *debts) knows(paths []Path) bool {
	if d.n != len(paths) {
		return false
	}
	for i := range paths {
		if d.owed[i].id != paths[i].ID {
			return false
		}
	}
	return true
}

// maxRate keeps sums of rates finite, bits per second.
const maxRate = 1e15

// bestRate is the highest rate known, or unknownRate.
func bestRate(paths []Path) float64 {
	best := 0.0
	for i := range paths {
		if r := paths[i].Rate; r > best {
			best = r
		}
	}
	if best == 0 {
		return unknownRate
	}
	return min(best, maxRate)
}

// rateOr is a path's rate. Where it is unknown it is taken to be as good as the
// best: who uses it learns better.
func rateOr(p *Path, best float64) float64 {
	if p.Rate > 0 {
		return min(p.Rate, maxRate)
	}
	return best
}

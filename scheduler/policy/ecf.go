package policy

import (
	"hash/maphash"
	"time"

	"braid/scheduler/queue"
)

// ecf spreads each flow over all paths by earliest completion first (Lim,
// Nahum, Towsley, Gibbens: "ECF: An MPTCP Path Scheduler to Manage
// Heterogeneous Paths", CoNEXT 2017). The paper's question is whether to use a
// slow path that has room or to wait for the quick one:
//
//	wait if (1 + k/cwnd)·RTTquick < (1 + waiting·β)·(RTTslow + δ)
//
// with k what is still to be sent, δ the larger of the two variations, and β
// the hysteresis. Here what waits has been given to a path already: (k/cwnd)·RTT
// is the time that its queue takes, and to wait for a path is to join that
// queue. So a packet goes on the path where it is through first, all paths
// compared with the quickest; β then keeps the flow from leaving what it waits
// for with every packet.
//
// A bulk flow has no end that is known: k is without bound, and the paper uses
// whatever has room. What has room is a path whose queue is shorter than CoDel
// lets it grow. Else CoDel would hold the flow to the quick path, and it would
// never wait long enough there for the slow one to be worth it: 48 Mb/s of 80
// in the simulation.
//
// The paper's second condition is about the last bytes of a transfer, of which
// packets say nothing.
type ecf struct {
	choice choice
	flows  *queue.Table[ecfFlow]
}

type ecfFlow struct {
	quick   int // ID of what it waits for
	waiting bool
}

const (
	// ecfBeta is the paper's β.
	ecfBeta = 0.25
	// roomy is the delay of a queue that has room: a little below CoDel's target.
	roomy = 4 * time.Millisecond
)

func newECF(seed maphash.Seed) *ecf {
	return &ecf{flows: queue.NewTable[ecfFlow](maxFlows, seed)}
}

func (e *ecf) Pick(_ time.Time, p Packet, paths []Path, dst []int) []int {
	dst = dst[:0]
	paths = e.choice.of(paths, p.Class)
	if len(paths) == 0 {
		return dst
	}
	if p.Class == queue.Bulk {
		return append(dst, paths[roomiest(paths, p.Bytes)].ID)
	}
	f, _ := e.flows.Get(&p.Key)
	quick := 0
	for i := range paths {
		if paths[i].roundTrip() < paths[quick].roundTrip() {
			quick = i
		}
	}
	if f.quick != paths[quick].ID {
		*f = ecfFlow{quick: paths[quick].ID}
	}

	first := &paths[quick]
	wait := first.completion(p.Bytes)
	best, least, queued := quick, wait, first.Queued > 0
	for i := range paths {
		slow := &paths[i]
		if i == quick {
			continue
		}
		done := slow.completion(p.Bytes) + max(first.spread(), slow.spread())
		if f.waiting {
			done += time.Duration(ecfBeta * float64(done))
		}
		if done < least {
			best, least = i, done
		}
	}
	f.waiting = best == quick && queued
	return append(dst, paths[best].ID)
}

// roomiest returns the index of the path where so many bytes are through first,
// among those that have room; where none has, of the one with the shortest
// queue.
func roomiest(paths []Path, bytes int) int {
	best, room := 0, false
	var least time.Duration
	for i := range paths {
		p := &paths[i]
		has := p.queueDelay() <= roomy
		at := p.queueDelay()
		if has {
			at = p.completion(bytes)
		}
		if i == 0 || has && !room || has == room && at < least {
			best, least, room = i, at, has
		}
	}
	return best
}

// completion is when so many bytes have arrived that are sent after all that
// waits.
func (p *Path) completion(bytes int) time.Duration {
	return p.roundTrip()/2 + p.takes(p.Queued) + p.takes(bytes)
}

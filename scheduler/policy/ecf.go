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
// A sender that paces itself by what is delivered, as bbr does, makes no queue to
// speak of, and so would never find the second path. So a path is full from 90 %
// of its rate on, by a queue that is only counted (a phantom queue, Alizadeh et al.:
// "Less is More", NSDI 2012), and what is beyond that of all of them the slowest
// gets, as long as its queue has room: its rate may be more than anybody knows.
//
// The paper's second condition is about the last bytes of a transfer, of which
// packets say nothing.
type ecf struct {
	choice  choice
	flows   *queue.Table[ecfFlow]
	phantom [maxPaths]phantom // in the order of the paths of this Pick
}

// phantom is a path's queue if it had a part of its rate.
type phantom struct {
	id    int
	at    time.Time
	delay time.Duration
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
	// phantomPart is what part of its rate a path has for phantom queues.
	phantomPart = 0.9
	// phantomMost is how long those may get.
	phantomMost = 2 * roomy
)

func newECF(seed maphash.Seed) *ecf {
	return &ecf{flows: queue.NewTable[ecfFlow](maxFlows, seed)}
}

func (e *ecf) Pick(now time.Time, p Packet, paths []Path, dst []int) []int {
	dst = dst[:0]
	paths = e.choice.of(paths, p.Class)
	if len(paths) == 0 {
		return dst
	}
	if p.Class == queue.Bulk {
		return append(dst, paths[e.bulk(now, paths, p.Bytes)].ID)
	}
	f, _ := e.flows.GetHashed(&p.Key, &p.Hash)
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

// bulk returns the index of the path where so many bytes are through first, among
// those that have room in both queues; where none has, of the slowest with room in
// its own, or else of the one with the shortest.
func (e *ecf) bulk(now time.Time, paths []Path, bytes int) int {
	best, room := 0, -1
	var least time.Duration
	for i := range paths {
		p, f := &paths[i], e.drain(now, paths, i)
		has, at := 0, p.queueDelay()
		switch {
		case at > roomy:
		case f.delay > roomy:
			has, at = 1, -p.completion(bytes)
		default:
			has, at = 2, p.completion(bytes)
		}
		if has > room || has == room && at < least {
			best, least, room = i, at, has
		}
	}
	e.fill(paths, best, bytes)
	return best
}

// drain returns the phantom queue of the path at index i, as it is now.
func (e *ecf) drain(now time.Time, paths []Path, i int) *phantom {
	f := &e.phantom[i]
	for j := i; f.id != paths[i].ID && j < len(e.phantom); j++ {
		e.phantom[i], e.phantom[j] = e.phantom[j], e.phantom[i]
	}
	if f.id != paths[i].ID {
		*f = phantom{id: paths[i].ID, at: now}
	}
	if passed := now.Sub(f.at); passed > 0 {
		f.delay = max(f.delay-passed, 0)
		f.at = now
	}
	return f
}

// fill adds bytes to the phantom queue of the path at index i.
func (e *ecf) fill(paths []Path, i, bytes int) {
	p := paths[i]
	if p.Delivered > 0 {
		p.Rate = p.Delivered
	}
	f := &e.phantom[i]
	f.delay = min(f.delay+time.Duration(float64(p.takes(bytes))/phantomPart), phantomMost)
}

// completion is when so many bytes have arrived that are sent after all that
// waits.
func (p *Path) completion(bytes int) time.Duration {
	return p.roundTrip()/2 + p.takes(p.Queued) + p.takes(bytes)
}

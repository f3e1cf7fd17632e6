package policy

import (
	"time"

	"braid/scheduler/queue"
)

const (
	// maxPaths is how many paths are heeded: more than a Multipath TCP
	// connection has subflows (8).
	maxPaths = 16

	// maxFlows is how many flows are remembered, as many as have a queue.
	maxFlows = 1024

	// unknownRTT stands for a round trip not yet measured: a path that is known
	// to be quick goes before it.
	unknownRTT = 200 * time.Millisecond
	// unknownRate turns bytes into time where no rate is known, bits per second:
	// an uplink's of some LTE or DSL.
	unknownRate = 10e6

	// longest bounds all delays: nobody waits longer, and sums do not overflow.
	longest = time.Minute
)

// choice holds the paths of which the first carries a packet.
type choice struct{ space [maxPaths]Path }

// of returns those in use for packets of a class: without the ones that stand by,
// unless all do, and for sparse ones without those that are late, unless all are.
// The answer is good until the next call.
func (c *choice) of(paths []Path, class queue.Class) []Path {
	paths = paths[:min(len(paths), maxPaths)]
	standby := 0
	for i := range paths {
		if paths[i].Standby {
			standby++
		}
	}
	if standby > 0 && standby < len(paths) {
		paths = c.only(paths, func(p *Path) bool { return !p.Standby })
	}
	late := 0
	for i := range paths {
		if paths[i].Late {
			late++
		}
	}
	if class == queue.Sparse && late > 0 && late < len(paths) {
		paths = c.only(paths, func(p *Path) bool { return !p.Late })
	}
	return paths
}

// only copies those that are wanted, in their order. paths may be what it has
// returned.
func (c *choice) only(paths []Path, want func(*Path) bool) []Path {
	n := 0
	for i := range paths {
		if want(&paths[i]) {
			c.space[n] = paths[i]
			n++
		}
	}
	return c.space[:n]
}

func (p *Path) roundTrip() time.Duration {
	if p.RTT <= 0 {
		return unknownRTT
	}
	return min(p.RTT, longest)
}

// takes is how long the path needs to send so many bytes.
func (p *Path) takes(bytes int) time.Duration {
	rate := p.Rate
	if !(rate > 0) { // nor not a number
		rate = max(unknownRate, p.Delivered)
	}
	return time.Duration(min(float64(max(bytes, 0))*8/rate, longest.Seconds()) * float64(time.Second))
}

// queueDelay is how long what waits holds up a packet.
func (p *Path) queueDelay() time.Duration { return p.takes(p.Queued) }

// spread is by how much it may be later than expected.
func (p *Path) spread() time.Duration { return min(max(p.Variation, 0), longest) }

// arrival is when a packet of a few bytes arrives, from now: half a round trip
// after all that waits. Paths are TCP connections, on which a lost packet, and
// those behind it, come about a round trip later: that counts as often as it
// happens, and so does half of the jitter.
func (p *Path) arrival() time.Duration {
	rtt := p.roundTrip()
	late := time.Duration(0)
	if p.Loss > 0 { // and a number
		late = time.Duration(2 * min(p.Loss, 1) * float64(rtt))
	}
	return rtt/2 + p.queueDelay() + late + p.spread()/2
}

// find returns the index of an ID, or -1.
func find(paths []Path, id int) int {
	for i := range paths {
		if paths[i].ID == id {
			return i
		}
	}
	return -1
}

// earliest returns the index of the path with the earliest arrival, without one
// (-1 for none). It is -1 if there is no other.
func earliest(paths []Path, without int) int {
	best, least := -1, time.Duration(0)
	for i := range paths {
		if i == without {
			continue
		}
		if at := paths[i].arrival(); best < 0 || at < least {
			best, least = i, at
		}
	}
	return best
}

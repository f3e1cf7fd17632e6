package scheduler

import (
	"math"
	"math/bits"
	"time"
)

// Line is what Spread knows of one uplink, in the direction of the transfer.
type Line struct {
	RTT   time.Duration // smoothed; 0 is unknown
	Rate  BitRate       // what it can carry; 0 is unknown
	Guess BitRate       // of Rate, where that is unknown; 0: there is none
	Loss  float64       // part of its segments that are lost, 0 to 1
	Warm  bool          // it carries the transfer already, its window is open
}

// Set is a set of lines by their index, bit 0 is the first.
type Set uint64

// Has reports whether the line of that index is in the set.
func (s Set) Has(i int) bool { return s>>i&1 != 0 }

// Len is how many lines are in the set.
func (s Set) Len() int { return bits.OnesCount64(uint64(s)) }

const (
	// spreadMost is how many lines are weighed against each other. Those
	// behind join what all of these carry.
	spreadMost = 8

	// spreadBurst is what Linux's scheduler gives a subflow at a time
	// (MPTCP_SEND_BURST_SIZE of net/mptcp/protocol.c): which of them gets the
	// last one cannot be foreseen.
	spreadBurst = 64 << 10

	segmentBytes = 1448
	firstWindow  = 10 * segmentBytes // RFC 6928

	// spreadGain is what each line more must bring at least, and spreadFar how
	// much more for the square of how often its round trip is twice that of the
	// quickest. What is not in the sum is paid for in round trips: waiting for
	// what was lost, or for bbr's pauses. Fitted to the grid: 5 Mb/s in 60 ms
	// beside 50 in 30 brought 7 of 10 %, 10 Mb/s in 300 ms cost 8 instead of
	// bringing 20.
	spreadGain = 0.04
	spreadFar  = 0.02

	// spreadWindow is what waits at most, at either end, for what is late.
	spreadWindow = 16 << 20

	// guessedRate is taken where no line's rate is known.
	guessedRate BitRate = 20e6
)

// Spread returns the lines with which bytes, of which sharing transfers of the
// same kind each have as many, are through soonest.
//
// More lines carry more, but the transfer ends when the slowest of them has
// brought what it was given last: a kernel's scheduler fills all subflows until
// it has nothing left, and does not ask which bytes will be waited for. So a
// line that brings little, or late, helps what is long and holds up what is
// short.
//
// What brings hardly anything is left out altogether, and so is what comes so
// late that more would have to wait for it than there is room for.
//
// A line of which nothing is known is taken to be as good as the best, or as the
// guess says: who uses it learns better. The order of the lines decides between equals. The set is
// empty only if there are no lines.
func Spread(lines []Line, bytes float64, sharing int) Set {
	n := min(len(lines), spreadMost)
	if n == 0 {
		return 0
	}
	var known [spreadMost]Line
	complete(known[:copy(known[:], lines)], sharing)
	var rate, cold, tail [spreadMost]float64
	for i, l := range known[:n] {
		rate[i], cold[i], tail[i] = float64(l.Rate), l.cold(bytes), l.tail()
	}
	best, least := Set(1), math.Inf(1)
	for set := Set(1); set < 1<<n; set++ {
		var rates, late, coldest, last, rtt float64
		quickest := time.Duration(math.MaxInt64)
		for i := range n {
			if !set.Has(i) {
				continue
			}
			rates += rate[i]
			late += rate[i] * cold[i]
			coldest = max(coldest, cold[i])
			end := tail[i]
			if set.Len() > 1 {
				end += 8 * spreadBurst / rate[i]
			}
			last, rtt = max(last, end), max(rtt, known[i].RTT.Seconds())
			quickest = min(quickest, known[i].RTT)
		}
		if set.Len() > 1 {
			late += others(rate[:n], cold[:n], set) * coldest
			rates = min(rates, 8*spreadWindow/(2*rtt))
		}
		took := (8*bytes+late)/rates + last
		if took *= 1 + price(known[:n], set, quickest); took < least {
			best, least = set, took
		}
	}
	if best.Len() == n {
		best = 1<<len(lines) - 1
	}
	return best
}

// others is what those carry that wait, because their windows are open, for the
// ones whose windows are not: data of which a part is missing is no use.
func others(rate, cold []float64, set Set) (sum float64) {
	for i := range rate {
		if set.Has(i) && cold[i] == 0 {
			sum += rate[i]
		}
	}
	return sum
}

// price is what a set must bring more than a part of it.
func price(lines []Line, set Set, quickest time.Duration) float64 {
	sum := -spreadGain
	for i, l := range lines {
		if !set.Has(i) {
			continue
		}
		sum += spreadGain
		if quickest > 0 {
			doublings := math.Log2(float64(l.RTT) / float64(quickest))
			sum += spreadFar * doublings * doublings
		}
	}
	return sum
}

// complete puts guesses where nothing is known, and leaves of each rate what
// one of the transfers that share it has.
func complete(lines []Line, sharing int) {
	rate, guess, rtt := BitRate(0), BitRate(0), time.Duration(math.MaxInt64)
	for _, l := range lines {
		rate, guess = max(rate, l.Rate), max(guess, l.Guess)
		if l.RTT > 0 {
			rtt = min(rtt, l.RTT)
		}
	}
	if rate == 0 {
		rate = max(guess, guessedRate)
	}
	if rtt == math.MaxInt64 {
		rtt = 0
	}
	for i := range lines {
		l := &lines[i]
		if l.Rate <= 0 {
			l.Rate = l.Guess
		}
		if l.Rate <= 0 {
			l.Rate = rate
		}
		if l.RTT <= 0 {
			l.RTT = rtt
		}
		l.Rate /= BitRate(max(sharing, 1))
	}
}

// cold is how long, in seconds, the line carries nothing, as it were, because
// its window has to grow first: a round trip for each doubling, without the
// last, which the others together make up.
func (l Line) cold(bytes float64) float64 {
	if l.Warm {
		return 0
	}
	window := min(bytes, float64(l.Rate)/8*l.RTT.Seconds())
	return l.RTT.Seconds() * max(0, math.Log2(window/firstWindow))
}

// tail is how long, in seconds, the last byte takes at least: there is a queue
// as long as the line itself, what is lost is sent again, and a window that is
// closed still takes several round trips for a burst.
func (l Line) tail() float64 {
	trips := 1 + min(1, l.Loss*spreadBurst/segmentBytes)
	if !l.Warm {
		trips += math.Log2(spreadBurst / firstWindow)
	}
	return l.RTT.Seconds() * trips
}

// SpreadFrom returns the size in bytes from which transfers use the line of
// that index, the first by doubling of least; 0 if none up to most does.
func SpreadFrom(lines []Line, i int, least, most float64) float64 {
	for bytes := least; bytes <= most; bytes *= 2 {
		if Spread(lines, bytes, 1).Has(i) {
			return bytes
		}
	}
	return 0
}

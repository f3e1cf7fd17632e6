package policy

import "time"

// Copy is why a packet is sent on a second path.
type Copy uint8

const (
	AtOnce Copy = iota // together with the packet: Auto's thinnest flows
	Again              // because the answer is late

	copies = 2
)

func (c Copy) String() string {
	if c == Again {
		return "again"
	}
	return "at once"
}

const (
	// DefaultShare is how much of the slower link's rate copies may take.
	DefaultShare = 0.05

	// budgetBurst is for how long of that share a pause makes up: at 5 % the
	// copies then take 10 ms of the slower link.
	budgetBurst = 200 * time.Millisecond
	// leastBurst is two full packets, bytes: else a slow link had no copies of
	// such at all.
	leastBurst = 3 << 10
	// unknownBudget is the rate where none is known, bits per second: one call
	// at 5 %.
	unknownBudget = 2e6
	// atOnceLeaves is what part of the burst copies at once leave to those that
	// are sent again, of which more are useful.
	atOnceLeaves = 0.25
)

// Copies counts the copies of one kind.
type Copies struct {
	Sent, Bytes uint64
	Useful      uint64 // arrived before the packet, or instead of it
	Refused     uint64 // for want of budget
}

// Hedge sees to it that copies cost little and says when one is due. Copies
// that Auto picks are counted here; of the others its owner asks Allow first.
//
// The budget is a token bucket: in any time, copies have no more bytes than
// the share of the slower link's rate, and a burst of 200 ms of it or 3 KiB.
type Hedge struct {
	share  float64
	tokens float64 // bytes
	at     time.Time
	counts [copies]Copies
	calm   float64 // how many variations an answer may be late
}

// NewHedge makes one whose copies take at most a share of the slower link's
// rate, 0 to 1; 0 is DefaultShare, and a negative one allows none.
func NewHedge(share float64) *Hedge {
	h := &Hedge{calm: leastCalm}
	h.SetShare(share)
	return h
}

// SetShare changes the share, as for NewHedge.
func (h *Hedge) SetShare(share float64) {
	switch {
	case share == 0:
		share = DefaultShare
	case !(share > 0):
		share = 0
	}
	h.share = min(share, 1)
}

// Allow says whether a copy of so many bytes may be sent now, and if so counts
// it as sent. paths are those the session uses.
func (h *Hedge) Allow(now time.Time, c Copy, bytes int, paths []Path) bool {
	bytes = max(bytes, 0)
	fill := h.share * slowest(paths) / 8 // bytes per second
	burst := max(fill*budgetBurst.Seconds(), leastBurst)
	if h.share == 0 {
		burst = 0
	}
	if h.at.IsZero() {
		h.tokens, h.at = burst, now
	}
	if passed := now.Sub(h.at); passed > 0 {
		h.tokens += fill * passed.Seconds()
		h.at = now
	}
	h.tokens = min(h.tokens, burst)
	left := 0.0
	if c == AtOnce {
		left = atOnceLeaves * burst
	}
	n := &h.counts[c]
	if h.tokens-float64(bytes) < left || h.share == 0 {
		n.Refused++
		return false
	}
	h.tokens -= float64(bytes)
	n.Sent++
	n.Bytes += uint64(bytes)
	return true
}

// slowest is the lowest rate known.
func slowest(paths []Path) float64 {
	least := 0.0
	for i := range paths {
		if r := paths[i].Rate; r > 0 && (least == 0 || r < least) {
			least = r
		}
	}
	if least == 0 {
		return unknownBudget
	}
	return min(least, maxRate)
}

// Won takes in whether a copy arrived before its packet, or instead of it.
func (h *Hedge) Won(c Copy, copy bool) {
	if copy {
		h.counts[c].Useful++
	}
	if c == Again {
		h.learn(copy)
	}
}

// Copies returns what was counted.
func (h *Hedge) Copies(c Copy) Copies { return h.counts[c] }

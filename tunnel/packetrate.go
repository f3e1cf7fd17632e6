package tunnel

import "time"

// deliveryRate is how fast a path delivers packets while it is asked for all
// that it has. The zero value knows nothing.
type deliveryRate struct {
	bits float64   // per second; 0: not known
	full time.Time // when it was last asked for all that it has
	seen float64   // bits per second that it delivered of late, asked for all or not

	began  time.Time // of the present measurement; zero: there is none
	bytes  int
	rested bool // it was not asked for all that it has for a moment
	waits  bool // something waited behind what was last taken
}

const (
	// rateTime is how long a measurement lasts at least: three words of the
	// peer.
	rateTime = 100 * time.Millisecond
	// rateRest ends one in which nothing arrived.
	rateRest = time.Second
	// rateRises and rateFalls are how much of the way another rate pulls.
	rateRises = 0.5
	rateFalls = 0.125

	// rateKept is how long a rate is known that nobody asked for.
	rateKept = time.Minute

	// pieceTime of the rate is written at once: what comes behind, the sparsest
	// of flows, waits for it.
	pieceTime  = 4 * time.Millisecond
	leastPiece = 4 << 10
	firstPiece = 16 << 10
	mostPiece  = 128 << 10

	// unsentTime of the rate may lie in the kernel unsent: the writer is as
	// late as that on a busy host.
	unsentTime  = 4 * time.Millisecond
	leastUnsent = 16 << 10
	mostUnsent  = 1 << 20
)

// at is the rate as of now, 0 where it is not known any more.
func (r *deliveryRate) at(now time.Time) float64 {
	if now.Sub(r.full) > rateKept {
		return 0
	}
	return r.bits
}

// took says that something was taken, and whether more waits. That nothing says
// otherwise does not mean that there is: words on little may come long after it.
func (r *deliveryRate) took(more bool) {
	r.waits = more
	r.rested = r.rested || !more
}

// delivered takes in that so many bytes have arrived.
func (r *deliveryRate) delivered(now time.Time, bytes int) {
	elapsed := now.Sub(r.began)
	if r.began.IsZero() || elapsed > rateRest {
		*r = deliveryRate{bits: r.bits, full: r.full, seen: r.seen, began: now, rested: !r.waits, waits: r.waits}
		return
	}
	r.bytes += bytes
	if elapsed < rateTime {
		return
	}
	is := 8 * float64(r.bytes) / elapsed.Seconds()
	if !r.rested {
		r.full = now
	}
	if r.seen += rateFalls * (is - r.seen); is > r.seen {
		r.seen = is
	}
	switch {
	case r.bits == 0 && r.rested: // it says more of who sends
	case r.bits == 0:
		r.bits = is
	case is > r.bits: // words of the peer come in bursts
		r.bits += rateRises * (is - r.bits)
	case !r.rested:
		r.bits += rateFalls * (is - r.bits)
	}
	r.began, r.bytes, r.rested = now, 0, !r.waits
}

// piece is how many bytes to write at once.
func (r *deliveryRate) piece() int {
	if r.seen == 0 {
		return firstPiece
	}
	return r.within(pieceTime, leastPiece, mostPiece)
}

// unsent is how many bytes may lie in the kernel unsent.
func (r *deliveryRate) unsent() int { return r.within(unsentTime, leastUnsent, mostUnsent) }

func (r *deliveryRate) within(d time.Duration, least, most int) int {
	return int(min(max(max(r.seen, r.bits)/8*d.Seconds(), float64(least)), float64(most)))
}

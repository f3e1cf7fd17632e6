package queue

import "time"

// Class is what a flow's behaviour says of it.
type Class uint8

const (
	// Sparse sends little: calls, games, DNS, terminals. Each packet counts,
	// and the latest most.
	Sparse Class = iota
	// Bulk sends as much as it is let.
	Bulk

	classes = 2
)

func (c Class) String() string {
	if c == Bulk {
		return "bulk"
	}
	return "sparse"
}

// A flow is sparse while its bytes fit a bucket of burst bytes that empties at
// a rate: a token bucket, filled instead of emptied.
const (
	// sparseRate is above what calls without video and games take, bytes per
	// second: 400 kb/s.
	sparseRate = 50e3
	// sparseBurst is some ten full packets: a handshake, a page of a terminal.
	sparseBurst = 16 << 10
	// fullBytes is about a packet that its sender had to fill: there is more to
	// come. Such bytes count double. A call's packets are smaller.
	fullBytes = 1000
	// marked is how many times more a flow may send that calls itself urgent.
	// That is still below a film, so that nothing is gained by lying.
	marked = 8
	// restRate of sparseRate empties a bulk flow's bucket, which holds no more
	// than restBurst bursts: it is sparse again after 1.3 s of silence, or longer
	// below half of the rate.
	restRate  = 0.5
	restBurst = 2
)

// Behaviour judges one flow's class. The zero value is ready, and Sparse.
type Behaviour struct {
	level float64 // bytes in the bucket
	at    time.Time
	class Class
	dscp  uint8
}

// Class is the present judgement.
func (b *Behaviour) Class() Class { return b.class }

// Sent takes in that the flow has sent a packet of so many bytes, and returns
// its class. DSCP has a say: EF, VA and CS4 to CS6 (RFC 4594, RFC 5865) may
// send eight times as much, LE and CS1 (RFC 8622, RFC 3662) are bulk.
func (b *Behaviour) Sent(now time.Time, h *Header, bytes int) Class {
	b.dscp = h.DSCP
	full := 1.0
	if h.SegmentBytes >= fullBytes {
		full = 2
	}
	if passed := now.Sub(b.at); passed > 0 && b.level > 0 { // not in a batch
		rate := sparseRate * b.allowance()
		if b.class == Bulk {
			rate *= restRate
		}
		b.level = max(0, b.level-rate*passed.Seconds())
	}
	b.at = now
	if b.level == 0 {
		b.class = Sparse
	}
	b.add(full * float64(bytes))
	return b.class
}

// Queued takes in that the flow has used up a turn of so many bytes and has
// more: it fills what it gets. Each such turn counts as so many bytes more.
// That an outage makes everybody wait is one or two turns, and no matter.
func (b *Behaviour) Queued(bytes int) { b.add(float64(bytes)) }

func (b *Behaviour) add(bytes float64) {
	burst := sparseBurst * b.allowance()
	b.level = min(b.level+bytes, restBurst*burst)
	if b.level > burst || isBackground(b.dscp) {
		b.class = Bulk
	}
}

func (b *Behaviour) allowance() float64 {
	if isUrgent(b.dscp) {
		return marked
	}
	return 1
}

// isUrgent says whether a DSCP asks for little delay.
func isUrgent(dscp uint8) bool {
	switch dscp {
	case 32, 40, 44, 46, 48: // CS4, CS5, VA, EF, CS6
		return true
	}
	return false
}

// isBackground says whether a DSCP asks for less than best effort.
func isBackground(dscp uint8) bool { return dscp == 1 || dscp == 8 } // LE, CS1

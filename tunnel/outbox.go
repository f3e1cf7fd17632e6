package tunnel

import (
	"sync"

	"braid/tunnel/wire"
)

// outboxLimitBytes bounds what waits in front of a session's carrier. What a
// bond of unequal links keeps out of order for its slowest link has to fit: on
// three links of 20 to 100 ms half of it halves the rate. Every packet waits
// behind it, so it is no larger than that needs (docs/benchmarks.md).
const outboxLimitBytes = 1 << 20

// outbox is the queue of a session's outbound frames: the TUN's reader puts
// frames in, a carrier's writer takes all of them at once. It outlives
// carriers. When it is full the newest packet is dropped, which is what makes
// the TCP connections inside slow down.
type outbox struct {
	ready chan struct{} // holds a token while there may be something to take

	mu      sync.Mutex // guards what follows
	limit   int
	buf     []byte
	dropped uint64 // packets
}

func newOutbox(limitBytes int) *outbox {
	return &outbox{ready: make(chan struct{}, 1), limit: limitBytes}
}

// push copies whole frames in. Those that do not fit are dropped, and it
// reports whether all did fit.
func (o *outbox) push(frames []byte) bool {
	o.mu.Lock()
	fits := len(o.buf)+len(frames) <= o.limit
	if !fits {
		frames = o.trimLocked(frames)
	}
	o.buf = append(o.buf, frames...)
	o.mu.Unlock()
	o.wake()
	return fits
}

// trimLocked keeps the frames at the front that fit and counts the others.
func (o *outbox) trimLocked(frames []byte) []byte {
	room := o.limit - len(o.buf)
	keep := 0
	for off := 0; off < len(frames); {
		off += frameLen(frames[off:])
		if off <= room {
			keep = off
		} else {
			o.dropped++
		}
	}
	return frames[:keep]
}

// frameLen returns the length of the frame, header and all, at the front of b.
func frameLen(b []byte) int {
	return wire.HeaderLen + (int(b[1])<<16 | int(b[2])<<8 | int(b[3]))
}

// wholeFrames returns the length of the frames at the front of b that together
// are at most limit bytes, or of the first one if that alone is longer.
func wholeFrames(b []byte, limit int) int {
	if len(b) <= limit {
		return len(b)
	}
	n := frameLen(b)
	for n < len(b) {
		next := n + frameLen(b[n:])
		if next > limit {
			break
		}
		n = next
	}
	return n
}

func (o *outbox) wake() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// take returns all that waits and keeps spare, emptied, for what comes next:
// two buffers change places and nothing is allocated.
func (o *outbox) take(spare []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.buf
	o.buf = spare[:0]
	return b
}

// clear drops what waits: after an outage it is too old to be useful.
func (o *outbox) clear() {
	o.mu.Lock()
	o.buf = o.buf[:0]
	o.mu.Unlock()
}

func (o *outbox) drops() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dropped
}

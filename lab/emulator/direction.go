package emulator

import (
	"math/rand/v2"
	"time"
)

// ethernetHeader is the part of a frame that takes no time on the link.
const ethernetHeader = 14

// maxPackets bounds what one direction holds, queue and wire together: 100 MB
// of full-size frames. It is reached only by links without a rate.
const maxPackets = 1 << 16

// nanoseconds in a second, for bits ÷ rate.
const second = int64(time.Second)

// Direction is one way of a link. It is not safe for concurrent use. Times are
// durations since any fixed instant and must not decrease from call to call.
type Direction struct {
	shape   Shape
	limit   int64 // of queued, in IP bytes
	down    bool
	seed    uint64
	losses  losses
	reorder *rand.Rand

	queue     ring  // the head is the packet being serialised
	queued    int64 // IP bytes in queue
	finish    int64 // when the head of queue has left; undefined when empty
	remainder int64 // of the last bits ÷ rate, so that rounding does not add up
	wire      ring  // sorted by key

	counters Counters
}

// LargePacket is how many IP bytes a packet has, or more, to count as large:
// bulk is full of such packets, while probes and acknowledgements are far below.
const LargePacket = 1000

// Counters say what became of the packets of one direction since its creation.
// Bytes are IP bytes.
type Counters struct {
	Packets uint64 // delivered
	Bytes   uint64 // delivered
	Large   uint64 // of Packets: of LargePacket and more

	DroppedQueue     uint64 // packets that found the queue full
	DroppedLoss      uint64 // packets lost at random or in a burst
	DroppedBlackHole uint64 // packets swallowed by a black hole, or by a link that is down, and those too large

	QueuePackets int // waiting or being serialised now
	QueueBytes   int
	WirePackets  int // propagating now
}

// New returns a direction with the given shape. The same seed and the same
// calls give the same result.
func New(shape Shape, seed uint64) (*Direction, error) {
	if err := shape.Validate(); err != nil {
		return nil, err
	}
	return &Direction{
		shape:   shape,
		limit:   shape.queueLimit(),
		seed:    seed,
		losses:  losses{random: newRandom(seed, streamLoss)},
		reorder: newRandom(seed, streamReorder),
	}, nil
}

// Shape returns the present shape.
func (d *Direction) Shape() Shape { return d.shape }

// SetShape changes the direction at once, for packets already inside too:
//
//   - Rate: the rest of the packet being sent, and all that wait, go at the new
//     rate.
//   - Queue: what is queued stays; a smaller queue only refuses newcomers.
//   - Delay: packets on the wire arrive as though the wire had always been that
//     long, so after a shortening several may be due at once.
//   - Loss: decides on packets that have not left the serialiser.
//   - Jitter, Reorder: act on packets that have not left the serialiser.
//   - BlackHole: empties queue and wire; when it ends, the link starts empty.
//   - StripMPTCP: acts on packets that arrive from now on.
func (d *Direction) SetShape(now time.Duration, shape Shape) error {
	if err := shape.Validate(); err != nil {
		return err
	}
	d.advance(int64(now))
	if old := d.shape.Rate; d.queue.len > 0 && old != shape.Rate {
		// A queue that is not empty after advance has an old rate above 0.
		left := d.finish - int64(now)
		d.remainder = 0
		if shape.Rate == 0 {
			d.finish = int64(now)
		} else {
			// left × old rate is the bits still to send × 1e9: no overflow.
			d.finish = int64(now) + left*int64(old)/int64(shape.Rate)
		}
	}
	d.shape, d.limit = shape, shape.queueLimit()
	return nil
}

// SetDown takes the link down or up again: while down it acts as a black hole.
func (d *Direction) SetDown(down bool) { d.down = down }

func (d *Direction) dead() bool { return d.down || d.shape.BlackHole }

// Push offers an Ethernet frame. If it answers true the frame belongs to the
// Direction until Pop gives it back; if false it was dropped and counted, and
// stays the caller's.
func (d *Direction) Push(now time.Duration, frame []byte) bool {
	if d.dead() {
		d.counters.DroppedBlackHole++
		return false
	}
	d.advance(int64(now))
	size := max(int64(len(frame))-ethernetHeader, 0)
	if most := int64(d.shape.LargestPacket); most > 0 && size > most {
		d.counters.DroppedBlackHole++
		return false
	}
	full := d.shape.Rate > 0 && d.queue.len > 0 && d.queued+size > d.limit
	if full || d.queue.len+d.wire.len >= maxPackets {
		d.counters.DroppedQueue++
		return false
	}
	if d.shape.StripMPTCP || d.shape.StripMPTCPData && !isSYN(frame) {
		stripMPTCP(frame)
	}
	if d.queue.len == 0 {
		d.finish = int64(now) + d.sendTime(size)
	}
	d.queue.push(packet{frame: frame, size: size})
	d.queued += size
	return true
}

// Pop returns one frame that is finished at the given time: arrived when
// delivered is true, else lost and only handed back for its memory. When ok is
// false there is none; Next says when to ask again. Every frame that Push
// accepted comes out exactly once.
func (d *Direction) Pop(now time.Duration) (frame []byte, delivered, ok bool) {
	if d.dead() {
		return d.swallow()
	}
	d.advance(int64(now))
	if d.wire.len == 0 || d.due(d.wire.at(0)) > int64(now) {
		return nil, false, false
	}
	p := d.wire.pop()
	if !p.lost {
		d.counters.Packets++
		d.counters.Bytes += uint64(p.size)
		if p.size >= LargePacket {
			d.counters.Large++
		}
	}
	return p.frame, !p.lost, true
}

// Next returns the earliest time at which Pop may have a frame, never later
// than it has one; ok is false when nothing is inside.
func (d *Direction) Next() (at time.Duration, ok bool) {
	switch {
	case d.queue.len == 0 && d.wire.len == 0:
		return 0, false
	case d.dead():
		return 0, true
	case d.queue.len == 0:
		return time.Duration(d.due(d.wire.at(0))), true
	}
	// The packet being serialised can be first if nothing is ahead of it, or if
	// it may overtake.
	at = time.Duration(d.finish) + d.shape.Delay - d.shape.Jitter
	if d.wire.len > 0 {
		head := time.Duration(d.due(d.wire.at(0)))
		if !d.shape.Reorder || head < at {
			at = head
		}
	}
	return at, true
}

// Counters returns the counters as of the given time.
func (d *Direction) Counters(now time.Duration) Counters {
	if !d.dead() {
		d.advance(int64(now))
	}
	c := d.counters
	c.QueuePackets, c.QueueBytes, c.WirePackets = d.queue.len, int(d.queued), d.wire.len
	return c
}

// Drain takes out everything inside, as Pop does for a link that is down. It is
// for the end of a link's life: it counts nothing.
func (d *Direction) Drain() (frame []byte, ok bool) {
	switch {
	case d.wire.len > 0:
		return d.wire.pop().frame, true
	case d.queue.len > 0:
		p := d.queue.pop()
		d.queued -= p.size
		return p.frame, true
	}
	return nil, false
}

// swallow takes out one frame for a black hole.
func (d *Direction) swallow() (frame []byte, delivered, ok bool) {
	wasLost := d.wire.len > 0 && d.wire.at(0).lost
	frame, ok = d.Drain()
	if ok && !wasLost { // a lost packet has been counted as such
		d.counters.DroppedBlackHole++
	}
	return frame, false, ok
}

// advance runs the serialiser up to now. It works in the link's own time, so a
// late call changes no result.
func (d *Direction) advance(now int64) {
	for d.queue.len > 0 && d.finish <= now {
		p := d.queue.pop()
		d.queued -= p.size
		d.launch(p, d.finish)
		if d.queue.len > 0 {
			d.finish += d.sendTime(d.queue.at(0).size)
		}
	}
}

// launch puts a packet on the wire that left the serialiser at a time.
func (d *Direction) launch(p packet, left int64) {
	p.key = left
	jitter := int64(d.shape.Jitter)
	switch {
	case jitter == 0:
	case d.shape.Reorder:
		p.key += d.reorder.Int64N(2*jitter+1) - jitter
	default:
		p.key += wander(d.seed, left, jitter)
	}
	if d.wire.len > 0 && !d.shape.Reorder {
		// The jitter may have just been changed, or rounded the wrong way.
		p.key = max(p.key, d.wire.at(d.wire.len-1).key)
	}
	if p.lost = d.losses.lose(d.shape.Loss); p.lost {
		d.counters.DroppedLoss++
	}
	d.wire.insert(p)
}

func (d *Direction) due(p *packet) int64 { return p.key + int64(d.shape.Delay) }

// sendTime is how long a packet occupies the serialiser, in ns.
func (d *Direction) sendTime(size int64) int64 {
	if d.shape.Rate == 0 {
		return 0
	}
	// At most 65,535 × 8 × 1e9 + 1e11: no overflow.
	t := size*8*second + d.remainder
	d.remainder = t % int64(d.shape.Rate)
	return t / int64(d.shape.Rate)
}

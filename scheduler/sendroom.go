package scheduler

import "time"

// SendRoom bounds what a kernel holds of one Multipath TCP connection.
//
// Left alone it takes three congestion windows of each subflow (tcp_sndbuf_expand
// with bbr), most of it not sent yet. When a path dies, what is queued for the
// other goes out before anything that the dead one carried is sent again, and
// the reader waits for all of it: 200 to 400 ms on common uplinks. What waits in
// the network's queues is in its way as well. So, while a transfer is steady and
// the network is what limits it, there is room for what the uplinks carry in
// their longest round trip without queues, and little more. Where that turns out
// to cost rate, as with round trips that vary by themselves, there is more. What
// is lost holds up all behind it, so with loss there is so much that no subflow
// runs dry. Otherwise there is RoomMost: a transfer that grows must not meet a
// bound.
//
// A path that carries little beside the others holds them up all the same, in
// its own time, and longer than its round trip tells: there is no bound then.
// Where one is far away RoomMost is a bound, too, and there is RoomFar, whatever
// dies.
//
// The zero value is ready, and gives RoomMost.
type SendRoom struct {
	rate   BitRate // at the last Step
	peak   BitRate // of late
	more   float64 // what the bounds without loss are multiplied by; 0 is 1
	steady int     // Steps in a row without growth, and with a queue
	ample  int     // Steps in a row in which no subflow's queue was short
	loss   int     // Steps for which loss is remembered
	room   uint64  // bytes; 0 is RoomMost
}

const (
	// RoomMost is about what kernels give at most by themselves, as they
	// count: with their own overhead.
	RoomMost = 8 << 20
	// RoomFar is for paths so different that RoomMost would hold up the
	// better one.
	RoomFar = 32 << 20

	// roomLeast is a few large writes.
	roomLeast = 128 << 10

	// amplePart of the longest round trip is more than any queue needs.
	amplePart = 0.75

	// roomRTT is a round trip below which nobody waits for a queue.
	roomRTT = 5 * time.Millisecond

	steadySteps = 2
	ampleSteps  = 2
	growing     = 1.25
	// roomFirst is how many round trips without queues of data there is room for
	// at first, roomLast the fewest. It is more than one, or nobody would find
	// out that the network carries more than before.
	roomFirst = 1.75
	roomLast  = 1.2
	// roomFar is how many of the longest round trips of data there must be room
	// for, that RoomMost is enough.
	roomFar = 2.5
	// slowPart of its peak is a rate that the bound may be to blame for: it is
	// raised by raise at a time, to raiseMost times the usual. Peaks and raises
	// are forgotten slowly.
	slowPart   = 0.9
	raise      = 1.25
	raiseMost  = 3
	peakForget = 0.97
	moreForget = 0.98

	// What is lost takes another round trip, and all that was sent meanwhile
	// waits for it, so with loss whole round trips count, and more of them.
	lossyFirst = 5
	lossyLast  = 3
	// shortPart of the longest is a queue that may be empty before anybody looks
	// again: a loss holds up everything for a round trip, and then sets it free
	// at once.
	shortPart = 0.25
	lossSteps = 4 // for which a loss is remembered
)

// SendRoomInput is what SendRoom judges from: one connection's subflows since
// the last Step, which was some half a second ago.
type SendRoomInput struct {
	Rate BitRate       // all of them together sent
	RTT  time.Duration // the longest of those that sent much
	// MinRTT is the longest of their shortest ones, of the recent minutes; 0
	// where it is not known.
	MinRTT time.Duration
	Far    time.Duration // the longest of those that sent little; 0: there are none
	Queue  time.Duration // the shortest that one of these had to send, at its rate
	Dry    bool          // none had anything
	Lossy  bool          // one had more to repeat than a full queue now and then explains
	// Changed: a subflow came or went.
	Changed bool
}

// Step takes in how a connection fares, and returns its room in bytes and
// whether that has changed.
func (r *SendRoom) Step(in SendRoomInput) (bytes uint64, changed bool) {
	ample := time.Duration(amplePart * float64(in.RTT))
	grows := in.Rate > growing*r.rate
	r.learn(in)
	first, last := r.bounds(in)
	switch need := roomFar * float64(in.Rate) / 8 * max(in.RTT, in.Far).Seconds(); {
	case need > RoomMost, r.room == RoomFar && need > RoomMost/2:
		r.steady, r.ample = 0, 0
		return r.set(RoomFar)
	case r.room == RoomFar, in.Far > 0, in.RTT < roomRTT:
		r.steady, r.ample = 0, 0
		return r.set(RoomMost)
	}
	if r.room == 0 {
		if r.steady++; in.Queue < ample || grows {
			r.steady = 0
		}
		if r.steady < steadySteps {
			return RoomMost, false
		}
		r.ample = 0
		return r.set(first)
	}
	if r.ample++; in.Queue < ample {
		r.ample = 0
	}
	short := r.loss > 0 && in.Queue < time.Duration(shortPart*float64(in.RTT))
	idle := float64(in.Rate)/8*in.RTT.Seconds() < float64(r.room)/2
	switch {
	case in.Dry && (idle || r.loss > 0): // the sender has no more, or this is what holds it up
		return r.set(2 * r.room)
	case short || grows:
		return r.set(r.room + r.room/4)
	case in.Dry && r.room < first: // there may be more to have
		return r.set(first)
	case r.room < last:
		return r.set(last)
	case r.loss == 0 && r.room > first: // loss is over, or the rate has fallen
		return r.set(first)
	case r.ample >= ampleSteps:
		r.ample = 0
		return r.set(min(r.room, max(r.room-r.room/8, last)))
	}
	return r.room, false
}

// learn remembers what the bounds depend on.
func (r *SendRoom) learn(in SendRoomInput) {
	r.rate = in.Rate
	if r.loss = max(r.loss-1, 0); in.Lossy {
		r.loss = lossSteps
	}
	if in.Changed {
		r.peak = 0
	}
	r.peak = max(in.Rate, peakForget*r.peak)
	r.more = max(moreForget*r.more, 1)
	if r.room > 0 && in.Rate < slowPart*r.peak {
		r.more = min(raise*r.more, raiseMost)
	}
}

// bounds are the room for roomFirst and roomLast, in bytes.
func (r *SendRoom) bounds(in SendRoomInput) (first, last uint64) {
	trips := func(n float64, rtt time.Duration) uint64 {
		return uint64(max(n*float64(in.Rate)/8*rtt.Seconds(), 0)) + roomLeast
	}
	if r.loss > 0 {
		return trips(lossyFirst, in.RTT), trips(lossyLast, in.RTT)
	}
	rtt := in.RTT
	if in.MinRTT > 0 {
		rtt = in.MinRTT
	}
	return trips(r.more*roomFirst, rtt), trips(r.more*roomLast, rtt)
}

// Reset forgets the transfer: another begins.
func (r *SendRoom) Reset() (bytes uint64, changed bool) {
	was := r.room
	*r = SendRoom{}
	return RoomMost, was > 0
}

func (r *SendRoom) set(bytes uint64) (uint64, bool) {
	was := r.room
	if r.room = max(bytes, roomLeast); r.room >= RoomMost && bytes != RoomFar {
		r.room = 0
	}
	if r.room == 0 {
		return RoomMost, was > 0
	}
	return r.room, r.room != was
}

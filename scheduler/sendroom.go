package scheduler

import "time"

// SendRoom bounds what a kernel holds of one Multipath TCP connection.
//
// Left alone it takes three congestion windows of each subflow (tcp_sndbuf_expand
// with bbr), most of it not sent yet. When a path dies, what is queued for the
// other goes out before anything that the dead one carried is sent again, and
// the reader waits for all of it: 200 to 400 ms on common uplinks. So, while a
// transfer is steady and the network is what limits it, there is so much room
// that each subflow always has something to send, and little more. How much that
// is depends on round trips, loss and what has to wait for what, so it is found
// out: more when a subflow runs dry, less while none does. Otherwise there is
// RoomMost: a transfer that grows must not meet a bound.
//
// Where one path is far away, what the others brought meanwhile waits for it, and
// RoomMost is a bound, too: there is RoomFar then, whatever dies.
//
// The zero value is ready, and gives RoomMost.
type SendRoom struct {
	rate   BitRate // at the last Step
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
	roomLeast = 256 << 10

	// shortPart of the longest round trip is a queue that may be empty before
	// anybody looks again: a loss holds up everything for a round trip, and then
	// sets it free at once. Over amplePart nobody needs.
	shortPart = 0.25
	amplePart = 0.75

	// roomRTT is a round trip below which nobody waits for a queue.
	roomRTT = 5 * time.Millisecond

	steadySteps = 2
	ampleSteps  = 2
	growing     = 1.25
	// roomFirst is how many round trips of data there is room for at first,
	// roomLast the fewest. What is lost takes another round trip, and all that
	// was sent meanwhile waits for it: twice as many then.
	roomFirst = 2.5
	roomLast  = 1.5
	lossSteps = 4 // for which a loss is remembered
)

// SendRoomInput is what SendRoom judges from: one connection's subflows since
// the last Step, which was some half a second ago.
type SendRoomInput struct {
	Rate  BitRate       // all of them together sent
	RTT   time.Duration // of the slowest that sent much
	Far   time.Duration // of the slowest that sent anything
	Queue time.Duration // the shortest that one of these had to send, at its rate
	Dry   bool          // none had anything
	Lossy bool          // one had more to repeat than a full queue now and then explains
}

// Step takes in how a connection fares, and returns its room in bytes and
// whether that has changed.
func (r *SendRoom) Step(in SendRoomInput) (bytes uint64, changed bool) {
	short, ample := time.Duration(shortPart*float64(in.RTT)), time.Duration(amplePart*float64(in.RTT))
	grows := in.Rate > growing*r.rate
	r.rate = in.Rate
	if r.loss = max(r.loss-1, 0); in.Lossy {
		r.loss = lossSteps
	}
	trips := func(n float64) uint64 {
		if r.loss > 0 {
			n *= 2
		}
		return uint64(max(n*float64(in.Rate)/8*in.RTT.Seconds(), 0)) + roomLeast
	}
	switch need := roomFirst * float64(in.Rate) / 8 * in.Far.Seconds(); {
	case need > RoomMost, r.room == RoomFar && need > RoomMost/2:
		r.steady, r.ample = 0, 0
		return r.set(RoomFar)
	case r.room == RoomFar, in.RTT < roomRTT:
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
		return r.set(trips(roomFirst))
	}
	if r.ample++; in.Queue < ample {
		r.ample = 0
	}
	switch {
	case in.Dry: // either the sender has no more, or this is what holds it up
		return r.set(2 * r.room)
	case in.Queue < short || grows:
		return r.set(r.room + r.room/4)
	case r.loss > 0 && r.room < trips(roomLast):
		return r.set(trips(roomLast))
	case r.ample >= ampleSteps:
		r.ample = 0
		return r.set(min(r.room, max(r.room-r.room/8, trips(roomLast))))
	}
	return r.room, false
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

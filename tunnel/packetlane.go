package tunnel

import (
	"hash/maphash"
	"sync"
	"time"

	"braid/scheduler/policy"
	"braid/scheduler/queue"
	"braid/scheduler/sequence"
	"braid/tunnel/wire"
)

// Stations of a packet on the packet lane.
//
//	outbound: the TUN's reader copies it into a parcel (parcel.go)
//	  → push: its flow's class, a path by its policy, perhaps copies for others
//	  → waits in that path's queue, FQ-CoDel (packetpath.go); without a path that
//	    works in the lane's own
//	  → the carrier's writer takes it while the kernel has little unsent, gives it
//	    a number, and writes it (carrier.go)
//	  → is kept until the peer says that it arrived (packetkept.go); when that is
//	    late a copy goes on another path (packetcopy.go), and when the path dies
//	    before that, it goes to another
//	inbound: the carrier's reader checks it, and the window its number
//	  → waits for others of its flow, if that takes several paths (packetorder.go)
//	  → the host (packetin.go)
//
// One mutex serves the outbound half and another the inbound one. Neither is held
// while anything is read or written; that of packetorder.go is.

// packetLane is one session's packets, in both directions, over all carriers
// that can bring them.
type packetLane struct {
	session wire.SessionID
	deliver func(packet []byte) // of the peer, checked, once each; any goroutine
	talks   func(now time.Time) // somebody calls, plays or types; may be nil. It must not block

	mu       sync.Mutex // guards what follows
	policies *policy.Set
	ruling   uint32 // how often the rules have changed
	flows    *queue.Table[packetFlow]
	seed     maphash.Seed
	paths    []*packetPath
	ids      int                   // given so far
	waiting  *queue.Queue[*parcel] // while no path works; nil: nothing ever has
	waited   time.Time             // when something last began to wait there
	number   uint64                // of the next packet that is sent
	spread   uint32                // flows that took several paths so far
	gone     [2]queue.Counters     // of queues that are no more
	resent   uint64                // packets, to another path
	copies   [2]CopyStatus         // by policy.Copy
	behind   uint64                // packets that came after a copy
	late     *time.Timer           // calls overdue; nil: it was never needed
	lateAt   time.Time             // when; zero: it does not
	closed   bool
	view     packetView // of one call
	scratch  struct {   // likewise
		to      []int
		parcels []*parcel
	}

	order *packetOrder
	in    struct {
		sync.Mutex // guards what follows
		window     sequence.Window
		duplicates uint64
	}
}

// packetFlow is what is remembered of a flow.
type packetFlow struct {
	behaviour queue.Behaviour
	talk      talk
	policy    int    // index in the lane's policies
	ruled     bool   // policy says it: the host has sent something
	ruling    uint32 // by the lane's rules of that time

	// Of a flow that takes several paths: its number on the wire, 0 before it has
	// one, and the place of its next packet.
	number uint32
	place  uint64
}

// laneFlows is how many flows a session remembers.
const laneFlows = 1024

// PacketPolicies say which paths packets take. The zero value is the default.
type PacketPolicies struct {
	Rules policy.Rules // which policy a flow has, by its index in policy.Names
	// Copies is what part of the slower path's rate copies may take, 0 to 1; 0 is
	// policy.DefaultShare, and a negative one allows none.
	Copies float64
}

// newPacketLane makes the lane of a session. talks may be set before it is used.
func newPacketLane(session wire.SessionID, policies PacketPolicies, deliver func([]byte)) *packetLane {
	seed := maphash.MakeSeed()
	return &packetLane{
		session: session, deliver: deliver, policies: policy.NewSet(seed, policies.Rules, policies.Copies), seed: seed,
		flows: queue.NewTable[packetFlow](laneFlows, seed), order: newPacketOrder(deliver),
	}
}

// setPolicies changes the policies, of flows under way with their next packet. It
// may be called of nil as well.
func (l *packetLane) setPolicies(p PacketPolicies) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.policies.Change(p.Rules, p.Copies)
	l.ruling++
}

// queueLimitBytes bounds what waits in front of one path, and packetFlows the
// flows that have a queue of their own there.
const (
	queueLimitBytes = 2 << 20
	packetFlows     = 256
)

func (l *packetLane) newQueue() *queue.Queue[*parcel] {
	return queue.New(queue.Params{Flows: packetFlows, Limit: queueLimitBytes, MaxAge: packetMaxAge}, l.seed, (*parcel).free)
}

// push takes packets of the host, which are the lane's from now on.
func (l *packetLane) push(now time.Time, list []*parcel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lookLocked(now)
	for _, c := range list {
		var ok bool
		if c.header, ok = queue.Parse(c.packet); !ok || l.closed {
			c.free()
			continue
		}
		h := &c.header
		c.since = now
		f, _ := l.flows.GetHashed(&h.Key, &h.Hash)
		if !f.ruled || f.ruling != l.ruling {
			f.policy, f.ruled, f.ruling = l.policies.For(h), true, l.ruling
		}
		c.policy, c.class = f.policy, f.behaviour.Sent(now, h, len(c.packet))
		if f.talk.saw(now, c.class) && l.talks != nil {
			l.talks(now)
		}
		if l.policies.Whole(f.policy) {
			l.placeWholeLocked(now, f, c)
		} else {
			l.placeLocked(now, c)
		}
	}
	l.wakeLocked()
}

// wholeBytes is how long packets may be that go on several paths, as far as they can
// be cut: what comes behind one on 10 Mb/s waits for 7 ms.
const wholeBytes = 8 << 10

// placeWholeLocked is placeLocked for a policy that takes several paths: a
// super-packet is cut before, since parts of it, one by each path, could not be put
// together.
func (l *packetLane) placeWholeLocked(now time.Time, f *packetFlow, c *parcel) {
	if c.header.Segments == 1 || len(c.packet) <= wholeBytes {
		l.orderLocked(f, c)
		l.placeLocked(now, c)
		return
	}
	queue.Split(c.packet, wholeBytes, func(packet []byte) {
		part := newParcel(packet)
		part.header, part.since, part.policy, part.class = c.header, c.since, c.policy, c.class
		part.header.SegmentBytes = min(c.header.SegmentBytes, len(packet))
		l.orderLocked(f, part)
		l.placeLocked(now, part)
	})
	c.free()
}

// orderLocked gives a packet its place in its flow, if that is spread.
func (l *packetLane) orderLocked(f *packetFlow, c *parcel) {
	c.whole = true
	if !l.policies.Spreads(f.policy) {
		return
	}
	if f.number == 0 {
		l.spread++
		f.number = l.spread
	}
	c.flow, c.place = f.number, f.place
	f.place++
}

// placeLocked gives a parcel to the path that its policy chooses of those that
// lookLocked saw, and copies to others.
func (l *packetLane) placeLocked(now time.Time, c *parcel) {
	if len(l.view.paths) == 0 {
		if l.waiting == nil {
			l.waiting = l.newQueue()
		}
		l.waited = now
		enqueue(l.waiting, now, c)
		return
	}
	to := l.policies.Pick(c.policy, now, policy.Packet{Key: c.header.Key, Hash: c.header.Hash, Class: c.class, Bytes: len(c.packet), DSCP: c.header.DSCP},
		l.view.told[c.class], l.scratch.to[:0])
	l.scratch.to = to
	if len(to) > 1 {
		l.numberLocked(c) // so that the copies are known as such
		c.copied = true
		for _, id := range to[1:] {
			l.view.of(id, len(c.packet)).queueLocked(now, c.clone(wire.CopyAtOnce))
		}
	}
	l.view.of(to[0], len(c.packet)).queueLocked(now, c)
}

// enqueue gives a parcel to a queue. What has been sent is not cut, since the peer
// may have the whole, nor what goes on several paths.
func enqueue(q *queue.Queue[*parcel], now time.Time, c *parcel) {
	if c.numbered || c.whole {
		c.header.Segments = 1
	}
	q.Push(now, &c.header, queue.Packet[*parcel]{Payload: c.packet, Meta: c, Since: c.since})
}

func (l *packetLane) numberLocked(c *parcel) {
	if !c.numbered {
		c.number, c.numbered = l.number, true
		l.number++
	}
}

// wakeLocked tells the writers that have something to take.
func (l *packetLane) wakeLocked() {
	for _, p := range l.paths {
		if p.q != nil && p.q.Len() > 0 {
			p.wake()
		}
	}
}

// settleLocked takes in that other paths work than before: what waits without
// one goes out.
func (l *packetLane) settleLocked(now time.Time) {
	l.lookLocked(now)
	if len(l.view.paths) > 0 && l.waiting != nil && l.waiting.Len() > 0 {
		l.moveLocked(now, l.waiting)
	}
	l.wakeLocked()
}

// moveLocked gives what waits in a queue to other paths.
func (l *packetLane) moveLocked(now time.Time, q *queue.Queue[*parcel]) {
	if q == nil {
		return
	}
	list := l.scratch.parcels[:0]
	q.Drain(func(p queue.Packet[*parcel]) {
		p.Meta.packet = p.Payload
		if p.Meta.isCopy() {
			p.Meta.free() // the original has not gone
			return
		}
		list = append(list, p.Meta)
	})
	l.lookLocked(now)
	for _, c := range list {
		l.placeAgainLocked(now, c)
	}
	clear(list)
	l.scratch.parcels = list
}

// placeAgainLocked is placeLocked for what has waited, or was sent, elsewhere.
func (l *packetLane) placeAgainLocked(now time.Time, c *parcel) {
	if l.closed || c.stale(now) {
		l.gone[c.class].TooOld += uint64(c.header.Segments)
		c.free()
		return
	}
	if c.numbered {
		l.resent++
	} else if h, ok := queue.Parse(c.packet); ok {
		c.header = h // it may have lost segments
	}
	l.placeLocked(now, c)
}

// tidy drops what waits for a path when all of it is too old. It may be called
// at any time, of nil as well.
func (l *packetLane) tidy(now time.Time) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting != nil && l.waiting.Len() > 0 && now.Sub(l.waited) > packetMaxAge[queue.Bulk] {
		l.moveLocked(now, l.waiting)
	}
}

// close drops everything, for good. The carriers that it had end by themselves.
func (l *packetLane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.lateAt = time.Time{}
	if l.late != nil {
		l.late.Stop()
	}
	for len(l.paths) > 0 {
		l.detachLocked(time.Now(), l.paths[0])
	}
	l.moveLocked(time.Now(), l.waiting)
	l.order.close()
}

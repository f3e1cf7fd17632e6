package tunnel

import (
	"sync"
	"sync/atomic"
	"time"

	"braid/scheduler/resequence"
	"braid/tunnel/wire"
)

// packetOrder puts the packets of flows that take several paths back into order,
// before the host gets them.
//
//	receive ─ take ─┬─ in turn ──────────────────────────▶ host
//	                └─ waits ─ its turn, overdue, no room ─▶ host
//
// Only packets of such flows come here, and wait for each other. One timer serves
// all, and runs while one waits.
type packetOrder struct {
	deliver func(packet []byte)
	wait    atomic.Int64 // for what is missing, nanoseconds

	mu     sync.Mutex // guards what follows; held while delivering, or two readers would overtake each other
	flows  map[uint32]*orderedFlow
	timer  *time.Timer
	due    time.Time // when it fires; zero: it does not
	packet []byte    // that is being taken
	closed bool
}

// orderedFlow is one flow. What waits are copies.
type orderedFlow struct {
	used time.Time
	buf  *resequence.Buffer[*parcel]
}

const (
	// orderFlows are put in order at a time; flows beyond take the places of those
	// that were silent the longest.
	orderFlows = 32
	// orderPackets may wait of one flow: 100 Mb/s in packets of 1,200 bytes for 200
	// milliseconds.
	orderPackets = 2048
	// orderBytes of buffers may wait in all.
	orderBytes = 4 << 20
	// orderJoins is the highest place at which a flow that is not known may have
	// begun. Further on it was forgotten, and nothing before is waited for.
	orderJoins = 64
)

func newPacketOrder(deliver func([]byte)) *packetOrder {
	return &packetOrder{deliver: deliver, flows: map[uint32]*orderedFlow{}}
}

// take takes a packet that the path of that ID brought, which may be read until it
// returns.
func (o *packetOrder) take(now time.Time, h *wire.PacketHead, path int, packet []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	f := o.flowLocked(now, h)
	f.buf.SetWait(time.Duration(o.wait.Load()))
	if h.Place <= f.buf.Next() {
		o.packet = packet
		f.buf.Push(now, h.Place, path, 0, nil)
		o.packet = nil
	} else {
		c := newParcel(packet)
		f.buf.Push(now, h.Place, path, len(c.buf), c)
		o.boundLocked(f)
	}
	o.armLocked(now, f)
}

func (o *packetOrder) flowLocked(now time.Time, h *wire.PacketHead) *orderedFlow {
	f := o.flows[h.Flow]
	if f == nil {
		first := h.Place
		if first <= orderJoins {
			first = 0
		}
		if f = o.makeRoomLocked(); f == nil {
			p := resequence.Params{Packets: orderPackets, Bytes: orderBytes}
			f = &orderedFlow{buf: resequence.New(p, first, o.release, (*parcel).free)}
		} else {
			f.buf.Reset(first)
		}
		o.flows[h.Flow] = f
	}
	f.used = now
	return f
}

// makeRoomLocked forgets a flow, if there are too many, and returns it.
func (o *packetOrder) makeRoomLocked() *orderedFlow {
	if len(o.flows) < orderFlows {
		return nil
	}
	var oldest uint32
	for id, f := range o.flows {
		if was := o.flows[oldest]; was == nil || f.used.Before(was.used) {
			oldest = id
		}
	}
	f := o.flows[oldest]
	delete(o.flows, oldest)
	return f
}

// boundLocked keeps all that waits within bounds: the flow that has just got a
// packet gives way.
func (o *packetOrder) boundLocked(f *orderedFlow) {
	bytes := 0
	for _, g := range o.flows {
		bytes += g.buf.Bytes()
	}
	if bytes > orderBytes {
		f.buf.Flush()
	}
}

// release gives the host a packet: one that has waited, or the one that is being
// taken.
func (o *packetOrder) release(c *parcel) {
	if c == nil {
		o.deliver(o.packet)
		return
	}
	o.deliver(c.packet)
	c.free()
}

// armLocked sees to it that expire is called when a flow's first packet has waited
// for long enough.
func (o *packetOrder) armLocked(now time.Time, f *orderedFlow) {
	at, ok := f.buf.Deadline()
	if !ok || !o.due.IsZero() && !at.Before(o.due) {
		return
	}
	o.due = at
	if wait := max(at.Sub(now), 0); o.timer == nil {
		o.timer = time.AfterFunc(wait, o.expire)
	} else {
		o.timer.Reset(wait)
	}
}

// expire releases what waits no longer.
func (o *packetOrder) expire() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.due.IsZero() || o.closed {
		return
	}
	now := time.Now()
	o.due = time.Time{}
	for _, f := range o.flows {
		f.buf.Expire(now)
		o.armLocked(now, f)
	}
}

// close drops what waits, and delivers nothing more.
func (o *packetOrder) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	if o.timer != nil {
		o.timer.Stop()
	}
	clear(o.flows)
}

// OrderStatus is what became of inbound packets of flows that take several paths.
type OrderStatus struct {
	Held       int    // packets that wait now
	Disordered uint64 // that have waited
	Passed     uint64 // places that were waited for in vain
}

func (o *packetOrder) status() (s OrderStatus) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.flows {
		n := f.buf.Counters()
		s.Held += f.buf.Len()
		s.Disordered += n.Waited
		s.Passed += n.Passed - min(n.Passed, n.Late)
	}
	return s
}

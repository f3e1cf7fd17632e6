package tunnel

import (
	"fmt"
	"sync"
	"time"

	"braid/scheduler/policy"
	"braid/tunnel/wire"
)

const (
	// arrivedEvery is how long the peer waits at most for the word that a packet
	// has arrived: thirty a second while there are packets, each some 110 bytes on
	// the wire.
	arrivedEvery = 33 * time.Millisecond
	// sparseEvery is that of sparse packets, after a pause none: the peer sends
	// again what is late. A call has one for each packet, and its kernel would send
	// an acknowledgement there anyway.
	sparseEvery = 15 * time.Millisecond
)

// arrivals is what a carrier brought, and what the peer was told of it.
type arrivals struct {
	say func(frame []byte) error

	mu     sync.Mutex // guards what follows
	word   wire.Arrived
	latest time.Time // that one came
	told   time.Time
	due    time.Time // when the peer is to be told; zero: of nothing
	over   bool
	timer  *time.Timer
	buf    []byte
}

// note counts a packet, and sees to it that the peer is told. first says that none
// with its number came before.
func (a *arrivals) note(now time.Time, h *wire.PacketHead, first bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.word.Packets++
	a.latest = now
	switch {
	case h.Copy == wire.Original && !first:
		a.word.Behind++
	case h.Copy == wire.CopyAtOnce && first:
		a.word.AtOnce++
	case h.Copy == wire.CopyAgain && first:
		a.word.Again++
	}
	if a.over {
		return
	}
	due := now.Add(arrivedEvery)
	if !h.Bulk {
		if due = a.told.Add(sparseEvery); !due.After(now) {
			a.tellLocked(now)
			return
		}
	}
	if a.due.IsZero() || due.Before(a.due) {
		a.due = due
		if wait := due.Sub(now); a.timer == nil {
			a.timer = time.AfterFunc(wait, a.tell)
		} else {
			a.timer.Reset(wait)
		}
	}
}

// tell tells the peer, if there is something.
func (a *arrivals) tell() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.due.IsZero() && !a.over {
		a.tellLocked(time.Now())
	}
}

func (a *arrivals) tellLocked(now time.Time) {
	a.due, a.told = time.Time{}, now
	a.word.AgeUs = uint32(min(max(now.Sub(a.latest).Microseconds(), 0), 1<<32-1))
	a.buf = a.word.Append(a.buf[:0])
	_ = a.say(a.buf) // the next one says it again
}

// end stops telling.
func (a *arrivals) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	if a.timer != nil {
		a.timer.Stop()
	}
}

// receive takes a Packet frame's payload, which came now. An error is the peer's
// fault.
func (p *packetPath) receive(now time.Time, payload []byte) error {
	h, packet, err := wire.ParsePacket(payload)
	if err != nil {
		return err
	}
	if !p.begun.Load() {
		return fmt.Errorf("%w frame order: a packet before the path's name", wire.ErrMalformed)
	}
	p.count.rxPackets.Add(1)
	p.count.rxBytes.Add(uint64(len(packet) - wire.VnetLen))
	in := &p.lane.in
	in.Lock()
	first := in.window.Take(h.Number)
	if !first {
		in.duplicates++
	}
	in.Unlock()
	p.in.note(now, &h, first)
	if first {
		p.lane.hear(now, &h, packet)
	}
	switch {
	case !first:
	case h.Flow != 0:
		p.lane.order.take(now, &h, p.id, packet)
	default:
		p.lane.deliver(packet)
	}
	return nil
}

// arrived takes the peer's word on what it has of this carrier's packets.
func (p *packetPath) arrived(payload []byte) error {
	a, err := wire.ParseArrived(payload)
	if err != nil {
		return err
	}
	now := time.Now()
	l := p.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := p.kept.acknowledge(now, a.Packets, &p.took)
	if err == nil {
		err = p.copies.heard(&a)
	}
	if err != nil {
		return fmt.Errorf("take an acknowledgement: %w", err)
	}
	if !n.sent.IsZero() {
		p.rtt.Add(now, max(now.Sub(n.sent)-time.Duration(a.AgeUs)*time.Microsecond, time.Microsecond))
	}
	l.learnLocked(&p.copies, n.again)
	p.rate.delivered(now, n.bytes)
	if p.last {
		l.settleLocked(now) // it may have been stuck
	}
	return nil
}

// pathCopies is what became of the copies that were sent on a carrier.
type pathCopies struct {
	sent [wire.Moved]uint64 // by wire.CopyKind
	word wire.Arrived       // the peer's last
	// atOnce, again and behind are what the last word had more than the one before.
	atOnce, again, behind uint64
}

// heard takes the peer's word on copies.
func (c *pathCopies) heard(a *wire.Arrived) error {
	was := &c.word
	if a.AtOnce < was.AtOnce || a.Again < was.Again || a.Behind < was.Behind ||
		a.AtOnce > c.sent[wire.CopyAtOnce] || a.Again > c.sent[wire.CopyAgain] || a.Behind > c.sent[wire.Original] {
		return fmt.Errorf("%w arrived: copies %d, %d, %d of %v", wire.ErrMalformed, a.AtOnce, a.Again, a.Behind, c.sent)
	}
	c.atOnce, c.again, c.behind = a.AtOnce-was.AtOnce, a.Again-was.Again, a.Behind-was.Behind
	*was = *a
	return nil
}

// learnLocked counts what copies were good for, of which so many were sent again
// and have now arrived.
func (l *packetLane) learnLocked(c *pathCopies, again int) {
	h := l.policies.Hedge()
	for range c.atOnce {
		h.Won(policy.AtOnce, true)
	}
	for range c.again {
		h.Won(policy.Again, true)
	}
	for n := c.again; n < uint64(again); n++ {
		h.Won(policy.Again, false)
	}
	l.copies[policy.AtOnce].Useful += c.atOnce
	l.copies[policy.Again].Useful += c.again
	l.behind += c.behind
}

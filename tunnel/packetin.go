package tunnel

import (
	"fmt"
	"sync"
	"time"

	"braid/tunnel/wire"
)

// arrivedEvery is how long the peer waits at most for the word that a packet has
// arrived: thirty a second while there are packets, each some 80 bytes on the
// wire.
const arrivedEvery = 33 * time.Millisecond

// arrivals is what a carrier brought, and what the peer was told of it.
type arrivals struct {
	say func(frame []byte) error

	mu      sync.Mutex // guards what follows
	packets uint64
	latest  time.Time
	due     bool
	over    bool
	timer   *time.Timer
}

// note counts a packet, and sees to it that the peer is told.
func (a *arrivals) note(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.packets++
	a.latest = now
	switch {
	case a.due || a.over:
		return
	case a.timer == nil:
		a.timer = time.AfterFunc(arrivedEvery, a.tell)
	default:
		a.timer.Reset(arrivedEvery)
	}
	a.due = true
}

// tell tells the peer.
func (a *arrivals) tell() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.due || a.over {
		return
	}
	a.due = false
	age := min(time.Since(a.latest).Microseconds(), 1<<32-1)
	_ = a.say(wire.Arrived{Packets: a.packets, AgeUs: uint32(age)}.Append(nil)) // the next one says it again
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

// receive takes a Packet frame's payload. An error is the peer's fault.
func (p *packetPath) receive(payload []byte) error {
	h, packet, err := wire.ParsePacket(payload)
	if err != nil {
		return err
	}
	if !p.begun.Load() {
		return fmt.Errorf("%w frame order: a packet before the path's name", wire.ErrMalformed)
	}
	p.in.note(time.Now())
	p.count.rxPackets.Add(1)
	p.count.rxBytes.Add(uint64(len(packet) - wire.VnetLen))
	in := &p.lane.in
	in.Lock()
	first := in.window.Take(h.Number)
	if !first {
		in.duplicates++
	}
	in.Unlock()
	if first {
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
	sent, bytes, err := p.kept.acknowledge(a.Packets)
	if err != nil {
		return fmt.Errorf("take an acknowledgement: %w", err)
	}
	if !sent.IsZero() {
		p.rtt.Add(now, max(now.Sub(sent)-time.Duration(a.AgeUs)*time.Microsecond, time.Microsecond))
	}
	p.rate.delivered(now, bytes)
	if p.last {
		l.settleLocked(now) // it may have been stuck
	}
	return nil
}

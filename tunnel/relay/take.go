package relay

import (
	"time"

	"braid/tunnel/wire"
)

// What readLink does with the frames of a stream that is open. After a reset
// only what ends the peer's direction counts.

func (r *Relay) dataLocked(p []byte) {
	if r.reset != nil {
		return
	}
	if err := r.in.Data(len(p)); err != nil {
		r.resetLocked(wire.ResetProtocol, err.Error(), false)
		return
	}
	if p = r.giveLocked(p); len(p) > 0 && r.reset == nil {
		r.in.Keep(p)
		poke(r.arrived)
	}
	r.ackSoonLocked()
}

// giveLocked gives the program as much of p as it takes at once, if nothing
// waits before it, and returns the rest. That saves a copy and a goroutine's
// turn. It unlocks for a moment.
func (r *Relay) giveLocked(p []byte) []byte {
	if r.sink == nil || r.in.Waiting() {
		return p
	}
	// With nothing waiting nobody else writes. The socket may be closed
	// meanwhile, and then takes nothing.
	k := r.sink
	r.mu.Unlock()
	n := k.write(p)
	r.mu.Lock()
	if r.reset != nil {
		return nil
	}
	r.in.Take(n)
	r.in.Tune(time.Now())
	return p[n:]
}

func (r *Relay) finLocked(att *attachment) {
	att.peerFin = true
	if r.reset != nil {
		return
	}
	if err := r.in.Fin(); err != nil {
		r.resetLocked(wire.ResetProtocol, err.Error(), false)
		return
	}
	poke(r.arrived)
	r.ackSoonLocked()
}

func (r *Relay) ackLocked(att *attachment, a wire.StreamAck) {
	att.peerFinAck = att.peerFinAck || a.Fin
	if r.reset != nil {
		return
	}
	if err := r.out.Ack(ackOf(a)); err != nil {
		r.resetLocked(wire.ResetProtocol, err.Error(), false)
		return
	}
	poke(r.room)
	if r.out.Ready() {
		poke(att.wake)
	}
}

// resumedLocked goes on from what the peer has.
func (r *Relay) resumedLocked(att *attachment, a wire.StreamAck) {
	att.established = true
	att.peerFinAck, att.finSaid = a.Fin, a.Fin
	r.resumed++
	poke(att.wake)
	if r.reset != nil {
		return
	}
	r.disarmLocked()
	if err := r.out.Resume(ackOf(a)); err != nil {
		r.resetLocked(wire.ResetProtocol, err.Error(), false)
		return
	}
	poke(r.room)
}

// peerResetLocked takes the end of the stream. An opener that was only waiting
// to hear that its last bytes have arrived, and meets a peer that has
// forgotten the stream, is done.
func (r *Relay) peerResetLocked(att *attachment, n wire.Notice) {
	att.peerReset = true
	poke(att.wake)
	if att.resuming && !att.established && wire.ResetCode(n.Code) == wire.ResetUnknown && att.complete {
		return
	}
	r.resetLocked(wire.ResetCode(n.Code), n.Reason, true)
}

// RefuseResume answers a Resume for a stream that is not known, and returns
// when the link is clean again. After an error the link is to be closed.
func RefuseResume(link Link) error {
	if err := link.WriteFrames(wire.AppendReset(nil, wire.ResetUnknown, "no such stream")); err != nil {
		return err
	}
	typ, p, err := link.ReadFrame()
	if err != nil {
		return err
	}
	if typ != wire.TypeReset { // an opener says nothing else before the answer
		return orderError(typ)
	}
	_, err = wire.ParseNotice(p)
	return err
}

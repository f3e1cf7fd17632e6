package relay

import (
	"errors"

	"braid/tunnel/stream"
	"braid/tunnel/wire"
)

// How a stream gets another link. Whichever goroutine brings it, Run attaches
// it, when the goroutines of the last one have ended.

// Attach gives the side that opened the stream another link, or its first
// when Run had none. A link that is still there is given up for it; nothing is
// lost, but what was under way is sent again. It reports false when the stream
// is over and the link was not taken.
func (r *Relay) Attach(link Link) bool {
	if !r.opener {
		return false
	}
	return r.attach(newAttachment(link))
}

// AttachResumed gives the other side the link on which the peer sent Resume.
// It reports as Attach does, and false as well when the peer means another
// stream, since it has what this one has never sent. On false RefuseResume
// answers. A Resume that a later one has overtaken does not cost the stream
// its present link: its own link is taken and closed.
func (r *Relay) AttachResumed(link Link, ask wire.Resume) bool {
	if r.opener {
		return false // the peer has opened no such stream
	}
	att := newAttachment(link)
	att.ask = &ask.Ack
	return r.attach(att)
}

// AttachReopened gives the other side a link on which the peer sent Open for
// this stream again, because it has not heard the answer to the first. It
// reports as Attach does; on false the stream begins anew with NewAccepter. An
// Open that has been overtaken is dealt with as in AttachResumed.
func (r *Relay) AttachReopened(link Link) bool {
	att := newAttachment(link)
	att.reopening = true
	return r.attach(att)
}

func (r *Relay) attach(att *attachment) bool {
	r.mu.Lock()
	if r.closed || r.over {
		r.mu.Unlock()
		return false
	}
	old := r.next
	switch err := r.checkLocked(att); {
	case errors.Is(err, stream.ErrNeverSent):
		r.mu.Unlock()
		return false
	case err != nil:
		old = att
	default:
		r.next = att
		poke(r.changed)
	}
	r.mu.Unlock()
	if old != nil {
		old.link.Close()
	}
	return true
}

// checkLocked returns an error when the peer's greeting on a new link cannot
// be true; it never will be then.
func (r *Relay) checkLocked(att *attachment) error {
	switch {
	case att.ask != nil:
		if r.answer == nil || r.answer.Result != wire.OpenOK {
			return orderError(wire.TypeResume)
		}
		if r.reset == nil {
			return r.out.CheckResume(ackOf(*att.ask))
		}
	case att.reopening && r.opener:
		return orderError(wire.TypeOpen)
	case att.reopening && r.opened:
		return errStale
	}
	return nil
}

// greetedLocked takes the peer's greeting on the link that is attached now.
func (r *Relay) greetedLocked(att *attachment) error {
	switch err := r.checkLocked(att); {
	case err != nil:
		return err
	case r.opener:
		att.resuming = r.opened
		return nil
	}
	ask := wire.StreamAck{Limit: r.open.Limit} // of a stream that begins
	if att.ask != nil {
		ask = *att.ask
		att.resuming, r.opened = true, true
		att.peerFinAck, att.finSaid = ask.Fin, ask.Fin
		r.resumed++
	}
	if r.reset != nil {
		return nil
	}
	r.disarmLocked()
	if r.openErr != nil {
		r.armLocked(lingerTimeout)
	}
	poke(r.room)
	return r.out.Resume(ackOf(ask))
}

package relay

import (
	"context"
	"sync"

	"braid/tunnel/wire"
)

// Run serves the stream, at first on link, which it then owns, until both
// directions are done or the stream is reset, and returns when all of its
// goroutines have ended. The link of an opener may be nil: it then waits for
// Attach. The end of ctx resets the stream. The error is nil when everything
// was delivered; else *OpenError, *ResetError or what broke.
func (r *Relay) Run(ctx context.Context, link Link) error {
	done := ctx.Done()
	ctx, cancel := context.WithCancel(ctx) // of Connect
	defer cancel()
	var running sync.WaitGroup
	r.mu.Lock()
	if link != nil {
		r.attachLocked(&running, newAttachment(link))
	} else {
		r.armLocked(r.cfg.ResumeTimeout)
	}
	r.mu.Unlock()
	if !r.opener {
		r.dial(ctx, &running)
	}
	for !r.step(ctx, cancel, &running) {
		select {
		case <-r.changed:
		case <-done:
			done = nil
			r.mu.Lock()
			r.giveUpLocked()
			r.mu.Unlock()
		}
	}
	cancel()
	running.Wait()
	return r.finish()
}

// giveUpLocked ends the stream because the owner wants it.
func (r *Relay) giveUpLocked() {
	r.resetLocked(wire.ResetShutdown, "given up", false)
	if r.att != nil {
		r.armLocked(shutdownTimeout)
		return
	}
	r.over = true
	poke(r.changed)
}

// step does what the state asks for, and reports whether all is done.
func (r *Relay) step(ctx context.Context, cancel context.CancelFunc, running *sync.WaitGroup) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.expired {
		r.expireLocked()
	}
	if att := r.att; att != nil && att.users == 0 {
		r.detachLocked(att)
	}
	if r.next != nil && !r.over {
		if r.att != nil {
			r.failLocked(r.att, errReplaced) // and again when its goroutines have ended
		} else {
			att := r.next
			r.next = nil
			r.attachLocked(running, att)
		}
	}
	if r.connecting && r.reset == nil {
		r.connecting = false
		r.mu.Unlock()
		r.dial(ctx, running)
		r.mu.Lock()
	}
	if r.att == nil && r.next == nil && (r.openErr != nil || r.reset != nil && !r.worthTellingLocked()) {
		r.over = true
	}
	if r.reset != nil || r.over && r.dialing {
		cancel()
		r.unwanted = true
	}
	if r.reset != nil && r.users == 0 && !r.dialing {
		r.out.Close() // a link that lingers needs no memory
		r.in.Close()
	}
	if r.att != nil {
		r.closeLinkLocked(r.att)
	}
	r.closeSocketLocked()
	return r.over && r.att == nil && r.users == 0
}

// worthTellingLocked reports whether a stream that was reset without a link
// waits for another, to say so there. The accepter need not: the opener hears
// it when it asks for the stream. Nor need an opener that has never opened it.
func (r *Relay) worthTellingLocked() bool { return r.opener && r.opened }

// expireLocked is for a stream that was not resumed in time, or a peer that
// does not let go of one that was reset.
func (r *Relay) expireLocked() {
	r.disarmLocked()
	r.giveUp = true
	if r.att != nil {
		r.failLocked(r.att, errLinger)
	} else {
		r.over = true
	}
	if r.reset != nil || r.completeLocked() {
		return
	}
	if r.opener && !r.opened && r.openErr == nil {
		r.openErr = &OpenError{wire.OpenTimedOut, "no carrier in time"}
	}
	r.resetLocked(wire.ResetTimedOut, "not resumed in time", false)
	r.disarmLocked()
}

// completeLocked reports whether nothing is left to do but to hear that the
// peer has what was sent. When it never says so, because its last word was
// lost with the link, a reset would be of no use to anybody.
func (r *Relay) completeLocked() bool { return r.in.SaidAll() && r.out.SaidAll() }

// closeLinkLocked closes a link that has failed, once. It unlocks r.mu
// meanwhile.
func (r *Relay) closeLinkLocked(att *attachment) {
	if att.err == nil || att.closed {
		return
	}
	att.closed = true
	end := att.link.Close
	if att.err == errReplaced {
		end = att.link.Abort
	}
	r.mu.Unlock()
	end()
	r.mu.Lock()
}

// closeSocketLocked closes the socket, once: so that the program sees a reset
// when the stream is broken, else when both directions have ended, whatever
// the peer has yet to say. It unlocks r.mu meanwhile.
func (r *Relay) closeSocketLocked() {
	s, broken := r.socket, r.reset != nil
	if s == nil || !broken && r.users > 0 {
		return
	}
	r.socket, r.sink = nil, nil
	r.mu.Unlock()
	if broken {
		abort(s)
	} else {
		s.Close()
	}
	r.mu.Lock()
}

// detachLocked is called when the goroutines of a link have ended.
func (r *Relay) detachLocked(att *attachment) {
	r.closeLinkLocked(att)
	r.att = nil
	var said func()
	switch {
	case att.err == nil:
		r.over = true
		r.disarmLocked()
		said = func() { r.cfg.Released(att.link) }
	case r.giveUp, att.peerReset:
		r.over = true // the peer knows
	case r.next != nil && !(r.reset != nil && r.opener && !r.opened):
		r.awaitLocked() // the peer's answer there
	case r.openErr != nil, r.reset != nil && !r.worthTellingLocked():
		r.over = true
	default:
		r.awaitLocked()
		said = func() { r.cfg.Detached(r, att.err) }
	}
	if said != nil {
		r.mu.Unlock()
		said()
		r.mu.Lock()
	}
}

// awaitLocked begins the time that the stream lives without a link, unless it
// has begun before.
func (r *Relay) awaitLocked() {
	if r.timer == nil {
		r.armLocked(r.cfg.ResumeTimeout)
	}
}

// attachLocked goes on with another link; the goroutines of the last one have
// ended, so that what the peer is told stays true.
func (r *Relay) attachLocked(running *sync.WaitGroup, att *attachment) {
	r.att = att
	att.complete = r.completeLocked()
	if err := r.greetedLocked(att); err != nil {
		r.failLocked(att, err)
	}
	att.peerFin = att.resuming && r.in.Ack().Fin
	att.users = 2
	running.Go(func() { r.leaveLink(att, r.writeLink(att)) })
	running.Go(func() { r.leaveLink(att, r.readLink(att)) })
}

// dial runs Connect and begins to serve the socket.
func (r *Relay) dial(ctx context.Context, running *sync.WaitGroup) {
	r.mu.Lock()
	r.dialing = true
	r.mu.Unlock()
	running.Go(func() {
		s, err := r.connect(ctx)
		r.mu.Lock()
		r.dialing = false
		if err == nil && !r.unwanted && r.reset == nil {
			r.serveLocked(running, s)
			s = nil
		} else if err != nil {
			r.notConnectedLocked(err)
		}
		r.wakeLinkLocked()
		poke(r.changed)
		r.mu.Unlock()
		if s != nil && err == nil {
			abort(s)
		}
	})
}

func (r *Relay) serveLocked(running *sync.WaitGroup, s Socket) {
	r.socket, r.sink, r.users = s, newSink(s), 2
	running.Go(func() { r.leaveSocket(r.readSocket(s)) })
	running.Go(func() { r.leaveSocket(r.writeSocket(s)) })
	if !r.opener {
		r.answer = &wire.Opened{Result: wire.OpenOK, Limit: r.in.Ack().Limit}
	}
}

func (r *Relay) notConnectedLocked(err error) {
	if r.opener {
		r.resetLocked(wire.ResetConnection, err.Error(), false)
		return
	}
	if r.reset != nil {
		return // it is why
	}
	e := resultOf(err)
	r.openErr = e
	r.answer = &wire.Opened{Result: e.Result, Reason: e.Reason}
	if r.att != nil {
		r.armLocked(lingerTimeout)
	}
}

// leaveLink is the end of a goroutine of a link.
func (r *Relay) leaveLink(att *attachment, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failLocked(att, err)
	}
	att.users--
	poke(r.changed)
}

// leaveSocket is the end of a goroutine of the socket.
func (r *Relay) leaveSocket(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.resetLocked(wire.ResetConnection, err.Error(), false)
	}
	r.users--
	poke(r.changed)
}

// finish gives everything back; all goroutines have ended.
func (r *Relay) finish() error {
	r.mu.Lock()
	r.closed = true
	r.stopTimersLocked()
	next := r.next
	r.next = nil
	r.out.Close()
	r.in.Close()
	err := r.openErr
	if err == nil && r.reset != nil {
		err = r.reset
	}
	r.closeSocketLocked()
	r.mu.Unlock()
	switch {
	case next == nil:
	case r.opener: // nothing was said on it yet
		r.cfg.Released(next.link)
	default:
		next.link.Close()
	}
	return err
}

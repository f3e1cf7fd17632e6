package relay

import (
	"context"
	"fmt"
	"sync"

	"braid/tunnel/wire"
)

// Run serves the stream, at first on link, which it then owns, until both
// directions are done or the stream is reset, and returns when all of its
// goroutines have ended. The end of ctx resets the stream. The error is nil
// when everything was delivered; else *OpenError, *ResetError or what broke.
func (r *Relay) Run(ctx context.Context, link Link) error {
	done := ctx.Done()
	ctx, cancel := context.WithCancel(ctx) // of Connect
	defer cancel()
	var running sync.WaitGroup
	r.mu.Lock()
	r.attachLocked(&running, newAttachment(link))
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
	if r.reset != nil {
		r.abortLocked(cancel)
	}
	if att := r.att; att != nil && att.users == 0 {
		r.detachLocked(att)
	}
	if r.next != nil && !r.over {
		if r.att != nil {
			r.att.failLocked(errReplaced) // and again when its goroutines have ended
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
	if r.reset != nil && r.att == nil && r.next == nil && !r.opener {
		r.over = true // the opener hears it when it asks for the stream
	}
	if r.reset != nil && r.users == 0 && !r.dialing {
		r.out.Close() // a link that lingers needs no memory
		r.in.Close()
	}
	if r.over && r.dialing {
		r.abortLocked(cancel)
	}
	return r.over && r.att == nil && r.users == 0
}

// expireLocked is for a stream that was not resumed in time, or a peer that
// does not let go of one that was reset.
func (r *Relay) expireLocked() {
	r.disarmLocked()
	r.giveUp = true
	if r.att != nil {
		r.att.failLocked(errLinger)
	} else {
		r.over = true
	}
	if r.reset == nil && !r.completeLocked() {
		r.resetLocked(wire.ResetTimedOut, "not resumed in time", false)
		r.disarmLocked()
	}
}

// completeLocked reports whether nothing is left to do but to hear that the
// peer has what was sent. When it never says so, because its last word was
// lost with the link, a reset would be of no use to anybody.
func (r *Relay) completeLocked() bool {
	return r.in.Ack().Fin && r.out.Closed()
}

// abortLocked resets the socket of a broken stream, once, and ends an attempt
// to connect.
func (r *Relay) abortLocked(cancel context.CancelFunc) {
	cancel()
	if !r.aborted && r.socket != nil {
		abort(r.socket)
	}
	r.aborted = true
}

// detachLocked is called when the goroutines of a link have ended.
func (r *Relay) detachLocked(att *attachment) {
	r.att = nil
	var said func()
	switch {
	case att.err == nil:
		r.over = true
		r.disarmLocked()
		said = func() { r.cfg.Released(att.link) }
	case r.giveUp, att.peerReset, r.openErr != nil, r.reset != nil && !r.opener:
		r.over = true // the peer knows, or hears it when it asks for the stream
	case !att.established && !att.resuming:
		r.over = true
		r.openErr = fmt.Errorf("%w: %w", errUnopened, att.err)
		r.resetLocked(wire.ResetConnection, "not opened", false) // for a socket that is there already
	default:
		if r.timer == nil {
			r.armLocked(r.cfg.ResumeTimeout)
		}
		if r.next == nil {
			said = func() { r.cfg.Detached(r, att.err) }
		}
	}
	if said != nil {
		r.mu.Unlock()
		said()
		r.mu.Lock()
	}
}

// attachLocked goes on with another link; the goroutines of the last one have
// ended, so that what the peer is told stays true.
func (r *Relay) attachLocked(running *sync.WaitGroup, att *attachment) {
	r.att = att
	att.peerFin = att.resuming && r.in.Ack().Fin
	if ask := att.ask; ask != nil {
		att.peerFinAck, att.finSaid = ask.Fin, ask.Fin
		if r.reset == nil {
			// A Resume that takes back what was said is an old one that has
			// been overtaken: not this stream's fault.
			if err := r.out.Resume(ackOf(*ask)); err != nil {
				att.failLocked(err)
			} else {
				r.disarmLocked()
				poke(r.room)
			}
		}
	}
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
		defer r.mu.Unlock()
		r.dialing = false
		poke(r.changed)
		switch {
		case err == nil && (r.aborted || r.reset != nil):
			abort(s)
			return
		case err == nil:
			r.socket = s
			r.users = 2
			running.Go(func() { r.leaveSocket(r.readSocket(s)) })
			running.Go(func() { r.leaveSocket(r.writeSocket(s)) })
			if !r.opener {
				r.answer = &wire.Opened{Result: wire.OpenOK, Limit: r.in.Ack().Limit}
			}
		case r.opener:
			r.resetLocked(wire.ResetConnection, err.Error(), false)
		default:
			e := resultOf(err)
			if r.openErr == nil {
				r.openErr = e
			}
			r.answer = &wire.Opened{Result: e.Result, Reason: e.Reason}
		}
		r.wakeLinkLocked()
	})
}

// leaveLink is the end of a goroutine of a link.
func (r *Relay) leaveLink(att *attachment, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		att.failLocked(err)
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
	defer r.mu.Unlock()
	r.closed = true
	r.disarmLocked()
	if r.flush != nil {
		r.flush.Stop()
	}
	if next := r.next; next != nil {
		r.next = nil
		if r.opener { // nothing was said on it yet
			r.mu.Unlock()
			r.cfg.Released(next.link)
			r.mu.Lock()
		} else {
			next.link.Close()
		}
	}
	if r.socket != nil && !r.aborted {
		r.socket.Close()
	}
	r.out.Close()
	r.in.Close()
	if r.openErr != nil {
		return r.openErr
	}
	if r.reset != nil {
		return r.reset
	}
	return nil
}

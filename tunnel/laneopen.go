package tunnel

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"braid/crypto"
	"braid/tunnel/relay"
	"braid/tunnel/wire"
)

// offer takes a connection that the terminator holds. It does not block.
func (l *lane) offer(h HeldConn) {
	if !l.spawn(func() { l.open(h) }) {
		h.Fail(wire.OpenRefused)
	}
}

// open serves a stream that this side opens.
func (l *lane) open(h HeldConn) {
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	s := &laneStream{out: true, began: time.Now(), ctx: ctx, open: wire.Open{Source: h.Source(), Destination: h.Destination()}}
	rand.Read(s.open.Stream[:]) // never fails (crypto/rand)
	accepting := make(chan struct{})
	s.relay = relay.NewOpener(l.relayConfig(s, l.giveBack), s.open, func(ctx context.Context) (relay.Socket, error) {
		close(accepting)
		c, err := h.Accept(ctx)
		if err == nil {
			l.count.opened.Add(1)
			s.accepted.Store(true)
		}
		l.made(s)
		return c, err
	})
	if e := l.admit(s); e != nil {
		l.log.Debug("connection refused", "to", s.open.Destination, "reason", e.Reason)
		h.Fail(wire.OpenRefused)
		return
	}
	defer l.forget(s)
	watched := l.spawn(func() {
		// The program may give up while its SYN is held.
		select {
		case <-h.Done():
			select {
			case <-accepting: // it was Accept
			default:
				cancel()
			}
		case <-accepting:
		case <-ctx.Done():
		}
	})
	if !watched {
		h.Fail(wire.OpenRefused)
		return
	}
	if e := l.pace(ctx, true); e != nil {
		l.finish(s, h, e)
		return
	}
	leaseCtx, done := context.WithTimeout(ctx, leaseTimeout)
	k, err := l.pool.lease(leaseCtx, s.rank)
	done()
	if err == nil {
		err = s.relay.Run(ctx, k)
	}
	l.finish(s, h, err)
}

// finish tells the application what became of a stream that never opened.
func (l *lane) finish(s *laneStream, h HeldConn, err error) {
	var e *relay.OpenError
	switch {
	case err == nil:
		return
	case s.accepted.Load(): // it has its answer
	case errors.As(err, &e):
		l.log.Debug("connection not made", "from", s.open.Source, "to", s.open.Destination, "reason", e.Reason)
		h.Fail(e.Result)
	case errors.Is(err, errNoCarrier):
		h.Fail(wire.OpenNetworkUnreachable)
	default:
		if hint := crypto.Hint(err); hint != "" && l.ctx.Err() == nil && l.complain.Allow() {
			l.log.Error("connection from the tunnel device failed", "error", err, "hint", hint)
		}
		h.Fail(wire.OpenRefused)
	}
	l.countEnd(s, err)
}

// giveBack takes a clean link of this side's pool.
func (l *lane) giveBack(k *link) {
	k.renew()
	if k.old() || !l.pool.add(k) {
		k.Close()
	}
}

// move looks for another link for a stream that was opened here.
func (l *lane) move(s *laneStream, rank int) {
	if !s.moving.CompareAndSwap(false, true) {
		return
	}
	l.spawn(func() {
		k, err := l.pool.lease(s.ctx, rank)
		s.moving.Store(false)
		if err == nil && !s.relay.Attach(k) {
			l.giveBack(k)
		}
	})
}

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"braid/tunnel/relay"
	"braid/tunnel/wire"
)

// serve waits for the next stream on a link on which the peer opens.
func (l *lane) serve(k *link) {
	for {
		typ, p, err := k.ReadFrame()
		if err != nil {
			l.endLink(k, err)
			return
		}
		var handed bool
		switch typ {
		case wire.TypeOpen:
			var o wire.Open
			if o, err = wire.ParseOpen(p); err == nil {
				handed = l.accepted(k, o)
			}
		case wire.TypeResume:
			var r wire.Resume
			if r, err = wire.ParseResume(p); err == nil {
				if handed = l.resumed(k, r); !handed {
					err = relay.RefuseResume(k)
				}
			}
		case wire.TypeTest:
			var t wire.Test
			if t, err = wire.ParseTest(p); err == nil {
				err = l.test(k, t)
			}
		default:
			err = fmt.Errorf("%w frame order: %v without a stream", wire.ErrMalformed, typ)
		}
		if err != nil {
			l.endLink(k, err)
			return
		}
		if handed {
			return
		}
	}
}

// endLink closes a link that is in no stream's hands.
func (l *lane) endLink(k *link, cause error) {
	l.log.Debug("carrier ended", "carrier", k.number, "reason", cause)
	l.blame(cause)
	k.Close()
}

// blame notes a carrier that ended for what the peer sent.
func (l *lane) blame(cause error) {
	if !errors.Is(cause, wire.ErrMalformed) {
		return
	}
	l.count.malformed.Add(1)
	if l.complain.Allow() {
		l.log.Warn("peer broke the protocol on a carrier of streams", "error", cause)
	}
}

func (l *lane) find(id wire.StreamID) *laneStream {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.streams[id]; s != nil && !s.out {
		return s
	}
	return nil
}

func (l *lane) resumed(k *link, r wire.Resume) bool {
	s := l.find(r.Stream)
	return s != nil && s.relay.AttachResumed(k, r)
}

// accepted begins a stream, or goes on with one whose first link died before
// the peer heard of its opening.
func (l *lane) accepted(k *link, o wire.Open) bool {
	if s := l.find(o.Stream); s != nil && s.relay.AttachReopened(k) {
		return true
	}
	l.mu.Lock()
	_, late := l.ended[o.Stream]
	l.mu.Unlock()
	if late {
		k.Close() // its opener has another
		return true
	}
	ctx, cancel := context.WithCancel(l.ctx)
	s := &laneStream{began: time.Now(), ctx: ctx, open: o}
	var refusal *relay.OpenError
	s.relay = relay.NewAccepter(l.relayConfig(s, l.serveAgain), o, func(ctx context.Context) (relay.Socket, error) {
		if refusal != nil {
			return nil, refusal
		}
		if e := l.pace(ctx, false); e != nil {
			return nil, e
		}
		c, err := l.connect(ctx, o)
		if err != nil {
			return nil, err
		}
		l.count.opened.Add(1)
		return c, nil
	})
	refusal = l.admit(s)
	ok := l.spawn(func() {
		defer cancel()
		err := s.relay.Run(ctx, k)
		if refusal == nil {
			l.forget(s)
		}
		l.countEnd(s, err)
	})
	if !ok {
		cancel()
		if refusal == nil {
			l.forget(s)
		}
	}
	return ok
}

// serveAgain takes a clean link on which the peer opens.
func (l *lane) serveAgain(k *link) {
	k.renew()
	if !l.spawn(func() { l.serve(k) }) {
		k.Close()
	}
}

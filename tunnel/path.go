package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"braid/scheduler"
	"braid/tunnel/wire"
)

// path is one uplink of a client's, its carrier, and what is known of it. The
// keeper's mutex guards what has none of its own.
type path struct {
	uplink  Uplink // as the host has it, or had
	present bool
	health  *scheduler.Health
	epoch   uint32 // counts deaths
	use     scheduler.Use
	why     string    // of use, for people
	since   time.Time // of the state
	deaths  int
	cap     *scheduler.Cap // nil: there is none
	out     scheduler.Quarantine

	end    context.CancelFunc // of the goroutine that dials and serves; nil: there is none
	again  chan struct{}      // holds a token when it should dial at once
	urgent atomic.Bool        // no uplink works
	// reached: a connection over it has come about since it died. While no
	// uplink works that is enough to use it.
	reached bool

	car    *carrier    // nil: none
	had    bool        // it had one before
	told   uint32      // which word on the uplinks was sent on car
	moved  PathPackets // by carriers before car
	beaten time.Time
	sent   int // beats on car that have no answer yet

	beats, lost uint64 // of all carriers
}

// begin starts what dials and serves the path's carrier.
func (k *pathKeeper) begin(p *path, session wire.SessionID) {
	ctx, end := context.WithCancel(k.ctx)
	p.end, p.again = end, make(chan struct{}, 1)
	again := p.again
	u := p.uplink
	k.dials.Go(func() { k.keep(ctx, p, u, session, again) })
}

// hangUp ends what dials and serves.
func (p *path) hangUp() {
	if p.end == nil {
		return
	}
	p.end()
	p.end, p.again = nil, nil
	p.letGo()
}

// letGo forgets the carrier.
func (p *path) letGo() {
	p.lost += uint64(p.sent)
	if p.car != nil {
		p.car.packets.detach(time.Now())
		p.moved = p.car.packets.status(p.moved)
		p.moved.Queued = 0
	}
	p.car, p.sent = nil, 0
}

// unreach forgets that a connection came about. Subflows that were made in that
// belief have stood still since.
func (p *path) unreach() {
	if p.reached {
		p.reached = false
		p.epoch++
	}
}

// retry looks for another carrier at once.
func (p *path) retry() {
	select {
	case p.again <- struct{}{}:
	default:
	}
}

// keep dials a carrier over the uplink and serves it, again and again until
// ctx ends.
func (k *pathKeeper) keep(ctx context.Context, p *path, u Uplink, session wire.SessionID, again chan struct{}) {
	down := time.Now()
	for ctx.Err() == nil {
		car, err := k.dial(ctx, p, u, session, down)
		lived := false
		if err == nil {
			err = k.serve(ctx, p, u, car, session, again)
			down = time.Now()
			lived = time.Since(car.start) > uselessBefore
		}
		if ctx.Err() != nil {
			return
		}
		k.mu.Lock()
		now := time.Now()
		if ctx.Err() == nil && lived && hungUp(err) {
			p.health.Woke(now) // the uplink brought that; the dial will tell
			k.mu.Unlock()
			continue
		}
		if ctx.Err() == nil {
			p.health.Disconnected(now, reasonOf(err))
			p.unreach()
			p.letGo()
		}
		k.mu.Unlock()
		k.poke()
		select {
		case <-time.After(scheduler.Redial(time.Since(down), p.urgent.Load())):
		case <-again:
		case <-ctx.Done():
		}
	}
}

// hungUp reports whether it was the server that ended a carrier: then the uplink
// works.
func hungUp(err error) bool {
	var closed *errClosedByPeer
	return errors.As(err, &closed) || errors.Is(err, errLeft) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func reasonOf(err error) string {
	var refused *RefusedError
	var family *familyError
	switch {
	case errors.As(err, &family):
		return family.reason()
	case errors.Is(err, errPathDead):
		return "" // it has a reason
	case errors.Is(err, context.DeadlineExceeded):
		return "the server does not answer over it"
	case errors.As(err, &refused):
		return refused.Error()
	}
	return err.Error()
}

// errPathDead ends a carrier in favour of another: nothing comes by it.
var errPathDead = errors.New("no answer over this uplink")

// dial makes a carrier over one uplink, which has had none since a time.
func (k *pathKeeper) dial(ctx context.Context, p *path, u Uplink, session wire.SessionID, down time.Time) (*carrier, error) {
	c := k.c
	servers, err := c.Servers(ctx)
	if err != nil {
		return nil, fmt.Errorf("look up server: %w", err)
	}
	list := candidates(servers, []Uplink{u})
	if len(list) == 0 {
		return nil, unreachable(servers, []Uplink{u})
	}
	stagger := func() time.Duration {
		if p.urgent.Load() && time.Since(down) < hurryFor {
			return dialHurry
		}
		return dialStagger
	}
	s, _, err := connect(ctx, reachDialer{c.Dialer, func() { k.reach(ctx, p) }}, ForPath, c.TLS, c.Key, list, stagger)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	car, _, err := s.greet(wire.Hello{Kind: wire.KindPath, Session: session, Software: c.Software}, c.Key)
	if err != nil {
		return nil, err
	}
	return car, car.control(wire.Path{Name: u.Name}.Append(nil))
}

// hurryFor bounds dialHurry. At six hundred SYNs a minute a long outage would
// cost more than it gains.
const hurryFor = 30 * time.Second

// reachDialer tells of each connection that comes about, before anything was
// said on it.
type reachDialer struct {
	Dialer
	tell func()
}

func (d reachDialer) Dial(ctx context.Context, server netip.AddrPort, via Uplink, purpose Purpose) (Conn, error) {
	c, err := d.Dialer.Dial(ctx, server, via, purpose)
	if err == nil {
		d.tell()
	}
	return c, err
}

// reach notes that a connection over the uplink has come about.
func (k *pathKeeper) reach(ctx context.Context, p *path) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ctx.Err() == nil && !p.reached {
		p.reached = true
		k.poke()
	}
}

// serve runs a carrier until it breaks or the uplink is dead and another is to
// be found.
func (k *pathKeeper) serve(ctx context.Context, p *path, u Uplink, car *carrier, session wire.SessionID, again chan struct{}) error {
	ctx, end := context.WithCancelCause(ctx)
	packets := k.c.packetsOf(session)
	k.mu.Lock()
	if ctx.Err() != nil || packets == nil {
		k.mu.Unlock()
		end(nil)
		car.conn.Close()
		return cmp.Or(ctx.Err(), errReplaced)
	}
	select {
	case <-again: // that was for the one before
	default:
	}
	p.letGo()
	p.car, p.beaten, p.told = car, time.Time{}, 0
	if p.had {
		k.returns.Add(1)
	}
	p.had = true
	car.packets = packets.newPath(false, car.control)
	car.packets.attach(time.Now(), p.use != scheduler.None, p.use == scheduler.Standby)
	p.health.Connected(time.Now())
	k.mu.Unlock()
	k.poke()
	k.c.hearTrains(u.Name, car)
	car.hear.pong = func(sent time.Duration) { k.answered(p, car, sent) }
	k.c.askTrain(u.Name, car)
	ended := make(chan error, 1)
	k.dials.Go(func() {
		err := car.runPath(ctx)
		if errors.Is(err, wire.ErrMalformed) {
			k.c.stats.malformed.Add(1)
		}
		ended <- err
		k.mu.Lock()
		defer k.mu.Unlock()
		if p.car == car {
			p.letGo()
		}
	})
	select {
	case err := <-ended:
		end(nil)
		return err
	case <-again:
		// What comes by it all the same tells that nothing was lost.
		time.AfterFunc(lingerFor, func() { end(errPathDead) })
		return errPathDead
	}
}

// meteredPace is between the beats of an idle uplink on which each byte costs:
// 2 MB a month.
const meteredPace = 5 * time.Minute

// lingerFor is how long the carrier of a dead uplink is listened to.
const lingerFor = 3 * time.Second

// answered takes the answer to a beat.
func (k *pathKeeper) answered(p *path, car *carrier, sent time.Duration) {
	now := time.Now()
	k.mu.Lock()
	k.c.speed.beats.add(p.uplink.Name, car.start.Add(sent), now.Sub(car.start.Add(sent)))
	if p.car == car {
		p.sent = max(p.sent-1, 0)
	}
	p.health.Answered(now, now.Sub(car.start.Add(sent)))
	if p.car == car {
		car.packets.tellRTT(p.health.RTT().Smoothed)
	}
	settles := p.health.State() != scheduler.Up
	k.mu.Unlock()
	if settles {
		k.poke()
	}
}

// hear asks the kernel whether anything came by the uplink.
func (p *path) hear(now time.Time) {
	if p.car == nil || p.sent == 0 {
		return
	}
	if ago, err := p.car.conn.Heard(); err == nil {
		p.health.Heard(now.Add(-ago))
	}
}

// beat sends a beat when one is due, and returns when to come back.
func (p *path) beat(now, busy time.Time, watched bool) time.Duration {
	next := time.Hour
	if p.car != nil {
		switch {
		case watched: // by a speed test
			busy = now
		case p.use == scheduler.Standby:
			busy = time.Time{}
		}
		var pace scheduler.Pace
		if p.uplink.Metered {
			pace.Idle = meteredPace
		}
		wait := pace.Next(now, p.beaten, busy, p.health.Quick())
		if wait <= 0 {
			stamp := now.Sub(p.car.start)
			if p.car.control(wire.AppendPing(nil, wire.Ping{Stamp: uint64(stamp)})) == nil {
				p.sent++
				p.beats++
				p.beaten = now
				p.health.Sent(now)
			}
			wait = scheduler.QuickPace
		}
		next = wait
		if p.sent > 0 {
			next = min(next, beatTick)
		}
	}
	if at := p.health.Deadline(); !at.IsZero() {
		next = min(next, max(at.Sub(now), time.Millisecond))
	}
	return next
}

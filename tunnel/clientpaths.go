package tunnel

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"braid/scheduler"
	"braid/tunnel/wire"
)

// pathKeeper watches each of a client's uplinks by a carrier of its own, and
// decides by what it finds which uplinks the other carriers may use.
//
//	uplink ── path: a carrier, its beats ── scheduler.Health ──┐
//	uplink ── path                       ── scheduler.Health ──┼─ scheduler.Plan ─▶ subflows
//
// One goroutine steps all of it (run); each uplink that the host has has
// another, which dials its carrier and serves it (path.go).
type pathKeeper struct {
	c *Client
	// active is noted by whoever moves something: beats are quick while
	// anything depends on them.
	active  *activity
	returns atomic.Uint64 // how often an uplink had another path carrier
	woken   atomic.Bool   // the host slept since the last step
	dials   sync.WaitGroup

	mu     sync.Mutex // guards what follows
	ctx    context.Context
	id     wire.SessionID // of the paths' carriers
	paths  []*path        // as the host prefers them, those that are gone last
	busy   time.Time      // when there was traffic
	due    time.Time      // when the next step is to be; zero: whenever
	asked  time.Time      // when Prompt was last called
	said   uint32         // number of the latest word on the uplinks; grows with each change
	told   *carrier       // the bond, which was last told
	toldAt uint32         // which word
	events []UplinkEvent

	load     pathLoad
	overflow scheduler.OverflowControl
}

// UplinkEvent is a change of an uplink's state.
type UplinkEvent struct {
	Time     time.Time
	Uplink   string
	From, To scheduler.State
	Reason   string // for people
}

const (
	eventsKept = 100
	// beatTick is how often the kernel is asked for signs of life while an
	// answer is awaited.
	beatTick = 25 * time.Millisecond
	// lateStep is how late this process itself may be before it does not
	// trust its judgement of others: it was suspended, or starved.
	lateStep = 150 * time.Millisecond
)

func newPathKeeper(c *Client) *pathKeeper {
	return &pathKeeper{c: c, active: newActivity(), said: 1}
}

// poke makes it look at everything now.
func (k *pathKeeper) poke() { k.active.poke() }

// run judges the uplinks until ctx ends.
func (k *pathKeeper) run(ctx context.Context) error {
	k.mu.Lock()
	k.ctx = ctx
	k.mu.Unlock()
	defer k.dials.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-k.active.wake:
		case <-ctx.Done():
			k.mu.Lock()
			defer k.mu.Unlock()
			for _, p := range k.paths {
				p.hangUp()
			}
			return nil
		}
		timer.Reset(k.step(time.Now(), k.woken.Swap(false)))
	}
}

// GoneReason is why an uplink is dead that was there.
const GoneReason = "it is down, gone or without a default route"

// set takes the uplinks that the host has now, and those that it has and must not
// be used. It tells of each of the first whether nothing bad is known of it.
func (k *pathKeeper) set(list, off []Uplink, now time.Time) (fresh []bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var order []*path
	for _, u := range list {
		i := slices.IndexFunc(k.paths, func(p *path) bool { return p.uplink.Name == u.Name })
		var p *path
		if i < 0 {
			p = &path{health: scheduler.NewHealth(now), since: now}
		} else {
			p = k.paths[i]
			k.paths = slices.Delete(k.paths, i, i+1)
			if p.uplink.Role != u.Role {
				k.c.Log.Info("uplink's role changed", "uplink", u.Name, "role", u.Role, "was", p.uplink.Role)
				k.said++
			}
			if p.uplink.Index != u.Index || !slices.Equal(p.uplink.Addresses, u.Addresses) {
				p.hangUp() // it would leave from what is not there any more
				p.health.Woke(now)
				k.c.forgetCapacity(u.Name) // it may be another network
			}
		}
		p.uplink.Name = u.Name
		k.setCap(p, u.CapBytes, now)
		p.uplink, p.present = u, true
		p.health.Present(now, true, "")
		order = append(order, p)
		fresh = append(fresh, p.fresh(now))
	}
	for _, p := range k.paths {
		if p.present {
			p.present = false
			reason := GoneReason
			if slices.ContainsFunc(off, func(u Uplink) bool { return u.Name == p.uplink.Name }) {
				reason = "its role is never"
			}
			p.health.Present(now, false, reason)
			p.hangUp()
		}
		if len(order) < wire.MaxUplinks {
			order = append(order, p)
		}
	}
	k.paths = order
	k.poke()
	return fresh
}

// step looks at everything once, and returns after how long to look again.
func (k *pathKeeper) step(now time.Time, slept bool) time.Duration {
	session := k.c.sessionID()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.active.moved.Swap(false) {
		k.busy = now
	}
	if session != k.id { // the server does not know the carriers of another
		k.id = session
		for _, p := range k.paths {
			p.hangUp()
		}
	}
	late := !k.due.IsZero() && now.Sub(k.due) > lateStep
	next := time.Hour
	alive := 0
	for _, p := range k.paths {
		p.hear(now)
		if late || slept {
			p.health.Woke(now)
		}
		if slept && p.end != nil && p.car == nil {
			p.retry()
		}
		for _, t := range p.health.Step(now) {
			k.note(p, t)
		}
		if s := p.health.State(); s == scheduler.Up || s == scheduler.Late {
			alive++
		}
	}
	for _, p := range k.paths {
		if !p.present {
			continue
		}
		if p.end == nil && !session.IsZero() && k.ctx != nil && k.ctx.Err() == nil {
			k.begin(p, session)
		}
		p.urgent.Store(alive == 0)
		next = min(next, p.beat(now, k.busy, k.c.speed.beats.watches(p.uplink.Name)))
	}
	if k.c.Prompt != nil && next <= scheduler.QuickPace && now.Sub(k.asked) >= scheduler.QuickPace-beatTick {
		k.asked = now
		k.c.Prompt()
	}
	k.decide(now)
	k.due = now.Add(next)
	return next
}

// note takes a transition.
func (k *pathKeeper) note(p *path, t scheduler.Transition) {
	e := UplinkEvent{Time: t.At, Uplink: p.uplink.Name, From: t.From, To: t.To, Reason: t.Reason}
	k.events = append(k.events, e)
	if n := len(k.events) - eventsKept; n > 0 {
		k.events = slices.Delete(k.events, 0, n)
	}
	p.since = t.At
	k.said++
	log := k.c.Log.Info
	if t.To == scheduler.Late || t.From == scheduler.Late && t.To == scheduler.Up {
		log = k.c.Log.Debug
	}
	log("uplink", "uplink", e.Uplink, "state", e.To, "was", e.From, "reason", e.Reason)
	if t.To == scheduler.Dead {
		p.deaths++
		p.epoch++ // what its subflows carried is sent elsewhere, and they are made anew
		p.reached = false
		if p.car != nil { // what it may have swallowed goes elsewhere at once
			p.car.packets.use(t.At, false, false, false)
		}
		p.retry()
	}
}

// state is the uplink's. One that is new is taken to be good until it had its
// chance to show it: a join over it costs nothing, and most are.
func (p *path) state(now time.Time) scheduler.State {
	if p.fresh(now) {
		return scheduler.Up
	}
	return p.health.State()
}

func (p *path) fresh(now time.Time) bool {
	return p.health.State() == scheduler.Probing && p.deaths == 0 && now.Sub(p.since) < freshFor
}

const freshFor = 3 * time.Second

// decide says which uplinks carriers may use now. While none works nothing
// changes: there is nowhere else to go, and each may come back. The first over
// which a connection comes about is taken then, without waiting for steady
// answers: it can only be better.
func (k *pathKeeper) decide(now time.Time) {
	list := make([]scheduler.Uplink, len(k.paths))
	none := true
	for i, p := range k.paths {
		list[i] = scheduler.Uplink{Name: p.uplink.Name, Role: p.uplink.Role, State: p.state(now), Cap: p.capLevel(now), Quarantined: p.out.Out()}
		none = none && list[i].State != scheduler.Up && list[i].State != scheduler.Late
	}
	for i, p := range k.paths {
		if none && p.reached && p.present {
			list[i].State = scheduler.Up
		}
	}
	var uplinks []Uplink
	works := false
	for i, d := range scheduler.Plan(list, k.overflow.Engaged()) {
		p := k.paths[i]
		if p.use != d.Use || p.why != d.Reason {
			p.use, p.why = d.Use, d.Reason
			k.said++
		}
		if p.car != nil {
			p.car.packets.use(now, d.Use != scheduler.None && p.present, d.Use == scheduler.Standby, p.health.State() == scheduler.Late)
		}
		if d.Use == scheduler.None || !p.present {
			continue
		}
		u := p.uplink
		u.Backup, u.Epoch = d.Use == scheduler.Standby, p.epoch
		works = works || !u.Backup
		uplinks = append(uplinks, u)
	}
	if works {
		k.c.use(uplinks)
	}
	k.tell(now)
}

// tell sends the server what it has not been told yet: on all carriers, since
// which of them still work is what it is about.
func (k *pathKeeper) tell(now time.Time) {
	var frame []byte
	say := func(car *carrier) {
		if frame == nil {
			frame = k.uplinks(now)
		}
		_ = car.control(frame) // a carrier that takes nothing ends by itself
	}
	if car := k.c.packetCarrier(); car != nil && (car != k.told || k.toldAt != k.said) {
		k.told, k.toldAt = car, k.said
		say(car)
	}
	for _, p := range k.paths {
		if p.car != nil && p.told != k.said && p.health.State() != scheduler.Dead {
			p.told = k.said
			say(p.car)
		}
	}
}

// uplinks is the client's word on all of its uplinks.
func (k *pathKeeper) uplinks(now time.Time) []byte {
	u := wire.Uplinks{Number: k.said}
	for _, p := range k.paths {
		u.List = append(u.List, wire.UplinkState{
			Name: p.uplink.Name, State: uint8(p.shown()), Role: uint8(p.role(now)), Use: uint8(p.use), Reason: p.reason(now),
		})
	}
	return u.Append(nil)
}

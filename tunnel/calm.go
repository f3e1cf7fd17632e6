package tunnel

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"braid/scheduler"
)

// Streams fill the queue in the modem, and whoever calls beside them waits in it.
// So while somebody sends little and often, each end bounds what its subflows of
// streams send, a little below what their uplink delivers (scheduler.Calm):
//
//	packets, both ways ─▶ talk ─ hear ─▶ run: each calmTick, until a moment after
//	  the last one: subflows ─▶ Calm of each uplink ─▶ Pacing
//
// A bound on all that a session writes would not do: the kernel's scheduler fills
// the uplink with the shorter round trip until its queue makes up for the
// difference, whatever there is to send.

// Pacing bounds what single subflows send; package mptcp has the kernel's.
type Pacing interface {
	// Pace sets the bounds of these, and no others. An error says that it cannot
	// be done, now or ever. Any goroutine may call it.
	Pace([]PacedSubflow) error
}

// PacedSubflow is a subflow and the most that it may send.
type PacedSubflow struct {
	Local, Remote netip.AddrPort
	Rate          scheduler.BitRate // 0: no bound
}

const (
	calmTick = 100 * time.Millisecond
	// calmLinger is how long streams stay bounded after the last sparse packet:
	// who sends five a second is one of them.
	calmLinger = 1500 * time.Millisecond
	// calmBulk is what streams must send on an uplink to have a queue there. Less
	// is the acknowledgements of what comes.
	calmBulk scheduler.BitRate = 300e3
	// calmEven is the part of an uplink's rate that all its subflows have the same
	// of; the rest goes by what each has sent.
	calmEven = 0.3
	// calmBusy of what an uplink carries is worth a part of its own.
	calmBusy = 0.01
	// calmKept is what counts of what a subflow sent before.
	calmKept = 0.7
	// calmChange is by how much a bound must differ to be told to the kernel.
	calmChange = 0.01
)

// calm bounds one session's streams at this end. One goroutine runs it; hear may
// be called by any.
type calm struct {
	log    *slog.Logger
	pacing Pacing // nil: nothing is bounded
	// streams appends the subflows of streams that move, with their uplinks.
	streams func([]Subflow) []Subflow

	start time.Time
	heard atomic.Int64  // when a sparse packet last came, since start; 0: never
	wake  chan struct{} // holds a token after one came

	// Of run:
	at      time.Time
	uplinks map[string]*calmUplink
	flows   map[subflowKey]*calmFlow
	list    []Subflow
	changes []PacedSubflow
	refused bool
}

// calmUplink is one uplink in one step.
type calmUplink struct {
	calm    scheduler.Calm
	in      scheduler.CalmInput
	largest uint64  // that one subflow sent
	weight  float64 // of all subflows
	busy    int     // subflows that send something worth the name
	rate    scheduler.BitRate
}

type calmFlow struct {
	acked  uint64
	weight float64 // bytes, of late
	bound  scheduler.BitRate
	seen   bool
}

func newCalm(log *slog.Logger, pacing Pacing, streams func([]Subflow) []Subflow) *calm {
	return &calm{
		log: log, pacing: pacing, streams: streams, start: time.Now(), wake: make(chan struct{}, 1),
		uplinks: map[string]*calmUplink{}, flows: map[subflowKey]*calmFlow{},
	}
}

// hear takes in that a packet of a conversation came or went (talk).
func (c *calm) hear(now time.Time) {
	since := now.Sub(c.start)
	last := time.Duration(c.heard.Swap(int64(max(since, 1))))
	if c.pacing != nil && (last == 0 || since-last > calmTick) {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// active reports whether there was a sparse packet lately.
func (c *calm) active(now time.Time) bool {
	heard := c.heard.Load()
	return heard != 0 && now.Sub(c.start)-time.Duration(heard) < calmLinger
}

// run bounds and frees until ctx ends, and leaves nothing bounded.
func (c *calm) run(ctx context.Context) {
	if c.pacing == nil {
		return
	}
	for {
		select {
		case <-c.wake:
		case <-ctx.Done():
			return
		}
		c.attend(ctx)
	}
}

// attend is what run does while somebody sends little.
func (c *calm) attend(ctx context.Context) {
	t := time.NewTicker(calmTick)
	defer t.Stop()
	defer c.free()
	c.at = time.Time{}
	for ctx.Err() == nil && c.active(time.Now()) && !c.refused {
		c.list = c.streams(c.list[:0])
		c.step(time.Now(), c.list)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
}

// step takes the subflows as they are now and bounds them.
func (c *calm) step(now time.Time, list []Subflow) {
	elapsed := now.Sub(c.at)
	if c.at.IsZero() {
		elapsed = 0
	}
	c.at = now
	for _, f := range c.flows {
		f.seen = false
	}
	for _, u := range c.uplinks {
		u.in, u.largest, u.weight, u.busy = scheduler.CalmInput{Elapsed: elapsed}, 0, 0, 0
	}
	for i := range list {
		c.measure(&list[i])
	}
	for _, u := range c.uplinks {
		u.rate = 0
		if elapsed <= 0 || scheduler.BitRate(8*float64(u.in.Delivered)/elapsed.Seconds()) < calmBulk && u.calm.Bound() == 0 {
			continue
		}
		u.rate = u.calm.Step(u.in)
	}
	c.divide(list)
	c.tell()
}

// measure adds a subflow to its uplink.
func (c *calm) measure(s *Subflow) {
	u := c.uplinks[s.uplinkName()]
	if u == nil {
		u = &calmUplink{}
		c.uplinks[s.uplinkName()] = u
	}
	key := subflowKey{s.Local, s.Remote}
	f := c.flows[key]
	if f == nil {
		f = &calmFlow{acked: s.AckedBytes}
		c.flows[key] = f
	}
	sent := s.AckedBytes - min(f.acked, s.AckedBytes)
	f.acked, f.seen = s.AckedBytes, true
	f.weight = calmKept*f.weight + float64(sent)
	u.weight += f.weight
	u.in.Delivered += sent
	if sent > u.largest || u.in.RTT == 0 {
		u.largest, u.in.RTT = sent, s.RTT
	}
	if s.MinRTT > 0 && (u.in.MinRTT == 0 || s.MinRTT < u.in.MinRTT) {
		u.in.MinRTT = s.MinRTT
	}
}

// divide shares each uplink's bound among its subflows, and notes what changes.
func (c *calm) divide(list []Subflow) {
	c.changes = c.changes[:0]
	for i := range list {
		if u, f := c.of(&list[i]); f.busy(u) {
			u.busy++
		}
	}
	for i := range list {
		s := &list[i]
		u, f := c.of(s)
		part := calmEven
		if f.busy(u) {
			part = calmEven/float64(u.busy) + (1-calmEven)*f.weight/u.weight
		}
		bound := scheduler.BitRate(part) * u.rate
		if diff := bound - f.bound; bound != 0 && f.bound != 0 && max(diff, -diff) < calmChange*f.bound {
			continue
		}
		c.bind(s.Local, s.Remote, f, bound)
	}
	for key, f := range c.flows {
		if !f.seen {
			c.bind(key.local, key.remote, f, 0)
			delete(c.flows, key)
		}
	}
}

// of returns what is known of a subflow and its uplink.
func (c *calm) of(s *Subflow) (*calmUplink, *calmFlow) {
	return c.uplinks[s.uplinkName()], c.flows[subflowKey{s.Local, s.Remote}]
}

// busy reports whether a subflow counts. Of the others, which may begin at any
// time, none has more than calmEven.
func (f *calmFlow) busy(u *calmUplink) bool { return f.weight > calmBusy*u.weight }

func (c *calm) bind(local, remote netip.AddrPort, f *calmFlow, bound scheduler.BitRate) {
	if f.bound != bound {
		f.bound = bound
		c.changes = append(c.changes, PacedSubflow{local, remote, bound})
	}
}

// tell gives the kernel what has changed.
func (c *calm) tell() {
	if len(c.changes) == 0 {
		return
	}
	if err := c.pacing.Pace(c.changes); err != nil && !c.refused {
		c.refused = true
		c.log.Info("streams do not make room for calls and games", "error", err)
	}
}

// free takes all bounds away.
func (c *calm) free() {
	c.changes = c.changes[:0]
	for key, f := range c.flows {
		c.bind(key.local, key.remote, f, 0)
	}
	c.tell()
	clear(c.flows)
	for _, u := range c.uplinks {
		u.calm.Reset()
	}
}

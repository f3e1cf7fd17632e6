package tunnel

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"braid/scheduler"
)

// What is bulk fills the queue in the modem, and whoever calls beside it waits in
// it. So while somebody talks, each end bounds what it sends on each uplink, a little
// below what that delivers (scheduler.Calm): its subflows of streams, and the bulk
// packets of the path carrier together. What is sparse is never bounded.
//
//	packets, both ways ─▶ talk ─ hear ─▶ run: each calmTick, until a moment after
//	  the last one: subflows ─▶ Calm of each uplink ─▶ Share ─┬─▶ Pacing: streams
//	                                                          └─▶ limit: packets
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
	// calmAnswers of what comes by an uplink is the acknowledgements of that, in the
	// packets of a download, and not bounded: the queue is in the other direction.
	calmAnswers = 1.0 / 24
	// calmNew of an uplink's rate is what a subflow may begin with that sends
	// hardly anything; it is not taken from the others.
	calmNew = 0.3
	// calmBusy of what an uplink carries makes one of those who share its rate.
	calmBusy = 0.01
	// calmWant is how much more than it sends each of these may want, so that it
	// grows in some ticks to what it can use.
	calmWant = 1.3
	// calmKept is what counts of what a subflow sent before.
	calmKept = 0.7
	// calmChange is by how much a bound must differ to be told to the kernel.
	calmChange = 0.01
)

// calmLinks are a session's carriers as calm sees them.
type calmLinks interface {
	// movingSubflows appends the subflows of streams that move, and those of path
	// carriers, with their uplinks.
	movingSubflows([]Subflow) []Subflow
	// limitPath bounds the bulk packets of an uplink's path carrier; 0: no bound.
	limitPath(uplink string, rate scheduler.BitRate)
}

// calm bounds what one session sends at this end. One goroutine runs it; hear may
// be called by any.
type calm struct {
	log    *slog.Logger
	pacing Pacing // nil: streams are not bounded
	links  calmLinks

	start time.Time
	heard atomic.Int64  // when a sparse packet last came, since start; 0: never
	wake  chan struct{} // holds a token after one came

	// Of run:
	at      time.Time
	uplinks map[string]*calmUplink
	flows   map[subflowKey]*calmFlow
	list    []Subflow
	changes []PacedSubflow
	refused bool // streams cannot be bounded
}

// calmUplink is one uplink in one step.
type calmUplink struct {
	calm    scheduler.Calm
	in      scheduler.CalmInput
	largest uint64            // that one subflow delivered
	came    uint64            // bytes, the other way
	sends   scheduler.BitRate // all subflows, smoothed
	free    bool              // some of them cannot be bounded
	rate    scheduler.BitRate
	wants   []scheduler.BitRate // of those that share it
	next    int                 // of wants that is not given
}

type calmFlow struct {
	has   uint64            // the peer, bytes, at most
	came  uint64            // bytes, the other way
	now   scheduler.BitRate // delivered in this step
	sends scheduler.BitRate // smoothed
	bound scheduler.BitRate
	path  string // the uplink, of a path carrier
	seen  bool
}

func newCalm(log *slog.Logger, pacing Pacing, links calmLinks) *calm {
	return &calm{
		log: log, pacing: pacing, links: links, start: time.Now(), wake: make(chan struct{}, 1),
		refused: pacing == nil, uplinks: map[string]*calmUplink{}, flows: map[subflowKey]*calmFlow{},
	}
}

// hear takes in that a packet of a conversation came or went (talk).
func (c *calm) hear(now time.Time) {
	since := now.Sub(c.start)
	last := time.Duration(c.heard.Swap(int64(max(since, 1))))
	if last == 0 || since-last > calmTick {
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
	for ctx.Err() == nil && c.active(time.Now()) {
		c.list = c.links.movingSubflows(c.list[:0])
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
		u.in, u.largest, u.came, u.sends, u.free = scheduler.CalmInput{Elapsed: elapsed}, 0, 0, 0, false
		u.wants, u.next = u.wants[:0], 0
	}
	for i := range list {
		c.measure(&list[i], elapsed)
	}
	for _, u := range c.uplinks {
		u.rate = 0
		switch {
		case elapsed <= 0:
		case u.free, float64(u.in.Delivered) < calmAnswers*float64(u.came):
			u.calm.Reset()
		case u.calm.Bound() > 0 || scheduler.BitRate(8*float64(u.in.Delivered)/elapsed.Seconds()) >= calmBulk:
			u.rate = u.calm.Step(u.in)
		}
	}
	c.divide(list)
	c.tell()
}

// measure adds a subflow to its uplink.
func (c *calm) measure(s *Subflow, elapsed time.Duration) {
	u := c.uplinks[s.uplinkName()]
	if u == nil {
		u = &calmUplink{}
		c.uplinks[s.uplinkName()] = u
	}
	// Where segments are lost there is always a hole, and what lies behind it would
	// seem to come all at once.
	has := s.AckedBytes + s.SackedBytes
	key := subflowKey{s.Local, s.Remote}
	f := c.flows[key]
	if f == nil {
		f = &calmFlow{has: has, came: s.RxBytes}
		if s.Path {
			f.path = s.uplinkName()
		}
		c.flows[key] = f
	}
	sent := has - min(f.has, has)
	u.came += s.RxBytes - min(f.came, s.RxBytes)
	f.has, f.came, f.seen = max(f.has, has), s.RxBytes, true
	if elapsed > 0 {
		f.now = scheduler.BitRate(8 * float64(sent) / elapsed.Seconds())
		f.sends = calmKept*f.sends + (1-calmKept)*f.now
	}
	u.free = u.free || c.refused && !s.Path && f.now > calmBulk
	u.sends += f.sends
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
	for key, f := range c.flows { // first, for a path's carrier may have another now
		if !f.seen {
			c.bind(key.local, key.remote, f, 0)
			delete(c.flows, key)
		}
	}
	for i := range list {
		if u, f := c.of(&list[i]); f.busy(u) {
			u.wants = append(u.wants, calmWant*max(f.now, f.sends))
		}
	}
	for _, u := range c.uplinks {
		scheduler.Share(u.rate, u.wants)
	}
	for i := range list {
		s := &list[i]
		u, f := c.of(s)
		bound := calmNew * u.rate
		if f.busy(u) {
			bound = u.wants[u.next]
			u.next++
		}
		if diff := bound - f.bound; bound != 0 && f.bound != 0 && max(diff, -diff) < calmChange*f.bound {
			continue
		}
		c.bind(s.Local, s.Remote, f, bound)
	}
}

// of returns what is known of a subflow and its uplink.
func (c *calm) of(s *Subflow) (*calmUplink, *calmFlow) {
	return c.uplinks[s.uplinkName()], c.flows[subflowKey{s.Local, s.Remote}]
}

// busy reports whether a subflow counts. Of the others, which may begin at any
// time, none has more than calmNew.
func (f *calmFlow) busy(u *calmUplink) bool { return f.sends > calmBusy*u.sends }

func (c *calm) bind(local, remote netip.AddrPort, f *calmFlow, bound scheduler.BitRate) {
	switch {
	case f.bound == bound:
	case f.path != "":
		f.bound = bound
		c.links.limitPath(f.path, bound)
	default:
		f.bound = bound
		c.changes = append(c.changes, PacedSubflow{local, remote, bound})
	}
}

// tell gives the kernel what has changed.
func (c *calm) tell() {
	if len(c.changes) == 0 || c.refused {
		return
	}
	if err := c.pacing.Pace(c.changes); err != nil {
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
	if len(c.uplinks) > usageMost { // a server knows some by addresses, which change
		clear(c.uplinks)
	}
	for _, u := range c.uplinks {
		u.calm.Reset()
	}
}

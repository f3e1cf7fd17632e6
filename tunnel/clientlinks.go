package tunnel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"braid/crypto"
	"braid/tunnel/wire"
)

// The client dials the links of both directions: those on which it opens
// streams itself, as its pool misses them, and those on which the server does,
// as many as the server wants.

const (
	// dialsAtOnce bounds the handshakes under way: each costs a millisecond
	// of both ends' CPU and some round trips of an uplink.
	dialsAtOnce = 8
	// hungAfter is when a dial gets company that is not through.
	hungAfter = time.Second
	// syncEvery is how often the subflows of a link in use are compared with
	// the uplinks when these have not changed; every syncIdle times those of
	// the other links are, too.
	syncEvery = 5 * time.Second
	syncIdle  = 12
)

// linkKeeper makes the links of a client's lane.
type linkKeeper struct {
	c    *Client
	wake chan struct{} // demand may have changed

	mu       sync.Mutex // guards what follows
	dialing  [2]int     // under way, own and reverse
	wanted   int        // links on which the server opens
	failures int        // since the last success
	down     time.Time  // when they began
	notUntil time.Time  // the next dial
	last     time.Time  // the last dial
	numbers  uint64
	complain string
}

func newLinkKeeper(c *Client) *linkKeeper {
	return &linkKeeper{c: c, wake: make(chan struct{}, 1), wanted: spareReverseLinks}
}

// poke says that the demand may have changed. It neither blocks nor locks.
func (k *linkKeeper) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// want takes the server's word. It is not trusted beyond what a stream each
// would need.
func (k *linkKeeper) want(n int) {
	k.mu.Lock()
	k.wanted = min(n, k.c.limits.Load().PerSession)
	k.mu.Unlock()
	k.poke()
}

// run dials until ctx ends, and returns when its dials have ended.
func (k *linkKeeper) run(ctx context.Context) error {
	var dials sync.WaitGroup
	defer dials.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-k.wake:
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		l := k.c.streams()
		if l == nil {
			continue
		}
		for {
			kind, wait := k.next(l)
			if wait > 0 {
				timer.Reset(wait)
			}
			if kind == 0 {
				break
			}
			dials.Go(func() {
				began := time.Now()
				link, err := k.dial(ctx, l, kind)
				k.done(ctx, kind, began, err)
				if link != nil {
					k.settle(ctx, link)
				}
			})
		}
	}
}

// next says what to dial now, 0 for nothing, or when to ask again.
func (k *linkKeeper) next(l *lane) (wire.Kind, time.Duration) {
	n := l.pool.counts()
	reverse := l.reverseCount(n.idle + n.leased)
	k.mu.Lock()
	defer k.mu.Unlock()
	atOnce := dialsAtOnce
	if k.failures > 0 {
		// One finds out as well as eight. But it may hang: what it was
		// connected by may have died under its handshake.
		atOnce = min(dialsAtOnce, 1+int(time.Since(k.last)/hungAfter))
	}
	var kind wire.Kind
	switch total := n.idle + n.leased + k.dialing[0]; {
	case k.dialing[0]+k.dialing[1] >= atOnce:
		return 0, hungAfter
	case n.missing() > k.dialing[0] && total < l.bounds.Load().PerSession+n.target:
		kind = wire.KindStreams
	case k.wanted > reverse+k.dialing[1]:
		kind = wire.KindReverse
	}
	if kind == 0 {
		return 0, 0
	}
	if wait := time.Until(k.notUntil); wait > 0 {
		return 0, wait
	}
	k.dialing[kind-wire.KindStreams]++
	k.last = time.Now()
	return kind, 0
}

// done notes how a dial went that began at a time.
func (k *linkKeeper) done(ctx context.Context, kind wire.Kind, began time.Time, err error) {
	defer k.poke()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dialing[kind-wire.KindStreams]--
	if err == nil {
		k.failures, k.notUntil, k.complain = 0, time.Time{}, ""
		return
	}
	k.failLocked(began)
	if ctx.Err() == nil && k.complain != err.Error() {
		k.complain = err.Error()
		k.c.Log.Warn("no carrier for streams", "error", err, "hint", crypto.Hint(err))
	}
}

// failLocked notes the failure of a dial that began at a time.
func (k *linkKeeper) failLocked(began time.Time) {
	if k.failures++; k.failures == 1 {
		k.down = time.Now()
	}
	// A dial that hung was slow enough, and whoever waits for an uplink to
	// come back wants the next at once.
	k.notUntil = began.Add(backoff(k.failures, time.Since(k.down), rand.Float64()))
}

// retry forgets the backoff: something has changed.
func (k *linkKeeper) retry() {
	k.mu.Lock()
	k.notUntil = time.Time{}
	k.mu.Unlock()
	k.poke()
}

// dial makes one link and gives it to the lane.
func (k *linkKeeper) dial(ctx context.Context, l *lane, kind wire.Kind) (*link, error) {
	c := k.c
	s, _, err := c.reach(ctx, ForStreams)
	if err != nil {
		return nil, err
	}
	car, err := c.greetStreams(ctx, s, l, kind)
	if err != nil {
		return nil, err
	}
	// A stream that waits may have it before the joins are through.
	c.joinThin(car.conn)
	link, ok := l.enter(car, k.number(), kind == wire.KindStreams)
	if !ok {
		s.conn.Close()
	}
	return link, nil
}

// greetStreams makes a carrier of streams of a connection, which it closes on error.
func (c *Client) greetStreams(ctx context.Context, s *secured, l *lane, kind wire.Kind) (*carrier, error) {
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	hello := wire.Hello{Kind: kind, Session: l.session, Features: wire.FeatureStreams, Software: c.Software}
	car, w, err := s.greet(hello, c.Key)
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Code == wire.RefuseSession {
		c.sessionLost(l)
	}
	if err != nil {
		return nil, err
	}
	if w.Session != l.session {
		s.conn.Close()
		return nil, errors.New("server answered for another session")
	}
	return car, nil
}

// number is the next link's.
func (k *linkKeeper) number() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.numbers++
	return k.numbers
}

// settle joins the uplinks that could not be joined at once: the peer's kernel
// accepts joins only after the first data was acknowledged.
func (k *linkKeeper) settle(ctx context.Context, link *link) {
	for began := time.Now(); time.Since(began) < settleFor && ctx.Err() == nil; time.Sleep(settleEvery) {
		if k.c.joinLink(link) == nil {
			return
		}
	}
}

// lost takes a link that is closed. One that was of no use to anybody counts
// as a dial that failed: whatever it is, it is not mended by dialling faster.
func (k *linkKeeper) lost(l *link) {
	if l.uses.Load() > 0 || time.Since(l.start) > uselessBefore {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failLocked(l.start)
}

// uselessBefore is the age before which a link that is lost says something
// about the next.
const uselessBefore = time.Second

// reach dials the server, over the quickest uplink first: the kernel prefers
// the first subflow while nothing is queued.
func (c *Client) reach(ctx context.Context, purpose Purpose) (*secured, candidate, error) {
	servers, err := c.Servers(ctx)
	if err != nil {
		return nil, candidate{}, fmt.Errorf("look up server: %w", err)
	}
	uplinks := c.reachable()
	list := candidates(servers, uplinks)
	if len(list) == 0 {
		return nil, candidate{}, unreachable(servers, uplinks)
	}
	return connect(ctx, c.Dialer, purpose, c.TLS, c.Key, list, usualStagger)
}

// reachable returns all uplinks that the host has, those that carriers may use
// first.
func (c *Client) reachable() []Uplink {
	list := c.preferred()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range c.present {
		if !slices.ContainsFunc(list, func(o Uplink) bool { return o.Name == u.Name }) {
			list = append(list, u)
		}
	}
	return list
}

// tend looks after the links until ctx ends: their life, their subflows, what
// they carry.
func (c *Client) tend(ctx context.Context) error {
	t := time.NewTimer(livenessTick)
	defer t.Stop()
	synced, syncs := time.Now(), 0
	var wake <-chan struct{}
	var scratch []Subflow
	for tick := 0; ; tick++ {
		changed := false
		select {
		case <-t.C:
		case <-wake:
		case <-c.pulse:
		case <-c.moved:
			changed = true
			c.keeper.retry()
		case <-ctx.Done():
			return nil
		}
		var wait time.Duration
		wait, wake = c.active.next(time.Now())
		t.Reset(wait)
		c.packetLane().tidy(time.Now())
		l := c.streams()
		if tick%2 == 0 || c.paths.wantsLoad() {
			scratch = c.sample(l, scratch[:0])
		}
		if l == nil {
			continue
		}
		if changed || time.Since(synced) > syncEvery {
			synced = time.Now()
			syncs++
			c.keeper.poke() // whatever was overlooked
			c.syncLinks(l, changed || syncs%syncIdle == 0)
		}
		if !changed {
			l.step()
			c.thinOut(l)
		}
	}
}

// syncLinks brings the subflows of all links, or of those in use, in step with
// the uplinks.
func (c *Client) syncLinks(l *lane, all bool) {
	for _, k := range l.allLinks() {
		uses := k.uses.Load()
		if !all && uses == k.synced {
			continue
		}
		k.synced = uses
		c.joinLink(k)
	}
	l.leaveBehind()
}

// sample reads what all carriers did since the last time.
func (c *Client) sample(l *lane, scratch []Subflow) []Subflow {
	if l != nil {
		c.mu.Lock()
		want := len(c.uplinks)
		c.mu.Unlock()
		scratch = l.sampleLinks(scratch, want, func(k *link) { _ = c.joinLink(k) })
	}
	now := time.Now()
	c.mu.Lock()
	scratch = append(scratch, c.packetFlows...)
	c.mu.Unlock()
	backlog := unsent(scratch)+c.packetLane().queued() > backlogBytes
	scratch = c.paths.appendSubflows(scratch)
	c.mu.Lock()
	c.usage.sample(now, scratch)
	list := c.usage.snapshot()
	c.mu.Unlock()
	c.paths.carried(now, list, backlog)
	c.paths.quarantine(now)
	return scratch
}

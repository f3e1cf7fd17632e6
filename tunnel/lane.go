package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"braid/tunnel/relay"
	"braid/tunnel/stream"
	"braid/tunnel/wire"
)

// The stream lane of one session, the same at both ends. Stations of an inner
// TCP connection:
//
//	1 Terminator            holds the SYN that the TUN brought
//	2 lane.open             leases a link from the pool, relay.Opener says Open
//	3 the peer's lane.serve reads it, checks it, relay.Accepter connects
//	4 relay                 bytes, both ways, until both directions have ended
//	5 pool, lane.serve      the link waits for its next stream at both ends
//
// When a link dies, its relay at the side that opened the stream leases
// another and goes on there; the other side is found by the stream's id.
//
// Goroutines: one for each stream (lane.open, lane.accept), with those of its
// relay; one for each link on which the peer opens (lane.serve), while it
// waits for a stream; one for each stream that waits for a link. All of them
// belong to wg. step is called by the owner's ticker.
type lane struct {
	laneConfig
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	pool   *pool            // links on which this side opens streams
	paces  [2]*rate.Limiter // new streams: that the peer opens, that this side opens
	budget *stream.Budget
	bounds atomic.Pointer[StreamLimits]
	// complain paces warnings about a peer that breaks the protocol, and about
	// this host.
	complain       *rate.Limiter
	count          laneCounters
	steps, surplus int // of the caller of step: calls, and those in a row with too many idle links

	mu      sync.Mutex // guards what follows
	closed  bool
	links   map[*link]struct{} // all, of either kind, and those of speed tests
	trials  int                // of links: a client's own, of speed tests
	streams map[wire.StreamID]*laneStream
	opened  int                // of streams: by this side
	making  map[netip.Addr]int // of these, not open yet, by source
	// ended remembers streams that the peer opened, and when they ended: an
	// Open that comes late must not connect again.
	ended map[wire.StreamID]time.Time
}

// laneConfig is what a lane is made with.
type laneConfig struct {
	log *slog.Logger
	// connect makes the inner connection of a stream that the peer opens; an
	// *relay.OpenError says what the peer is told.
	connect func(context.Context, wire.Open) (relay.Socket, error)
	// demand is called, without locks, when the pool may need more links.
	demand func()
	// reverse: the peer dials the links of this side's pool.
	reverse bool
	session wire.SessionID
	// widen, a client's, is called when a link's stream has moved much more
	// than before. It must not block.
	widen func(*link)
	// moved is called for each frame of a stream. It must not block.
	moved func()
	// lost, a client's, is called with a link that was closed. It must not
	// block.
	lost func(*link)
	// returns counts how often an uplink had another path carrier.
	returns *atomic.Uint64
	tests   *testGate     // a server's: speed tests that the peer may ask for
	limits  StreamLimits  // to begin with
	total   *atomic.Int64 // streams of all lanes of this process
}

// StreamLimits bound what streams cost.
type StreamLimits struct {
	PerSession   int           // streams of one session, both ways
	Total        int           // of all sessions
	NewPerSecond int           // that one session may open, each way
	MemoryBytes  int64         // of the buffers of one session
	Resume       time.Duration // that a stream waits for a carrier
	Speedtest    bool          // a server's: whether clients may test their speed
}

// laneCounters only grow.
type laneCounters struct {
	opened  atomic.Uint64 // both ends have connected
	failed  atomic.Uint64 // ended for a reason of braid's own
	denied  atomic.Uint64 // by the policy of the far end
	limited atomic.Uint64 // refused here, because a limit is reached
	resumed atomic.Uint64 // times that streams, which have ended, went on
	// malformed counts carriers ended for what the peer sent.
	malformed atomic.Uint64
}

const (
	// streamBufferBytes bounds what one stream keeps for the peer, and for
	// the program: a gigabit over a hundred milliseconds.
	streamBufferBytes = 16 << 20
	// leaseTimeout is how long a new connection waits for a carrier, while
	// the program waits for its SYN+ACK.
	leaseTimeout = 10 * time.Second
)

func newLane(cfg laneConfig) *lane {
	l := &lane{
		laneConfig: cfg, links: map[*link]struct{}{}, streams: map[wire.StreamID]*laneStream{},
		ended:  map[wire.StreamID]time.Time{},
		making: map[netip.Addr]int{},
		budget: stream.NewBudget(cfg.limits.MemoryBytes), complain: rate.NewLimiter(rate.Every(complaintEvery), 1),
	}
	l.bounds.Store(&cfg.limits)
	for i := range l.paces {
		l.paces[i] = rate.NewLimiter(rate.Limit(cfg.limits.NewPerSecond), 2*cfg.limits.NewPerSecond)
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	spare := spareLinks
	if cfg.reverse {
		spare = spareReverseLinks
	}
	l.pool = newPool(spare, cfg.demand)
	return l
}

// setLimits changes the limits. What is beyond new ones stays until it ends.
func (l *lane) setLimits(to StreamLimits) {
	l.bounds.Store(&to)
	l.budget.Resize(to.MemoryBytes)
	for _, p := range l.paces {
		p.SetLimit(rate.Limit(to.NewPerSecond))
		p.SetBurst(2 * to.NewPerSecond)
	}
}

// close resets all streams, closes all links and waits for all goroutines.
func (l *lane) close() {
	l.cancel()
	for _, k := range l.pool.close() {
		k.Close()
	}
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	busy := l.busy()
	for _, k := range l.allLinks() {
		if !busy[k] {
			k.Close()
		}
	}
	l.wg.Wait() // for the streams: their relays say goodbye
	for _, k := range l.allLinks() {
		k.Close()
	}
	l.wg.Wait()
}

// busy returns the links that have a stream.
func (l *lane) busy() map[*link]bool {
	busy := map[*link]bool{}
	for _, s := range l.all() {
		if k, ok := s.relay.Link().(*link); ok {
			busy[k] = true
		}
	}
	return busy
}

func (l *lane) all() []*laneStream {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.streams))
}

func (l *lane) streamCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.streams)
}

func (l *lane) linkCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.links)
}

func (l *lane) allLinks() []*link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.links))
}

// goLocked starts a goroutine unless the lane is closed; l.mu is held.
func (l *lane) goLocked(f func()) bool {
	if l.closed {
		return false
	}
	l.wg.Go(f)
	return true
}

func (l *lane) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.goLocked(f)
}

// link makes a link of a new carrier, which the lane does not know yet.
func (l *lane) link(c *carrier, number uint64) *link {
	k := newLink(c, number, &l.wg, l.left)
	k.widen, k.moved = l.widen, l.moved
	if k.returns = l.returns; k.returns != nil {
		k.born = k.returns.Load()
	}
	return k
}

// enter makes a link of a new carrier. own says that this side opens streams
// on it. On false the caller closes the connection.
func (l *lane) enter(c *carrier, number uint64, own bool) (*link, bool) {
	k := l.link(c, number)
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, false
	}
	l.links[k] = struct{}{}
	if !own {
		l.goLocked(func() { l.serve(k) })
	}
	l.mu.Unlock()
	if own && !l.pool.add(k) {
		k.Close()
	}
	return k, true
}

// enterTrial makes a link of a new carrier for a speed test over some uplinks. No
// stream ever has it. On false the caller closes the connection.
func (l *lane) enterTrial(c *carrier, number uint64, uplinks []string) (*link, bool) {
	k := l.link(c, number)
	k.only = uplinks
	k.trial.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, false
	}
	l.links[k] = struct{}{}
	l.trials++
	return k, true
}

// reverseCount is how many links are those on which the peer opens streams, where
// so many are the pool's.
func (l *lane) reverseCount(own int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.links) - l.trials - own
}

// left is link.closed.
func (l *lane) left(k *link) {
	l.mu.Lock()
	if _, known := l.links[k]; known && len(k.only) > 0 {
		l.trials--
	}
	delete(l.links, k)
	l.mu.Unlock()
	l.pool.remove(k)
	if l.lost != nil {
		l.lost(k)
	}
}

// laneStream is a stream in the lane's table.
type laneStream struct {
	relay    *relay.Relay
	open     wire.Open
	out      bool // opened here
	began    time.Time
	ctx      context.Context
	moving   atomic.Bool // somebody waits for a link for it
	meter    streamMeter // of the lane's ticker
	rank     int         // see pool
	made     bool        // the lane's mutex guards it
	accepted atomic.Bool // the program has its connection
}

// pace waits until another stream may begin, but not longer than a program
// would: then there are too many.
func (l *lane) pace(ctx context.Context, out bool) *relay.OpenError {
	patient, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	pace := l.paces[0]
	if out {
		pace = l.paces[1]
	}
	if pace.Wait(patient) == nil {
		return nil
	}
	if ctx.Err() != nil {
		return &relay.OpenError{Result: wire.OpenFailed, Reason: "given up"}
	}
	l.count.limited.Add(1)
	return &relay.OpenError{Result: wire.OpenTooMany, Reason: fmt.Sprintf("more than %d new connections a second", l.bounds.Load().NewPerSecond)}
}

// admit makes a stream known, unless a limit is reached.
func (l *lane) admit(s *laneStream) *relay.OpenError {
	if l.total.Add(1) > int64(l.bounds.Load().Total) {
		l.total.Add(-1)
		l.count.limited.Add(1)
		return &relay.OpenError{Result: wire.OpenTooMany, Reason: fmt.Sprintf("more than %d connections in all", l.bounds.Load().Total)}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// What strangers open toward a client leaves half to the client itself.
	crowded := len(l.streams) >= l.bounds.Load().PerSession || l.reverse && s.out && l.opened >= max(1, l.bounds.Load().PerSession/2)
	if l.closed || crowded || l.streams[s.open.Stream] != nil {
		l.total.Add(-1)
		l.count.limited.Add(1)
		return &relay.OpenError{Result: wire.OpenTooMany, Reason: fmt.Sprintf("more than %d connections of one client", l.bounds.Load().PerSession)}
	}
	l.streams[s.open.Stream] = s
	if s.out {
		l.opened++
		s.rank = l.making[s.open.Source.Addr()]
		l.making[s.open.Source.Addr()]++
	}
	return nil
}

// made notes that a stream of this side's is open, or never will be.
func (l *lane) made(s *laneStream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.made {
		return
	}
	s.made = true
	from := s.open.Source.Addr()
	if l.making[from]--; l.making[from] == 0 {
		delete(l.making, from)
	}
}

func (l *lane) forget(s *laneStream) {
	if s.out {
		l.made(s)
	}
	l.mu.Lock()
	if l.streams[s.open.Stream] == s {
		delete(l.streams, s.open.Stream)
	}
	if s.out {
		l.opened--
	} else if s.relay.Stats().Open {
		l.ended[s.open.Stream] = time.Now()
	}
	l.mu.Unlock()
	l.total.Add(-1)
	l.count.resumed.Add(uint64(s.relay.Stats().Resumed))
}

func (l *lane) relayConfig(s *laneStream, released func(*link)) relay.Config {
	return relay.Config{
		BufferBytes: streamBufferBytes, WindowBytes: streamBufferBytes, ResumeTimeout: l.bounds.Load().Resume, Budget: l.budget,
		Detached: func(_ *relay.Relay, cause error) {
			l.log.Debug("stream without carrier", "stream", s.open.Stream, "to", s.open.Destination, "cause", cause)
			l.blame(cause)
			if s.out {
				l.move(s, rankLost)
			}
		},
		Released: func(k relay.Link) { released(k.(*link)) },
	}
}

// countEnd counts streams that did not end as their programs wanted.
func (l *lane) countEnd(s *laneStream, err error) {
	var r *relay.ResetError
	var o *relay.OpenError
	switch {
	case err == nil, s.ctx.Err() != nil:
	case errors.As(err, &o):
		if o.Result == wire.OpenDenied {
			l.count.denied.Add(1)
		}
	case errors.As(err, &r) && (r.Code == wire.ResetConnection || r.Code == wire.ResetShutdown):
	case errors.Is(err, errNoCarrier):
		l.count.failed.Add(1)
		l.log.Debug("stream failed", "from", s.open.Source, "to", s.open.Destination, "error", err)
	default:
		l.count.failed.Add(1)
		l.log.Info("stream failed", "from", s.open.Source, "to", s.open.Destination, "error", err)
	}
}

var _ relay.Link = (*link)(nil)

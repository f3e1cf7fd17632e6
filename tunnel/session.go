package tunnel

import (
	"context"
	"crypto/rand"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"braid/crypto"
	"braid/scheduler"
	"braid/tunnel/egress"
	"braid/tunnel/wire"
)

// Peer is a client as the server's configuration knows it.
type Peer struct {
	Name      string
	Key       crypto.PublicKey
	Addresses []netip.Prefix // inner addresses, each with its tunnel range
	Routes    []netip.Prefix // networks behind the client
	Reach     []string       // names of other clients that it reaches; egress.Everybody is all
}

// reaches reports whether connections to another client may begin at p.
func (p *Peer) reaches(o *Peer) bool {
	return slices.Contains(p.Reach, egress.Everybody) || slices.Contains(p.Reach, o.Name)
}

// reachEachOther reports whether either of two clients reaches the other.
func reachEachOther(a, b *session) bool {
	p, o := a.known.Load(), b.known.Load()
	return p.reaches(o) || o.reaches(p)
}

// session is the server's side of one client: it outlives the client's
// carriers, and while there is none, packets toward the client wait in its
// lane until they are too old.
//
//	      hello, new id               carrier broke
//	(none) ───────────▶ up ◀──────────────────────▶ down
//	                    ▲  │ hello naming the session │
//	                    └──┴──────────────────────────┘
type session struct {
	known atomic.Pointer[Peer] // the client, as the configuration has it now
	life  context.Context      // ends when the client is removed; its carriers do then
	end   context.CancelCauseFunc
	stats counters
	// complain paces warnings about foreign sources.
	complain *rate.Limiter
	newLane  func(wire.SessionID) *lane
	deliver  func(packet []byte) // of the client
	policies PacketPolicies      // of packets toward it
	old      sync.WaitGroup      // lanes that are being closed
	active   *activity
	pulse    pulse // of tend
	calm     *calm
	tests    *testGate

	mu         sync.Mutex  // guards what follows
	lane       *lane       // of session id; nil before the first
	packets    *packetLane // likewise
	takes      bool        // the client takes streams
	arrived    uint64      // carriers that attach was called for
	wanted     int         // reverse links, as the client was last told
	ending     bool        // no lane is made any more
	id         wire.SessionID
	current    *carrier
	endCurrent context.CancelCauseFunc
	ended      chan struct{}           // closed when current has ended
	since      time.Time               // when the session began
	paths      map[string]*sessionPath // by the uplink's name
	// pathCarriers counts all, those without a name, too.
	pathCarriers int
	said         []wire.UplinkState     // the client's last word on its uplinks
	saidNumber   uint32                 // of that word; 0: there is none
	moved        map[string]PathPackets // by the uplink's name, on carriers that are gone
	usage        usage
	losses       []wire.UplinkLoss // as told
	lossesTold   *carrier          // to whom

	had     []string      // names of path carriers so far, the latest
	returns atomic.Uint64 // how often an uplink had another path carrier

	examinations atomic.Int32 // under way
}

func newSession(p Peer) *session {
	s := &session{
		complain: rate.NewLimiter(rate.Every(complaintEvery), 1),
		paths:    map[string]*sessionPath{}, moved: map[string]PathPackets{}, active: newActivity(), pulse: make(pulse), tests: newTestGate(),
	}
	s.known.Store(&p)
	s.life, s.end = context.WithCancelCause(context.Background())
	return s
}

func (s *session) peer() Peer { return *s.known.Load() }

// within returns a context of ctx that ends with the session's life, too.
func (s *session) within(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, end := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.life, func() { end(context.Cause(s.life)) })
	return ctx, func(cause error) { stop(); end(cause) }
}

// attach makes car the session's carrier, after the one before has ended. It
// returns the context to run it with; detach must follow then. id is that of
// its Welcome.
func (s *session) attach(ctx context.Context, car *carrier, id wire.SessionID) (context.Context, error) {
	ctx, end := s.within(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != s.id { // another Hello has come since: that one is not to be disturbed
		end(errReplaced)
		return nil, errReplaced
	}
	s.arrived++
	mine := s.arrived
	for s.current != nil {
		old := s.ended
		s.endCurrent(errReplaced)
		s.mu.Unlock()
		select {
		case <-old:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if ctx.Err() != nil || mine != s.arrived {
			break
		}
	}
	switch {
	case ctx.Err() != nil:
		end(nil)
		return nil, ctx.Err()
	case mine != s.arrived, id != s.id: // the newest wins
		end(errReplaced)
		return nil, errReplaced
	}
	s.current, s.endCurrent, s.ended = car, end, make(chan struct{})
	car.hear.uplinks = s.tell
	car.packets = s.packets.newPath(true, car.control)
	car.packets.attach(time.Now(), true, false)
	return ctx, nil
}

func (s *session) detach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endCurrent(nil)
	s.current.packets.detach(time.Now())
	s.current, s.wanted = nil, 0
	close(s.ended)
}

// resume returns the session's id for a Hello, and whether the session that
// the client named goes on. The streams of one that does not are reset.
func (s *session) resume(h wire.Hello) (wire.SessionID, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takes = h.Features&wire.FeatureStreams != 0
	if !h.Session.IsZero() && h.Session == s.id {
		return s.id, true
	}
	rand.Read(s.id[:]) // never fails (crypto/rand)
	s.since = time.Now()
	if s.current != nil {
		// Its client would go on with an id that is none any more, should
		// this Hello's carrier come to nothing.
		s.endCurrent(errReplaced)
	}
	s.endPathsLocked()
	if s.lane != nil {
		s.old.Go(s.lane.close)
		s.lane = nil
	}
	if s.packets != nil {
		s.packets.close()
	}
	s.packets = newPacketLane(s.id, s.policies, s.deliver)
	s.packets.talks = s.calm.hear
	if !s.ending {
		s.lane = s.newLane(s.id)
	}
	return s.id, false
}

const unknownSession = "this session is not known here"

// is reports whether the session has an id now.
func (s *session) is(id wire.SessionID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id == id && !id.IsZero()
}

// laneFor returns the lane for the Hello of a carrier of streams; or nil, and
// what the client is told.
func (s *session) laneFor(h wire.Hello, most int) (l *lane, code wire.RefuseCode, reason string) {
	s.mu.Lock()
	l, known := s.lane, h.Session == s.id
	s.mu.Unlock()
	switch {
	case l == nil || !known:
		return nil, wire.RefuseSession, unknownSession
	case l.linkCount() >= min(most, l.streamCount())+4*spareMost:
		// More idle ones than any client needs: each costs memory.
		return nil, wire.RefuseBusy, "too many carriers for its streams"
	}
	return l, 0, ""
}

// packetLane is that of the session, nil before the first.
func (s *session) packetLane() *packetLane {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.packets
}

func (s *session) streams() *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lane
}

// takesStreams reports whether connections toward the client are captured.
func (s *session) takesStreams() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.takes && s.lane != nil
}

// demand tells the client how many links to make for streams that are opened
// here. Whoever calls it may hold a relay's lock.
func (s *session) demand() {
	l := s.streams()
	if l == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := l.pool.counts() // here, so that the latest is said last
	want := min(n.leased+n.waiting+n.target, 1<<16-1)
	if s.current != nil && s.takes && want != s.wanted {
		s.wanted = want
		s.current.control(wire.Want{Carriers: uint16(want)}.Append(nil))
	}
}

// tell takes the client's word on its uplinks, which may come late on one
// carrier, and does what it means for packets.
func (s *session) tell(u wire.Uplinks) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u.Number <= s.saidNumber {
		return
	}
	s.said, s.saidNumber = u.List, u.Number
	now := time.Now()
	for name, p := range s.paths {
		usable, standby, late := s.usesLocked(name)
		p.car.packets.use(now, usable, standby, late)
	}
}

// usesLocked tells what the client says that an uplink is for. One of which it
// has said nothing yet has just been connected, and so it works.
func (s *session) usesLocked(name string) (usable, standby, late bool) {
	for _, u := range s.said {
		if u.Name == name {
			return u.Use != uint8(scheduler.None), u.Use == uint8(scheduler.Standby), u.State == uint8(scheduler.Late)
		}
	}
	return true, false, false
}

// endStreams ends the lane for good.
func (s *session) endStreams() {
	s.mu.Lock()
	l := s.lane
	s.lane, s.ending = nil, true
	s.mu.Unlock()
	if l != nil {
		l.close()
	}
	s.old.Wait()
}

// hasOverflow reports whether the client has uplinks for overflow, and so wants
// to know what waits here.
func (s *session) hasOverflow() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.said, func(u wire.UplinkState) bool { return u.Role == uint8(scheduler.Overflow) })
}

// tellLosses tells the client what is lost on the way to it, if that is not what
// it was told last.
func (s *session) tellLosses() {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.usage.losses()
	if s.current != s.lossesTold {
		s.losses, s.lossesTold = nil, s.current
	}
	if s.current == nil || slices.Equal(l.List, s.losses) {
		return
	}
	s.losses = l.List
	_ = s.current.control(l.Append(nil))
}

// tellLossesEvery is in ticks of livenessTick.
const tellLossesEvery = 4

func (s *session) tellBacklog(bytes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if bytes > backlogBytes && s.current != nil {
		_ = s.current.control(wire.Backlog{Bytes: uint32(min(bytes, 1<<32-1))}.Append(nil))
	}
}

// owns reports whether src is the client's own or of a network behind it.
func (s *session) owns(src netip.Addr) bool {
	p := s.known.Load()
	for _, a := range p.Addresses {
		if a.Addr() == src {
			return true
		}
	}
	return slices.ContainsFunc(p.Routes, func(r netip.Prefix) bool { return r.Contains(src) })
}

// sample reads what the client's carriers did since the last time.
func (s *session) sample(scratch []Subflow) []Subflow {
	s.mu.Lock()
	car, l := s.current, s.lane
	s.mu.Unlock()
	if car != nil {
		if list, err := car.conn.AppendSubflows(scratch); err == nil {
			scratch = list
		}
	}
	if l != nil {
		scratch = l.sampleLinks(scratch, 0, nil)
	}
	scratch = s.samplePaths(scratch)
	s.nameSubflows(scratch)
	s.mu.Lock()
	s.usage.sample(time.Now(), scratch)
	for name, p := range s.paths {
		if up := s.usage.uplinks[name]; up != nil {
			p.car.packets.tellLine(up)
		}
	}
	s.mu.Unlock()
	return scratch
}

// movingSubflows implements calmLinks.
func (s *session) movingSubflows(dst []Subflow) []Subflow {
	dst = s.samplePaths(s.streams().moving(dst))
	s.nameSubflows(dst)
	return dst
}

// limitPath implements calmLinks.
func (s *session) limitPath(uplink string, rate scheduler.BitRate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.paths[uplink]; p != nil {
		p.car.packets.limit(rate)
	}
}

// PeerStatus is what a server knows of one client now.
type PeerStatus struct {
	Peer
	Session   wire.SessionID
	Connected bool
	MPTCP     bool
	Remote    string // the carrier's peer address
	Since     time.Time
	Usage     []UplinkUsage
	Uplinks   []wire.UplinkState // as the client tells
	Paths     []PeerPath         // path carriers, by name
	Counters  Counters
	Packets   PacketLaneStatus
	Streams   LaneStatus
}

func (s *session) status() PeerStatus {
	var streams LaneStatus
	if l := s.streams(); l != nil {
		streams = l.status(time.Now())
	}
	packets := s.packetLane().status()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := PeerStatus{
		Peer: s.peer(), Session: s.id, Connected: s.current != nil, Since: s.since,
		Usage: s.usage.snapshot(), Uplinks: slices.Clone(s.said), Paths: s.peerPathsLocked(),
		Counters: s.stats.snapshot(packets), Packets: packets, Streams: streams,
	}
	st.Counters.Malformed += streams.Malformed
	if s.current != nil {
		st.MPTCP = s.current.mptcp()
		st.Remote = s.current.conn.RemoteAddr().String()
	}
	return st
}

// tend looks after the session's links and counters until ctx ends. Each
// session has a goroutine for it: a client can hold up its own alone.
func (s *session) tend(ctx context.Context) {
	t := time.NewTimer(livenessTick)
	defer t.Stop()
	var scratch []Subflow
	var wake <-chan struct{}
	for tick := 0; ; tick++ {
		select {
		case <-t.C:
		case <-wake:
		case <-s.pulse:
		case <-ctx.Done():
			return
		}
		var wait time.Duration
		wait, wake = s.active.next(time.Now())
		t.Reset(wait)
		if l := s.streams(); l != nil {
			l.step()
		}
		overflow := s.hasOverflow()
		if tick%2 == 0 || overflow {
			scratch = s.sample(scratch[:0])
		}
		if overflow {
			s.tellBacklog(unsent(scratch) + s.packetLane().queued())
		}
		if tick%tellLossesEvery == 0 {
			s.tellLosses()
		}
		s.packetLane().tidy(time.Now())
	}
}

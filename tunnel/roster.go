package tunnel

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"braid/crypto"
	"braid/tunnel/relay"
	"braid/tunnel/wire"
)

// roster is a server's clients at one time. It never changes: whoever looks
// something up sees one state.
type roster struct {
	byKey map[crypto.PublicKey]*session
	byIP  *bart.Table[*session]
	order []*session // as the configuration has them
}

func newRoster() *roster {
	return &roster{byKey: map[crypto.PublicKey]*session{}, byIP: new(bart.Table[*session])}
}

func (r *roster) add(ses *session, p Peer) {
	r.order = append(r.order, ses)
	r.byKey[p.Key] = ses
	for _, a := range p.Addresses {
		r.byIP.Insert(netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), ses)
	}
	for _, n := range p.Routes {
		r.byIP.Insert(n, ses)
	}
}

// errRevoked ends what a client has that the server does not know any more.
var errRevoked = errors.New("this client is not known to the server any more")

// errMoved ends a carrier whose client has other addresses or networks from now
// on: it learns them when it connects again.
var errMoved = errors.New("the client has other addresses or networks now")

// sessions are those of all clients, in the configuration's order.
func (s *Server) sessions() []*session { return s.roster.Load().order }

// Knows reports whether a client has the key. Any goroutine may call it.
func (s *Server) Knows(key crypto.PublicKey) bool { return s.roster.Load().byKey[key] != nil }

// SetPeers replaces the clients, of whom NewServer's rule holds. Who has a key
// that was there before keeps its session, streams and all, whatever else of it is
// new; with other addresses or networks it is told to connect again, and goes on with these.
// Who is not in the list any more is refused from now on, and its carriers have
// been told to end when SetPeers returns. Any goroutine may call it at any time.
func (s *Server) SetPeers(list []Peer) {
	s.changing.Lock()
	defer s.changing.Unlock()
	before, after := s.roster.Load(), newRoster()
	for _, p := range list {
		ses := before.byKey[p.Key]
		if ses == nil {
			ses = s.newSession(p)
			s.beginLocked(ses)
		}
		after.add(ses, p)
	}
	s.roster.Store(after)
	for _, p := range list {
		after.byKey[p.Key].become(p)
	}
	for _, ses := range before.order {
		if after.byKey[ses.peer().Key] == ses {
			continue
		}
		ses.end(errRevoked)
		if !s.ended { // else Run does it
			s.tending.Go(ses.close)
		}
		s.Log.Info("client removed", "client", ses.peer().Name)
	}
}

// SetPolicies changes the policies of packets, those of flows under way as well.
// Any goroutine may call it.
func (s *Server) SetPolicies(p PacketPolicies) {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.Policies = p
	for _, ses := range s.sessions() {
		ses.setPolicies(p)
	}
}

// SetLimits changes what streams may cost. What is there stays, and
// StreamLimits.Resume is for those that begin. Any goroutine may call it.
func (s *Server) SetLimits(l StreamLimits) {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.limits.Store(&l)
	for _, ses := range s.sessions() {
		if lane := ses.streams(); lane != nil {
			lane.setLimits(l)
		}
	}
}

// SetExempt changes whose TCP travels as packets, for connections that begin.
// Any goroutine may call it.
func (s *Server) SetExempt(list []netip.Prefix) { s.capture.setExempt(list) }

// newSession makes the session of a client.
func (s *Server) newSession(p Peer) *session {
	ses := newSession(p)
	log := s.Log.With("client", p.Name)
	ses.policies = s.Policies
	ses.deliver = func(packet []byte) { s.inbound(ses, packet); ses.active.note() }
	ses.newLane = func(id wire.SessionID) *lane {
		return newLane(laneConfig{
			log: log, session: id, reverse: true, demand: ses.demand, moved: ses.active.note,
			limits: *s.limits.Load(), total: &s.streams, returns: &ses.returns, tests: ses.tests,
			connect: func(ctx context.Context, o wire.Open) (relay.Socket, error) { return s.connect(ctx, ses, o) },
		})
	}
	ses.calm = newCalm(log, s.Pacing, ses)
	return ses
}

// begin starts what looks after sessions, those that come later too, until ctx
// ends.
func (s *Server) begin(ctx context.Context) {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.running = ctx
	for _, ses := range s.sessions() {
		s.beginLocked(ses)
	}
}

func (s *Server) beginLocked(ses *session) {
	if s.running == nil || s.ended {
		return
	}
	ctx, cancel := context.WithCancel(s.running)
	context.AfterFunc(ses.life, cancel)
	s.tending.Go(func() { defer cancel(); ses.tend(ctx) })
	s.tending.Go(func() { ses.calm.run(ctx) })
}

// finish waits for what looks after sessions; begin's context has ended.
func (s *Server) finish() {
	s.changing.Lock()
	s.ended = true
	s.changing.Unlock()
	s.tending.Wait()
}

// equal reports whether two say the same of a client.
func (p Peer) equal(o Peer) bool {
	return p.Name == o.Name && p.Key == o.Key && slices.Equal(p.Addresses, o.Addresses) && slices.Equal(p.Routes, o.Routes) &&
		slices.Equal(p.Reach, o.Reach)
}

// become takes what the configuration says of the client now.
func (s *session) become(p Peer) {
	was := s.known.Load()
	if was.equal(p) {
		return
	}
	s.known.Store(&p)
	if slices.Equal(was.Addresses, p.Addresses) && slices.Equal(was.Routes, p.Routes) { // as the Welcome said
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		s.endCurrent(errMoved)
	}
}

func (s *session) setPolicies(p PacketPolicies) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.policies = p
	s.packets.setPolicies(p)
}

// close ends the session for good, whose life has ended: it resets its streams
// and returns when they have ended.
func (s *session) close() {
	s.mu.Lock()
	s.id = wire.SessionID{}
	packets := s.packets
	s.mu.Unlock()
	s.endStreams()
	if packets != nil {
		packets.close()
	}
}

package tunnel

import (
	"context"
	"crypto/rand"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"braid/crypto"
	"braid/tunnel/wire"
)

// Peer is a client as the server's configuration knows it.
type Peer struct {
	Name      string
	Key       crypto.PublicKey
	Addresses []netip.Prefix // inner addresses, each with its tunnel range
	Routes    []netip.Prefix // networks behind the client
}

// session is the server's side of one client: it outlives the client's
// carriers, and while there is none, packets toward the client wait in its
// outbox or are dropped.
//
//	      hello, new id               carrier broke
//	(none) ───────────▶ up ◀──────────────────────▶ down
//	                    ▲  │ hello naming the session │
//	                    └──┴──────────────────────────┘
type session struct {
	peer  Peer
	out   *outbox
	stats counters
	// complain paces warnings about foreign sources.
	complain *rate.Limiter

	mu      sync.Mutex // guards what follows
	id      wire.SessionID
	current *carrier
	end     context.CancelCauseFunc // of current
	ended   chan struct{}           // closed when current has ended
	since   time.Time               // when the session began
	usage   usage
}

func newSession(p Peer) *session {
	return &session{peer: p, out: newOutbox(outboxLimitBytes), complain: rate.NewLimiter(rate.Every(complaintEvery), 1)}
}

// attach makes car the session's carrier, after the one before has ended. It
// returns the context to run it with. detach must follow.
func (s *session) attach(ctx context.Context, car *carrier) context.Context {
	ctx, end := context.WithCancelCause(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.current != nil {
		old := s.ended
		s.end(errReplaced)
		s.mu.Unlock()
		<-old
		s.mu.Lock()
	}
	s.current, s.end, s.ended = car, end, make(chan struct{})
	s.out.clear() // what waited through the outage is too old
	car.out, car.stats = s.out, &s.stats
	return ctx
}

func (s *session) detach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(nil)
	s.current = nil
	s.usage.sample(time.Now(), nil)
	close(s.ended)
}

// resume returns the session's id for a Hello, and whether the session that
// the client named goes on.
func (s *session) resume(named wire.SessionID) (wire.SessionID, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !named.IsZero() && named == s.id {
		return s.id, true
	}
	rand.Read(s.id[:]) // never fails (crypto/rand)
	s.since = time.Now()
	return s.id, false
}

// owns reports whether src is the client's own or of a network behind it.
func (s *session) owns(src netip.Addr) bool {
	for _, a := range s.peer.Addresses {
		if a.Addr() == src {
			return true
		}
	}
	return slices.ContainsFunc(s.peer.Routes, func(r netip.Prefix) bool { return r.Contains(src) })
}

// sample reads the subflows of the current carrier.
func (s *session) sample(scratch []Subflow) []Subflow {
	s.mu.Lock()
	car := s.current
	s.mu.Unlock()
	if car == nil {
		return scratch
	}
	list, err := car.conn.AppendSubflows(scratch[:0])
	if err != nil {
		return scratch
	}
	s.mu.Lock()
	if s.current == car {
		s.usage.sample(time.Now(), list)
	}
	s.mu.Unlock()
	return list
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
	Counters  Counters
}

func (s *session) status() PeerStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := PeerStatus{
		Peer: s.peer, Session: s.id, Connected: s.current != nil, Since: s.since,
		Usage: s.usage.snapshot(), Counters: s.stats.snapshot(s.out),
	}
	if s.current != nil {
		st.MPTCP = s.current.mptcp()
		st.Remote = s.current.conn.RemoteAddr().String()
	}
	return st
}

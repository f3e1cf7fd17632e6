package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"braid/crypto"
	"braid/tunnel/relay"
	"braid/tunnel/wire"
)

// ServerConfig is what a Server needs. All fields must be set, but for those
// that say what nil means, and lists, which may be empty.
type ServerConfig struct {
	Device    Device     // closed when Run ends
	Listeners []Listener // closed when Run ends
	TLS       *tls.Config
	Key       crypto.PublicKey
	Peers     []Peer
	MTU       int // bytes, of the TUN of both sides
	Routes    []netip.Prefix
	DNS       []netip.Addr
	// Addresses are the server's own in the tunnel, each with its range.
	Addresses []netip.Prefix
	// Terminator makes what ends TCP connections toward clients here; nil:
	// they travel as packets.
	Terminator NewTerminator
	Exempt     []netip.Prefix // TCP from and to here travels as packets
	// Connect makes the connection of a client's stream; nil: it comes out of
	// the TUN, from the client's own address. Judge comes before either.
	Connect  func(ctx context.Context, client string, o wire.Open) (relay.Socket, error)
	Judge    func(client string, to netip.AddrPort) error
	Limits   StreamLimits
	Policies PacketPolicies // of the packets that it sends
	Pacing   Pacing         // bounds streams while somebody calls; nil: nothing does. Packets need none
	Software string
	Log      *slog.Logger
}

const (
	// complaintsPerSecond bounds the log.
	complaintsPerSecond = 2
	// complaintEvery bounds it for each client and foreign source.
	complaintEvery = time.Minute
)

// Server serves many clients on one TUN device. Make one with NewServer.
type Server struct {
	ServerConfig
	roster atomic.Pointer[roster]
	limits atomic.Pointer[StreamLimits]

	changing sync.Mutex      // guards what follows, ServerConfig.Policies, and changes of the roster
	running  context.Context // of what looks after sessions; nil before Run
	ended    bool            // nothing joins tending any more
	tending  sync.WaitGroup

	capture *capture
	streams atomic.Int64 // of all clients
	numbers atomic.Uint64

	gate     *gate
	complain *rate.Limiter

	rejected   atomic.Uint64 // handshakes that failed
	malformed  atomic.Uint64 // of them, for what the peer sent
	unroutable atomic.Uint64 // packets from the TUN toward nobody
}

// NewServer makes a server; Run starts it. Peers must not share keys, or
// addresses, or routes: package config sees to that.
func NewServer(cfg ServerConfig) *Server {
	s := &Server{
		ServerConfig: cfg,
		gate:         newGate(),
		complain:     rate.NewLimiter(complaintsPerSecond, 10),
	}
	s.limits.Store(&cfg.Limits)
	if cfg.Terminator != nil {
		s.capture = newCapture(cfg.Terminator, cfg.Exempt, func(to netip.AddrPort) bool {
			ses, ok := s.roster.Load().byIP.Lookup(to.Addr())
			return ok && ses.takesStreams()
		}, s.offer)
	}
	r := newRoster()
	for _, p := range cfg.Peers {
		r.add(s.newSession(p), p)
	}
	s.roster.Store(r)
	return s
}

// Run serves until ctx ends, which gives nil, or the device or a listener
// fails. It closes them and returns after all its goroutines have ended.
func (s *Server) Run(ctx context.Context) error {
	if s.capture != nil {
		if err := s.capture.set(s.Addresses); err != nil {
			for _, l := range s.Listeners {
				l.Close()
			}
			s.Device.Close()
			return fmt.Errorf("capture connections toward clients: %w", err)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		for _, l := range s.Listeners {
			l.Close()
		}
		return nil
	})
	served, serving := context.WithCancel(context.Background())
	g.Go(func() error {
		// Clients are told goodbye before their packets' device goes.
		<-served.Done()
		s.endStreams()
		return s.Device.Close()
	})
	if s.capture != nil {
		g.Go(func() error { return s.capture.run(ctx) })
	}
	g.Go(func() error { return s.readDevice(ctx) })
	s.begin(ctx)
	g.Go(func() error { <-ctx.Done(); s.finish(); return nil })
	g.Go(func() error {
		defer serving()
		var conns errgroup.Group
		for _, l := range s.Listeners {
			conns.Go(func() error { return s.accept(ctx, l) })
		}
		return conns.Wait()
	})
	err := g.Wait()
	s.capture.discard()
	if errors.Is(err, context.Canceled) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// accept takes connections of one listener and returns after the last of
// them has ended.
func (s *Server) accept(ctx context.Context, l Listener) error {
	var conns errgroup.Group
	defer conns.Wait()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return ctx.Err()
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept on %v: %w", l.Addr(), err)
		}
		if err != nil {
			// Out of descriptors or memory, or a connection that was gone
			// before it was taken: none of them is for ever.
			s.Log.Warn("accept failed", "listen", l.Addr(), "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		p, err := s.gate.enter(conn.RemoteAddr())
		if err != nil {
			conn.Close()
			s.reject(conn, err)
			continue
		}
		conns.Go(func() error { s.serve(ctx, conn, p); return nil })
	}
}

// serve takes one connection from handshake to end, or to a session's lane.
func (s *Server) serve(ctx context.Context, conn Conn, p *passage) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
	var a *arrival
	err := p.pass(ctx)
	if err == nil {
		a, err = s.handshake(ctx, conn)
	}
	stop()
	p.leave()
	if err != nil {
		conn.Close()
		s.reject(conn, err)
		return
	}
	s.gate.knows(conn.RemoteAddr())
	defer s.gate.knows(conn.RemoteAddr())
	switch a.hello.Kind {
	case wire.KindPath:
		s.servePath(ctx, a)
		return
	case wire.KindExamine:
		s.serveExamination(ctx, a)
		return
	case wire.KindStreams, wire.KindReverse:
		if _, ok := a.lane.enter(a.car, s.numbers.Add(1), a.hello.Kind == wire.KindReverse); !ok {
			conn.Close()
		}
		return
	}
	ses, car := a.ses, a.car
	log := s.Log.With("client", ses.peer().Name)
	runCtx, err := ses.attach(ctx, car, a.session)
	if err != nil {
		conn.Close()
		return
	}
	log.Info("client connected", "remote", conn.RemoteAddr(), "resumed", a.resumed,
		"mptcp", car.mptcp(), "software", a.hello.Software)
	ses.demand()
	err = car.run(runCtx)
	ses.detach()
	if errors.Is(err, wire.ErrMalformed) {
		ses.stats.malformed.Add(1)
		log.Warn("client broke the protocol", "remote", conn.RemoteAddr(), "error", err)
		return
	}
	log.Info("client disconnected", "remote", conn.RemoteAddr(), "reason", err)
}

func (s *Server) reject(conn Conn, err error) {
	s.rejected.Add(1)
	if errors.Is(err, wire.ErrMalformed) {
		s.malformed.Add(1)
	}
	if s.complain.Allow() {
		s.Log.Warn("connection refused", "remote", conn.RemoteAddr(), "error", err, "hint", crypto.Hint(err))
	}
}

// arrival is a connection whose client is known and welcome.
type arrival struct {
	ses     *session
	lane    *lane // of a carrier of streams
	car     *carrier
	session wire.SessionID
	hello   wire.Hello
	resumed bool
	exam    *examination // instead of a lane and a carrier
}

func (s *Server) handshake(ctx context.Context, conn Conn) (*arrival, error) {
	hctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	sec, err := secure(hctx, conn, func(c *corkConn) *tls.Conn { return tls.Server(c, s.TLS) }, crypto.RoleServer, s.Key)
	if err != nil {
		return nil, err
	}
	key, err := crypto.PeerKey(sec.tls.ConnectionState())
	if err != nil {
		return nil, err
	}
	a := &arrival{ses: s.roster.Load().byKey[key]}
	if a.ses == nil {
		return nil, fmt.Errorf("no client has key %v", key)
	}
	if err := s.greet(sec, a); err != nil {
		return nil, fmt.Errorf("client %s: %w", a.ses.peer().Name, err)
	}
	return a, nil
}

// greet answers the client's Hello.
func (s *Server) greet(sec *secured, a *arrival) error {
	in, hello, err := sec.awaitHello()
	if err != nil {
		return err
	}
	a.hello = hello
	if hello.Kind == wire.KindExamine {
		a.exam = &examination{s, a.ses, sec, in, examineMostBytes}
		return a.exam.begin()
	}
	peer := a.ses.peer()
	w := wire.Welcome{
		MTU: uint16(s.MTU), Addresses: peer.Addresses, Routes: s.Routes, DNS: s.DNS,
		Features: wire.FeatureStreams | wire.FeatureSpeedtest, Software: s.Software,
	}
	switch hello.Kind {
	case wire.KindPackets:
		if hello.Features&wire.FeatureNetworks != 0 {
			w.Features |= wire.FeatureNetworks
			w.Networks = peer.Routes[:min(len(peer.Routes), wire.MaxRoutes)]
		}
		if err := sec.conn.SetPurpose(ForPackets); err != nil {
			return err
		}
		w.Session, a.resumed = a.ses.resume(hello)
	case wire.KindPath:
		if !a.ses.is(hello.Session) {
			sec.tls.Write(wire.AppendRefuse(nil, wire.RefuseSession, unknownSession))
			return errors.New(unknownSession)
		}
		w.Session, a.resumed = hello.Session, true
		if err := sec.conn.SetPurpose(ForPath); err != nil {
			return err
		}
	default:
		var code wire.RefuseCode
		var reason string
		if a.lane, code, reason = a.ses.laneFor(hello, s.limits.Load().PerSession); a.lane == nil {
			sec.tls.Write(wire.AppendRefuse(nil, code, reason))
			return errors.New(reason)
		}
		w.Session, a.resumed = hello.Session, true
		if err := sec.conn.SetPurpose(ForStreams); err != nil {
			return err
		}
	}
	if a.resumed {
		w.Flags |= wire.FlagResumed
	}
	a.session = w.Session
	a.car, err = sec.welcome(in, hello, w)
	return err
}

// inbound gives a client's packet, which is well formed, to the host. Between two
// clients packets pass if one of them reaches the other; that only this one
// begins is for the host's connection tracking to see to.
func (s *Server) inbound(ses *session, packet []byte) {
	src, dst, _ := wire.Addresses(packet[wire.VnetLen:])
	if !ses.owns(src) {
		ses.stats.spoofed.Add(1)
		if ses.complain.Allow() {
			s.Log.Warn("packet from a foreign source dropped", "client", ses.peer().Name, "source", src,
				"hint", "add the network to the client's routes, or masquerade it on the client")
		}
		return
	}
	if to, toClient := s.roster.Load().byIP.Lookup(dst); toClient && (to == ses || !reachEachOther(ses, to)) {
		ses.stats.isolated.Add(1)
		return
	}
	ses.stats.inbound(s.Device, packet)
}

// readDevice moves packets from the TUN into the clients' lanes.
func (s *Server) readDevice(ctx context.Context) error {
	b := newBatch()
	for {
		if err := b.read(s.Device); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("read tunnel device: %w", err)
		}
		s.dispatch(b)
	}
}

// dispatch gives runs of packets for one client to its lane at once.
func (s *Server) dispatch(b *batch) {
	var to *session
	clients := s.roster.Load().byIP
	flush := func() {
		if to != nil {
			b.flush(to.packetLane(), &to.stats)
		}
	}
	b.each(s.capture.packet, func(packet []byte, dst netip.Addr) {
		ses, ok := clients.Lookup(dst)
		if !ok {
			s.unroutable.Add(1)
			return
		}
		if ses != to {
			flush()
			to = ses
		}
		b.keep(packet)
	})
	flush()
}

// offer takes a connection toward a client that the terminator holds.
func (s *Server) offer(h HeldConn) {
	if ses, ok := s.roster.Load().byIP.Lookup(h.Destination().Addr()); ok {
		if l := ses.streams(); l != nil {
			l.offer(h)
			return
		}
	}
	h.Fail(wire.OpenHostUnreachable)
}

// connect makes the connection of a client's stream.
func (s *Server) connect(ctx context.Context, ses *session, o wire.Open) (relay.Socket, error) {
	if !ses.owns(o.Source.Addr()) {
		ses.stats.spoofed.Add(1)
		return nil, &relay.OpenError{Result: wire.OpenDenied, Reason: fmt.Sprintf("%v is not an address of client %s", o.Source.Addr(), ses.peer().Name)}
	}
	if err := s.Judge(ses.peer().Name, o.Destination); err != nil {
		if ses.complain.Allow() {
			s.Log.Warn("connection of a client refused", "client", ses.peer().Name, "to", o.Destination, "reason", err)
		}
		return nil, &relay.OpenError{Result: wire.OpenDenied, Reason: err.Error()}
	}
	if s.Connect == nil {
		return s.capture.dial(ctx, o.Source, o.Destination)
	}
	return s.Connect(ctx, ses.peer().Name, o)
}

// endStreams resets all streams, and returns when they have ended.
func (s *Server) endStreams() {
	var closing sync.WaitGroup
	for _, ses := range s.sessions() {
		closing.Go(ses.endStreams)
	}
	closing.Wait()
	if s.capture != nil {
		time.Sleep(lastWords)
	}
}

// ServerStatus is what a server knows of itself now.
type ServerStatus struct {
	Peers      []PeerStatus // in the configuration's order
	Rejected   uint64       // connections that failed before they were welcome
	Malformed  uint64       // of these, for what the peer sent
	Unroutable uint64       // packets from the host toward no client
}

// Status returns a snapshot; any goroutine may call it.
func (s *Server) Status() ServerStatus {
	st := ServerStatus{Rejected: s.rejected.Load(), Malformed: s.malformed.Load(), Unroutable: s.unroutable.Load()}
	for _, ses := range s.sessions() {
		st.Peers = append(st.Peers, ses.status())
	}
	return st
}

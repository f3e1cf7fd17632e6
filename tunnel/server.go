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
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"braid/crypto"
	"braid/tunnel/wire"
)

// ServerConfig is what a Server needs. All fields must be set, Routes and
// DNS may be empty.
type ServerConfig struct {
	Device    Device     // closed when Run ends
	Listeners []Listener // closed when Run ends
	TLS       *tls.Config
	Key       crypto.PublicKey
	Peers     []Peer
	MTU       int // bytes, of the TUN of both sides
	Routes    []netip.Prefix
	DNS       []netip.Addr
	Software  string
	Log       *slog.Logger
}

// Limits on peers that have not proved who they are.
const (
	// maxHandshakes bounds memory: some 200 KB each.
	maxHandshakes = 64
	// handshakesPerSecond bounds CPU: about a millisecond each. More than
	// that and the burst wait in the kernel's accept queue.
	handshakesPerSecond = 100
	handshakesBurst     = 200
	// complaintsPerSecond bounds the log.
	complaintsPerSecond = 2
	// complaintEvery bounds it for each client and foreign source.
	complaintEvery = time.Minute
)

// Server serves many clients on one TUN device. Make one with NewServer.
type Server struct {
	ServerConfig
	byKey map[crypto.PublicKey]*session
	byIP  *bart.Table[*session]
	order []*session

	handshakes chan struct{} // one token per handshake under way
	pace       *rate.Limiter
	complain   *rate.Limiter

	rejected   atomic.Uint64 // handshakes that failed
	malformed  atomic.Uint64 // of them, for what the peer sent
	unroutable atomic.Uint64 // packets from the TUN toward nobody
}

// NewServer makes a server; Run starts it. Peers must not share keys, or
// addresses, or routes: package config sees to that.
func NewServer(cfg ServerConfig) *Server {
	s := &Server{
		ServerConfig: cfg,
		byKey:        map[crypto.PublicKey]*session{},
		byIP:         new(bart.Table[*session]),
		handshakes:   make(chan struct{}, maxHandshakes),
		pace:         rate.NewLimiter(handshakesPerSecond, handshakesBurst),
		complain:     rate.NewLimiter(complaintsPerSecond, 10),
	}
	for _, p := range cfg.Peers {
		ses := newSession(p)
		s.order = append(s.order, ses)
		s.byKey[p.Key] = ses
		for _, a := range p.Addresses {
			s.byIP.Insert(netip.PrefixFrom(a.Addr(), a.Addr().BitLen()), ses)
		}
		for _, r := range p.Routes {
			s.byIP.Insert(r, ses)
		}
	}
	return s
}

// Run serves until ctx ends, which gives nil, or the device or a listener
// fails. It closes them and returns after all its goroutines have ended.
func (s *Server) Run(ctx context.Context) error {
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
		return s.Device.Close()
	})
	g.Go(func() error { return s.readDevice(ctx) })
	g.Go(func() error { s.sampleAll(ctx); return nil })
	g.Go(func() error {
		defer serving()
		var conns errgroup.Group
		for _, l := range s.Listeners {
			conns.Go(func() error { return s.accept(ctx, l) })
		}
		return conns.Wait()
	})
	err := g.Wait()
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
		if s.pace.Wait(ctx) != nil {
			return ctx.Err()
		}
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
		select {
		case s.handshakes <- struct{}{}:
			conns.Go(func() error { s.serve(ctx, conn); return nil })
		default:
			conn.Close()
			s.reject(conn, errors.New("too many handshakes at once"))
		}
	}
}

// serve takes one connection from handshake to end.
func (s *Server) serve(ctx context.Context, conn Conn) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })
	ses, car, hello, resumed, err := s.handshake(ctx, conn)
	stop()
	<-s.handshakes
	if err != nil {
		conn.Close()
		s.reject(conn, err)
		return
	}
	log := s.Log.With("client", ses.peer.Name)
	runCtx := ses.attach(ctx, car)
	log.Info("client connected", "remote", conn.RemoteAddr(), "resumed", resumed,
		"mptcp", car.mptcp(), "software", hello.Software)
	err = car.run(runCtx, func(payload []byte) error { return s.inbound(ses, payload) })
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

func (s *Server) handshake(ctx context.Context, conn Conn) (*session, *carrier, wire.Hello, bool, error) {
	fail := func(err error) (*session, *carrier, wire.Hello, bool, error) {
		return nil, nil, wire.Hello{}, false, err
	}
	hctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	sec, err := secure(hctx, conn, func(c *corkConn) *tls.Conn { return tls.Server(c, s.TLS) }, crypto.RoleServer, s.Key)
	if err != nil {
		return fail(err)
	}
	key, err := crypto.PeerKey(sec.tls.ConnectionState())
	if err != nil {
		return fail(err)
	}
	ses := s.byKey[key]
	if ses == nil {
		return fail(fmt.Errorf("no client has key %v", key))
	}
	in, hello, err := sec.awaitHello()
	if err != nil {
		return fail(fmt.Errorf("client %s: %w", ses.peer.Name, err))
	}
	id, resumed := ses.resume(hello.Session)
	w := wire.Welcome{
		Session: id, MTU: uint16(s.MTU), Addresses: ses.peer.Addresses,
		Routes: s.Routes, DNS: s.DNS, Software: s.Software,
	}
	if resumed {
		w.Flags |= wire.FlagResumed
	}
	car, err := sec.welcome(in, hello, w)
	if err != nil {
		return fail(fmt.Errorf("client %s: %w", ses.peer.Name, err))
	}
	return ses, car, hello, resumed, nil
}

// inbound checks a client's packet and gives it to the host.
func (s *Server) inbound(ses *session, payload []byte) error {
	if err := wire.CheckPacket(payload); err != nil {
		return err
	}
	src, dst, _ := wire.Addresses(payload[wire.VnetLen:])
	if !ses.owns(src) {
		ses.stats.spoofed.Add(1)
		if ses.complain.Allow() {
			s.Log.Warn("packet from a foreign source dropped", "client", ses.peer.Name, "source", src,
				"hint", "add the network to the client's routes, or masquerade it on the client")
		}
		return nil
	}
	if _, toClient := s.byIP.Lookup(dst); toClient {
		ses.stats.isolated.Add(1)
		return nil
	}
	ses.stats.inbound(s.Device, payload)
	return nil
}

// readDevice moves packets from the TUN into the outboxes.
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

// dispatch gives runs of frames for one client to its outbox at once.
func (s *Server) dispatch(b *batch) {
	var to *session
	var start, off, packets int
	flush := func(end int) {
		if to != nil && packets > 0 {
			to.stats.txPackets.Add(uint64(packets))
			to.stats.txBytes.Add(uint64(end - start - packets*(wire.HeaderLen+wire.VnetLen)))
			to.out.push(b.buf[start:end])
		}
		packets = 0
	}
	for i := range b.n {
		_, dst, ok := b.frame(off, b.sizes[i])
		var ses *session
		if ok {
			if ses, ok = s.byIP.Lookup(dst); !ok {
				s.unroutable.Add(1)
			}
		}
		if ses != to || !ok {
			flush(off)
			to, start = ses, off
		}
		off += wire.HeaderLen + b.sizes[i]
		if ok {
			packets++
		} else {
			start = off
		}
	}
	flush(off)
}

// sampleAll reads subflow counters until ctx ends.
func (s *Server) sampleAll(ctx context.Context) {
	t := time.NewTicker(sampleEvery)
	defer t.Stop()
	var scratch []Subflow
	for {
		select {
		case <-t.C:
			for _, ses := range s.order {
				scratch = ses.sample(scratch)
			}
		case <-ctx.Done():
			return
		}
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
	for _, ses := range s.order {
		st.Peers = append(st.Peers, ses.status())
	}
	return st
}

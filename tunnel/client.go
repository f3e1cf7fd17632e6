package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"braid/crypto"
	"braid/scheduler"
	"braid/tunnel/wire"
)

// Settings are what the server gives a client for its TUN device.
type Settings struct {
	MTU       int // bytes
	Addresses []netip.Prefix
	Routes    []netip.Prefix
	DNS       []netip.Addr
	Networks  []netip.Prefix // behind this client, as the server knows them
}

func (s Settings) equal(o Settings) bool {
	return s.MTU == o.MTU && slices.Equal(s.Addresses, o.Addresses) &&
		slices.Equal(s.Routes, o.Routes) && slices.Equal(s.DNS, o.DNS) && slices.Equal(s.Networks, o.Networks)
}

// ClientConfig is what a Client needs. All fields must be set but those of
// streams where there is no Terminator.
type ClientConfig struct {
	Device Device // closed when Run ends
	Dialer Dialer
	TLS    *tls.Config // of crypto.ClientTLS
	Key    crypto.PublicKey
	// Servers returns the server's addresses, in order of preference. It is
	// asked before every dial.
	Servers func(context.Context) ([]netip.AddrPort, error)
	// Configure applies settings to the host; it is called before the first
	// packet and when they change. An error ends Run.
	Configure func(Settings) error
	// Terminator makes what ends TCP connections here; nil: TCP travels as
	// packets.
	Terminator NewTerminator
	Exempt     []netip.Prefix // TCP from and to here travels as packets
	Limits     StreamLimits
	Policies   PacketPolicies // of the packets that it sends
	// Prompt, if it is not nil, is called while uplinks are asked often whether they
	// live, so that the host says at once what it knows of them. It must not block.
	Prompt func()
	// CapUsed tells what an uplink has carried before this process; nil, and
	// the zero record, mean nothing.
	CapUsed func(uplink string) scheduler.CapRecord
	// Pacing bounds streams while somebody calls; nil: nothing does. Packets need
	// none.
	Pacing   Pacing
	Software string // name and version, told to the server
	Log      *slog.Logger
}

// Client keeps a session with one server. Make one with NewClient.
type Client struct {
	ClientConfig
	stats   counters
	changed chan struct{} // holds a token after the uplinks changed
	moved   chan struct{} // likewise, for the links
	keeper  *linkKeeper
	paths   *pathKeeper
	active  *activity
	calm    *calm
	capture *capture
	speed   speedtest
	pulse   pulse        // of tend
	total   atomic.Int64 // streams
	limits  atomic.Pointer[StreamLimits]
	old     sync.WaitGroup // lanes that are being closed

	mu       sync.Mutex // guards what follows
	policies PacketPolicies
	lane     *lane       // of session; nil: no streams yet
	packets  *packetLane // likewise; nil before the first session
	ending   bool        // no lane is made any more
	present  []Uplink    // that the host has
	uplinks  []Uplink    // of these, those that carriers may use
	session  wire.SessionID
	settings Settings
	current  *carrier
	server   netip.AddrPort
	lastErr  error
	usage    usage
	drop     context.CancelCauseFunc // of current
	order    []string                // of uplinks by round trip, their names
	// packetFlows are the subflows of current when last read.
	packetFlows []Subflow
}

// NewClient makes a client; Run starts it.
func NewClient(cfg ClientConfig) *Client {
	c := &Client{
		ClientConfig: cfg,
		changed:      make(chan struct{}, 1), moved: make(chan struct{}, 1), pulse: make(pulse),
	}
	c.policies = cfg.Policies
	c.limits.Store(&cfg.Limits)
	c.keeper, c.paths = newLinkKeeper(c), newPathKeeper(c)
	c.active = newActivity()
	c.calm = newCalm(cfg.Log, cfg.Pacing, c)
	c.capture = newCapture(cfg.Terminator, cfg.Exempt, func(netip.AddrPort) bool { return c.streams() != nil }, c.offer)
	return c
}

// SetUplinks says which uplinks there are now, in order of preference. One with
// the role never is not used, as one that is not there; the events know the
// difference. It may be called at any time, before Run too.
func (c *Client) SetUplinks(list []Uplink) {
	isOff := func(u Uplink) bool { return u.Role >= scheduler.Never }
	off := slices.DeleteFunc(slices.Clone(list), func(u Uplink) bool { return !isOff(u) })
	list = slices.DeleteFunc(slices.Clone(list), isOff)
	fresh := c.paths.set(list, off, time.Now())
	c.mu.Lock()
	c.present = list
	// What is gone goes at once, what is new may be used at once; what has been
	// away is for its path to judge.
	var uplinks []Uplink
	for i, u := range list {
		if used := slices.IndexFunc(c.uplinks, func(o Uplink) bool { return o.Name == u.Name }); used >= 0 {
			u.Backup, u.Epoch = c.uplinks[used].Backup, c.uplinks[used].Epoch
		} else if !fresh[i] {
			continue
		}
		uplinks = append(uplinks, u)
	}
	if len(uplinks) == 0 {
		uplinks = list
	}
	c.uplinks = uplinks
	c.mu.Unlock()
	c.uplinksChanged()
}

// SetPolicies changes the policies of packets, those of flows under way as well.
// Any goroutine may call it.
func (c *Client) SetPolicies(p PacketPolicies) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.policies = p
	c.packets.setPolicies(p)
}

// SetLimits changes what streams may cost. What is there stays, and
// StreamLimits.Resume is for those that begin. Any goroutine may call it.
func (c *Client) SetLimits(l StreamLimits) {
	c.mu.Lock()
	c.limits.Store(&l)
	lane := c.lane
	c.mu.Unlock()
	if lane != nil {
		lane.setLimits(l)
	}
}

// SetExempt changes whose TCP travels as packets, for connections that begin.
// Any goroutine may call it.
func (c *Client) SetExempt(list []netip.Prefix) { c.capture.setExempt(list) }

// Woke says that the host slept: all uplinks are asked at once, and what waits to
// dial does so. It may be called at any time, by any goroutine.
func (c *Client) Woke() {
	c.paths.woken.Store(true)
	c.paths.poke()
	c.uplinksChanged()
}

// use says which uplinks carriers may use from now on.
func (c *Client) use(list []Uplink) {
	c.mu.Lock()
	same := slices.EqualFunc(c.uplinks, list, func(a, b Uplink) bool {
		return a.Name == b.Name && a.Index == b.Index && a.Backup == b.Backup && a.Epoch == b.Epoch && slices.Equal(a.Addresses, b.Addresses)
	})
	if !same {
		c.uplinks = list
	}
	c.mu.Unlock()
	if !same {
		c.uplinksChanged()
	}
}

func (c *Client) uplinksChanged() {
	for _, changed := range []chan struct{}{c.changed, c.moved} {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// stir notes that something moved.
func (c *Client) stir() {
	c.paths.active.note()
	c.active.note()
}

func (c *Client) sessionID() wire.SessionID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// packetCarrier is the carrier of packets, nil while there is none.
func (c *Client) packetCarrier() *carrier {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// Run keeps the session until ctx ends, which gives nil, or something fails
// that no new connection can mend. It closes the device and returns after all
// its goroutines have ended.
func (c *Client) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		c.endStreams()
		return c.Device.Close()
	})
	g.Go(func() error { return c.readDevice(ctx) })
	g.Go(func() error { return c.keepConnected(ctx) })
	g.Go(func() error { return c.tend(ctx) })
	g.Go(func() error { return c.paths.run(ctx) })
	g.Go(func() error { c.calm.run(ctx); return nil })
	if c.capture != nil {
		g.Go(func() error { return c.keeper.run(ctx) })
		g.Go(func() error { return c.capture.run(ctx) })
	}
	err := g.Wait()
	c.capture.discard()
	if errors.Is(err, context.Canceled) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// readDevice moves packets from the TUN into their lane.
func (c *Client) readDevice(ctx context.Context) error {
	b := newBatch()
	for {
		if err := b.read(c.Device); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("read tunnel device: %w", err)
		}
		b.each(c.capture.packet, func(packet []byte, _ netip.Addr) { b.keep(packet) })
		if len(b.parcels) > 0 {
			c.stir()
		}
		b.flush(c.packetLane(), &c.stats)
	}
}

// packetLane is that of the session, nil before the first.
func (c *Client) packetLane() *packetLane {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.packets
}

// takePacket takes what the lane delivers.
func (c *Client) takePacket(packet []byte) {
	c.stats.inbound(c.Device, packet)
	c.stir()
}

// keepConnected dials, serves the carrier and dials again.
func (c *Client) keepConnected(ctx context.Context) error {
	select {
	case <-c.changed: // before anybody has said what uplinks there are
	case <-ctx.Done():
	}
	var attempts int
	down := time.Now()
	for ctx.Err() == nil {
		car, err := c.open(ctx)
		if err == nil {
			attempts = 0
			err = c.serve(ctx, car)
			down = time.Now()
		}
		var fatal *configureError
		if errors.As(err, &fatal) {
			return err
		}
		if ctx.Err() != nil {
			break
		}
		attempts++
		wait := backoff(attempts, time.Since(down), rand.Float64())
		c.report(err, attempts, wait)
		c.pause(ctx, wait)
	}
	return ctx.Err()
}

// report logs a failure once, not at every repetition.
func (c *Client) report(err error, attempts int, wait time.Duration) {
	c.mu.Lock()
	same := c.lastErr != nil && c.lastErr.Error() == err.Error()
	c.lastErr = err
	c.mu.Unlock()
	if same && attempts%100 != 0 {
		c.Log.Debug("connect again", "error", err, "attempt", attempts, "wait", wait)
		return
	}
	args := []any{"error", err, "attempt", attempts}
	if hint := crypto.Hint(err); hint != "" {
		args = append(args, "hint", hint)
	}
	c.Log.Warn("not connected", args...)
}

// pause waits, or less when an uplink comes or goes.
func (c *Client) pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.changed:
	case <-ctx.Done():
	}
}

type configureError struct{ err error }

func (e *configureError) Error() string { return "configure tunnel device: " + e.err.Error() }
func (e *configureError) Unwrap() error { return e.err }

// open makes a carrier: dial, TLS, Hello, Welcome, host configuration.
func (c *Client) open(ctx context.Context) (*carrier, error) {
	s, way, err := c.reach(ctx, ForPackets)
	if err != nil {
		c.paths.lack(err)
		return nil, err
	}
	c.mu.Lock()
	session := c.session
	c.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	hello := wire.Hello{Kind: wire.KindPackets, Session: session, Features: wire.FeatureNetworks | wire.FeatureSpeedtest, Software: c.Software}
	if c.capture != nil {
		hello.Features |= wire.FeatureStreams
	}
	car, w, err := s.greet(hello, c.Key)
	if err != nil {
		return nil, err
	}
	set := Settings{MTU: int(w.MTU), Addresses: w.Addresses, Routes: w.Routes, DNS: w.DNS, Networks: w.Networks}
	if !set.equal(c.settings) {
		if err := c.Configure(set); err != nil {
			s.conn.Close()
			return nil, &configureError{err}
		}
		if err := c.capture.set(set.Addresses); err != nil {
			s.conn.Close()
			return nil, &configureError{err}
		}
	}
	c.speed.offered.Store(w.Features&wire.FeatureSpeedtest != 0)
	car.hear.want = c.keeper.want
	car.hear.backlog, car.hear.losses = c.paths.serverBacklog, c.serverLosses
	c.enterSession(w.Session, w.Features&wire.FeatureStreams != 0)
	car.packets = c.enterPackets(w.Session).newPath(true, car.control)
	c.mu.Lock()
	c.session, c.settings, c.current, c.server, c.lastErr = w.Session, set, car, way.server, nil
	c.mu.Unlock()
	c.paths.poke()
	c.Log.Info("connected", "server", way.server, "uplink", way.via.Name, "session", w.Session,
		"resumed", w.Flags&wire.FlagResumed != 0, "mptcp", car.mptcp(), "software", w.Software)
	if !car.mptcp() {
		c.Log.Warn("connection is plain TCP: one uplink only",
			"hint", "MPTCP is switched off on the server or stripped on the way")
	}
	return car, nil
}

// serve runs a carrier and keeps its subflows in step with the uplinks.
func (c *Client) serve(ctx context.Context, car *carrier) error {
	ctx, cancel := context.WithCancelCause(ctx)
	c.mu.Lock()
	c.drop = cancel
	c.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { c.supervise(ctx, car) })
	car.packets.attach(time.Now(), true, false)
	err := car.run(ctx)
	car.packets.detach(time.Now())
	cancel(nil)
	wg.Wait()
	if errors.Is(err, wire.ErrMalformed) {
		c.stats.malformed.Add(1)
	}
	if closed, ok := errors.AsType[*errClosedByPeer](err); ok && closed.Code == uint8(wire.CloseRevoked) {
		c.leaveSession()
	}
	c.mu.Lock()
	c.current, c.drop, c.packetFlows = nil, nil, c.packetFlows[:0]
	c.mu.Unlock()
	return err
}

// ClientStatus is what a client knows of itself now.
type ClientStatus struct {
	Session   wire.SessionID
	Connected bool
	MPTCP     bool
	Server    netip.AddrPort
	Settings  Settings
	RTT       time.Duration // of the last ping inside the carrier; 0 unknown
	LastError error         // why there is no connection
	Uplinks   []Uplink      // that may be used now
	Usage     []UplinkUsage // of all that were used so far
	Paths     []PathStatus  // of all that the host has or had
	Events    []UplinkEvent // the latest changes of their states
	// Overflow tells whether the uplinks for it are used, and why.
	Overflow       bool
	OverflowReason string
	Counters       Counters
	Packets        PacketLaneStatus
	Streams        LaneStatus
}

// Status returns a snapshot; any goroutine may call it.
func (c *Client) Status() ClientStatus {
	var streams LaneStatus
	if l := c.streams(); l != nil {
		streams = l.status(time.Now())
	}
	paths, events := c.paths.status()
	engaged, why := c.paths.overflowing()
	lane := c.packetLane().status()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := ClientStatus{
		Paths: paths, Events: events, Overflow: engaged, OverflowReason: why,
		Session: c.session, Connected: c.current != nil, Server: c.server,
		Settings: c.settings, LastError: c.lastErr, Uplinks: slices.Clone(c.uplinks),
		Usage: c.usage.snapshot(), Counters: c.stats.snapshot(lane), Packets: lane, Streams: streams,
	}
	s.Counters.Malformed += streams.Malformed
	if c.current != nil {
		s.MPTCP = c.current.mptcp()
		s.RTT = time.Duration(c.current.rtt.Load())
	}
	return s
}

package tunnel

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"braid/crypto"
	"braid/tunnel/wire"
)

// The tests run a client and a server back to back: channels for TUN devices,
// net.Pipe for the network. All of it works inside a synctest bubble, where
// time is simulated and a goroutine that is left behind fails the test.
//
//	chanDevice ─ Client ─ fakeNetwork.Dial ══ pipe ══ Accept ─ Server ─ chanDevice

// chanDevice is a TUN device made of channels.
type chanDevice struct {
	toBraid   chan []byte // what the host sends
	fromBraid chan []byte // what the host receives
	closed    chan struct{}
	once      sync.Once
}

func newChanDevice() *chanDevice {
	return &chanDevice{
		toBraid: make(chan []byte, 64), fromBraid: make(chan []byte, 64), closed: make(chan struct{}),
	}
}

func (d *chanDevice) ReadBatch(buf []byte, headroom int, sizes []int) (int, error) {
	n, off := 0, 0
	put := func(p []byte) {
		sizes[n] = copy(buf[off+headroom:], p)
		off += headroom + sizes[n]
		n++
	}
	select {
	case p := <-d.toBraid:
		put(p)
	case <-d.closed:
		return 0, os.ErrClosed
	}
	for n < len(sizes) {
		select {
		case p := <-d.toBraid:
			put(p)
		default:
			return n, nil
		}
	}
	return n, nil
}

func (d *chanDevice) Write(p []byte) error {
	if len(p) > 0 && p[len(p)-1] == refusedByKernel {
		return errors.New("invalid argument")
	}
	select {
	case d.fromBraid <- append([]byte(nil), p...):
		return nil
	case <-d.closed:
		return os.ErrClosed
	}
}

func (d *chanDevice) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

// refusedByKernel as a packet's last byte makes chanDevice refuse it.
const refusedByKernel = 0xEE

// fakeConn is one end of a pipe.
type fakeConn struct {
	net.Conn
	remote net.Addr
	mptcp  bool

	mu      sync.Mutex // guards what follows
	uplinks []Uplink
	missing error // what SetUplinks returns
	notYet  int   // times that SetUplinks fails before
}

func (c *fakeConn) Heard() (time.Duration, error) { return time.Hour, nil }

func (c *fakeConn) MPTCP() bool { return c.mptcp }

func (c *fakeConn) RemoteAddr() net.Addr { return c.remote }

func (c *fakeConn) SetUplinks(list []Uplink) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.notYet > 0 {
		c.notYet--
		return errors.New("join refused")
	}
	c.uplinks = list
	return c.missing
}

func (c *fakeConn) SetPurpose(Purpose) error { return nil }

func (c *fakeConn) Renew() {}

func (c *fakeConn) Progress() uint64 { return 0 }

func (c *fakeConn) RaiseReceiveBuffer() {}
func (c *fakeConn) Abort() error        { return c.Close() }

func (c *fakeConn) SetSendRoom(uint64) error { return nil }

func (c *fakeConn) SetNotSentLowat(int) error { return nil }

func (c *fakeConn) AppendSubflows(dst []Subflow) ([]Subflow, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range c.uplinks {
		dst = append(dst, Subflow{Uplink: u.Name, Local: netip.AddrPortFrom(u.Addresses[0], 1000), RTT: 20 * time.Millisecond})
	}
	return dst, nil
}

// fakeNetwork connects dialers with one listener.
type fakeNetwork struct {
	accept chan Conn
	closed chan struct{}
	once   sync.Once

	mu     sync.Mutex // guards what follows
	down   bool
	notYet int             // of fakeConn, for the clients' ends
	conns  []net.Conn      // the clients' ends, all so far
	paths  []pathConn      // likewise, of path carriers alone
	holes  map[string]bool // uplinks that swallow all, by name
	delay  time.Duration   // of each dial
	pace   int             // of each connection that is to come, bytes a second; 0: no bound
}

// pathConn is a path carrier's end, and its uplink's name.
type pathConn struct {
	*pipeEnd
	uplink string
}

func newFakeNetwork() *fakeNetwork {
	return &fakeNetwork{accept: make(chan Conn), closed: make(chan struct{}), holes: map[string]bool{}}
}

// Dial implements Dialer.
func (n *fakeNetwork) Dial(ctx context.Context, server netip.AddrPort, via Uplink, purpose Purpose) (Conn, error) {
	n.mu.Lock()
	down := n.down
	hole := n.holes[via.Name]
	delay, pace := n.delay, n.pace
	n.mu.Unlock()
	if delay > 0 { // a timer of 0 crashes the race detector now and then
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if hole { // a SYN that is lost; the next attempt finds out
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if down {
		return nil, errors.New("network is unreachable")
	}
	near, far := bufferedPipe()
	remote := net.TCPAddrFromAddrPort(netip.AddrPortFrom(via.Addresses[0], 5000))
	select {
	case n.accept <- &fakeConn{Conn: paced(far, pace), remote: remote, mptcp: true}:
	case <-n.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, near)
	if purpose == ForPath {
		n.paths = append(n.paths, pathConn{near.(*pipeEnd), via.Name})
	}
	return &fakeConn{Conn: paced(near, pace), remote: net.TCPAddrFromAddrPort(server), mptcp: true, notYet: n.notYet}, nil
}

// cut breaks every connection.
func (n *fakeNetwork) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		c.Close()
	}
	n.conns = nil
}

// blackHole makes every connection swallow what is written to it.
func (n *fakeNetwork) blackHole() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		c.(*pipeEnd).blackHole()
	}
	n.conns = nil
}

// setHole makes the path carriers of an uplink swallow everything, and new
// connections over it hang, or lets it be.
func (n *fakeNetwork) setHole(uplink string, on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !on {
		delete(n.holes, uplink)
		return
	}
	n.holes[uplink] = true
	for _, c := range n.paths {
		if c.uplink == uplink {
			c.blackHole()
		}
	}
}

func (n *fakeNetwork) setDelay(d time.Duration) {
	n.mu.Lock()
	n.delay = d
	n.mu.Unlock()
}

func (n *fakeNetwork) setDown(down bool) {
	n.mu.Lock()
	n.down = down
	n.mu.Unlock()
}

func (n *fakeNetwork) Accept() (Conn, error) {
	select {
	case c := <-n.accept:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *fakeNetwork) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

func (n *fakeNetwork) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443} }

// logBuffer collects log lines.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// world is one server and as many clients as start is called for.
type world struct {
	t         testing.TB
	ctx       context.Context
	net       *fakeNetwork
	serverTUN *chanDevice
	server    *Server
	serverKey crypto.PrivateKey
	log       logBuffer
	keys      []crypto.PrivateKey // of the clients that the server knows
	running   sync.WaitGroup
	cancel    context.CancelFunc
	streams   *fakeStreams   // nil: TCP travels as packets
	policies  PacketPolicies // of clients that are to come
}

var (
	uplinkA = Uplink{Name: "dsl", Index: 2, Addresses: []netip.Addr{netip.MustParseAddr("198.51.100.1")}}
	uplinkB = Uplink{Name: "lte", Index: 3, Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.1")}}

	serverAddr = netip.MustParseAddrPort("192.0.2.1:443")
)

// newWorld makes a running server that knows two clients, 10.77.0.2 with the
// network 192.168.10.0/24 and 10.77.0.3. The caller calls stop.
func newWorld(t *testing.T) *world { return newWorldOf(t, nil) }

func newWorldOf(t testing.TB, streams *fakeStreams) *world {
	t.Helper()
	w := &world{t: t, net: newFakeNetwork(), serverTUN: newChanDevice(), serverKey: crypto.GenerateKey(), streams: streams}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	var peers []Peer
	for i, routes := range [][]netip.Prefix{{netip.MustParsePrefix("192.168.10.0/24")}, nil} {
		key := crypto.GenerateKey()
		w.keys = append(w.keys, key)
		addr := netip.AddrFrom4([4]byte{10, 77, 0, byte(2 + i)})
		peers = append(peers, Peer{
			Name: []string{"home", "laptop"}[i], Key: key.Public(),
			Addresses: []netip.Prefix{netip.PrefixFrom(addr, 24)}, Routes: routes,
		})
	}
	cfg, err := crypto.ServerTLS(w.serverKey, func(k crypto.PublicKey) error {
		if w.server.Knows(k) {
			return nil
		}
		return errors.New("no such client")
	})
	if err != nil {
		t.Fatal(err)
	}
	sc := ServerConfig{
		Device: w.serverTUN, Listeners: []Listener{w.net}, TLS: cfg, Key: w.serverKey.Public(),
		Peers: peers, MTU: 1500, Software: "braid test", Log: slog.New(slog.NewTextHandler(&w.log, nil)),
	}
	if streams != nil {
		streams.server(&sc)
	}
	w.server = NewServer(sc)
	w.running.Go(func() {
		if err := w.server.Run(w.ctx); err != nil {
			t.Errorf("server: %v", err)
		}
	})
	return w
}

// testClient is a running client.
type testClient struct {
	*Client
	tun      *chanDevice
	settings chan Settings
	cancel   context.CancelFunc
	done     chan struct{}
	log      *logBuffer
}

func (w *world) clientTLS(key crypto.PrivateKey, server crypto.PublicKey) *tls.Config {
	w.t.Helper()
	cfg, err := crypto.ClientTLS(key, server)
	if err != nil {
		w.t.Fatal(err)
	}
	return cfg
}

// start runs a client with a key and the server key it believes in.
func (w *world) start(key crypto.PrivateKey, server crypto.PublicKey) *testClient {
	w.t.Helper()
	tc := &testClient{tun: newChanDevice(), settings: make(chan Settings, 8), done: make(chan struct{}), log: &logBuffer{}}
	cc := ClientConfig{
		Device: tc.tun, Dialer: w.net, TLS: w.clientTLS(key, server), Key: key.Public(),
		Servers:   func(context.Context) ([]netip.AddrPort, error) { return []netip.AddrPort{serverAddr}, nil },
		Configure: func(s Settings) error { tc.settings <- s; return nil },
		Policies:  w.policies, Software: "braid test", Log: slog.New(slog.NewTextHandler(tc.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if w.streams != nil {
		w.streams.client(&cc)
	}
	tc.Client = NewClient(cc)
	tc.SetUplinks([]Uplink{uplinkA, uplinkB})
	ctx, cancel := context.WithCancel(w.ctx)
	tc.cancel = cancel
	w.running.Go(func() {
		defer close(tc.done)
		if err := tc.Run(ctx); err != nil {
			w.t.Errorf("client: %v", err)
		}
	})
	return tc
}

// home starts the first client and waits until it is connected.
func (w *world) home() *testClient {
	w.t.Helper()
	c := w.start(w.keys[0], w.serverKey.Public())
	w.await("client connected", func() bool { return c.Status().Connected })
	return c
}

// await polls on the bubble's clock.
func (w *world) await(what string, ok func() bool) {
	w.t.Helper()
	w.within(10*time.Minute, what, ok)
}

func (w *world) within(limit time.Duration, what string, ok func() bool) {
	w.t.Helper()
	for began := time.Now(); time.Since(began) < limit; time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	w.t.Fatalf("not within %v: %s\n%s", limit, what, w.log.String())
}

// stop ends everything and waits for it.
func (w *world) stop() {
	w.cancel()
	w.running.Wait()
}

// packet makes an IPv4 packet without transport, behind an empty virtio-net
// header.
func packet(src, dst string, payload ...byte) []byte {
	p := make([]byte, wire.VnetLen+20, wire.VnetLen+20+len(payload))
	ip := p[wire.VnetLen:]
	ip[0], ip[8], ip[9] = 0x45, 64, 253
	binary.BigEndian.PutUint16(ip[2:], uint16(20+len(payload)))
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	copy(ip[12:], s[:])
	copy(ip[16:], d[:])
	return append(p, payload...)
}

// receive waits for a packet that the host behind d gets.
func (w *world) receive(d *chanDevice) []byte {
	w.t.Helper()
	select {
	case p := <-d.fromBraid:
		return p
	case <-time.After(time.Minute):
		w.t.Fatalf("no packet arrived\n%s", w.log.String())
		return nil
	}
}

// nothing checks that no packet comes to the host behind d.
func (w *world) nothing(d *chanDevice) {
	w.t.Helper()
	select {
	case p := <-d.fromBraid:
		w.t.Fatalf("packet arrived: % x", p)
	case <-time.After(5 * time.Second):
	}
}

// notTaken is a terminator that captures nothing.
func notTaken([]byte) bool { return false }

// Package terminate ends inner TCP connections in this host's own kernel, and
// begins others there.
//
// A program's connection to D, read from the TUN, becomes by rewriting one
// from a fake peer F to a listener on this host, and is written back into the
// TUN; the answers are made to come from D in the same way. So the kernel's
// TCP serves both ends, and braid has the connection as an ordinary socket.
// The way of a packet:
//
//	1 application  A:p → D:q   routed into the TUN, read by the one reader
//	2 Packet       F:f → L:l   rewritten in place, written into the TUN
//	3 listener                 the kernel takes it as input, L is its own
//	4 listener     L:l → F:f   routed into the TUN: F is in its range
//	5 Packet       D:q → A:p   rewritten in place, written into the TUN
//	6 application              or the host behind this one, by forwarding
//
// L is the TUN's own address and F an address of its range that nobody has; f
// is the connection's own. Super-packets stay whole, and partial checksums
// partial.
//
// The first packet, the SYN, is held until the owner has connected to D by
// his own means, so that D's refusal or silence reaches the application.
//
// Dial is the mirror image: a connection from S, at the tunnel's other end, to
// D, which is this host or one that it forwards to. D sees S as its peer. The
// way of a packet:
//
//	1 local socket L:x → F:y   routed into the TUN: F is in its range
//	2 Packet       S:p → D:q   rewritten in place, written into the TUN
//	3 destination              input, or forwarded like any packet that comes
//	                           from the TUN: firewall, routes, masquerading
//	4 destination  D:q → S:p   routed into the TUN: S is at the other end
//	5 Packet       F:y → L:x   rewritten in place, written into the TUN
//	6 local socket             the kernel takes it as input
//
// x is one port for all, and y the connection's own. What the host must
// provide, beside forwarding if D is behind it: a route to S by the TUN in the
// tables that D's answers are looked up in. Without it they go elsewhere. The
// same route is what strict reverse path filtering (rp_filter = 1, or the
// rpfilter rules of a firewall) looks for when packets of step 2 come in; loose
// filtering (2) is content with any route to S. F is in the TUN's own range and
// passes. S must not be an address of this host's: the kernel drops packets
// from outside that claim to be its own.
//
// Of ICMP two things are of use. An error about the first packet of a dial
// fails it. "Packet too big" about a packet of step 6, above, or 2, below, is
// made to be about the local socket's own packet, so that the kernel sends
// smaller ones (see toobig.go): it remembers the size for the fake address, and
// for some minutes (net.ipv4.route.mtu_expires) other connections that happen
// to have the same one send packets no larger. All else goes to the tunnel's
// other end like any packet, and the kernel's own errors toward F end here.
package terminate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"braid/tunnel/wire"
)

// Config is what a Terminator needs. One family may be left out: packets of
// it are then not captured.
type Config struct {
	// Local4 and Local6 are the TUN device's own addresses.
	Local4, Local6 netip.Addr
	// Fakes4 and Fakes6 are addresses that nobody has and that are routed
	// into the TUN, see Fakes. Each is good for 64512 connections in a
	// minute and a half, and as many of Dial: a port that was used stays
	// reserved for so long.
	Fakes4, Fakes6 []netip.Addr
	// Device, if set, is the TUN's name; the listeners and the sockets of
	// Dial then take nothing from elsewhere.
	Device string

	// Write gives a packet with its virtio-net header to the TUN. It is
	// called by several goroutines.
	Write func(packet []byte) error
	// Accept is called by Packet for each new connection, and must not
	// block. The owner then calls one method of the Pending.
	Accept func(*Pending)
	// Capture, if set, says which connections are ended here. It is asked
	// for packets of unknown connections only, with a lock held: it must be
	// quick and call nothing of the Terminator's. The answer must not change
	// while a connection lasts.
	Capture func(source, destination netip.AddrPort) bool

	// Bounds of connections that are not yet open, per address of an
	// application and in all, and of connections. 0 means the default.
	MaxPendingPerSource, MaxPending, MaxConnections int
}

const (
	// A browser has some hundreds of connections in the making, a
	// file-sharing program with dead peers more. Each costs its SYN and a
	// goroutine of the owner's.
	defaultPendingPerSource = 1024
	defaultPending          = 4096
	// A connection costs the kernel two sockets' memory, some 10 KB at rest.
	defaultConnections = 1 << 16

	// answerTimeout is how long this host may take for its SYN+ACK. It is a
	// matter of microseconds, if no firewall drops the SYN.
	answerTimeout = 2 * time.Second
	// handshakeTimeout is how long the application may take to answer that.
	handshakeTimeout = 30 * time.Second

	// sweepInterval keeps a walk over 65536 connections, some milliseconds
	// with the lock held, rare.
	sweepInterval = 5 * time.Second
)

// Stats counts since the start; Connections, Pending, Dialling and Carried
// are now.
type Stats struct {
	Connections int // held, being opened, being dialled or open
	Pending     int // of them held or being opened
	Dialling    int // of them being dialled
	Carried     int // left alone: opened by the other end, as packets

	Offered, Accepted uint64
	Originated        uint64 // opened by Dial
	Failed            uint64 // let through, but not accepted; or not opened by Dial
	Resets            uint64 // answers to packets of unknown connections
	TooBig            uint64 // ICMP errors of that kind that a local socket was told

	DroppedLimit     uint64 // a bound is reached
	DroppedRepeats   uint64 // SYNs, held already or to be met with silence
	DroppedMalformed uint64
	DroppedStray     uint64 // resets and others that belong to nothing
	DroppedFake      uint64 // to a fake address, and no answer of a listener
	WriteErrors      uint64 // the TUN did not take a packet
	NoPorts          uint64 // no fake port was free
	AcceptErrors     uint64 // such as too many open files
	Intruders        uint64 // connections to a listener, closed at once
}

// Terminator ends connections. Packet belongs to one goroutine; all else may
// be called by any.
type Terminator struct {
	write         func([]byte) error
	offer         func(*Pending)
	device        string
	listeners     []*net.TCPListener
	ports         []*os.File // see reserve
	answerTimeout time.Duration

	dials sync.WaitGroup // calls of Dial; none is added after stop
	mu    sync.Mutex     // guards table, its entries, and what Pending says
	table *table         // families do not change but for their cursors
}

// New opens the listeners, on ports that the kernel chooses. Run must follow.
func New(c Config) (*Terminator, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	t := &Terminator{
		write: c.Write, offer: c.Accept, device: c.Device, answerTimeout: answerTimeout, table: newTable(),
	}
	t.table.capture = c.Capture
	t.table.limits = limits{
		pending:          orDefault(c.MaxPending, defaultPending),
		pendingPerSource: orDefault(c.MaxPendingPerSource, defaultPendingPerSource),
		connections:      orDefault(c.MaxConnections, defaultConnections),
	}
	for i, local := range []netip.Addr{c.Local4, c.Local6} {
		if !local.IsValid() {
			continue
		}
		l, err := listen(local, c.Device)
		if err != nil {
			t.close()
			return nil, fmt.Errorf("listen on the tunnel's address: %w", err)
		}
		t.listeners = append(t.listeners, l)
		port := l.Addr().(*net.TCPAddr).AddrPort().Port()
		f := newFamily(local, port, [][]netip.Addr{c.Fakes4, c.Fakes6}[i])
		held, port, err := reserve(local, c.Device)
		if err != nil {
			t.close()
			return nil, fmt.Errorf("reserve a port at the tunnel's address: %w", err)
		}
		t.ports = append(t.ports, held)
		f.dial = port
		t.table.families[i] = f
	}
	return t, nil
}

func orDefault(n, d int) int {
	if n == 0 {
		return d
	}
	return n
}

func (c *Config) check() error {
	if c.Write == nil || c.Accept == nil {
		return errors.New("terminate: Config without Write or Accept")
	}
	if !c.Local4.IsValid() && !c.Local6.IsValid() {
		return errors.New("terminate: Config without a local address")
	}
	for _, f := range []struct {
		local netip.Addr
		fakes []netip.Addr
		v4    bool
	}{{c.Local4, c.Fakes4, true}, {c.Local6, c.Fakes6, false}} {
		if !f.local.IsValid() {
			continue
		}
		if f.local.Is4() != f.v4 || f.local.Is4In6() || len(f.fakes) == 0 {
			return fmt.Errorf("terminate: local address %v of the wrong family or without fake addresses", f.local)
		}
		for _, a := range f.fakes {
			if a.BitLen() != f.local.BitLen() || a.Is4In6() || a == f.local || !ordinary(a) {
				return fmt.Errorf("terminate: fake address %v does not go with local address %v", a, f.local)
			}
		}
	}
	return nil
}

// Packet takes a virtio-net header and IP packet that was read from the TUN.
// True means that it is done with: rewritten and written back, answered, or
// dropped. False means that it is not TCP or not captured, and unchanged but
// for a super-packet's header length, which is then right. It does not
// allocate for packets of known connections.
func (t *Terminator) Packet(payload []byte, now time.Time) bool {
	var s segment
	switch parse(payload, &s) {
	case notTCP:
		return t.otherwise(payload, now)
	case malformed:
		t.count(&t.table.stats.DroppedMalformed)
		return true
	}
	t.mu.Lock()
	v, e := t.table.packet(payload, &s, now)
	var p *Pending
	if v == offer {
		p = &Pending{
			Source: s.source(), Destination: s.destination(),
			t: t, e: e, done: make(chan struct{}), syn: append([]byte(nil), payload...),
		}
		e.pending = p
	}
	t.mu.Unlock()
	switch v {
	case carry:
		return false
	case forward:
		t.inject(payload)
	case refuse:
		t.inject(reset(&s))
	case offer:
		t.offer(p)
	}
	return true
}

// otherwise takes what is not TCP, but an ICMP error about a connection of
// this host's. It drops what is to a fake address: the kernel's ICMP errors
// about packets that Packet wrote, or somebody's pings.
func (t *Terminator) otherwise(payload []byte, now time.Time) bool {
	if len(payload) < wire.VnetLen {
		return false
	}
	var x icmpError
	if parseICMP(payload, &x) {
		t.mu.Lock()
		v := t.table.reported(payload, &x, now)
		t.mu.Unlock()
		if v == forward {
			t.inject(payload)
		}
		if v != carry {
			return true
		}
	}
	_, dst, ok := wire.Addresses(payload[wire.VnetLen:])
	if !ok || !t.table.isFake(dst.As16()) {
		return false
	}
	t.count(&t.table.stats.DroppedFake)
	return true
}

func (t *Terminator) inject(packet []byte) {
	if t.write(packet) != nil {
		t.count(&t.table.stats.WriteErrors)
	}
}

func (t *Terminator) count(c *uint64) {
	t.mu.Lock()
	*c++
	t.mu.Unlock()
}

// Stats returns the counters.
func (t *Terminator) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.table.stats
}

// Run accepts connections and forgets dead ones until ctx ends, or a listener
// fails. It closes the listeners and ends what is being dialled; afterwards no
// connection is offered, and none can be dialled. Those that are open live on,
// as long as Packet is called.
func (t *Terminator) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, l := range t.listeners {
		wg.Go(func() { cancel(t.acceptLoop(ctx, l)) })
	}
	wg.Go(func() { t.sweepLoop(ctx) })
	<-ctx.Done()
	t.stop()
	wg.Wait()
	t.dials.Wait()
	return context.Cause(ctx)
}

// stop ends what is pending, and lets nothing new in.
func (t *Terminator) stop() {
	t.close()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.table.stop(time.Now())
}

func (t *Terminator) close() {
	for _, l := range t.listeners {
		l.Close()
	}
	for _, p := range t.ports {
		p.Close()
	}
}

func (t *Terminator) sweepLoop(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			t.mu.Lock()
			t.table.sweep(now)
			t.mu.Unlock()
		}
	}
}

package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"braid/scheduler"
	"braid/tunnel/wire"
)

// Stations of a byte on a carrier.
//
//	outbound: the packet lane's queue for this carrier (packetlane.go)
//	  → writeLoop takes a piece when the kernel has room
//	  → tls.Conn encrypts records of 16 KiB into the cork
//	  → one write to the kernel's socket
//	inbound: kernel → tls.Conn decrypts → frameReader's buffer
//	  → readLoop hands each packet to the lane, which writes it to the TUN
//
// Three goroutines serve a carrier while it runs: writeLoop, readLoop and
// watch. Each ends the others by closing the connection.

// errClosedByPeer ends a carrier on which the peer sent Close.
type errClosedByPeer struct{ wire.Notice }

func (e *errClosedByPeer) Error() string { return "closed by peer: " + e.Reason }

// errReplaced ends a carrier for which a newer one has come.
var errReplaced = errors.New("replaced by a newer connection of the same client")

// errLeft ends a carrier that the peer closed without Close.
var errLeft = errors.New("connection closed by peer without a word")

// errSilent ends a carrier whose peer does not answer.
var errSilent = errors.New("no answer from peer")

// hearers take what a peer says beside packets. A frame for which there is
// none breaks the protocol.
type hearers struct {
	want    func(carriers int)       // a client's: the server's word
	backlog func(bytes uint32)       // likewise
	losses  func(wire.Losses)        // likewise
	probe   func(padding int) error  // both sides', on a path carrier
	uplinks func(wire.Uplinks)       // a server's: the client's word
	path    func(name string) error  // likewise, on a carrier of one uplink
	pong    func(sent time.Duration) // since the carrier's start; may be nil
}

// carrier is one authenticated connection to the peer after Hello and
// Welcome. run serves it once.
type carrier struct {
	conn    Conn
	cork    *corkConn
	tls     *tls.Conn
	in      *frameReader
	packets *packetPath // set before run
	hear    hearers
	keep    keepalive
	loss    scheduler.PathLoss // of a path carrier; whoever looks at its flow has it
	lossy   bool               // as it was told

	gather []byte // small frames that go into one record; the writer's
	unsent int    // as the kernel was last told; likewise

	received  atomic.Int64 // when a frame last came, nanoseconds since start
	rtt       atomic.Int64 // of the last ping, nanoseconds
	peerMPTCP atomic.Bool

	start time.Time

	ctl struct {
		sync.Mutex // guards what follows
		buf        []byte
		train      []byte // what is written at once, in its turn
	}
	ctlReady chan struct{}
}

func newCarrier(s *secured, in *frameReader) *carrier {
	return &carrier{
		conn: s.conn, cork: s.cork, tls: s.tls, in: in,
		start: time.Now(), ctlReady: make(chan struct{}, 1),
	}
}

// mptcp reports whether both ends say that the connection is MPTCP.
func (c *carrier) mptcp() bool { return c.conn.MPTCP() && c.peerMPTCP.Load() }

// run carries packets until ctx ends or the carrier breaks, and returns after
// its goroutines have ended and the connection is closed. The error is never
// nil: it is ctx's cause or what broke. Where it was not the peer that ended
// the carrier, the peer is told why.
func (c *carrier) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	if c.cork.poll(); c.cork.polls {
		c.in.await = c.cork.await
	}
	c.received.Store(int64(time.Since(c.start)))
	var writer, others sync.WaitGroup
	reader := make(chan struct{})
	writer.Go(func() { cancel(c.writeLoop(ctx)) })
	others.Go(func() { defer close(reader); cancel(c.readLoop()) })
	others.Go(func() { cancel(c.watch(ctx)) })
	<-ctx.Done()
	// A writer that is stuck on a full connection must not hold us up.
	c.conn.SetWriteDeadline(time.Now().Add(farewellTimeout))
	writer.Wait()
	if c.farewell(context.Cause(ctx)) {
		// Closing with unread data would reset the connection and take the
		// goodbye with it: wait for the peer to close.
		select {
		case <-reader:
		case <-time.After(farewellTimeout):
		}
	}
	c.conn.Close()
	others.Wait()
	return context.Cause(ctx)
}

// runPath is run for a carrier of one uplink, where only the client asks.
func (c *carrier) runPath(ctx context.Context) error {
	c.keep.listen = true
	return c.run(ctx)
}

// farewellTimeout bounds how long a goodbye may take, twice.
const farewellTimeout = 200 * time.Millisecond

// farewell tells the peer why this side ends the carrier; the writer has
// stopped at the end of a frame, or broken the connection. It reports whether
// the peer may have been told.
func (c *carrier) farewell(cause error) bool {
	var code wire.CloseCode
	switch {
	case errors.Is(cause, wire.ErrMalformed):
		code = wire.CloseProtocol
	case cause == errReplaced:
		code = wire.CloseReplaced
	case cause == errRevoked:
		code = wire.CloseRevoked
	case cause == errMoved:
		code = wire.CloseMoved
	case errors.Is(cause, context.Canceled):
		code, cause = wire.CloseShutdown, errors.New("shutting down")
	default:
		return false
	}
	if c.write(wire.AppendClose(nil, code, cause.Error())) != nil {
		return false
	}
	return c.tls.CloseWrite() == nil
}

// controlLimitBytes bounds what waits for a peer that does not read.
const controlLimitBytes = 4 << 10

var errDeaf = errors.New("peer asks and does not read the answers")

// control queues a control frame ahead of the packets.
func (c *carrier) control(frame []byte) error {
	c.ctl.Lock()
	full := len(c.ctl.buf) > controlLimitBytes
	if !full {
		c.ctl.buf = append(c.ctl.buf, frame...)
	}
	c.ctl.Unlock()
	if full {
		return errDeaf
	}
	select {
	case c.ctlReady <- struct{}{}:
	default:
	}
	return nil
}

// sendTrain queues frames that are to be written at once, which control has no room
// for; while some wait it does nothing.
func (c *carrier) sendTrain(frames []byte) {
	c.ctl.Lock()
	if len(c.ctl.train) == 0 {
		c.ctl.train = frames
	}
	c.ctl.Unlock()
	select {
	case c.ctlReady <- struct{}{}:
	default:
	}
}

// appendControl moves the waiting control frames to the end of b.
func (c *carrier) appendControl(b []byte) []byte {
	c.ctl.Lock()
	defer c.ctl.Unlock()
	b = append(b, c.ctl.buf...)
	b = append(b, c.ctl.train...)
	c.ctl.buf, c.ctl.train = c.ctl.buf[:0], nil
	return b
}

// writeLoop writes control frames when there are any, and packets when the kernel
// has room for some: what it holds unsent nobody can overtake.
func (c *carrier) writeLoop(ctx context.Context) error {
	var ctl []byte
	var frames [][]byte
	for {
		select {
		case <-c.packets.ready:
		case <-c.ctlReady:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for {
			var unsent int
			frames = frames[:0]
			if c.packets.backlog() {
				if err := c.cork.room(); err != nil {
					return fmt.Errorf("write to carrier: %w", err)
				}
				frames, unsent = c.packets.take(time.Now(), frames)
			}
			ctl = c.appendControl(ctl[:0])
			if len(ctl) == 0 && len(frames) == 0 {
				break
			}
			err := c.writeFrames(ctl, frames)
			c.packets.wrote()
			if err != nil {
				return err
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			c.limitUnsent(unsent)
		}
	}
}

// limitUnsent tells the kernel how much to hold unsent, when that has changed
// much.
func (c *carrier) limitUnsent(bytes int) {
	if bytes > 0 && (bytes >= 2*c.unsent || 2*bytes <= c.unsent) {
		c.unsent = bytes
		_ = c.conn.SetNotSentLowat(bytes) // it is a bound that helps, and no more
	}
}

// A frame of up to gatherFrame bytes shares a record with others: a record's
// header and tag are 22 bytes, and decrypting it costs as much as 500 more.
const (
	gatherFrame = 4 << 10
	gatherBytes = 16 << 10
)

// writeFrames encrypts the frames and gives them to the kernel in one piece.
func (c *carrier) writeFrames(ctl []byte, frames [][]byte) error {
	c.cork.cork()
	buf := append(c.gather[:0], ctl...)
	var err error
	flush := func(b []byte) {
		if err == nil && len(b) > 0 {
			_, err = c.tls.Write(b)
		}
	}
	for _, f := range frames {
		if len(f) > gatherFrame {
			flush(buf)
			flush(f)
			buf = buf[:0]
			continue
		}
		if len(buf)+len(f) > gatherBytes {
			flush(buf)
			buf = buf[:0]
		}
		buf = append(buf, f...)
	}
	flush(buf)
	c.gather = buf[:0]
	if e := c.cork.uncork(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("write to carrier: %w", err)
	}
	return nil
}

// write encrypts b and gives it to the kernel in one piece.
func (c *carrier) write(b []byte) error { return c.writeFrames(b, nil) }

func (c *carrier) readLoop() error {
	for {
		typ, payload, err := c.in.next()
		if err != nil {
			if err == io.EOF {
				err = errLeft
			}
			return fmt.Errorf("read from carrier: %w", err)
		}
		now := time.Now()
		c.received.Store(int64(now.Sub(c.start)))
		switch typ {
		case wire.TypePacket:
			err = c.packets.receive(now, payload)
		case wire.TypeArrived:
			err = c.packets.arrived(payload)
		case wire.TypePing, wire.TypePong:
			err = c.ping(typ, payload)
		case wire.TypeWant, wire.TypeBacklog, wire.TypeLosses, wire.TypeProbe, wire.TypeUplinks, wire.TypePath:
			err = c.say(typ, payload)
		case wire.TypeClose:
			var n wire.Notice
			if n, err = wire.ParseNotice(payload); err == nil {
				err = &errClosedByPeer{n}
			}
		default:
			err = fmt.Errorf("%w frame order: %v on a running carrier", wire.ErrMalformed, typ)
		}
		if err != nil {
			return err
		}
	}
}

// say takes a frame that one side alone may send.
func (c *carrier) say(typ wire.Type, payload []byte) error {
	switch {
	case typ == wire.TypeWant && c.hear.want != nil:
		w, err := wire.ParseWant(payload)
		if err == nil {
			c.hear.want(int(w.Carriers))
		}
		return err
	case typ == wire.TypeBacklog && c.hear.backlog != nil:
		l, err := wire.ParseBacklog(payload)
		if err == nil {
			c.hear.backlog(l.Bytes)
		}
		return err
	case typ == wire.TypeLosses && c.hear.losses != nil:
		l, err := wire.ParseLosses(payload)
		if err == nil {
			c.hear.losses(l)
		}
		return err
	case typ == wire.TypeProbe && c.hear.probe != nil:
		return c.hear.probe(len(payload))
	case typ == wire.TypeUplinks && c.hear.uplinks != nil:
		u, err := wire.ParseUplinks(payload)
		if err == nil {
			c.hear.uplinks(u)
		}
		return err
	case typ == wire.TypePath && c.hear.path != nil:
		p, err := wire.ParsePath(payload)
		if err == nil {
			err = c.hear.path(p.Name)
		}
		return err
	}
	return fmt.Errorf("%w frame order: %v on this carrier", wire.ErrMalformed, typ)
}

// flags are what this side says of its connection in every ping.
func flags(c Conn) wire.Flags {
	if c.MPTCP() {
		return wire.FlagMPTCP
	}
	return 0
}

func (c *carrier) ping(typ wire.Type, payload []byte) error {
	p, err := wire.ParsePing(payload)
	if err != nil {
		return err
	}
	c.peerMPTCP.Store(p.Flags&wire.FlagMPTCP != 0)
	if typ == wire.TypePing {
		return c.control(wire.AppendPong(nil, wire.Ping{Flags: flags(c.conn), Stamp: p.Stamp}))
	} else if sent := time.Duration(p.Stamp); sent >= 0 && sent <= time.Since(c.start) {
		c.rtt.Store(int64(time.Since(c.start) - sent))
		if c.hear.pong != nil {
			c.hear.pong(sent)
		}
	}
	return nil
}

// watch pings a quiet peer and ends the carrier of a silent one.
func (c *carrier) watch(ctx context.Context) error {
	k := c.keep
	t := time.NewTicker(keepaliveTick)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		now := time.Since(c.start)
		switch k.step(now, time.Duration(c.received.Load()), c.packets.count.txPackets.Load()) {
		case keepalivePing:
			if err := c.control(wire.AppendPing(nil, wire.Ping{Flags: flags(c.conn), Stamp: uint64(now)})); err != nil {
				return err
			}
		case keepaliveDead:
			return errSilent
		}
	}
}

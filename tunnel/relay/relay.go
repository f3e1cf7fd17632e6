// Package relay moves one inner TCP connection between its socket and a
// stream that survives its carriers.
//
// Stations of a byte, and the goroutine that serves each:
//
//	socket ═▶ peer
//	1  readSocket   reads into the Outbound's buffer, until that is full
//	2  writeLink    copies into Data frames what the peer's limit allows, many
//	                into one buffer, and writes that to the link
//	3  readLink     takes the peer's Ack, which frees the bytes of station 1
//
//	peer ═▶ socket
//	1  readLink     copies Data into the Inbound; the limit that the peer was
//	                told bounds it, so that the link is always drained
//	2  writeSocket  writes to the socket and counts what the program took
//	3  writeLink    tells the peer with the next Ack
//
// readSocket and writeSocket live as long as the socket, readLink and
// writeLink as long as one link; Run starts and ends them, and is the only
// one that attaches links, and that closes those and the socket. One mutex
// guards the state; nobody blocks with it, and nothing of the owner's is called
// with it. Without traffic every goroutine waits and no buffer is held.
//
// States, each with what leads out of it:
//
//	unopened  no link yet   Attach ▶ opening   timeout ▶ closed
//	opening   Open said     Opened ▶ open      refused ▶ closed      link dies ▶ unopened
//	open                    both directions ended, reset ▶ closed    link dies ▶ detached
//	detached  no link       Attach ▶ resuming  timeout ▶ closed
//	resuming  Resume said   Resumed ▶ open     unknown ▶ closed      link dies ▶ detached
//
// # Before the stream is open
//
// As long as the opener has not heard Opened, nothing of it can have been
// acknowledged, and each link begins it anew with Open. The accepter that
// finds itself asked again answers again, from offset 0; one that has ended
// meanwhile is replaced by another, which connects again. Open is never sent
// behind the Opened that states success, so that one which comes later was
// overtaken and counts for nothing.
//
// # Why a released link is clean
//
// On one link each direction ends exactly once: with Fin and the Ack of the
// other direction's Fin, in either order, or with Reset, or with an Opened
// that states a failure. Whatever ends it is the last frame of the stream in
// that direction: writeLink returns behind it, and readLink does not ask for
// another frame once it has come. Resume and Resumed say FIN for an earlier
// link, and count as that Ack, and as that Fin for who had sent it. The link
// is released when both have returned without error. Whoever releases first
// may send Open at once: the peer's readLink has stopped right before it, and
// the peer has nothing left to write, since its last frame has come here.
package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"braid/tunnel/stream"
	"braid/tunnel/wire"
)

// Link is a carrier that is leased to one stream at a time. What the carrier
// says for itself (Ping, Pong, Close) stays below it.
type Link interface {
	// WriteFrames writes whole frames, which lie in parts; it blocks, and
	// keeps nothing of them. One goroutine calls it.
	WriteFrames(parts ...[]byte) error
	// ReadFrame returns the next frame; the payload holds until the next
	// call. One goroutine calls it.
	ReadFrame() (wire.Type, []byte, error)
	// Cold tells that what is written now will go in slow start. It is asked
	// before data that follow a pause.
	Cold() bool
	// Close ends the carrier, and whoever blocks in the other two. It does not
	// block, and may be called again.
	Close() error
	// Abort is Close of a carrier that another has replaced: nothing of what is
	// under way on it is of use to anybody.
	Abort() error
}

// Socket is the inner connection: a *net.TCPConn. SetLinger and SyscallConn
// are used where they are there.
type Socket interface {
	net.Conn
	CloseWrite() error
}

// Connect makes the inner connection. At the side that opens a stream it is
// called after the peer has connected, at the other side it is what connects;
// there an *OpenError chooses what the peer is told.
type Connect func(ctx context.Context) (Socket, error)

// Config is what a relay needs to know. All of it must be set, but Budget.
type Config struct {
	BufferBytes   int            // what the peer has not acknowledged, at most
	WindowBytes   int            // what the program has not read, at most
	ResumeTimeout time.Duration  // how long the stream lives without a link
	Budget        *stream.Budget // of all streams together; nil: no bound

	// Detached says that the link is dead; it is closed already. The side
	// that opened the stream is to Attach another, also when the stream is
	// not open yet. It must not block.
	Detached func(r *Relay, cause error)
	// Released hands a link back that is clean. It must not block.
	Released func(Link)
}

// How long a stream that was reset may wait for the peer to end its
// direction, so that the link can be used again.
const (
	lingerTimeout   = 10 * time.Second
	shutdownTimeout = time.Second
)

// Errors of Run.
var (
	errReplaced = errors.New("link replaced by another")
	errLinger   = errors.New("peer does not end a stream that was reset")
	errStale    = errors.New("greeting was overtaken by a later one")
)

// OpenError says why a stream was not opened.
type OpenError struct {
	Result wire.OpenResult
	Reason string
}

func (e *OpenError) Error() string { return "stream not opened: " + e.Reason }

// ResetError says why a stream ended before its end.
type ResetError struct {
	Code   wire.ResetCode
	Reason string
	ByPeer bool
}

func (e *ResetError) Error() string {
	if e.ByPeer {
		return "stream reset by peer: " + e.Reason
	}
	return "stream reset: " + e.Reason
}

// Relay is one stream and its socket. Its methods but Run are safe for
// concurrent use, and do not block.
type Relay struct {
	cfg     Config
	opener  bool
	open    wire.Open
	connect Connect
	changed chan struct{} // Run is to look again
	room    chan struct{} // readSocket: the peer has acknowledged
	arrived chan struct{} // writeSocket: bytes or the end have come

	mu         sync.Mutex // guards what follows
	out        *stream.Outbound
	in         *stream.Inbound
	att        *attachment // the present link; nil: detached
	next       *attachment // handed over by Attach
	opened     bool        // the opener has heard that the stream is open
	over       bool        // nothing is to be said to the peer any more
	closed     bool        // Run has ended or is about to
	connecting bool        // the opener's Connect is due
	dialing    bool        // Connect runs
	answer     *wire.Opened
	openErr    error       // why there is no socket
	reset      *ResetError // the stream is broken
	giveUp     bool        // the link is not worth waiting for
	unwanted   bool        // the socket that Connect may yet make
	socket     Socket      // until both of its directions have ended
	sink       *sink       // of socket, if it has one
	users      int         // goroutines on the socket
	resumed    int
	timer      *time.Timer
	timerSeq   int
	expired    bool
	flush      *time.Timer // ends ackDelay
	flushArmed bool
	flushNow   bool
	hold       *time.Timer // ends smallPause
	holdArmed  bool
}

// NewOpener makes the relay of a stream that this side opens. The limit of
// open is filled in.
func NewOpener(cfg Config, open wire.Open, connect Connect) *Relay {
	r := newRelay(cfg, open, connect)
	r.opener = true
	r.open.Limit = r.in.Ack().Limit
	r.out = stream.NewOutbound(cfg.BufferBytes, 0, cfg.Budget)
	return r
}

// NewAccepter makes the relay of a stream that the peer has asked for.
func NewAccepter(cfg Config, open wire.Open, connect Connect) *Relay {
	r := newRelay(cfg, open, connect)
	r.out = stream.NewOutbound(cfg.BufferBytes, open.Limit, cfg.Budget)
	return r
}

func newRelay(cfg Config, open wire.Open, connect Connect) *Relay {
	return &Relay{
		cfg: cfg, open: open, connect: connect, in: stream.NewInbound(cfg.WindowBytes, cfg.Budget),
		changed: make(chan struct{}, 1), room: make(chan struct{}, 1), arrived: make(chan struct{}, 1),
	}
}

// ID is the stream's.
func (r *Relay) ID() wire.StreamID { return r.open.Stream }

// poke wakes the one goroutine that waits on c, now or when it next waits.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// resetLocked breaks the stream; Run aborts the socket, writeLink tells the
// peer.
func (r *Relay) resetLocked(code wire.ResetCode, reason string, byPeer bool) {
	if r.reset != nil {
		return
	}
	r.reset = &ResetError{code, reason, byPeer}
	if r.att != nil {
		r.armLocked(lingerTimeout)
	}
	r.wakeLinkLocked()
	poke(r.room)
	poke(r.arrived)
	poke(r.changed)
}

func (r *Relay) wakeLinkLocked() {
	if r.att != nil {
		poke(r.att.wake)
	}
}

// resultOf is what the peer is told about a failure to connect.
func resultOf(err error) *OpenError {
	var e *OpenError
	if errors.As(err, &e) && e.Result != wire.OpenOK {
		return e
	}
	return &OpenError{errnoResult(err), fmt.Sprint(err)}
}

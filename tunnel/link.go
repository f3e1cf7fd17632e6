package tunnel

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"braid/scheduler"
	"braid/tunnel/wire"
)

// link is a carrier that serves streams, one at a time. It implements
// relay.Link: Ping, Pong and Close stay below it.
//
// It has no goroutine but, for the time of one write, the one that writes a
// Pong. A link that nobody reads, because it waits for its next stream, is
// looked at now and then (drain).
type link struct {
	number uint64 // for people
	conn   Conn
	cork   *corkConn
	tls    *tls.Conn
	in     *frameReader
	start  time.Time

	returns *atomic.Uint64 // of the session's uplinks, so far; nil: nobody counts
	born    uint64         // returns at start

	closed func(*link)     // called once; must not block
	wg     *sync.WaitGroup // of the lane: whoever writes a Pong
	once   sync.Once
	dead   atomic.Bool // closed, or about to be

	heard   atomic.Int64  // when bytes last came, since start
	uses    atomic.Uint64 // frames of streams, written and read
	bytes   atomic.Uint64 // of frames, both ways
	bytesIn atomic.Uint64 // of these, from the peer
	rtt     atomic.Int64  // of the last ping

	write struct {
		sync.Mutex // serialises records
	}
	ctl struct {
		sync.Mutex // guards what follows
		buf        []byte
		writing    bool // somebody is about to write buf
		closed     bool // nobody may begin any more
	}

	// A client's, see spread.go:
	growth growth
	widen  func(*link) // nil on a server
	moved  func()      // a stream's frame came or went

	// Of a speed test, which no stream follows:
	trial atomic.Bool
	only  []string // a client's: the uplinks that may carry it

	// Of calm, through lane.moving:
	moves struct {
		uses  uint64 // when last asked
		still int    // times in a row that it was the same
	}

	// Of the lane's ticker:
	live    liveness
	raised  bool // the receive buffer
	sampled linkSample
	room    struct {
		sync.Mutex // guards what follows: a new stream may reset it at any time
		scheduler.SendRoom
	}
	synced uint64 // uses when its subflows were last looked at

	joining sync.Mutex    // one change of the subflows at a time; guards active
	active  []string      // the uplinks that carry it
	behind  atomic.Bool   // an uplink has died whose data come late by the others
	lacking atomic.Uint64 // changes in a row that were not wholly done
}

// newLink makes a link of a connection after Hello and Welcome. closed is
// called when it is closed by whomever.
func newLink(c *carrier, number uint64, wg *sync.WaitGroup, closed func(*link)) *link {
	l := &link{
		number: number, conn: c.conn, cork: c.cork, tls: c.tls, in: c.in, start: c.start, closed: closed, wg: wg,
	}
	if l.cork.poll(); l.cork.polls {
		l.in.await = l.cork.await
	}
	l.heard.Store(int64(time.Since(l.start)))
	return l
}

// warmBytes on a subflow are behind slow start on most.
const warmBytes = 64 << 10

// Cold implements relay.Link. A subflow that has carried nothing is what a link
// has when it is new, and when the uplink that it used has just died.
func (l *link) Cold() bool {
	list, err := l.conn.AppendSubflows(nil)
	return err == nil && !slices.ContainsFunc(list, func(f Subflow) bool { return f.TxBytes >= warmBytes })
}

// WriteFrames implements relay.Link.
func (l *link) WriteFrames(parts ...[]byte) error {
	l.use()
	return l.send(parts...)
}

// send encrypts parts, each in records of its own, and gives them to the
// kernel in one piece.
func (l *link) send(parts ...[]byte) error {
	l.write.Lock()
	defer l.write.Unlock()
	l.cork.cork()
	var err error
	for _, p := range parts {
		if err == nil {
			l.countOut(len(p))
			_, err = l.tls.Write(p)
		}
	}
	if e := l.cork.uncork(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("write to carrier: %w", err)
	}
	return nil
}

// say queues a control frame. It does not block: a reader that waited for a
// writer that waits for the peer's reader could wait for ever.
func (l *link) say(frame []byte) {
	l.ctl.Lock()
	defer l.ctl.Unlock()
	if l.ctl.closed {
		return
	}
	if len(l.ctl.buf) > controlLimitBytes {
		l.wg.Go(func() { l.Close() }) // it asks and never reads the answers
		return
	}
	l.ctl.buf = append(l.ctl.buf, frame...)
	if l.ctl.writing {
		return
	}
	l.ctl.writing = true
	l.wg.Go(func() {
		for {
			l.ctl.Lock()
			b := l.ctl.buf
			l.ctl.buf = nil
			l.ctl.writing = len(b) > 0
			l.ctl.Unlock()
			if len(b) == 0 {
				return
			}
			if l.send(b) != nil {
				l.Close()
			}
		}
	})
}

// ReadFrame implements relay.Link.
func (l *link) ReadFrame() (wire.Type, []byte, error) {
	for {
		typ, p, err := l.in.next()
		if err != nil {
			return typ, p, readError(err)
		}
		if mine, err := l.control(typ, p); err != nil || !mine {
			return typ, p, err
		}
	}
}

// drain handles what came while nobody read, and reports whether the link is
// fit for the next stream.
func (l *link) drain() error {
	if !l.cork.polls {
		return nil
	}
	for range drainFrames {
		typ, p, err := l.in.tryNext()
		if err == errWouldBlock {
			return nil
		}
		if err != nil {
			return readError(err)
		}
		mine, err := l.control(typ, p)
		if err != nil {
			return err
		}
		if !mine {
			return fmt.Errorf("%w frame order: %v without a stream", wire.ErrMalformed, typ)
		}
	}
	return errors.New("peer talks too much on an idle carrier")
}

// drainFrames is more than a peer has to say on an idle link in a tick.
const drainFrames = 32

func readError(err error) error {
	if err == io.EOF {
		err = errLeft
	}
	return fmt.Errorf("read from carrier: %w", err)
}

// control takes what a carrier says for itself.
func (l *link) control(typ wire.Type, p []byte) (mine bool, err error) {
	now := time.Since(l.start)
	l.heard.Store(int64(now))
	l.countIn(len(p))
	switch typ {
	case wire.TypePing, wire.TypePong:
		ping, err := wire.ParsePing(p)
		if err != nil {
			return true, err
		}
		if typ == wire.TypePing {
			l.say(wire.AppendPong(nil, wire.Ping{Flags: flags(l.conn), Stamp: ping.Stamp}))
		} else if sent := time.Duration(ping.Stamp); sent <= now {
			l.rtt.Store(int64(now - sent))
		}
		return true, nil
	case wire.TypeClose:
		n, err := wire.ParseNotice(p)
		if err != nil {
			return true, err
		}
		return true, &errClosedByPeer{n}
	}
	l.use()
	return false, nil
}

// use notes a frame of a stream.
func (l *link) use() {
	l.uses.Add(1)
	if l.moved != nil {
		l.moved()
	}
}

// ask sends a ping.
func (l *link) ask() {
	l.say(wire.AppendPing(nil, wire.Ping{Flags: flags(l.conn), Stamp: uint64(time.Since(l.start))}))
}

// judge is liveness.step with what the link knows.
func (l *link) judge(rarely time.Duration) linkAction {
	return l.live.step(time.Since(l.start), time.Duration(l.heard.Load()), l.uses.Load(), rarely, l.conn.Progress)
}

// age limits of a carrier's keys, see docs/design.md.
const (
	linkMaxAge   = time.Hour
	linkMaxBytes = 64 << 30
)

// linkMaxScars is how many returns of uplinks a link may see. When an uplink is
// lost, the word of it to the peer may be, too: then a subflow stays there that
// leads nowhere, for a quarter of an hour, and kernels allow nine in all.
const linkMaxScars = 4

// old reports whether the link should be replaced when that is convenient.
func (l *link) old() bool {
	return time.Since(l.start) > linkMaxAge || l.bytes.Load() > linkMaxBytes ||
		l.returns != nil && l.returns.Load()-l.born > linkMaxScars
}

// Close implements relay.Link: it cuts the connection.
func (l *link) Close() error { return l.end(l.conn.Close) }

// Abort implements relay.Link.
func (l *link) Abort() error { return l.end(l.conn.Abort) }

func (l *link) end(end func() error) error {
	var err error
	l.once.Do(func() {
		l.ctl.Lock()
		l.ctl.closed = true
		l.ctl.Unlock()
		l.dead.Store(true)
		err = end()
		l.closed(l)
	})
	return err
}

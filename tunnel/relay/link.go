package relay

import (
	"fmt"
	"sync"
	"time"

	"braid/tunnel/stream"
	"braid/tunnel/wire"
)

// batchBytes is how much data is written to a link at once: enough records to
// make a system call worth its price, and little enough that an Ack or the end
// does not wait long behind it.
const batchBytes = 256 << 10

const (
	// headBytes is room for all of a batch but its large pieces of data, which
	// are written from where they lie.
	headBytes = 16 << 10
	// headSlack of it is for what is not Data.
	headSlack = 1 << 10
	// copyBytes is what is copied behind its header: a record of its own for
	// the header is dearer than that.
	copyBytes = 4 << 10
)

// firstPiece is the first piece of data on a cold link. A receiver hands on whole
// frames of whole records, and the first ten packets of a connection in slow
// start must bring one, or the program waits another round trip or two for what
// has arrived already. Later pieces are as long as all before them, as slow start doubles.
const firstPiece = 8 << 10

// coldAfter a pause the link is asked whether it is cold: the uplink that was
// warm may have died meanwhile.
const coldAfter = 100 * time.Millisecond

// heads are the buffers of writeLink: an idle link has none.
var heads = sync.Pool{New: func() any { b := make([]byte, 0, headBytes); return &b }}

// attachment is one link while the stream has it. Relay.mu guards what is
// below link and wake.
type attachment struct {
	link Link
	wake chan struct{} // writeLink is to look again

	ask         *wire.StreamAck // with which the peer resumed here
	reopening   bool            // or its Open came again
	resuming    bool            // the stream was open before
	complete    bool            // and all was said, but may not have been heard
	greeted     bool            // Open, Opened, Resume or Resumed is written
	established bool            // and the peer's has come: data may flow
	peerGreeted bool
	wrote       time.Time // data, last
	cold        bool      // as Link.Cold said
	said        uint64    // bytes of data written since then
	parts       [][]byte  // of writeLink's batch

	// What ends a direction, see the package comment.
	finSaid, ackSaid, resetSaid    bool // written here
	peerFin, peerFinAck, peerReset bool // read here

	users  int // goroutines
	err    error
	closed bool // the link, for err
}

func newAttachment(link Link) *attachment {
	return &attachment{link: link, wake: make(chan struct{}, 1)}
}

// failLocked ends the link, for the first reason given; Run closes it.
func (r *Relay) failLocked(att *attachment, err error) {
	if att.err != nil {
		return
	}
	att.err = err
	poke(att.wake)
	poke(r.changed)
}

func (a *attachment) saidAllLocked() bool {
	return a.resetSaid || a.established && a.finSaid && a.ackSaid
}

func (a *attachment) heardAllLocked() bool {
	return a.peerReset || (a.established || a.ask != nil) && a.peerFin && a.peerFinAck
}

func ackOf(a wire.StreamAck) stream.Ack {
	return stream.Ack{Received: a.Received, Limit: a.Limit, Fin: a.Fin}
}

func wireAck(a stream.Ack) wire.StreamAck {
	return wire.StreamAck{Received: a.Received, Limit: a.Limit, Fin: a.Fin}
}

// writeLink writes what there is until its direction ends or the link breaks.
func (r *Relay) writeLink(att *attachment) error {
	for {
		head := heads.Get().(*[]byte)
		r.mu.Lock()
		att.parts = att.parts[:0]
		if att.err == nil {
			r.out.Pin()
			r.fillLocked(att, (*head)[:0])
		}
		err, all := att.err, att.saidAllLocked()
		r.mu.Unlock()
		idle := len(att.parts) == 0
		if err == nil && !idle {
			err = att.link.WriteFrames(att.parts...)
		}
		r.mu.Lock()
		r.out.Unpin()
		r.mu.Unlock()
		clear(att.parts)
		heads.Put(head)
		if err != nil {
			return err
		}
		if all {
			return nil
		}
		if idle {
			<-att.wake
		}
	}
}

// fillLocked makes att.parts the frames to write now. Those that are not large
// pieces of data are appended to b.
func (r *Relay) fillLocked(att *attachment, b []byte) {
	b, data := r.fillControlLocked(att, b)
	from := 0 // of b, what is not in parts yet
	room := batchBytes
	if piece := max(firstPiece, att.said); att.cold && piece < wire.MaxDataLen {
		room = int(piece)
	}
	for ; data && room > 0 && len(b) < headBytes-copyBytes-headSlack; data = r.out.Ready() {
		c := r.out.Next(min(room, wire.MaxDataLen))
		room -= len(c.Data)
		att.said += uint64(len(c.Data))
		if len(c.Data) > copyBytes {
			b = wire.AppendDataHeader(b, len(c.Data))
			att.parts = append(att.parts, b[from:], c.Data)
			from = len(b)
		} else if len(c.Data) > 0 {
			b = wire.AppendData(b, c.Data)
		}
		if c.Fin {
			b = wire.AppendFin(b)
			att.finSaid = true
		}
	}
	if len(b) > from {
		att.parts = append(att.parts, b[from:])
	}
}

// fillControlLocked appends what goes before data, and reports whether data is
// to follow.
func (r *Relay) fillControlLocked(att *attachment, b []byte) (_ []byte, data bool) {
	if b = r.greetLocked(att, b); att.saidAllLocked() {
		return b, false
	}
	if att.peerReset {
		att.resetSaid = true
		return wire.AppendReset(b, wire.ResetConnection, ""), false
	}
	// On a resumed link nothing goes before the answer: it may say that this
	// direction has ended already.
	if r.reset != nil && (att.established || !att.resuming) {
		att.resetSaid = true
		return wire.AppendReset(b, r.reset.Code, r.reset.Reason), false
	}
	if !att.established {
		return b, false
	}
	data = r.out.Ready()
	hold := data && len(b) == 0 && r.holdLocked(att)
	if a, due := r.in.Due(r.flushNow || data && !hold); due {
		b = wire.AppendAck(b, wireAck(a))
		att.ackSaid = a.Fin
		hold = false // it goes along
	}
	r.flushNow = false
	if data && !hold {
		now := time.Now()
		if now.Sub(att.wrote) > coldAfter {
			att.cold, att.said = att.link.Cold(), 0
		}
		att.wrote = now
	}
	return b, data && !hold
}

// greetLocked appends the first frame of the stream on this link, when it is
// known.
func (r *Relay) greetLocked(att *attachment, b []byte) []byte {
	switch {
	case att.greeted:
		return b
	case att.resuming:
		a := r.in.Resume()
		att.ackSaid = a.Fin
		if r.opener {
			b = wire.Resume{Stream: r.open.Stream, Ack: wireAck(a)}.Append(b)
		} else {
			b = wire.AppendResumed(b, wireAck(a))
			att.established = true
		}
	case r.opener:
		b = r.open.Append(b)
	case r.answer == nil:
		return b // still connecting
	default:
		b = r.answer.Append(b)
		att.established = r.answer.Result == wire.OpenOK
		att.resetSaid = !att.established
	}
	att.greeted = true
	return b
}

// readLink takes frames until the peer's direction ends or the link breaks.
func (r *Relay) readLink(att *attachment) error {
	for {
		r.mu.Lock()
		err := att.err
		all := att.heardAllLocked()
		r.mu.Unlock()
		if err != nil || all {
			return err
		}
		typ, payload, err := att.link.ReadFrame()
		if err != nil {
			return err
		}
		r.mu.Lock()
		err = r.takeLocked(att, typ, payload)
		r.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// takeLocked takes one frame. An error is of the link; a peer that breaks the
// rules of the stream alone has that reset.
func (r *Relay) takeLocked(att *attachment, typ wire.Type, p []byte) error {
	if typ == wire.TypeReset {
		n, err := wire.ParseNotice(p)
		if err != nil {
			return err
		}
		r.peerResetLocked(att, n)
		return nil
	}
	if typ == wire.TypeOpened || typ == wire.TypeResumed {
		return r.answeredLocked(att, typ, p)
	}
	if !att.established {
		return orderError(typ)
	}
	r.opened = true // or the opener would not say it
	switch typ {
	case wire.TypeData:
		r.dataLocked(p)
	case wire.TypeFin:
		r.finLocked(att)
	case wire.TypeAck:
		a, err := wire.ParseAck(p)
		if err != nil {
			return err
		}
		r.ackLocked(att, a)
	default:
		return orderError(typ)
	}
	return nil
}

func orderError(typ wire.Type) error {
	return fmt.Errorf("%w frame order: %v on a stream", wire.ErrMalformed, typ)
}

func (r *Relay) answeredLocked(att *attachment, typ wire.Type, p []byte) error {
	if !r.opener || att.peerGreeted || att.resuming != (typ == wire.TypeResumed) || !att.greeted {
		return orderError(typ)
	}
	att.peerGreeted = true
	if typ == wire.TypeResumed {
		a, err := wire.ParseAck(p)
		if err != nil {
			return err
		}
		r.resumedLocked(att, a)
		return nil
	}
	o, err := wire.ParseOpened(p)
	if err != nil {
		return err
	}
	if o.Result != wire.OpenOK {
		r.openErr = &OpenError{o.Result, o.Reason}
		att.peerReset = true
		poke(att.wake)
		return nil
	}
	att.established, r.opened = true, true
	r.connecting = true
	poke(r.changed)
	poke(att.wake)
	if r.reset == nil {
		r.disarmLocked()
		r.ackLocked(att, wire.StreamAck{Limit: o.Limit})
	}
	return nil
}

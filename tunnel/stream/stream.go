// Package stream is a byte stream in both directions that survives the
// carriers which bring it.
//
// It is the algorithm alone: no I/O, no clock, no lock, no goroutine. A relay
// moves bytes between a socket, a Stream and whichever carrier the stream has
// at the time:
//
//	socket ─ Space, Commit ─▶ Outbound ─ Next ─▶ carrier ═▶ peer
//	socket ◀─ Pending, Consume ─ Inbound ◀─ Data ─ carrier ◀═ peer
//
// Each side keeps what the other has not acknowledged. A carrier delivers in
// order, so that frames need no offsets; when it dies, both sides tell each
// other on the next one what they have (Resume), and go on from there at the
// exact byte.
//
// Two numbers per direction do it all, both offsets in the stream, both told
// by the receiver in every Ack:
//
//	received  what the receiver has for good; the sender forgets it
//	limit     how far the sender may send; received and what is buffered fit
//
// The limit keeps the carrier always drained: a program that does not read
// must not hold up the acknowledgements of what it writes.
package stream

import "errors"

// Errors of a peer that breaks the rules; the stream is then reset.
var (
	errAckRange  = errors.New("acknowledges what was not sent, or takes back what it had")
	errLimitBack = errors.New("takes back room that it gave")
	errOverrun   = errors.New("sends beyond the limit")
	errAfterFin  = errors.New("sends behind the end of the stream")
	errFinRange  = errors.New("names another end of the stream than before")
)

// Ack is a receiver's word about one direction.
type Ack struct {
	Received uint64 // offset before which it has everything
	Limit    uint64 // offset up to which the peer may send
	Fin      bool   // it has the end of the stream, too
}

// Chunk is what a carrier sends next: bytes, or the end, or neither.
type Chunk struct {
	Data []byte // of the Outbound's buffer
	Fin  bool   // nothing follows
}

// Outbound is the direction from here to the peer.
type Outbound struct {
	*Buffer
	limit    uint64 // the peer's
	closed   bool   // the program has closed its side: End is final
	finSent  bool   // on the present carrier
	finAcked bool
}

// NewOutbound makes an Outbound that holds at most bufferBytes, toward a peer
// that has promised room up to limit.
func NewOutbound(bufferBytes int, limit uint64) *Outbound {
	return &Outbound{Buffer: NewBuffer(bufferBytes), limit: limit}
}

// CloseWrite says that no more bytes come from the program.
func (o *Outbound) CloseWrite() { o.closed = true }

// Closed reports whether the program has closed its side.
func (o *Outbound) Closed() bool { return o.closed }

// Next returns what to send now, at most max bytes, and counts it as sent on
// the present carrier.
func (o *Outbound) Next(max int) Chunk {
	if room := o.limit - o.sent; uint64(max) > room {
		max = int(room)
	}
	var c Chunk
	if c.Data = o.Unsent(max); len(c.Data) > 0 {
		o.Advance(len(c.Data))
	}
	if o.closed && !o.finSent && o.sent == o.end {
		o.finSent, c.Fin = true, true
	}
	return c
}

// Ready reports whether Next has something.
func (o *Outbound) Ready() bool {
	return o.sent < o.end && o.sent < o.limit || o.closed && !o.finSent && o.sent == o.end
}

// Ack takes the peer's word on the present carrier.
func (o *Outbound) Ack(a Ack) error {
	if a.Limit < o.limit {
		return errLimitBack
	}
	if a.Fin && !(o.finSent && a.Received == o.end) || !o.Buffer.Ack(a.Received) {
		return errAckRange
	}
	o.limit = a.Limit
	o.finAcked = o.finAcked || a.Fin
	return nil
}

// Resume begins anew on another carrier, from what the peer says it has.
func (o *Outbound) Resume(a Ack) error {
	if a.Limit < o.limit {
		return errLimitBack
	}
	// The end may have arrived on the carrier that died.
	if a.Fin && !(o.closed && a.Received == o.end) || o.finAcked && !a.Fin || !o.Rewind(a.Received) {
		return errAckRange
	}
	o.limit = a.Limit
	o.finAcked, o.finSent = a.Fin, a.Fin
	return nil
}

// Done reports whether the peer has all, and the end.
func (o *Outbound) Done() bool { return o.finAcked }

// Inbound is the direction from the peer to here. Bytes that the program does
// not take at once wait in it.
type Inbound struct {
	wait     *Buffer // its Acked is what the program has consumed
	window   int     // bytes of room that the peer is promised
	received uint64
	fin      bool
	told     Ack
}

// NewInbound makes an Inbound with room for window bytes.
func NewInbound(window int) *Inbound {
	return &Inbound{wait: NewBuffer(window), window: window, told: Ack{Limit: uint64(window)}}
}

// Data asks whether the peer may send n bytes more. The caller then gives as
// many as it can to the program, if none are Waiting, and counts them with
// Take; the rest it must Keep.
func (i *Inbound) Data(n int) error {
	if i.fin {
		return errAfterFin
	}
	if i.received+uint64(n) > i.told.Limit {
		return errOverrun
	}
	return nil
}

// Waiting reports whether bytes wait for the program: then new ones must wait
// behind them.
func (i *Inbound) Waiting() bool { return i.wait.Held() > 0 }

// Take counts n bytes that were given to the program at once; none may wait.
func (i *Inbound) Take(n int) {
	i.received += uint64(n)
	i.wait.skip(n)
}

// Keep copies bytes that Data has allowed, for the program to take later.
func (i *Inbound) Keep(p []byte) {
	i.received += uint64(len(p))
	for len(p) > 0 {
		n := copy(i.wait.Space(), p)
		i.wait.Commit(n)
		p = p[n:]
	}
}

// Pending returns bytes that wait for the program, as many as lie together.
func (i *Inbound) Pending() []byte { return i.wait.Unsent(i.window) }

// Consume says that the program has taken n bytes of Pending.
func (i *Inbound) Consume(n int) {
	i.wait.Advance(n)
	i.wait.Ack(i.wait.Sent())
}

// Fin takes the end of the peer's bytes.
func (i *Inbound) Fin() error {
	if i.fin {
		return errFinRange
	}
	i.fin = true
	return nil
}

// Ended reports whether the program has everything, the end included.
func (i *Inbound) Ended() bool { return i.fin && !i.Waiting() }

// Ack is what to tell the peer now.
func (i *Inbound) Ack() Ack {
	return Ack{Received: i.received, Limit: i.wait.Acked() + uint64(i.window), Fin: i.fin}
}

// Due returns the Ack to send, and whether it is due: when a quarter of the
// window has moved since the last one, or the end came. With flush anything
// new is. Nothing is due behind the Ack with the end: the peer needs no more
// room, and its carrier may serve another stream by then.
func (i *Inbound) Due(flush bool) (Ack, bool) {
	a := i.Ack()
	if i.Urgent() || flush && i.News() {
		i.told = a
		return a, true
	}
	return a, false
}

// Urgent reports whether an Ack is due without flush.
func (i *Inbound) Urgent() bool {
	a, quarter := i.Ack(), uint64(i.window/4)
	return i.News() && (a.Fin || a.Received-i.told.Received >= quarter || a.Limit-i.told.Limit >= quarter)
}

// News reports whether the peer does not know everything yet that matters.
func (i *Inbound) News() bool { return !i.told.Fin && i.Ack() != i.told }

// Resume returns what to tell the peer on another carrier.
func (i *Inbound) Resume() Ack {
	i.told = i.Ack()
	return i.told
}

// Close gives back all memory.
func (i *Inbound) Close() { i.wait.Close() }

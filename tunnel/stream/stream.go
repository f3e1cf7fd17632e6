// Package stream is a byte stream in both directions that survives the
// carriers which bring it.
//
// It is the algorithm alone: no I/O, no clock, no lock, no goroutine; only the
// Budget is shared, and has what sharing needs. A relay
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
//
// A stream begins small, and grows with what passes: the Outbound by blocks
// that the peer has yet to acknowledge, the Inbound by the window that its
// program consumes. Both take what is beyond a floor from the session's
// Budget.
package stream

import "errors"

// ErrNeverSent is what CheckResume and Resume say of a peer that has what this
// end has never sent: it means another stream, or breaks the rules.
var ErrNeverSent = errors.New("has what was never sent")

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

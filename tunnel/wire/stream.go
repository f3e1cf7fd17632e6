package wire

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
)

// StreamID names a stream within its session. Whoever opens the stream draws
// it at random; like SessionID it grants nothing.
type StreamID [16]byte

// String returns the id in hexadecimal.
func (id StreamID) String() string { return hex.EncodeToString(id[:]) }

// MaxDataLen is the largest payload of a Data frame, bytes.
const MaxDataLen = 64 << 10

// Lengths of payloads in bytes. An address is 5 or 17, a text 1 to 256.
const (
	ackLen       = 8 + 8 + 1
	resumeLen    = 16 + ackLen
	minOpenLen   = 16 + 2*(5+2) + 8
	maxOpenLen   = 16 + 2*(17+2) + 8
	minOpenedLen = 1 + 8 + 1
	maxOpenedLen = minOpenedLen + maxText
	minResetLen  = 1 + 1
	maxResetLen  = minResetLen + maxText
	wantLen      = 2
)

// streamLimits is lengthLimits for the types of the stream lane.
func streamLimits(t Type) (low, high int, ok bool) {
	switch t {
	case TypeData:
		return 1, MaxDataLen, true
	case TypeAck, TypeResumed:
		return ackLen, ackLen, true
	case TypeFin:
		return 0, 0, true
	case TypeOpen:
		return minOpenLen, maxOpenLen, true
	case TypeOpened:
		return minOpenedLen, maxOpenedLen, true
	case TypeReset:
		return minResetLen, maxResetLen, true
	case TypeResume:
		return resumeLen, resumeLen, true
	case TypeWant:
		return wantLen, wantLen, true
	case TypeTest:
		return testLen, testLen, true
	case TypeTally:
		return tallyLen, tallyLen, true
	}
	return 0, 0, false
}

// Open asks the peer to connect a new stream. Nothing but Reset may follow it
// before Opened has come. When the carrier dies before that, Open comes again
// on another one, the same in every field.
//
//	stream 16 bytes | source address, port u16 |
//	destination address, port u16 | limit u64
type Open struct {
	Stream              StreamID
	Source, Destination netip.AddrPort // of one family
	Limit               uint64         // offset up to which the peer may send
}

// Append appends the frame to b.
func (o Open) Append(b []byte) []byte {
	return appendFrame(b, TypeOpen, func(b []byte) []byte {
		b = append(b, o.Stream[:]...)
		b = appendAddrPort(b, o.Source)
		b = appendAddrPort(b, o.Destination)
		return binary.BigEndian.AppendUint64(b, o.Limit)
	})
}

// ParseOpen parses the payload of an Open frame.
func ParseOpen(p []byte) (Open, error) {
	c := cursor{b: p}
	var o Open
	copy(o.Stream[:], c.take(len(o.Stream), "open stream"))
	o.Source = c.addrPort("open source")
	o.Destination = c.addrPort("open destination")
	o.Limit = c.u64("open limit")
	if c.err == nil && o.Source.Addr().Is4() != o.Destination.Addr().Is4() {
		c.err = malformed("open: source %v and destination %v are of two families", o.Source, o.Destination)
	}
	if err := c.end("open"); err != nil {
		return Open{}, err
	}
	return o, nil
}

func (c *cursor) addrPort(what string) netip.AddrPort {
	a := c.addr(what)
	return netip.AddrPortFrom(a, c.u16(what))
}

func appendAddrPort(b []byte, a netip.AddrPort) []byte {
	return binary.BigEndian.AppendUint16(appendAddr(b, a.Addr()), a.Port())
}

// OpenResult says what became of an Open.
type OpenResult uint8

// The results of an Open. Unknown ones are failures all the same.
const (
	OpenOK                 OpenResult = 0
	OpenRefused            OpenResult = 1 // the destination answered with a reset
	OpenHostUnreachable    OpenResult = 2
	OpenNetworkUnreachable OpenResult = 3
	OpenTimedOut           OpenResult = 4
	OpenDenied             OpenResult = 5 // by policy
	OpenTooMany            OpenResult = 6 // a limit is reached
	OpenFailed             OpenResult = 7 // anything else
)

// Opened is the answer to Open.
//
//	result u8 | limit u64 | reason text
type Opened struct {
	Result OpenResult
	Limit  uint64 // offset up to which the peer may send
	Reason string // for people
}

// Append appends the frame to b.
func (o Opened) Append(b []byte) []byte {
	return appendFrame(b, TypeOpened, func(b []byte) []byte {
		b = append(b, byte(o.Result))
		b = binary.BigEndian.AppendUint64(b, o.Limit)
		return appendText(b, o.Reason)
	})
}

// ParseOpened parses the payload of an Opened frame.
func ParseOpened(p []byte) (Opened, error) {
	c := cursor{b: p}
	o := Opened{Result: OpenResult(c.u8("opened result")), Limit: c.u64("opened limit"), Reason: c.text("opened reason")}
	if err := c.end("opened"); err != nil {
		return Opened{}, err
	}
	return o, nil
}

// AppendData appends a Data frame of 1 to MaxDataLen bytes to b.
func AppendData(b, data []byte) []byte {
	return append(AppendDataHeader(b, len(data)), data...)
}

// AppendDataHeader appends the header of a Data frame of n bytes to b; they
// are to follow.
func AppendDataHeader(b []byte, n int) []byte {
	var h [HeaderLen]byte
	PutHeader(h[:], TypeData, n)
	return append(b, h[:]...)
}

// AppendFin appends a Fin frame to b: the sender's last byte came before it.
func AppendFin(b []byte) []byte { return append(b, byte(TypeFin), 0, 0, 0) }

// StreamAck is what a receiver says of one direction of a stream.
//
//	received u64 | limit u64 | flags u8
//
// flags: bit 0 FIN, the end of the stream has come, too.
type StreamAck struct {
	Received uint64 // offset before which it has everything
	Limit    uint64 // offset up to which the peer may send, not below Received
	Fin      bool
}

const ackFin = 1 << 0

// AppendAck appends an Ack frame to b.
func AppendAck(b []byte, a StreamAck) []byte { return appendAckFrame(b, TypeAck, a) }

// AppendResumed appends a Resumed frame to b, the answer to Resume.
func AppendResumed(b []byte, a StreamAck) []byte { return appendAckFrame(b, TypeResumed, a) }

func appendAckFrame(b []byte, t Type, a StreamAck) []byte {
	var h [HeaderLen]byte
	PutHeader(h[:], t, ackLen)
	return a.append(append(b, h[:]...))
}

func (a StreamAck) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, a.Received)
	b = binary.BigEndian.AppendUint64(b, a.Limit)
	if a.Fin {
		return append(b, ackFin)
	}
	return append(b, 0)
}

// ParseAck parses the payload of an Ack or Resumed frame.
func ParseAck(p []byte) (StreamAck, error) {
	if len(p) != ackLen {
		return StreamAck{}, malformed("ack of %d bytes", len(p))
	}
	a := StreamAck{
		Received: binary.BigEndian.Uint64(p), Limit: binary.BigEndian.Uint64(p[8:]), Fin: p[16]&ackFin != 0,
	}
	if p[16]&^ackFin != 0 {
		return StreamAck{}, malformed("ack: unknown flags 0x%02x", p[16])
	}
	if a.Limit < a.Received {
		return StreamAck{}, malformed("ack: limit %d before %d received", a.Limit, a.Received)
	}
	return a, nil
}

// Resume asks the peer to go on with a stream on this carrier. The answer is
// Resumed, or Reset when the peer does not know the stream.
//
//	stream 16 bytes | received u64 | limit u64 | flags u8
type Resume struct {
	Stream StreamID
	Ack    StreamAck
}

// Append appends the frame to b.
func (r Resume) Append(b []byte) []byte {
	return appendFrame(b, TypeResume, func(b []byte) []byte {
		return r.Ack.append(append(b, r.Stream[:]...))
	})
}

// ParseResume parses the payload of a Resume frame.
func ParseResume(p []byte) (Resume, error) {
	if len(p) != resumeLen {
		return Resume{}, malformed("resume of %d bytes", len(p))
	}
	a, err := ParseAck(p[16:])
	if err != nil {
		return Resume{}, err
	}
	return Resume{Stream: StreamID(p[:16]), Ack: a}, nil
}

// ResetCode says why a stream ends before its end.
type ResetCode uint8

// The reasons of a Reset. Unknown ones reset the stream all the same.
const (
	ResetConnection ResetCode = 1 // the inner connection was reset or failed
	ResetUnknown    ResetCode = 2 // no such stream, the answer to Resume
	ResetTimedOut   ResetCode = 3 // it was not resumed in time
	ResetShutdown   ResetCode = 4 // the sender gives the stream up
	ResetProtocol   ResetCode = 5 // the receiver broke the rules of the stream
	ResetRefused    ResetCode = 6 // a speed test is not taken, or not now
)

// AppendReset appends a Reset frame to b; ParseNotice parses its payload.
func AppendReset(b []byte, code ResetCode, reason string) []byte {
	return appendNotice(b, TypeReset, uint8(code), reason)
}

// Want is the server's word to the client on how many carriers on which the
// server opens streams it wants in all; the client makes them.
//
//	carriers u16
type Want struct {
	Carriers uint16
}

// Append appends the frame to b.
func (w Want) Append(b []byte) []byte {
	return appendFrame(b, TypeWant, func(b []byte) []byte {
		return binary.BigEndian.AppendUint16(b, w.Carriers)
	})
}

// ParseWant parses the payload of a Want frame.
func ParseWant(p []byte) (Want, error) {
	c := cursor{b: p}
	w := Want{Carriers: c.u16("want carriers")}
	if err := c.end("want"); err != nil {
		return Want{}, err
	}
	return w, nil
}

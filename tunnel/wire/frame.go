// Package wire encodes and decodes what two braid peers say to each other.
//
// Everything here is a pure function of bytes: no I/O, no clock, no state.
// The normative text is docs/protocol.md; where the two differ, that text is
// right and this package has a bug.
//
// A carrier's byte stream, inside TLS, is a sequence of frames:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------+-----------------------------------------------+
//	|     type      |          length of the payload, bytes         |
//	+---------------+-----------------------------------------------+
//	|                         payload ...                           |
//
// All integers are big-endian, except in the virtio-net header, which is
// little-endian as in the virtio specification.
package wire

import (
	"errors"
	"fmt"
)

// Version is the protocol version that this package speaks. It is the first
// byte of Hello and Welcome, so that any two versions can tell each other
// apart whatever follows.
const Version = 2

// HeaderLen is the size of a frame header in bytes.
const HeaderLen = 4

// Type says what a frame's payload is.
type Type uint8

// The frame types of version 2. Types 0x20 to 0x2f are the stream lane's.
const (
	TypeHello   Type = 0x01
	TypeWelcome Type = 0x02
	TypeRefuse  Type = 0x03
	TypePing    Type = 0x04
	TypePong    Type = 0x05
	TypeClose   Type = 0x06
	TypeUplinks Type = 0x07
	TypePath    Type = 0x08
	TypeBacklog Type = 0x09
	TypeLosses  Type = 0x0a
	TypeProbe   Type = 0x0b
	TypeExamine Type = 0x0c
	TypeVitals  Type = 0x0d
	TypePacket  Type = 0x10
	TypeArrived Type = 0x11
	TypeOpen    Type = 0x20
	TypeOpened  Type = 0x21
	TypeData    Type = 0x22
	TypeFin     Type = 0x23
	TypeAck     Type = 0x24
	TypeReset   Type = 0x25
	TypeResume  Type = 0x26
	TypeResumed Type = 0x27
	TypeWant    Type = 0x28
	TypeTest    Type = 0x29
	TypeTally   Type = 0x2a
)

// MaxControlLen bounds the payload of every frame that is not a packet, in
// bytes. It holds the largest Welcome that the limits of hello.go allow.
const MaxControlLen = 16 << 10

// MaxPacketLen bounds the IP packet in a Packet frame, in bytes: the largest
// total length that an IP header can state for a super-packet.
const MaxPacketLen = 65535 + 40

// MaxPayloadLen is the largest payload of any frame, in bytes.
const MaxPayloadLen = MaxPacketHeadLen + VnetLen + MaxPacketLen

// ErrMalformed is wrapped by every error that a peer's bytes can cause. A
// carrier that brings such bytes is ended.
var ErrMalformed = errors.New("malformed")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w %s", ErrMalformed, fmt.Sprintf(format, args...))
}

var typeNames = map[Type]string{
	TypeHello: "hello", TypeWelcome: "welcome", TypeRefuse: "refuse",
	TypePing: "ping", TypePong: "pong", TypeClose: "close", TypeUplinks: "uplinks", TypePath: "path", TypeBacklog: "backlog", TypeLosses: "losses", TypeProbe: "probe", TypeExamine: "examine", TypeVitals: "vitals", TypePacket: "packet", TypeArrived: "arrived",
	TypeOpen: "open", TypeOpened: "opened", TypeData: "data", TypeFin: "fin",
	TypeAck: "ack", TypeReset: "reset", TypeResume: "resume", TypeResumed: "resumed",
	TypeWant: "want", TypeTest: "test", TypeTally: "tally",
}

// String returns the type's name in docs/protocol.md.
func (t Type) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return fmt.Sprintf("type 0x%02x", uint8(t))
}

// lengthLimits returns the smallest and the largest payload of a type, in
// bytes; ok is false for a type that this version does not know.
func lengthLimits(t Type) (low, high int, ok bool) {
	switch t {
	case TypePacket:
		return PacketHeadLen + VnetLen + minIPLen, MaxPayloadLen, true
	case TypeArrived:
		return arrivedLen, arrivedLen, true
	case TypePing, TypePong:
		return pingLen, pingLen, true
	case TypeBacklog:
		return backlogLen, backlogLen, true
	case TypePath:
		return 1, 1 + maxText, true
	case TypeProbe:
		return 0, MaxProbeLen, true
	case TypeExamine:
		return examineLen, examineLen, true
	case TypeVitals:
		return vitalsLen, vitalsLen + 12 + maxText, true
	case TypeLosses:
		return 2, MaxUplinks*(1+maxText+2) + 2, true
	case TypeUplinks:
		return 4 + 2, 4 + MaxUplinks*(2*(1+maxText)+3) + 2, true
	case TypeHello, TypeWelcome, TypeRefuse, TypeClose:
		return 1, MaxControlLen, true
	}
	return streamLimits(t)
}

// PutHeader writes a frame header into the first HeaderLen bytes of b.
func PutHeader(b []byte, t Type, payloadLen int) {
	_ = b[3]
	b[0] = byte(t)
	b[1] = byte(payloadLen >> 16)
	b[2] = byte(payloadLen >> 8)
	b[3] = byte(payloadLen)
}

// ParseHeader reads a frame header from the first HeaderLen bytes of b. It
// refuses unknown types and lengths that the type does not allow, so that a
// reader can trust the length before a byte of the payload has arrived.
func ParseHeader(b []byte) (t Type, payloadLen int, err error) {
	if len(b) < HeaderLen {
		return 0, 0, malformed("frame header of %d bytes", len(b))
	}
	t = Type(b[0])
	payloadLen = int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	low, high, ok := lengthLimits(t)
	if !ok {
		return t, payloadLen, malformed("frame of unknown type 0x%02x", b[0])
	}
	if payloadLen < low || payloadLen > high {
		return t, payloadLen, malformed("%v frame of %d bytes, want %d to %d", t, payloadLen, low, high)
	}
	return t, payloadLen, nil
}

// appendFrame appends header and payload; the payload is written by fill.
func appendFrame(b []byte, t Type, fill func([]byte) []byte) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = fill(b)
	PutHeader(b[start:], t, len(b)-start-HeaderLen)
	return b
}

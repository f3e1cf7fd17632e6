package wire

import "encoding/binary"

// RefuseCode says why a server does not welcome a client.
type RefuseCode uint8

// The reasons of a Refuse.
const (
	RefuseVersion  RefuseCode = 1 // the client speaks another version
	RefuseBusy     RefuseCode = 2 // a limit is reached; try again later
	RefuseShutdown RefuseCode = 3 // the server is going away; try again later
	RefuseSession  RefuseCode = 4 // it does not know the session that a carrier of streams is for
)

// CloseCode says why a carrier ends in order.
type CloseCode uint8

// The reasons of a Close.
const (
	CloseShutdown CloseCode = 1 // the sender's process ends
	CloseReplaced CloseCode = 2 // a newer carrier or session took its place
	CloseProtocol CloseCode = 3 // the receiver broke the protocol
	CloseRevoked  CloseCode = 4 // the server does not know the client any more
	CloseMoved    CloseCode = 5 // the client has other addresses or networks, which it learns by connecting again
)

// Notice is the payload of Refuse and Close.
//
//	code u8 | reason text
type Notice struct {
	Code   uint8
	Reason string // for people
}

// AppendRefuse appends a Refuse frame to b.
func AppendRefuse(b []byte, code RefuseCode, reason string) []byte {
	return appendNotice(b, TypeRefuse, uint8(code), reason)
}

// AppendClose appends a Close frame to b.
func AppendClose(b []byte, code CloseCode, reason string) []byte {
	return appendNotice(b, TypeClose, uint8(code), reason)
}

func appendNotice(b []byte, t Type, code uint8, reason string) []byte {
	return appendFrame(b, t, func(b []byte) []byte {
		return appendText(append(b, code), reason)
	})
}

// ParseNotice parses the payload of a Refuse or Close frame. Unknown codes
// are kept: the frame ends the carrier whatever the reason.
func ParseNotice(p []byte) (Notice, error) {
	c := cursor{b: p}
	n := Notice{Code: c.u8("notice code"), Reason: c.text("notice reason")}
	if err := c.end("notice"); err != nil {
		return Notice{}, err
	}
	return n, nil
}

const pingLen = 9

// Ping asks for a Pong with the same Stamp. Stamp means something to its
// sender only.
//
//	flags u8 | stamp u64
type Ping struct {
	Flags Flags
	Stamp uint64
}

// AppendPing appends a Ping frame to b.
func AppendPing(b []byte, p Ping) []byte { return appendPing(b, TypePing, p) }

// AppendPong appends a Pong frame to b.
func AppendPong(b []byte, p Ping) []byte { return appendPing(b, TypePong, p) }

func appendPing(b []byte, t Type, p Ping) []byte {
	var f [HeaderLen + pingLen]byte
	PutHeader(f[:], t, pingLen)
	f[HeaderLen] = byte(p.Flags)
	binary.BigEndian.PutUint64(f[HeaderLen+1:], p.Stamp)
	return append(b, f[:]...)
}

// ParsePing parses the payload of a Ping or Pong frame.
func ParsePing(p []byte) (Ping, error) {
	if len(p) != pingLen {
		return Ping{}, malformed("ping of %d bytes", len(p))
	}
	f := Flags(p[0])
	if f&^FlagMPTCP != 0 {
		return Ping{}, malformed("ping: unknown flags 0x%02x", p[0])
	}
	return Ping{Flags: f, Stamp: binary.BigEndian.Uint64(p[1:])}, nil
}

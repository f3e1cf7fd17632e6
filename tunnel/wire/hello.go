package wire

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
)

// SessionID names a session. The server draws it at random; it is no secret
// and grants nothing, since every carrier authenticates by key.
type SessionID [16]byte

// IsZero reports whether the id is the one that asks for a new session.
func (id SessionID) IsZero() bool { return id == SessionID{} }

// String returns the id in hexadecimal.
func (id SessionID) String() string { return hex.EncodeToString(id[:]) }

// Kind says what a carrier is for.
type Kind uint8

// The kinds of carriers.
const (
	KindPackets Kind = 1 // Packets; it begins the session and keeps it
	KindStreams Kind = 2 // streams that the client opens, one after the other
	KindReverse Kind = 3 // streams that the server opens, likewise
	KindPath    Kind = 4 // bound to one uplink, which it watches
	KindExamine Kind = 5 // asks how the server is and what the way does; no part of a session
)

// Features of Hello and Welcome.
const (
	// FeatureStreams, in Hello: the client takes streams; in Welcome: the
	// server does.
	FeatureStreams uint64 = 1 << 0
	// FeatureNetworks, in Hello: the client wants to know which networks the
	// server puts behind it; in Welcome: they follow.
	FeatureNetworks uint64 = 1 << 1
	// FeatureSpeedtest, in Welcome: the server takes part in speed tests.
	FeatureSpeedtest uint64 = 1 << 2
)

// Flags of Hello, Welcome, Ping and Pong.
type Flags uint8

const (
	// FlagMPTCP: the sender's kernel says that this connection is Multipath
	// TCP. A fallback may be seen by one side only, so each tells the other.
	FlagMPTCP Flags = 1 << 0
	// FlagResumed, in Welcome: the session that Hello named goes on.
	FlagResumed Flags = 1 << 1

	knownFlags = FlagMPTCP | FlagResumed
)

// Limits of the lists in Welcome.
const (
	MaxAddresses = 16
	MaxRoutes    = 256
	MaxDNS       = 8
)

// Hello is the first frame of a carrier, sent by the client.
//
//	version u8 | kind u8 | flags u8 | session 16 bytes | features u64 |
//	software text
type Hello struct {
	Kind     Kind
	Flags    Flags
	Session  SessionID // zero asks for a new session
	Features uint64    // unknown bits are ignored
	Software string    // for people: name and version
}

// Append appends the frame to b.
func (h Hello) Append(b []byte) []byte {
	return appendFrame(b, TypeHello, func(b []byte) []byte {
		b = append(b, Version, byte(h.Kind), byte(h.Flags))
		b = append(b, h.Session[:]...)
		b = binary.BigEndian.AppendUint64(b, h.Features)
		return appendText(b, h.Software)
	})
}

// VersionError says that the peer speaks another version of the protocol.
type VersionError struct{ Theirs uint8 }

func (e *VersionError) Error() string {
	return fmt.Sprintf("peer speaks protocol version %d, this braid speaks %d", e.Theirs, Version)
}

// ParseHello parses the payload of a Hello frame. The error is a
// *VersionError when the peer speaks another version, and wraps ErrMalformed
// otherwise.
func ParseHello(p []byte) (Hello, error) {
	c := cursor{b: p}
	if v := c.u8("hello version"); c.err == nil && v != Version {
		return Hello{}, &VersionError{Theirs: v}
	}
	var h Hello
	h.Kind = Kind(c.u8("hello kind"))
	h.Flags = Flags(c.u8("hello flags"))
	copy(h.Session[:], c.take(len(h.Session), "hello session"))
	h.Features = c.u64("hello features")
	h.Software = c.text("hello software")
	if c.err == nil && (h.Kind < KindPackets || h.Kind > KindExamine) {
		c.err = malformed("hello: unknown carrier kind %d", h.Kind)
	}
	if c.err == nil && h.Kind != KindPackets && h.Session.IsZero() != (h.Kind == KindExamine) {
		c.err = malformed("hello: a carrier of kind %d with session %v", h.Kind, h.Session)
	}
	if c.err == nil && h.Flags&^FlagMPTCP != 0 {
		c.err = malformed("hello: unknown flags 0x%02x", uint8(h.Flags))
	}
	if err := c.end("hello"); err != nil {
		return Hello{}, err
	}
	return h, nil
}

// Welcome is the server's answer to Hello. What it says of addresses, routes,
// DNS, MTU and networks replaces all that an earlier Welcome said.
//
//	version u8 | flags u8 | session 16 bytes | features u64 | mtu u16 |
//	addresses list of prefix | routes list of prefix | dns list of address |
//	software text [| networks list of prefix]
type Welcome struct {
	Flags     Flags
	Session   SessionID
	Features  uint64
	MTU       uint16         // of the tunnel device, bytes, 1280 and more
	Addresses []netip.Prefix // the client's, each with its tunnel range
	Routes    []netip.Prefix // networks behind the server that it offers
	DNS       []netip.Addr
	Software  string
	Networks  []netip.Prefix // behind the client; with FeatureNetworks alone
}

// Append appends the frame to b. Lists longer than their limits are the
// caller's mistake; the peer refuses them.
func (w Welcome) Append(b []byte) []byte {
	return appendFrame(b, TypeWelcome, func(b []byte) []byte {
		b = append(b, Version, byte(w.Flags))
		b = append(b, w.Session[:]...)
		b = binary.BigEndian.AppendUint64(b, w.Features)
		b = binary.BigEndian.AppendUint16(b, w.MTU)
		b = appendList(b, w.Addresses, appendPrefix)
		b = appendList(b, w.Routes, appendPrefix)
		b = appendList(b, w.DNS, appendAddr)
		b = appendText(b, w.Software)
		if w.Features&FeatureNetworks != 0 {
			b = appendList(b, w.Networks, appendPrefix)
		}
		return b
	})
}

// MinMTU is the smallest MTU of the tunnel device, bytes: IPv6's minimum
// (RFC 8200, section 5).
const MinMTU = 1280

// ParseWelcome parses the payload of a Welcome frame; errors are as for
// ParseHello.
func ParseWelcome(p []byte) (Welcome, error) {
	c := cursor{b: p}
	if v := c.u8("welcome version"); c.err == nil && v != Version {
		return Welcome{}, &VersionError{Theirs: v}
	}
	var w Welcome
	w.Flags = Flags(c.u8("welcome flags"))
	copy(w.Session[:], c.take(len(w.Session), "welcome session"))
	w.Features = c.u64("welcome features")
	w.MTU = c.u16("welcome mtu")
	w.Addresses = list(&c, MaxAddresses, "welcome addresses", c.prefix)
	w.Routes = list(&c, MaxRoutes, "welcome routes", c.prefix)
	w.DNS = list(&c, MaxDNS, "welcome dns", c.addr)
	w.Software = c.text("welcome software")
	if w.Features&FeatureNetworks != 0 {
		w.Networks = list(&c, MaxRoutes, "welcome networks", c.prefix)
	}
	if err := c.end("welcome"); err != nil {
		return Welcome{}, err
	}
	switch {
	case w.Flags&^knownFlags != 0:
		return Welcome{}, malformed("welcome: unknown flags 0x%02x", uint8(w.Flags))
	case w.Session.IsZero():
		return Welcome{}, malformed("welcome: no session")
	case w.MTU < MinMTU:
		return Welcome{}, malformed("welcome: mtu %d, at least %d", w.MTU, MinMTU)
	case len(w.Addresses) == 0:
		return Welcome{}, malformed("welcome: no address")
	}
	for _, r := range slices.Concat(w.Routes, w.Networks) {
		if r != r.Masked() {
			return Welcome{}, malformed("welcome: network %v has host bits", r)
		}
	}
	return w, nil
}

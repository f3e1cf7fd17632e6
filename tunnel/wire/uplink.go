package wire

import "encoding/binary"

// MaxUplinks is how many uplinks one Uplinks frame tells of.
const MaxUplinks = 16

// Path is the client's first word on a carrier of one uplink: that uplink's
// name.
//
//	name text
type Path struct{ Name string }

// Append appends the frame to b.
func (p Path) Append(b []byte) []byte {
	return appendFrame(b, TypePath, func(b []byte) []byte { return appendText(b, p.Name) })
}

// ParsePath parses the payload of a Path frame.
func ParsePath(b []byte) (Path, error) {
	c := cursor{b: b}
	p := Path{Name: c.text("path name")}
	return p, c.end("path")
}

// UplinkState is what a client has decided about one uplink. The numbers'
// meanings are in docs/protocol.md; unknown ones are kept.
type UplinkState struct {
	Name             string
	State, Role, Use uint8
	Reason           string // for people
}

// Uplinks is the client's word to the server on all of its uplinks. It
// replaces the ones with lower numbers: it is said on several carriers, of which
// one may be late.
//
//	number u32 | list of: name text | state u8 | role u8 | use u8 | reason text
type Uplinks struct {
	Number uint32 // of the session, growing
	List   []UplinkState
}

// Append appends the frame to b; what is beyond MaxUplinks is left out.
func (u Uplinks) Append(b []byte) []byte {
	return appendFrame(b, TypeUplinks, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, u.Number)
		return appendList(b, u.List[:min(len(u.List), MaxUplinks)], func(b []byte, s UplinkState) []byte {
			b = append(appendText(b, s.Name), s.State, s.Role, s.Use)
			return appendText(b, s.Reason)
		})
	})
}

// ParseUplinks parses the payload of an Uplinks frame.
func ParseUplinks(b []byte) (Uplinks, error) {
	c := cursor{b: b}
	u := Uplinks{Number: c.u32("uplinks number"), List: list(&c, MaxUplinks, "uplinks", func(what string) UplinkState {
		return UplinkState{
			Name: c.text(what), State: c.u8(what), Role: c.u8(what), Use: c.u8(what), Reason: c.text(what),
		}
	})}
	if err := c.end("uplinks"); err != nil {
		return Uplinks{}, err
	}
	return u, nil
}

const backlogLen = 4

// Backlog is the server's word to a client that has uplinks for overflow: how
// much waits at the server because the uplinks take no more.
//
//	bytes u32
type Backlog struct{ Bytes uint32 }

// Append appends the frame to b.
func (l Backlog) Append(b []byte) []byte {
	return appendFrame(b, TypeBacklog, func(b []byte) []byte { return binary.BigEndian.AppendUint32(b, l.Bytes) })
}

// ParseBacklog parses the payload of a Backlog frame.
func ParseBacklog(b []byte) (Backlog, error) {
	if len(b) != backlogLen {
		return Backlog{}, malformed("backlog of %d bytes", len(b))
	}
	return Backlog{Bytes: binary.BigEndian.Uint32(b)}, nil
}

// UplinkLoss is what the server loses on one uplink of a client.
type UplinkLoss struct {
	Name string
	Lost uint16 // of ten thousand segments
}

// Losses is the server's word on what it loses on the way to a client, which
// cannot see it. It replaces the one before.
//
//	list of: name text | lost u16
type Losses struct{ List []UplinkLoss }

// Append appends the frame to b; what is beyond MaxUplinks is left out.
func (l Losses) Append(b []byte) []byte {
	return appendFrame(b, TypeLosses, func(b []byte) []byte {
		return appendList(b, l.List[:min(len(l.List), MaxUplinks)], func(b []byte, u UplinkLoss) []byte {
			return binary.BigEndian.AppendUint16(appendText(b, u.Name), u.Lost)
		})
	})
}

// ParseLosses parses the payload of a Losses frame.
func ParseLosses(b []byte) (Losses, error) {
	c := cursor{b: b}
	l := Losses{List: list(&c, MaxUplinks, "losses", func(what string) UplinkLoss {
		return UplinkLoss{Name: c.text(what), Lost: c.u16(what)}
	})}
	if err := c.end("losses"); err != nil {
		return Losses{}, err
	}
	return l, nil
}

// MaxProbeLen bounds the padding of a Probe, in bytes.
const MaxProbeLen = 1400

// AppendProbe appends a Probe frame with so many bytes of padding to b: none is
// the client's question on a path carrier.
func AppendProbe(b []byte, padding int) []byte {
	return appendFrame(b, TypeProbe, func(b []byte) []byte { return append(b, make([]byte, padding)...) })
}

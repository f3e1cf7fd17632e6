package wire

import (
	"encoding/binary"
	"net/netip"
	"time"
)

const examineLen = 4

// Examine asks on a carrier of KindExamine for so many bytes of padding in
// Probes, and then for Vitals.
//
//	bytes u32
type Examine struct{ Bytes uint32 }

// Append appends the frame to b.
func (e Examine) Append(b []byte) []byte {
	return appendFrame(b, TypeExamine, func(b []byte) []byte { return binary.BigEndian.AppendUint32(b, e.Bytes) })
}

// ParseExamine parses the payload of an Examine frame.
func ParseExamine(b []byte) (Examine, error) {
	if len(b) != examineLen {
		return Examine{}, malformed("examine of %d bytes", len(b))
	}
	return Examine{Bytes: binary.BigEndian.Uint32(b)}, nil
}

// vitalsLen is a Vitals with an IPv4 address, and without software.
const vitalsLen = 8 + 1 + 5 + 2 + 4*4 + 1

// Vitals is what a server tells of itself, and of the connection on which it does.
//
//	time u64 | flags u8 | seen endpoint | sent u32 | lost u32 | streams u32 |
//	most streams u32 | software text
type Vitals struct {
	Time  time.Time // the server's clock, to the microsecond
	Flags Flags
	// Seen is where the client's connection comes from, as the server sees it.
	Seen netip.AddrPort
	// Sent is how many segments of this connection the server's kernel has sent,
	// Lost how many of them it had to send again.
	Sent, Lost uint32
	// Streams of this client that are open now, and may be.
	Streams, MostStreams uint32
	Software             string // for people: name and version
}

// Append appends the frame to b.
func (v Vitals) Append(b []byte) []byte {
	return appendFrame(b, TypeVitals, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint64(b, uint64(v.Time.UnixMicro()))
		b = append(b, byte(v.Flags))
		b = binary.BigEndian.AppendUint16(appendAddr(b, v.Seen.Addr()), v.Seen.Port())
		for _, n := range []uint32{v.Sent, v.Lost, v.Streams, v.MostStreams} {
			b = binary.BigEndian.AppendUint32(b, n)
		}
		return appendText(b, v.Software)
	})
}

// ParseVitals parses the payload of a Vitals frame.
func ParseVitals(p []byte) (Vitals, error) {
	c := cursor{b: p}
	v := Vitals{Time: time.UnixMicro(int64(c.u64("vitals time"))).UTC(), Flags: Flags(c.u8("vitals flags"))}
	v.Seen = netip.AddrPortFrom(c.addr("vitals seen"), c.u16("vitals seen"))
	v.Sent, v.Lost = c.u32("vitals sent"), c.u32("vitals lost")
	v.Streams, v.MostStreams = c.u32("vitals streams"), c.u32("vitals most streams")
	v.Software = c.text("vitals software")
	if c.err == nil && v.Flags&^FlagMPTCP != 0 {
		c.err = malformed("vitals: unknown flags 0x%02x", uint8(v.Flags))
	}
	if err := c.end("vitals"); err != nil {
		return Vitals{}, err
	}
	return v, nil
}

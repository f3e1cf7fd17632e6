package wire

import (
	"encoding/binary"
	"time"
)

// MaxTestTime is the longest speed test that one Test can ask for.
const MaxTestTime = time.Minute

// Lengths of payloads in bytes.
const (
	testLen  = 1 + 4
	tallyLen = 4 * 8
)

// Test asks the server to take part in a speed test. The client sends it in place
// of an Open, on a carrier on which it opens streams.
//
//	direction u8 | milliseconds u32
//
// direction: 0 the server sends, 1 the client does.
type Test struct {
	Up  bool          // the client sends
	For time.Duration // whole milliseconds, 1 to MaxTestTime
}

const testUp = 1

// Append appends the frame to b.
func (t Test) Append(b []byte) []byte {
	return appendFrame(b, TypeTest, func(b []byte) []byte {
		var direction byte
		if t.Up {
			direction = testUp
		}
		return binary.BigEndian.AppendUint32(append(b, direction), uint32(t.For.Milliseconds()))
	})
}

// ParseTest parses the payload of a Test frame.
func ParseTest(p []byte) (Test, error) {
	c := cursor{b: p}
	direction, ms := c.u8("test direction"), c.u32("test time")
	if err := c.end("test"); err != nil {
		return Test{}, err
	}
	t := Test{Up: direction == testUp, For: time.Duration(ms) * time.Millisecond}
	switch {
	case direction > testUp:
		return Test{}, malformed("test: unknown direction %d", direction)
	case t.For < time.Millisecond || t.For > MaxTestTime:
		return Test{}, malformed("test: %d milliseconds, want 1 to %d", ms, MaxTestTime.Milliseconds())
	}
	return t, nil
}

// Tally is the server's word on a speed test so far. All counts begin with the
// Test.
//
//	bytes u64 | microseconds u64 | segments u64 | again u64
type Tally struct {
	Bytes uint64        // of Data, that came or were sent
	At    time.Duration // whole microseconds: when the last of them did
	// Segments that the server's kernel sent, and how many of them again.
	Segments, Again uint64
}

// Append appends the frame to b.
func (t Tally) Append(b []byte) []byte {
	return appendFrame(b, TypeTally, func(b []byte) []byte {
		for _, n := range [...]uint64{t.Bytes, uint64(t.At.Microseconds()), t.Segments, t.Again} {
			b = binary.BigEndian.AppendUint64(b, n)
		}
		return b
	})
}

// maxTallyAt is far beyond any test, and not beyond what a Duration holds.
const maxTallyAt = 24 * time.Hour

// ParseTally parses the payload of a Tally frame.
func ParseTally(p []byte) (Tally, error) {
	c := cursor{b: p}
	t := Tally{Bytes: c.u64("tally bytes")}
	at := c.u64("tally time")
	t.Segments, t.Again = c.u64("tally segments"), c.u64("tally again")
	if err := c.end("tally"); err != nil {
		return Tally{}, err
	}
	if at > uint64(maxTallyAt.Microseconds()) {
		return Tally{}, malformed("tally: %d microseconds", at)
	}
	t.At = time.Duration(at) * time.Microsecond
	return t, nil
}

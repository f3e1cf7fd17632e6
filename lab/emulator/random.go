package emulator

import "math/rand/v2"

// Streams of randomness that one seed feeds. They are apart so that changing
// one property of a link leaves the draws of the others as they were.
const (
	streamLoss uint64 = iota + 1
	streamReorder
	streamJitter
)

func newRandom(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }

// losses draws the fate of one packet after the other.
type losses struct {
	random *rand.Rand
	bad    bool // state of the Gilbert-Elliott chain
}

func (l *losses) lose(s Loss) bool {
	lost := s.Random > 0 && l.random.Float64() < s.Random
	if s.P == 0 {
		l.bad = false
		return lost
	}
	if l.bad {
		l.bad = l.random.Float64() >= s.R
	} else {
		l.bad = l.random.Float64() < s.P
	}
	return lost || l.bad
}

// wander is the offset of the delay at a time, in ns within ±jitter: a straight
// line between random points 2×jitter apart. Its slope lies within ±1, so the
// arrival time, time plus offset, never runs backwards.
func wander(seed uint64, at, jitter int64) int64 {
	span := 2 * jitter
	i := at / span
	from, to := knot(seed, i, jitter), knot(seed, i+1, jitter)
	return int64(from + (to-from)*float64(at-i*span)/float64(span))
}

// knot is the i-th random point: a pure function of its arguments, so that the
// delay at a time does not depend on which packets asked before.
func knot(seed uint64, i, jitter int64) float64 {
	// SplitMix64's finaliser: neighbouring inputs give unrelated outputs.
	z := seed + streamJitter + uint64(i)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	unit := float64(z>>11) / (1 << 53)
	return (2*unit - 1) * float64(jitter)
}

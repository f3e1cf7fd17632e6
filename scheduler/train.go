package scheduler

import "time"

const (
	// TrainFrames of TrainBytes each are a train. Written at once they are two
	// records of TLS, of which the second follows the end of the first on the
	// line, also where a closed window parts the first.
	TrainFrames = 24
	TrainBytes  = 1000

	// Frames that come within trainGap came in one piece: they were together
	// in a record, or the reader was late.
	trainGap = 200 * time.Microsecond
	// trainLeast bytes take long enough to be timed.
	trainLeast = 4 * TrainBytes
)

// Train tells an uplink's rate from frames that were sent at once, by how far
// apart they arrive: the slowest link on the way spreads them (C. Dovrolis,
// P. Ramanathan, D. Moore, "What do packet dispersion techniques measure?",
// INFOCOM 2001). It is no more than a first guess, for a few kilobytes: other
// traffic makes it too low.
//
// The zero value waits for the first frame.
type Train struct {
	frames   int
	last     time.Time
	bytes    int // of what came until last, of this piece
	piece    int
	best     BitRate
	previous struct {
		at    time.Time
		bytes int
	}
}

// Add takes a frame's arrival. It reports whether that was the last one.
func (t *Train) Add(now time.Time, bytes int) (done bool) {
	if t.frames > 0 && now.Sub(t.last) > trainGap {
		t.close()
	}
	t.frames++
	t.bytes += bytes
	t.last = now
	if t.frames < TrainFrames {
		return false
	}
	t.close()
	return true
}

// close ends a piece that came at once, and compares it with the one before.
func (t *Train) close() {
	p := &t.previous
	if t.piece++; t.piece > 1 {
		if took := t.last.Sub(p.at); t.bytes-p.bytes >= trainLeast {
			t.best = max(t.best, BitRate(8*float64(t.bytes-p.bytes)/took.Seconds()))
		} else {
			return // too short: it counts with the next
		}
	}
	p.at, p.bytes = t.last, t.bytes
}

// Rate is the guess; 0: there is none, because everything came at once.
func (t *Train) Rate() BitRate { return t.best }

package scheduler

import "time"

const (
	// maxBeats is how many unanswered beats are remembered: three seconds at
	// the quick pace. What decides is the oldest, so those that find no
	// place are not missed.
	maxBeats = 64

	// stampSlack is how far a time computed from a round trip may be from
	// the time of the beat: stamps may count in microseconds.
	stampSlack = time.Millisecond
)

// beats are the unanswered ones, oldest first.
type beats struct {
	sent     [maxBeats]time.Time
	first, n int
}

func (b *beats) push(t time.Time) {
	if b.n < maxBeats {
		b.sent[(b.first+b.n)%maxBeats] = t
		b.n++
	}
}

// oldest is meaningful when n > 0.
func (b *beats) oldest() time.Time { return b.sent[b.first] }

// second is the one after the oldest, meaningful when n > 1.
func (b *beats) second() time.Time { return b.sent[(b.first+1)%maxBeats] }

// answered removes the beat of that time and all before it, since a carrier
// keeps the order. It reports whether there was such a beat.
func (b *beats) answered(sent time.Time) bool {
	known := false
	for b.n > 0 && !b.oldest().After(sent.Add(stampSlack)) {
		known = !b.oldest().Before(sent.Add(-stampSlack))
		b.first = (b.first + 1) % maxBeats
		b.n--
	}
	return known
}

func (b *beats) forget() { b.first, b.n = 0, 0 }

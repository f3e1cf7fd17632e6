package tunnel

import (
	"slices"
	"sync"
	"time"
)

// SpeedLatency is how long packets took over an uplink and back.
type SpeedLatency struct {
	P50, Worst time.Duration
	Beats      int // heartbeats that were answered in time; 0: nothing is known
}

// beatLog keeps the round trips of heartbeats while a speed test runs.
type beatLog struct {
	mu      sync.Mutex // guards what follows
	watched map[string][]loggedBeat
}

type loggedBeat struct {
	sent time.Time
	took time.Duration
}

// beatsLogged bounds what is kept of each uplink: beats of more than ten minutes.
const beatsLogged = 16 << 10

// watch begins anew with these uplinks; none ends it.
func (b *beatLog) watch(uplinks []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watched = nil
	if len(uplinks) == 0 {
		return
	}
	b.watched = make(map[string][]loggedBeat, len(uplinks))
	for _, name := range uplinks {
		b.watched[name] = nil
	}
}

// watches reports whether an uplink's round trips are wanted, whatever it is used
// for.
func (b *beatLog) watches(uplink string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.watched[uplink]
	return ok
}

// add takes the answer to a beat.
func (b *beatLog) add(uplink string, sent time.Time, took time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if list, ok := b.watched[uplink]; ok && len(list) < beatsLogged {
		b.watched[uplink] = append(list, loggedBeat{sent, took})
	}
}

// since sums up, for each uplink, the beats that were sent between two times.
func (b *beatLog) since(from, to time.Time) map[string]SpeedLatency {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[string]SpeedLatency, len(b.watched))
	for name, list := range b.watched {
		var took []time.Duration
		for _, x := range list {
			if !x.sent.Before(from) && x.sent.Before(to) {
				took = append(took, x.took)
			}
		}
		if len(took) == 0 {
			continue
		}
		slices.Sort(took)
		all[name] = SpeedLatency{P50: took[len(took)/2], Worst: took[len(took)-1], Beats: len(took)}
	}
	return all
}

package policy

import "time"

// minRTT sends all packets on the path with the shortest round trip, whatever
// waits there.
type minRTT struct {
	choice choice
	id     int
	chosen bool
}

// shorter is by what part a round trip must be shorter to be the better one:
// smoothed ones waver by that much.
const shorter = 0.1

func (m *minRTT) Pick(_ time.Time, p Packet, paths []Path, dst []int) []int {
	dst = dst[:0]
	paths = m.choice.of(paths, p.Class)
	if len(paths) == 0 {
		return dst
	}
	best := 0
	for i := range paths {
		if paths[i].roundTrip() < paths[best].roundTrip() {
			best = i
		}
	}
	if m.chosen {
		now := find(paths, m.id)
		if now >= 0 && float64(paths[best].roundTrip()) > (1-shorter)*float64(paths[now].roundTrip()) {
			best = now
		}
	}
	m.id, m.chosen = paths[best].ID, true
	return append(dst, m.id)
}

package policy

import "time"

// redundant sends every packet on all paths, those that stand by included:
// whoever asks for it wants nothing lost.
type redundant struct{}

func (redundant) Pick(_ time.Time, _ Packet, paths []Path, dst []int) []int {
	dst = dst[:0]
	paths = paths[:min(len(paths), maxPaths)]
	if len(paths) == 0 {
		return dst
	}
	// The one that arrives first carries the packet, so that it is not the
	// packet that seems to be late.
	first := 0
	for i := range paths {
		a, b := &paths[i], &paths[first]
		if a.Standby == b.Standby && a.arrival() < b.arrival() || !a.Standby && b.Standby {
			first = i
		}
	}
	dst = append(dst, paths[first].ID)
	for i := range paths {
		if i != first {
			dst = append(dst, paths[i].ID)
		}
	}
	return dst
}

package scheduler

import "time"

const (
	// pathLossLeast losses tell, if they are one of lossyPart segments or more: a
	// wire loses one of many thousands.
	pathLossLeast = 2
	lossyPart     = 500
	// pathLossKept is after how many segments half of all is forgotten.
	pathLossKept = 4000
	// pathLossQuiet after a queue was seen, what was lost in it has been sent again.
	pathLossQuiet = time.Second
)

// PathLoss finds out whether a path loses segments though it has no queue, as
// radio does. What a queue loses that is full is no sign of that: it is how a
// sender that looks for the path's rate learns of it.
//
// The zero value is ready.
type PathLoss struct {
	segments, again uint64 // at the last Add
	sent, lost      float64
	queued          time.Time
	lossy           bool
}

// Add takes how many segments were sent since the path's connection began, how
// many of them again, and whether there is a queue now. It reports whether the
// path is one that loses, and once it is it remains so.
func (l *PathLoss) Add(now time.Time, segments, again uint64, queue bool) bool {
	sent, lost := segments-min(segments, l.segments), again-min(again, l.again)
	l.segments, l.again = segments, again
	if queue {
		l.queued = now
	}
	if l.lossy || !l.queued.IsZero() && now.Sub(l.queued) < pathLossQuiet {
		return l.lossy
	}
	l.sent += float64(sent)
	l.lost += float64(lost)
	l.lossy = l.lost >= pathLossLeast && l.lost*lossyPart >= l.sent
	if l.sent > pathLossKept {
		l.sent, l.lost = l.sent/2, l.lost/2
	}
	return l.lossy
}

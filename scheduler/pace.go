package scheduler

import "time"

const (
	// QuickPace is between beats while there is something to lose: two that
	// stay away tell a black hole from a lost one within 100 ms. It costs
	// 4.8 kB/s for each uplink (BeatBytes), so an uplink that stands by is
	// judged by its own traffic, not by that of others.
	QuickPace = 50 * time.Millisecond

	// IdlePace is between the beats of an uplink on which nothing moves, by
	// default. TCP mappings of NATs last for minutes.
	IdlePace = 2 * time.Minute

	// BeatBytes is about what a beat costs on the wire, both ways: frame and
	// TLS record, 35 bytes, in two segments, and an acknowledgement, with
	// the headers of TCP and IPv4 (IPv6: 290). An idle uplink has 22,000 beats a
	// month at IdlePace: 5 MB.
	BeatBytes = 240

	trafficTime = time.Second // the quick pace goes on for so long after traffic
	firstPause  = 2 * QuickPace
)

// Pace decides when beats are due. The zero value is ready.
type Pace struct {
	// Idle is the longest between beats, from a tenth of a second to an
	// hour; 0 means IdlePace.
	Idle time.Duration
}

// Next returns how long after now the next beat of an uplink is due; 0 is now.
// lastBeat and lastTraffic are the times of the last beat and of the last
// bytes, other than beats, that the uplink carried; either may be zero. quick
// is Health.Quick: while it finds something out, beats do not rest.
//
// A beat that is only unanswered does not hurry: with a round trip above 50 ms
// there would always be one. Once its answer is overdue the uplink is late,
// and so quick; Health.Deadline says when.
func (p Pace) Next(now, lastBeat, lastTraffic time.Time, quick bool) time.Duration {
	pause := p.pause(now, lastBeat, lastTraffic, quick)
	return min(max(lastBeat.Add(pause).Sub(now), 0), pause)
}

func (p Pace) pause(now, lastBeat, lastTraffic time.Time, quick bool) time.Duration {
	if quick || now.Sub(lastTraffic) < trafficTime {
		return QuickPace
	}
	longest := p.Idle
	if longest == 0 {
		longest = IdlePace
	}
	longest = min(max(longest, firstPause), time.Hour)
	// Pauses that double from the end of the traffic on reach, each, about
	// as far as all before them.
	idle := lastBeat.Sub(lastTraffic) - trafficTime
	pause := firstPause
	for pause < longest && 2*pause <= idle+firstPause {
		pause *= 2
	}
	return min(pause, longest)
}

// Redial returns how long to wait between attempts to connect over an uplink
// that has been dead for so long. urgent is that all uplinks are dead and
// there is something to send.
//
// An attempt on a dead uplink costs its SYN: at the slowest, with IPv6, 7 MB a
// month.
func Redial(dead time.Duration, urgent bool) time.Duration {
	switch {
	case urgent || dead < 10*time.Second:
		return 250 * time.Millisecond
	case dead < time.Minute:
		return time.Second
	case dead < 10*time.Minute:
		return 5 * time.Second
	}
	return 30 * time.Second
}

package tunnel

import (
	"slices"
	"time"
)

// A kernel gives each subflow as much as it believes to take as long as the
// others, what is on its way included. So a near uplink has a queue in the
// sender's kernel that is as long as the way of a far one. When the far one
// dies, what it carried is sent again behind that queue: half a second later
// where the round trips are 30 and 200 ms. A stream that goes on by another link
// leaves the queue behind, and costs a round trip and a slow start.
//
//	uplink lost ─ joinLink: behind ─ syncLinks ─ leaveBehind ─▶ another link
const (
	// behindFactor round trips of the nearest uplink, and behindLeast, are what
	// another link costs.
	behindFactor = 3
	behindLeast  = 20 * time.Millisecond
)

// fallsBehind reports whether a transfer that active carried goes on sooner by
// another link, now that only left can be used.
func (c *Client) fallsBehind(active []string, left []Uplink) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var near, far time.Duration
	for _, u := range c.usage.uplinks {
		remains := slices.ContainsFunc(left, func(o Uplink) bool { return o.Name == u.Uplink })
		switch {
		case u.RTT == 0 || !slices.Contains(active, u.Uplink):
		case !remains:
			far = max(far, u.RTT)
		case near == 0 || u.RTT < near:
			near = u.RTT
		}
	}
	return near > 0 && far > near+behindFactor*near+behindLeast
}

// leaveBehind moves the streams of links that have fallen behind. Those that the
// peer opened stay.
func (l *lane) leaveBehind() {
	for _, s := range l.all() {
		if k, ok := s.relay.Link().(*link); ok && k.behind.Swap(false) && s.out {
			l.move(s, rankLost)
		}
	}
}

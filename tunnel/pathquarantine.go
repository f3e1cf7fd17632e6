package tunnel

import (
	"time"

	"braid/scheduler"
)

// quarantine leaves out the uplinks of the bond with which no transfer is
// through sooner. What Spread leaves out of each transfer would not be tried
// again when it has become better; what is in quarantine is.
func (k *pathKeeper) quarantine(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var judged []*path
	var rx, tx []scheduler.Line
	for _, p := range k.paths {
		if works := p.health.State() == scheduler.Up || p.health.State() == scheduler.Late; works && p.present && p.role(now) == scheduler.Bond {
			in, out := k.c.linesOf(p.uplink.Name)
			if rtt := p.health.RTT().Min; rtt > 0 { // without the queue of what is under way
				in.RTT, out.RTT = rtt, rtt
			}
			judged, rx, tx = append(judged, p), append(rx, in), append(tx, out)
		} else {
			k.leaveOut(p, now, true, "")
		}
	}
	for i, p := range judged {
		use, why := scheduler.Useful(rx, i)
		if use && rx[i].Rate <= 0 || !use && tx[i].Rate > 0 { // the other direction is to say it
			var up string
			if use, up = scheduler.Useful(tx, i); why == "" {
				why = up
			}
		}
		k.leaveOut(p, now, use, why)
	}
}

// leaveOut is quarantine for one uplink.
func (k *pathKeeper) leaveOut(p *path, now time.Time, use bool, why string) {
	was := p.shown()
	out, again := p.out.Step(now, use, why)
	if again {
		k.c.forgetCapacity(p.uplink.Name)
	}
	switch is := p.shown(); {
	case is == was:
	case out:
		k.note(p, scheduler.Transition{At: now, From: was, To: is, Reason: p.out.Reason(now)})
		k.poke()
	case was == scheduler.Quarantined && is != scheduler.Dead:
		reason := "it is of use again"
		if again {
			reason = "it is tried again"
		}
		k.note(p, scheduler.Transition{At: now, From: was, To: is, Reason: reason})
		k.poke()
	}
}

// shown is the state with quarantine.
func (p *path) shown() scheduler.State {
	s := p.health.State()
	if p.out.Out() && (s == scheduler.Up || s == scheduler.Late) {
		return scheduler.Quarantined
	}
	return s
}

// reason is that of the state that is shown.
func (p *path) reason(now time.Time) string {
	if p.shown() == scheduler.Quarantined {
		return p.out.Reason(now)
	}
	return p.health.Reason()
}

// linesOf returns what is known of an uplink, both ways.
func (c *Client) linesOf(name string) (in, out scheduler.Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.usage.line(name, true), c.usage.line(name, false)
}

func (c *Client) forgetCapacity(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if up := c.usage.uplinks[name]; up != nil {
		up.rx, up.tx = scheduler.Capacity{}, scheduler.Capacity{}
	}
}

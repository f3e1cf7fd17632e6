package tunnel

import (
	"time"

	"braid/scheduler"
	"braid/tunnel/wire"
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
		use, why := scheduler.Useful(rx, i) // also where nothing is known
		if !use && tx[i].Rate > 0 {
			use, _ = scheduler.Useful(tx, i)
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
		if p.car != nil {
			k.c.askTrain(p.uplink.Name, p.car)
		}
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

// hearTrains takes from how the frames that askTrain asks for arrive what the
// uplink may carry. It is for the time until something large went over it: a thin
// uplink, tried with data that somebody waits for, makes him wait for seconds.
func (c *Client) hearTrains(uplink string, car *carrier) {
	var train scheduler.Train
	var best scheduler.BitRate
	trains := 0
	car.hear.probe = func(n int) error {
		if !train.Add(time.Now(), n) {
			return nil
		}
		if trains++; trains%guessTrains == 1 {
			best = 0
		}
		best = max(best, train.Rate())
		train = scheduler.Train{}
		c.guessCapacity(uplink, best)
		if trains%guessTrains != 0 {
			return car.control(wire.AppendProbe(nil, 0))
		}
		return nil
	}
}

// askTrain asks for them, where nothing is known.
func (c *Client) askTrain(uplink string, car *carrier) {
	c.mu.Lock()
	_, guessed := c.usage.guesses[uplink]
	c.mu.Unlock()
	if !guessed {
		_ = car.control(wire.AppendProbe(nil, 0)) // a carrier that takes nothing ends by itself
	}
}

// guessTrains is how many trains tell: one may have met other traffic.
const guessTrains = 2

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
	delete(c.usage.guesses, name)
}

func (c *Client) guessCapacity(name string, rate scheduler.BitRate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.usage.guesses == nil {
		c.usage.guesses = map[string]scheduler.BitRate{}
	}
	c.usage.guesses[name] = rate
	c.Log.Debug("an uplink's rate is guessed", "uplink", name, "rate", rate)
}

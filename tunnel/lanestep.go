package tunnel

import "time"

// step looks after the links: it finds those that are silent, moves streams
// away from them, and answers for those that nobody reads. One goroutine calls
// it, every livenessTick.
func (l *lane) step() {
	for _, s := range l.all() {
		k, ok := s.relay.Link().(*link)
		if !ok {
			continue
		}
		switch l.judge(k, askRarely) {
		case linkSuspect:
			if s.out {
				l.doubtIdle()
				l.move(s, rankLost)
			}
		case linkFine:
			if s.out && k.old() {
				l.move(s, 0)
			}
		}
		s.meter.sample(s.relay.Stats(), k, time.Now())
	}
	if l.steps++; l.steps%coolSteps == 0 {
		l.pool.cool()
		l.forgetEnded(time.Now())
	}
	l.stepIdle()
}

// doubtIdle closes the idle links that were not heard lately. What has silenced
// one link has most likely silenced them too, and a stream that tries one after
// the other is late; what is dialled anew is known to work.
func (l *lane) doubtIdle() {
	for range l.pool.counts().idle {
		k := l.pool.takeIdle()
		if k == nil {
			return
		}
		if k.silentFor() > askAfter+suspectAfter || !l.pool.add(k) {
			k.Close()
		}
	}
}

// lateOpens is how long after a stream's end an Open of it may come: on a
// carrier that hung, until somebody gave it up.
const lateOpens = time.Minute

func (l *lane) forgetEnded(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, at := range l.ended {
		if now.Sub(at) > lateOpens {
			delete(l.ended, id)
		}
	}
}

// coolSteps is how many steps a burst's memory lasts before a quarter of it
// fades: some five seconds.
const coolSteps = 20

// surplusSteps is how long too many links may be idle, some ten seconds: a
// link that was used is worth more than a new one.
const surplusSteps = 40

// unasked is how long a link may be silent on which streams are opened here: the
// other side asks it at least every askIdle. A kernel's connection can live on
// without any path to the peer, and then says nothing of it.
const unasked = 2*askIdle + time.Minute

// forgotten reports whether a link that is drained was not asked for too long.
func (k *link) forgotten() bool { return k.cork.polls && k.silentFor() > unasked }

// silentFor is how long ago anything came.
func (k *link) silentFor() time.Duration { return time.Since(k.start) - time.Duration(k.heard.Load()) }

// stepIdle is step for links without a stream.
func (l *lane) stepIdle() {
	busy := l.busy()
	n := l.pool.counts()
	if n.surplus() <= 0 {
		l.surplus = 0
	} else {
		l.surplus++
	}
	for range n.idle {
		k := l.pool.takeIdle()
		if k == nil {
			break
		}
		busy[k] = true
		if err := k.drain(); err != nil {
			l.endLink(k, err)
			continue
		}
		spare := l.surplus > surplusSteps && l.pool.counts().idle > n.target
		if k.old() || spare || k.forgotten() || !l.pool.add(k) {
			k.Close()
		}
	}
	for _, k := range l.allLinks() {
		// It waits for the peer to open a stream; or serves a speed test, which ends soon.
		if !busy[k] && !l.pool.has(k) && !k.trial.Load() {
			l.judge(k, askIdle)
		}
	}
}

// judge asks a link that is quiet, and closes one that is dead.
func (l *lane) judge(k *link, rarely time.Duration) linkAction {
	a := k.judge(rarely)
	switch a {
	case linkAsk:
		k.ask()
	case linkSuspect:
		// It may be the kernel that waits for room: out-of-order data of
		// unequal paths has filled the receive buffer (docs/design.md).
		if !k.raised {
			k.raised = true
			k.conn.RaiseReceiveBuffer()
		}
	case linkDead:
		l.endLink(k, errSilent)
	}
	return a
}

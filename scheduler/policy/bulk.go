package policy

import (
	"time"

	"braid/scheduler/queue"
)

// line is what Auto remembers of a path.
type line struct {
	id    int
	at    time.Time // of delay
	delay float64   // that the queue makes, smoothed, seconds
	rate  float64   // bits per second, a guess where it is unknown

	flows int     // bulk flows pinned to it that send
	load  float64 // what they send, bits per second
}

const (
	// delaySmoothed is over how long the delay is averaged: longer than TCP's
	// sawtooth on a queue that CoDel keeps short.
	delaySmoothed = 200 * time.Millisecond

	// countEvery is how often flows are counted anew, as that looks at all.
	countEvery = 100 * time.Millisecond
	// activeFor is how long a flow that is silent counts as one that sends.
	activeFor = time.Second

	// filled is the queue's delay from which on a path counts as full, seconds:
	// CoDel's target.
	filled = 0.005
	// crowded is the delay at which a path is worth half, seconds.
	crowded = 0.1

	// paysGain is by what factor a flow must gain to leave a full path; rates
	// are not known better.
	paysGain = 1.25
	// alonePays is that factor for a flow that has a path for itself and would share
	// a full one: what it leaves nobody uses, and others lose what it wins.
	alonePays = 4
	// A flow that does not itself fill its path leaves a queue so many times as
	// long as the other path's, and so many seconds.
	behindFactor, behindDelay = 3, 0.02

	// A move costs the flow a fit of disorder, which TCP takes for loss and makes
	// up within seconds. So it must have paid for a second first; for twice as
	// long with each move that follows within a minute; and only one flow moves
	// at a time, or all that saw room would go there together.
	leastPatience, mostPatience = time.Second, 30 * time.Second
	forgivenAfter               = time.Minute
	betweenMoves                = 500 * time.Millisecond
)

// observe brings the lines in the order of the paths, and takes in what is new.
func (a *Auto) observe(now time.Time, paths []Path) {
	if now.Equal(a.observed) && a.inOrder(paths) {
		return // the next packet of a batch: no time has passed
	}
	a.observed = now
	best := bestRate(paths)
	for i := range paths {
		p := &paths[i]
		if i >= a.known || a.lines[i].id != p.ID {
			a.bring(i, p.ID)
		}
		l := &a.lines[i]
		l.rate = rateOr(p, best)
		delay := p.queueDelay().Seconds()
		if l.at.IsZero() {
			l.delay = delay
		} else if passed := now.Sub(l.at); passed > 0 {
			l.delay += (delay - l.delay) * min(1, float64(passed)/float64(delaySmoothed))
		}
		l.at = now
	}
}

// inOrder says whether the first lines are those of the paths.
func (a *Auto) inOrder(paths []Path) bool {
	if len(paths) > a.known {
		return false
	}
	for i := range paths {
		if a.lines[i].id != paths[i].ID {
			return false
		}
	}
	return true
}

// bring puts the line of an ID at index i, behind which it is, if it is known.
func (a *Auto) bring(i, id int) {
	for j := i + 1; j < a.known; j++ {
		if a.lines[j].id == id {
			a.lines[i], a.lines[j] = a.lines[j], a.lines[i]
			return
		}
	}
	if a.known < maxPaths {
		a.known++
	}
	a.lines[a.known-1] = a.lines[i]
	a.lines[i] = line{id: id}
	a.counted = time.Time{}
}

// bulk returns the index of the path for a packet of a bulk flow.
func (a *Auto) bulk(now time.Time, f *flow, paths []Path) int {
	i := -1
	if f.placed {
		i = find(paths, f.path)
	}
	if i >= 0 && f.expected > 0 {
		if to := a.pays(now, f, i, len(paths)); to != i {
			f.patience = min(2*f.patience, mostPatience)
			a.moved = now
			a.pin(now, f, to)
			return to
		}
		return i
	}
	a.count(now)
	to := a.spacious(i, len(paths))
	if f.patience == 0 {
		f.patience = leastPatience
	}
	a.pin(now, f, to)
	return to
}

// pin puts a flow on the line at index i.
func (a *Auto) pin(now time.Time, f *flow, i int) {
	l := &a.lines[i]
	f.expected = l.spare()
	f.placed, f.path, f.moved, f.better = true, l.id, now, time.Time{}
	l.flows++
	l.load += f.load(now)
}

// load is what a bulk flow sends, bits per second; what it is expected to,
// while it is new on its path.
func (f *flow) load(now time.Time) float64 {
	if now.Sub(f.moved) < activeFor {
		return max(f.expected, f.meter.rate)
	}
	return f.meter.rate
}

// count counts bulk flows and what they send, now and then.
func (a *Auto) count(now time.Time) {
	if !a.counted.IsZero() && now.Sub(a.counted) < countEvery {
		return
	}
	a.counted = now
	lines := a.lines[:a.known]
	for i := range lines {
		lines[i].flows, lines[i].load = 0, 0
	}
	a.flows.Each(func(f *flow) {
		if f.class != queue.Bulk || f.expected == 0 || now.Sub(f.meter.last) > activeFor {
			return
		}
		for i := range lines {
			if lines[i].id == f.path {
				lines[i].flows++
				lines[i].load += f.load(now)
				return
			}
		}
	})
}

// spare is what one more flow would get of a line: what is left, or an equal
// share where all is taken, bits per second.
func (l *line) spare() float64 {
	return max(l.rate-l.load, l.rate/float64(l.flows+1))
}

// spacious returns the index of the line with the most room. The one at index
// i, if there is one, is kept when others have hardly more.
func (a *Auto) spacious(i, paths int) int {
	best, most := 0, 0.0
	for j := range a.lines[:paths] {
		l := &a.lines[j]
		room := l.spare() / (1 + l.delay/crowded)
		if j == i {
			room *= paysGain
		}
		if room > most*(1+1e-9) {
			best, most = j, room
		}
	}
	return best
}

// pays returns the index of the line to which a bulk flow should move now from
// the one at index i: i if it should not.
func (a *Auto) pays(now time.Time, f *flow, i, paths int) int {
	own := &a.lines[i]
	if own.delay < filled {
		f.better = time.Time{}
		return i
	}
	a.count(now)
	sent := f.load(now)
	got := sent
	if own.load > own.rate {
		got *= own.rate / own.load
	}
	to, most := i, 0.0
	for j := range a.lines[:paths] {
		if j == i {
			continue
		}
		l := &a.lines[j]
		if l.delay >= filled && l.load < l.rate/2 {
			continue // others than our flows fill it, and what they leave is unknown
		}
		room := l.spare()
		gain := paysGain
		if own.flows == 1 && l.rate-l.load < paysGain*got {
			gain = alonePays
		}
		full := room >= gain*got
		behind := own.delay > behindFactor*l.delay+behindDelay && sent <= own.rate/2 && room >= paysGain*sent
		if (full || behind) && room > most {
			to, most = j, room
		}
	}
	if to == i {
		f.better = time.Time{}
		return i
	}
	if f.better.IsZero() {
		f.better = now
	}
	if now.Sub(f.moved) > forgivenAfter {
		f.patience = leastPatience
	}
	if now.Sub(f.better) < f.patience || now.Sub(a.moved) < betweenMoves {
		return i
	}
	own.flows--
	own.load -= sent
	return to
}

package top

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"braid/control"
)

const (
	// keepRates is more than the widest graph shows.
	keepRates = 2*graphSpan + 10*time.Second
	// keepCounts is what packets per second are told from: long enough that the
	// figure can be read, short enough that it is now.
	keepCounts = 3 * time.Second
)

// past is what an uplink, a client or a session did of late, the oldest first.
type past struct {
	rates  []rates
	counts []counts
}

func (p past) clone() past {
	return past{slices.Clone(p.rates), slices.Clone(p.counts)}
}

// rates are of one moment, in bits per second, as the daemon tells them: received
// and sent.
type rates struct {
	at  time.Time
	bps [2]float64
}

// counts are of packets since the session began: of sparse flows, of bulk, and
// copies.
type counts struct {
	at time.Time
	n  [3]uint64
}

// take adds a status to what is known.
func (s *seen) take(t Told) {
	s.at, s.status = t.At, t.Status
	switch status := t.Status.(type) {
	case *control.Client:
		s.link("", t.At, status.Uplinks, &status.PacketLane)
	case *control.Server:
		for i := range status.Clients {
			c := &status.Clients[i]
			s.link(c.Name, t.At, c.Uplinks, &c.PacketLane)
		}
	}
	maps.DeleteFunc(s.past, func(_ string, p past) bool { // of what is gone
		return len(p.rates) == 0 || t.At.Sub(p.rates[len(p.rates)-1].at) > keepRates
	})
}

// link adds what a session does, of the client of that name: "" on a client.
func (s *seen) link(client string, at time.Time, uplinks []control.Uplink, lane *control.PacketLane) {
	for i := range uplinks {
		key := uplinkKey(client, uplinks[i].Interface)
		if _, known := s.order[key]; !known {
			s.order[key] = len(s.order)
		}
	}
	slices.SortStableFunc(uplinks, func(a, b control.Uplink) int {
		return cmp.Compare(s.order[uplinkKey(client, a.Interface)], s.order[uplinkKey(client, b.Interface)])
	})
	var all rates
	for i := range uplinks {
		r := rates{at, [2]float64{uplinks[i].RxBps, uplinks[i].TxBps}}
		all.bps[0] += r.bps[0]
		all.bps[1] += r.bps[1]
		key := uplinkKey(client, uplinks[i].Interface)
		p := s.past[key]
		p.add(r)
		s.past[key] = p
	}
	all.at = at
	p := s.past[clientKey(client)]
	p.add(all)
	p.count(counts{at, [3]uint64{lane.Sparse.Packets, lane.Bulk.Packets, lane.CopiesAtOnce.Sent + lane.CopiesAgain.Sent}})
	s.past[clientKey(client)] = p
}

// Keys of seen.past. No name of an interface or a client has a NUL.
func clientKey(client string) string         { return client + "\x00" }
func uplinkKey(client, uplink string) string { return client + "\x00" + uplink }

func (p *past) add(r rates) {
	old := 0
	for old < len(p.rates) && r.at.Sub(p.rates[old].at) > keepRates {
		old++
	}
	p.rates = append(slices.Delete(p.rates, 0, old), r)
}

func (p *past) count(c counts) {
	if n := len(p.counts); n > 0 && slices.ContainsFunc([]int{0, 1, 2}, func(i int) bool { return c.n[i] < p.counts[n-1].n[i] }) {
		p.counts = p.counts[:0] // a new session
	}
	old := 0
	for old+1 < len(p.counts) && c.at.Sub(p.counts[old].at) > keepCounts {
		old++
	}
	p.counts = append(slices.Delete(p.counts, 0, old), c)
}

// perSecond is how many packets there were a second, of late.
func (p *past) perSecond() (n [3]float64) {
	if len(p.counts) < 2 {
		return n
	}
	first, last := p.counts[0], p.counts[len(p.counts)-1]
	for i := range n {
		n[i] = float64(last.n[i]-first.n[i]) / last.at.Sub(first.at).Seconds()
	}
	return n
}

// bars are the highest rates of n steps up to now, the latest last; of a step
// without any it is that before, for as long as a status may take, then 0. Steps
// are those of the clock, or the same graph would look different each time.
func (p *past) bars(way, n int, step time.Duration, now time.Time) []float64 {
	bars := make([]float64, n)
	told := make([]bool, n)
	latest := now.UnixNano() / int64(step)
	for _, r := range p.rates {
		if at := n - 1 - int(latest-r.at.UnixNano()/int64(step)); at >= 0 && at < n && !r.at.After(now) {
			bars[at], told[at] = max(bars[at], r.bps[way]), true
		}
	}
	patience := int(max(2*time.Second/step, 1))
	since := patience + 1 // steps since one had a rate
	for i := range bars {
		if told[i] {
			since = 0
		} else if since++; since <= patience {
			bars[i] = bars[i-1]
		}
	}
	return bars
}

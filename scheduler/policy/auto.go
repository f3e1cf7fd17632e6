package policy

import (
	"hash/maphash"
	"time"

	"braid/scheduler/queue"
)

// Auto gives sparse flows the path on which they arrive first, with a copy of
// the thinnest on a second one, and pins bulk flows.
type Auto struct {
	hedge  *Hedge
	choice choice
	flows  *queue.Table[flow]

	lines    [maxPaths]line // the first are those of the paths of this Pick of a bulk flow
	known    int            // how many lines say something
	observed time.Time      // when they were last brought up to date
	counted  time.Time      // when bulk flows were counted
	moved    time.Time      // when one was moved because it paid
}

// flow is what is remembered of a flow.
type flow struct {
	path   int // ID
	placed bool
	class  queue.Class
	meter  meter

	// better is since when another path has been better; zero is not.
	better time.Time
	moved  time.Time // when it was last moved

	patience time.Duration // of a bulk flow, before the next move
	expected float64       // rate of a bulk flow when it was pinned, bits per second; 0 is not pinned
}

// NewAuto makes an Auto. The Hedge may be shared with whoever sends again what
// is late, and with other policies of the session: the budget is one.
func NewAuto(seed maphash.Seed, h *Hedge) *Auto {
	return &Auto{hedge: h, flows: queue.NewTable[flow](maxFlows, seed)}
}

// Hedge returns the one that it was made with.
func (a *Auto) Hedge() *Hedge { return a.hedge }

// Pick is Policy's.
func (a *Auto) Pick(now time.Time, p Packet, paths []Path, dst []int) []int {
	dst = dst[:0]
	paths = a.choice.of(paths, p.Class)
	if len(paths) == 0 {
		return dst
	}
	f, _ := a.flows.GetHashed(&p.Key, &p.Hash)
	rested := now.Sub(f.meter.last) > restingFlow
	if f.class != p.Class {
		f.class, f.better, f.expected = p.Class, time.Time{}, 0
	}
	f.meter.add(now, p.Bytes)
	if p.Class == queue.Bulk {
		if rested {
			f.expected = 0
		}
		a.observe(now, paths) // not for sparse ones, which wait for less
		i := a.bulk(now, f, paths)
		return append(dst, paths[i].ID)
	}

	i := f.sparse(now, paths, rested)
	dst = append(dst, paths[i].ID)
	if len(paths) > 1 && f.isThin(&p) {
		second := earliest(paths, i)
		if paths[second].arrival()-paths[i].arrival() <= uselessAfter && a.hedge.Allow(now, AtOnce, p.Bytes, paths) {
			dst = append(dst, paths[second].ID)
		}
	}
	return dst
}

// restingFlow is after how much silence a flow chooses anew: nothing of it is
// under way that could be overtaken.
const restingFlow = time.Second

// Of the thinnest flows: calls, DNS, games. A call has 80 kb/s and packets of
// 220 bytes, a game 64 or 128 packets a second of some 200.
const (
	thinBytes = 400
	thinRate  = 320e3 // bits per second

	// Who asks for expedited forwarding may have a little more.
	urgentBytes = 1600
	urgentRate  = 640e3

	// uselessAfter is how much later a copy may arrive than the packet: after
	// that those who talk have noticed anyhow.
	uselessAfter = 300 * time.Millisecond
)

// isThin says whether a sparse flow is thin enough for copies.
func (f *flow) isThin(p *Packet) bool {
	if p.DSCP == 46 || p.DSCP == 44 { // EF (RFC 3246), VA (RFC 5865)
		return p.Bytes <= urgentBytes && f.meter.rate <= urgentRate
	}
	return p.Bytes <= thinBytes && f.meter.rate <= thinRate
}

// meter measures what a flow sends.
type meter struct {
	since time.Time // of the window
	last  time.Time // that it sent
	bytes int       // in the window
	rate  float64   // bits per second; 0 is not known yet
}

// meterWindow is what is averaged: long enough for super-packets on a slow
// link, some 50 ms each.
const meterWindow = 200 * time.Millisecond

func (m *meter) add(now time.Time, bytes int) {
	m.last = now
	if m.since.IsZero() {
		m.since = now
	}
	if d := now.Sub(m.since); d >= meterWindow {
		rate := float64(m.bytes) * 8 / d.Seconds()
		if m.rate > 0 && d < 2*meterWindow {
			rate = (m.rate + rate) / 2
		}
		m.rate, m.bytes, m.since = rate, 0, now
	}
	m.bytes += max(bytes, 0)
}

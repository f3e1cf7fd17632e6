package tunnel

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"braid/scheduler"
)

// A kernel's MPTCP scheduler fills all subflows alike, whatever their round trips
// and rates: with nothing queued a keystroke, or the answer to an Open, goes
// over whichever has its last acknowledgement, and the last part of a page comes
// when the slowest has brought what it was given. So a link begins thin: one
// uplink carries it and the others are its backups, joined and ready. Each time
// that what its stream has moved has doubled it is asked again with which
// uplinks what is expected is there soonest (scheduler.Spread), and it is thin
// again when it is quiet. While it moves much the ticker asks, too: what is known
// of the uplinks changes.
//
//	thin ── thinBytes without a quiet tick ──▶ level 1 ── as much again ──▶ level 2 …
//	  ▲──────────────────────── quietTicks ◀───────────────────────────────────┘

const (
	// thinBytes is more than most of a page's objects have.
	thinBytes = 64 << 10
	// thinExpects is what a link is made ready for at first, bytes.
	thinExpects = 32 << 10
	// A stream that has moved something is expected to move as much again, and
	// growthExpected times that on top, but that no more than growthMost bytes:
	// what goes on for long does not have to go on several times as long.
	growthExpected = 3.5
	growthMost     = 32e6
	// quietBytes in a tick of livenessTick is a person typing, or less.
	quietBytes = 2 << 10
	quietTicks = 4
)

// growth is what a link knows of how much its stream moves.
type growth struct {
	level  atomic.Int32  // doublings beyond thinBytes, and one; 0: thin
	mark   atomic.Uint64 // bytes when it last was quiet
	markIn atomic.Uint64 // of them came in

	// Of the ticker:
	ticked uint64 // bytes at the last tick
	quiet  int    // ticks in a row
}

func (g *growth) thin() bool { return g.level.Load() == 0 }

// count notes bytes that a client's link has moved, total in all, and tells
// whether they are so many more that it should be asked again.
func (g *growth) count(total uint64) bool {
	moved := total - g.mark.Load()
	level := g.level.Load()
	return moved > thinBytes<<level && level < maxLevel && g.level.CompareAndSwap(level, level+1)
}

// maxLevel is beyond what anybody moves, and below where thinBytes overflows.
const maxLevel = 32

// countIn and countOut note bytes of frames.
func (l *link) countIn(n int) {
	l.bytesIn.Add(uint64(n))
	l.grow(l.bytes.Add(uint64(n)))
}

func (l *link) countOut(n int) { l.grow(l.bytes.Add(uint64(n))) }

func (l *link) grow(total uint64) {
	if l.widen == nil || !l.growth.count(total) {
		return
	}
	l.ctl.Lock()
	defer l.ctl.Unlock()
	if !l.ctl.closed {
		l.lacking.Store(0)
		l.widen(l)
	}
}

// expects is what is likely still to come, bytes, and in which direction.
func (l *link) expects() (bytes float64, in bool) {
	if l.growth.thin() {
		return thinExpects, true
	}
	moved := l.bytes.Load() - l.growth.mark.Load()
	came := l.bytesIn.Load() - l.growth.markIn.Load()
	return float64(moved) + min(growthExpected*float64(moved), growthMost), 2*came >= moved
}

// tick notes quiet times; true: the link has become thin.
func (l *link) tick() bool {
	g := &l.growth
	total := l.bytes.Load()
	moved := total - g.ticked
	g.ticked = total
	if moved > quietBytes {
		g.quiet = 0
		return false
	}
	g.mark.Store(total)
	g.markIn.Store(l.bytesIn.Load())
	g.quiet++
	return g.quiet >= quietTicks && g.level.Swap(0) != 0
}

// thinOut makes links thin that have become quiet, and tries again where the
// last change of a link's subflows had to wait: for a join over a slow uplink,
// whose flag can be set only then.
func (c *Client) thinOut(l *lane) {
	sharing := l.busyLinks(nil)
	for _, k := range l.allLinks() {
		again := k.lacking.Load()
		if k.tick() || again > 0 && again < lackingMost || c.outgrown(k, sharing) {
			_ = c.joinLink(k)
		}
	}
}

// outgrown reports whether a link that moves much is better carried by others
// than now.
func (c *Client) outgrown(k *link, sharing int) bool {
	if k.growth.thin() {
		return false
	}
	if !k.joining.TryLock() { // it is being asked
		return false
	}
	defer k.joining.Unlock()
	bytes, in := k.expects()
	return !slices.Equal(c.spread(c.preferred(), bytes, in, k.active, sharing), k.active)
}

// lackingMost ticks are longer than a join takes. What is missing then is
// left to syncLinks, which comes less often.
const lackingMost = 40

// joinLink brings a link's subflows in step with the uplinks. The error says
// what is missing still.
func (c *Client) joinLink(k *link) error {
	k.joining.Lock()
	defer k.joining.Unlock()
	uplinks := c.preferred()
	if len(k.only) > 0 {
		uplinks = onlyThese(uplinks, k.only)
	}
	warm := k.active
	if k.growth.thin() {
		warm = nil
	}
	bytes, in := k.expects()
	if !k.growth.thin() && c.fallsBehind(k.active, uplinks) {
		k.behind.Store(true)
	}
	k.active = c.spread(uplinks, bytes, in, warm, c.sharing(k))
	err := k.conn.SetUplinks(uplinks)
	if err == nil {
		k.lacking.Store(0)
	} else if k.lacking.Add(1) == 1 {
		c.Log.Debug("subflow missing", "carrier", k.number, "error", err)
	}
	return err
}

// onlyThese returns the uplinks with these names, none of them a backup: a speed
// test tries what stands by, too, when it is told to.
func onlyThese(uplinks []Uplink, names []string) []Uplink {
	uplinks = slices.DeleteFunc(uplinks, func(u Uplink) bool { return !slices.Contains(names, u.Name) })
	for i := range uplinks {
		uplinks[i].Backup = false
	}
	return uplinks
}

// joinThin does it for what is no link yet. What is missing comes later.
func (c *Client) joinThin(conn Conn) {
	uplinks := c.preferred()
	c.spread(uplinks, thinExpects, true, nil, 1)
	_ = conn.SetUplinks(uplinks)
}

// spread marks as backups those of the uplinks with which bytes would not be
// there sooner, and returns the names of the others. warm are those that carry
// the stream until now.
func (c *Client) spread(uplinks []Uplink, bytes float64, in bool, warm []string, sharing int) (active []string) {
	lines := c.lines(uplinks, in)
	for i := range lines {
		lines[i].Warm = slices.Contains(warm, uplinks[i].Name)
	}
	set := scheduler.Spread(lines, bytes, sharing)
	for i := range lines {
		if set.Has(i) {
			active = append(active, uplinks[i].Name)
		} else {
			uplinks[i].Backup = true
		}
	}
	return active
}

// lines returns what is known of those uplinks that are no backups, which are
// the first.
func (c *Client) lines(uplinks []Uplink, in bool) []scheduler.Line {
	c.mu.Lock()
	defer c.mu.Unlock()
	var lines []scheduler.Line
	for _, u := range uplinks {
		if u.Backup {
			break
		}
		lines = append(lines, c.usage.line(u.Name, in))
	}
	return lines
}

// sharing is how many links move much at this time, k among them.
func (c *Client) sharing(k *link) int {
	if l := c.streams(); l != nil {
		return 1 + l.busyLinks(k)
	}
	return 1
}

// busyLinks is how many links but one move much.
func (l *lane) busyLinks(but *link) (n int) {
	for _, k := range l.allLinks() {
		if k != but && !k.growth.thin() {
			n++
		}
	}
	return n
}

// rttStep is what round trips must differ by to change the order of uplinks.
const rttStep = 5 * time.Millisecond

// preferred returns the uplinks that carriers may use, the quickest first,
// those without a subflow last, and behind them the backups. The order changes
// only for a full step, so that flags do not flip.
func (c *Client) preferred() []Uplink {
	c.mu.Lock()
	defer c.mu.Unlock()
	rtt := func(u Uplink) time.Duration {
		if known := c.usage.uplinks[u.Name]; known != nil && known.Subflows > 0 && known.RTT > 0 {
			return known.RTT
		}
		return math.MaxInt64
	}
	place := func(u Uplink) int {
		if i := slices.Index(c.order, u.Name); i >= 0 {
			return i
		}
		return len(c.order) // new: behind the others
	}
	uplinks := slices.Clone(c.uplinks)
	slices.SortStableFunc(uplinks, func(a, b Uplink) int { return cmp.Compare(place(a), place(b)) })
	for i := range uplinks {
		best := i
		for j := i + 1; j < len(uplinks); j++ {
			if rtt(uplinks[j]) < rtt(uplinks[best]) {
				best = j
			}
		}
		if u := uplinks[best]; rtt(uplinks[i])-rtt(u) >= rttStep {
			uplinks = slices.Insert(slices.Delete(uplinks, best, best+1), i, u)
		}
	}
	c.order = c.order[:0]
	for _, u := range uplinks {
		c.order = append(c.order, u.Name)
	}
	backup := func(u Uplink) bool { return u.Backup }
	active := slices.DeleteFunc(slices.Clone(uplinks), backup)
	return append(active, slices.DeleteFunc(uplinks, func(u Uplink) bool { return !backup(u) })...)
}

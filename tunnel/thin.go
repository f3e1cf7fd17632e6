package tunnel

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// A kernel's MPTCP scheduler ignores round trips: with nothing queued a
// keystroke, or the answer to an Open, goes over whichever subflow has its
// last acknowledgement, and half of them take the slow one. So a link begins
// thin: the quickest uplink carries it and the others are its backups, joined
// and ready. It becomes wide when a stream moves something, and thin again when
// it is quiet.
//
//	thin ── thinBytes without a quiet tick ──▶ wide ── quietTicks ──▶ thin

const (
	// thinBytes is more than a page's smaller objects, which one uplink
	// brings as soon as two do, and little beside what gains from two.
	thinBytes = 128 << 10
	// quietBytes in a tick of livenessTick is a person typing, or less.
	quietBytes = 2 << 10
	quietTicks = 4
)

// thinTick is what the ticker knows of a link.
type thinTick struct {
	bytes uint64
	quiet int // ticks in a row
}

// count notes bytes, and makes a thin link wide when they are many.
func (l *link) count(n int) {
	total := l.bytes.Add(uint64(n))
	if l.widen != nil && total-l.mark.Load() > thinBytes && l.thin.Load() && l.thin.CompareAndSwap(true, false) {
		l.ctl.Lock()
		defer l.ctl.Unlock()
		if !l.ctl.closed {
			l.lacking.Store(0)
			l.widen(l)
		}
	}
}

// tick notes quiet times; true: the link has become thin.
func (l *link) tick() bool {
	total := l.bytes.Load()
	moved := total - l.still.bytes
	l.still.bytes = total
	if moved > quietBytes {
		l.still.quiet = 0
		return false
	}
	l.mark.Store(total)
	l.still.quiet++
	return l.still.quiet >= quietTicks && l.thin.CompareAndSwap(false, true)
}

// thinOut makes links thin that have become quiet, and tries again where the
// last change of a link's subflows had to wait: for a join over a slow uplink,
// whose flag can be set only then.
func (c *Client) thinOut(l *lane) {
	for _, k := range l.allLinks() {
		again := k.lacking.Load()
		if k.tick() || again > 0 && again < lackingMost {
			_ = c.joinLink(k)
		}
	}
}

// lackingMost ticks are longer than a join takes. What is missing then is
// left to syncLinks, which comes less often.
const lackingMost = 40

// joinLink brings a link's subflows in step with the uplinks. The error says
// what is missing still.
func (c *Client) joinLink(k *link) error {
	k.joining.Lock()
	defer k.joining.Unlock()
	err := c.join(k.conn, k.thin.Load())
	if err == nil {
		k.lacking.Store(0)
	} else if k.lacking.Add(1) == 1 {
		c.Log.Debug("subflow missing", "carrier", k.number, "error", err)
	}
	return err
}

// join brings a connection's subflows in step with the uplinks.
func (c *Client) join(conn Conn, thin bool) error {
	uplinks := c.preferred()
	for i := 1; i < len(uplinks) && thin; i++ { // backups are last
		uplinks[i].Backup = true
	}
	return conn.SetUplinks(uplinks)
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

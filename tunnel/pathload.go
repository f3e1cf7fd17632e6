package tunnel

import (
	"strings"
	"time"

	"braid/scheduler"
	"braid/tunnel/wire"
)

// What the keeper learns of how much the uplinks carry: whether those for
// overflow are needed, and what is left of a month's cap.

const (
	// backlogBytes wait unsent on subflows whose uplinks take no more. Less is
	// a write that is just being sent.
	backlogBytes = 64 << 10
	// backlogKept is how long the server's word holds: it comes again every
	// livenessTick.
	backlogKept = 3 * livenessTick
)

// pathLoad is what the uplinks carried when last looked at.
type pathLoad struct {
	at      time.Time
	carried map[string]UplinkUsage // by the uplink's name
	waiting time.Time              // when the server last said that it has a backlog
}

// unsent is what waits on subflows.
func unsent(list []Subflow) (bytes uint64) {
	for _, f := range list {
		if !f.Trial {
			bytes += f.NotSent
		}
	}
	return bytes
}

// serverBacklog takes the server's word.
func (k *pathKeeper) serverBacklog(bytes uint32) {
	if bytes < backlogBytes {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.load.waiting = time.Now()
}

// serverLosses takes what the server says it loses on the uplinks.
func (c *Client) serverLosses(l wire.Losses) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.usage.hearLosses(l)
}

// appendSubflows appends the path carriers' own.
func (k *pathKeeper) appendSubflows(dst []Subflow) []Subflow {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.paths {
		if p.car == nil {
			continue
		}
		dst = p.car.appendPath(dst)
	}
	return dst
}

// appendPath appends the flow of a path carrier, of which it learns whether the
// path loses segments. One goroutine at a time calls it.
func (c *carrier) appendPath(dst []Subflow) []Subflow {
	n := len(dst)
	if list, err := c.conn.AppendSubflows(dst); err == nil {
		dst = list
	}
	for i := n; i < len(dst); i++ {
		f := &dst[i]
		f.Path = true
		if !c.lossy && c.loss.Add(time.Now(), f.TxSegments, f.Retransmission, f.wait() > 0) {
			c.lossy = true
			_ = c.conn.SetPurpose(ForLossyPath) // it goes on as it is
		}
	}
	return dst
}

// movingSubflows implements calmLinks.
func (c *Client) movingSubflows(dst []Subflow) []Subflow {
	return c.paths.appendSubflows(c.streams().moving(dst))
}

// limitPath implements calmLinks.
func (c *Client) limitPath(uplink string, rate scheduler.BitRate) {
	k := c.paths
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.paths {
		if p.uplink.Name == uplink && p.car != nil {
			p.car.packets.limit(rate)
		}
	}
}

// wantsLoad reports whether anything depends on carried.
func (k *pathKeeper) wantsLoad() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.overflowsLocked()
}

func (k *pathKeeper) overflowsLocked() bool {
	for _, p := range k.paths {
		if p.uplink.Role == scheduler.Overflow || p.cap != nil && p.uplink.Role == scheduler.Bond {
			return true
		}
	}
	return false
}

// carried takes what the uplinks have carried until now, and whether data waits
// unsent at this end.
func (k *pathKeeper) carried(now time.Time, list []UplinkUsage, backlog bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.load
	l := pathLoad{at: now, carried: make(map[string]UplinkUsage, len(list)), waiting: was.waiting}
	for _, u := range list {
		l.carried[u.Uplink] = u
	}
	k.load = l
	in := scheduler.OverflowInput{TxBacklog: backlog, RxBacklog: now.Sub(l.waiting) < backlogKept}
	elapsed := now.Sub(was.at).Seconds()
	var names []string
	for _, p := range k.paths {
		name := p.uplink.Name
		if p.car != nil {
			u := l.carried[name]
			p.car.packets.tellLine(&u)
		}
		before, after := was.carried[name], l.carried[name]
		if p.cap != nil {
			p.cap.Add(now, grown(before.WireBytes, after.WireBytes))
		}
		if was.at.IsZero() || elapsed <= 0 {
			continue
		}
		rates := &in.Overflow
		if p.role(now) == scheduler.Bond {
			rates = &in.Bond
			if p.use == scheduler.Active {
				names = append(names, name)
			}
		}
		rates.Rx += scheduler.BitRate(8 * float64(grown(before.RxBytes, after.RxBytes)) / elapsed)
		rates.Tx += scheduler.BitRate(8 * float64(grown(before.TxBytes, after.TxBytes)) / elapsed)
	}
	in.Names = strings.Join(names, ", ")
	if k.overflowsLocked() && k.overflow.Step(now, in) {
		k.c.Log.Info("overflow", "engaged", k.overflow.Engaged(), "reason", k.overflow.Reason())
		k.poke()
	}
}

// grown is how much a counter has grown that begins anew when its uplink was
// forgotten.
func grown(before, after uint64) uint64 { return after - min(before, after) }

// overflowing tells whether overflow uplinks are used, and why; without any
// there is no reason.
func (k *pathKeeper) overflowing() (bool, string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.overflowsLocked() {
		return false, ""
	}
	return k.overflow.Engaged(), k.overflow.Reason()
}

// role is what the cap leaves of the uplink's role.
func (p *path) role(now time.Time) scheduler.Role {
	return scheduler.Uplink{Role: p.uplink.Role, Cap: p.capLevel(now)}.Effective()
}

func (p *path) capLevel(now time.Time) scheduler.CapLevel {
	if p.cap == nil {
		return scheduler.CapFree
	}
	return p.cap.Level(now)
}

// setCap begins to count, or goes on with another limit.
func (k *pathKeeper) setCap(p *path, limit uint64, now time.Time) {
	switch {
	case limit == 0:
		p.cap = nil
	case p.cap == nil || p.uplink.CapBytes != limit:
		was := scheduler.CapRecord{}
		if p.cap != nil {
			was = p.cap.Snapshot()
		} else if k.c.CapUsed != nil {
			was = k.c.CapUsed(p.uplink.Name)
		}
		p.cap = scheduler.NewCap(limit, nil)
		if err := p.cap.Restore(now, was); err != nil {
			k.c.Log.Warn("what an uplink has carried this month is not known: counting begins anew", "uplink", p.uplink.Name, "error", err)
		}
	}
}

// CapUse is what a capped uplink has carried this month.
type CapUse struct {
	scheduler.CapStatus
	Record scheduler.CapRecord // to be kept over restarts
}

// Caps returns the capped uplinks' use by name; any goroutine may call it.
func (c *Client) Caps() map[string]CapUse {
	k := c.paths
	k.mu.Lock()
	defer k.mu.Unlock()
	m := map[string]CapUse{}
	for _, p := range k.paths {
		if p.cap != nil {
			m[p.uplink.Name] = CapUse{p.cap.Status(time.Now()), p.cap.Snapshot()}
		}
	}
	return m
}

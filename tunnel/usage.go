package tunnel

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"braid/scheduler"
	"braid/tunnel/wire"
)

// usageWindow is the time constant of rates and loss, so that a table that a
// person watches is neither nervous nor late.
const usageWindow = time.Second

// UplinkUsage is what one uplink carried since the session began.
type UplinkUsage struct {
	Uplink           string // name, or the peer's address where no name is known
	Subflows         int    // alive now, without the path carrier
	RTT              time.Duration
	LossPct          float64 // of segments sent, smoothed
	RxBytes, TxBytes uint64  // TCP payload of all subflows and path carriers so far
	RxBps, TxBps     float64 // bits per second, smoothed
	// DeliverRx and DeliverTx are the most that it delivered in the last ten
	// minutes (scheduler.Delivery); 0: not known.
	DeliverRx, DeliverTx scheduler.BitRate
	WireBytes            uint64 // both ways, with headers and repetitions, about

	rx, tx scheduler.Capacity
	loss   scheduler.Loss // of what this end sends
	rxLoss float64        // of what the peer sends, as it says, 0 to 1
}

// usage adds up subflow counters per uplink over the lives of subflows. It is
// pure: the time is an argument, and the caller locks.
type usage struct {
	last    map[subflowKey]Subflow
	uplinks map[string]*UplinkUsage
	deliver map[string]*delivery
	seen    map[string]time.Time // when an uplink last had a subflow
	at      time.Time
	guesses map[string]scheduler.BitRate // of what the peer can send, by uplink
}

// delivery is what an uplink delivers both ways.
type delivery struct {
	rx, tx scheduler.Delivery
	acked  uint64 // bytes sent and acknowledged, of all subflows
}

const (
	// usageKept is how long an uplink without subflows is remembered, when
	// there are more than usageMost: a server knows them by their addresses,
	// which change.
	usageKept = time.Hour
	usageMost = 16
)

// uplinkName names the uplink, or the peer's address where that is not known.
func (s *Subflow) uplinkName() string {
	if s.Uplink != "" {
		return s.Uplink
	}
	return s.Remote.Addr().Unmap().String()
}

type subflowKey struct{ local, remote netip.AddrPort }

// sample takes all subflows of all carriers as they are now.
func (u *usage) sample(now time.Time, subflows []Subflow) {
	if u.uplinks == nil {
		u.uplinks, u.seen, u.deliver = map[string]*UplinkUsage{}, map[string]time.Time{}, map[string]*delivery{}
	}
	// What a path carrier has when it begins, a handshake and beats, would be
	// taken for all that the uplink can do. So it counts where there is a queue
	// alone, to which bulk among the packets may have the most part.
	type bond struct{ rx, acked, segments, retransmitted uint64 }
	type delta struct {
		rx, tx, acked, wire uint64
		bond                bond
	}
	deltas := map[string]delta{}
	rtt := map[string]time.Duration{}
	waits := map[string]time.Duration{} // in a queue, if there is one, as the path carrier finds
	seen := make(map[subflowKey]Subflow, len(subflows))
	for _, up := range u.uplinks {
		up.Subflows = 0
	}
	for _, s := range subflows {
		name := s.uplinkName()
		up := u.uplinks[name]
		if up == nil {
			up = &UplinkUsage{Uplink: name}
			u.uplinks[name], u.deliver[name] = up, &delivery{}
		}
		if !s.Path {
			up.Subflows++
		}
		u.seen[name] = now
		if s.RTT > 0 && (rtt[name] == 0 || s.RTT < rtt[name]) {
			rtt[name] = s.RTT
		}
		if s.Path {
			waits[name] = max(waits[name], s.wait())
		}
		key := subflowKey{s.Local, s.Remote}
		seen[key] = s
		was := u.last[key]
		if was.Uplink == "" && s.Uplink != "" && was.Remote.IsValid() {
			u.named(was.uplinkName(), up)
		}
		if was.RxBytes > s.RxBytes || was.TxBytes > s.TxBytes {
			was = Subflow{} // the ports were used again
		}
		d := deltas[name]
		d.wire += s.WireBytes - min(was.WireBytes, s.WireBytes)
		d.rx += s.RxBytes - was.RxBytes
		d.tx += s.TxBytes - was.TxBytes
		acked := s.AckedBytes - min(was.AckedBytes, s.AckedBytes)
		d.acked += acked
		if !s.Path {
			d.bond.rx += s.RxBytes - was.RxBytes
			d.bond.acked += acked
		}
		if !s.Path && s.TxSegments >= was.TxSegments && s.Retransmission >= was.Retransmission {
			d.bond.segments += s.TxSegments - was.TxSegments
			d.bond.retransmitted += s.Retransmission - was.Retransmission
		}
		deltas[name] = d
	}
	elapsed := now.Sub(u.at)
	first := u.at.IsZero()
	for name, up := range u.uplinks {
		d := deltas[name]
		up.RxBytes += d.rx
		up.TxBytes += d.tx
		up.WireBytes += d.wire
		up.RTT = rtt[name]
		v := u.deliver[name]
		v.acked += d.acked
		v.rx.Add(now, up.RxBytes)
		v.tx.Add(now, v.acked)
		up.DeliverRx, up.DeliverTx = v.rx.Most(now), v.tx.Most(now)
		if first || elapsed <= 0 {
			continue
		}
		w := min(float64(elapsed)/float64(usageWindow), 1)
		addCapacity(&up.rx, now, elapsed, d.bond.rx, d.rx, waits[name])
		addCapacity(&up.tx, now, elapsed, d.bond.acked, d.acked, waits[name])
		up.loss.Add(d.bond.segments, d.bond.retransmitted)
		up.RxBps += w * (float64(d.rx)*8/elapsed.Seconds() - up.RxBps)
		up.TxBps += w * (float64(d.tx)*8/elapsed.Seconds() - up.TxBps)
		if d.bond.segments > 0 {
			loss := 100 * float64(d.bond.retransmitted) / float64(d.bond.segments)
			up.LossPct += w * (min(loss, 100) - up.LossPct)
		}
	}
	u.last, u.at = seen, now
	for name, at := range u.seen {
		if len(u.seen) > usageMost && now.Sub(at) > usageKept {
			delete(u.uplinks, name)
			delete(u.deliver, name)
			delete(u.seen, name)
		}
	}
}

// addCapacity takes what bonds, and what all carriers, brought in the time elapsed
// before now, in bytes, while packets took so much longer than the shortest time.
// That is a queue of this direction if that much waited in it. Else it is the other
// one's, or radio, or a busy host: how little somebody asked for is then not all
// that there is.
func addCapacity(c *scheduler.Capacity, now time.Time, elapsed time.Duration, bonds, all uint64, wait time.Duration) {
	full := float64(all)*wait.Seconds() >= queueBytes*elapsed.Seconds()
	if full {
		bonds = all
	}
	c.Add(now, scheduler.BitRate(float64(bonds)*8/elapsed.Seconds()), elapsed, full)
}

// queueBytes is a queue: sixteen full packets.
const queueBytes = 16 * 1500

// line is what is known of an uplink in one direction.
func (u *usage) line(name string, in bool) scheduler.Line {
	up := u.uplinks[name]
	switch {
	case up == nil:
		return scheduler.Line{}
	case in:
		l := scheduler.Line{RTT: up.RTT, Rate: up.rx.Rate(), Guess: u.guesses[name], Loss: up.rxLoss}
		if l.Rate > 0 && !up.rx.Full() { // a conversation may have wanted no more
			l.Rate = max(l.Rate, l.Guess)
		}
		return l
	}
	return scheduler.Line{RTT: up.RTT, Rate: up.tx.Rate(), Loss: up.loss.Part()}
}

// losses is what this end says of itself: of uplinks on which something is lost.
func (u *usage) losses() (l wire.Losses) {
	for _, up := range u.uplinks {
		if lost := uint16(lossUnit * up.loss.Part()); lost > 0 {
			l.List = append(l.List, wire.UplinkLoss{Name: up.Uplink, Lost: lost})
		}
	}
	slices.SortFunc(l.List, func(a, b wire.UplinkLoss) int { return strings.Compare(a.Name, b.Name) })
	return l
}

// hearLosses takes what the peer says.
func (u *usage) hearLosses(l wire.Losses) {
	for _, up := range u.uplinks {
		up.rxLoss = 0
	}
	for _, x := range l.List {
		if up := u.uplinks[x.Name]; up != nil {
			up.rxLoss = min(1, float64(x.Lost)/lossUnit)
		}
	}
}

// lossUnit is what a Losses frame counts in.
const lossUnit = 10_000

// named gives an uplink what was counted for the peer's address while its name was
// not known.
func (u *usage) named(address string, up *UplinkUsage) {
	if old := u.uplinks[address]; old != nil {
		up.RxBytes, up.TxBytes, up.WireBytes = up.RxBytes+old.RxBytes, up.TxBytes+old.TxBytes, up.WireBytes+old.WireBytes
		delete(u.uplinks, address)
		delete(u.deliver, address)
		delete(u.seen, address)
	}
}

// snapshot returns the uplinks sorted by name.
func (u *usage) snapshot() []UplinkUsage {
	list := make([]UplinkUsage, 0, len(u.uplinks))
	for _, up := range u.uplinks {
		list = append(list, *up)
	}
	slices.SortFunc(list, func(a, b UplinkUsage) int { return strings.Compare(a.Uplink, b.Uplink) })
	return list
}

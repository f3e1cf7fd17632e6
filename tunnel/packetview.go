package tunnel

import (
	"time"

	"braid/scheduler/policy"
	"braid/scheduler/queue"
	"braid/scheduler/resequence"
	"braid/tunnel/wire"
)

// packetView is what the lane's policies are told of its paths, as of one call.
type packetView struct {
	paths []*packetPath
	// told is of each, for packets of bulk flows, and for sparse ones: those go
	// before what waits.
	told [2][]policy.Path
}

// add lets policies see one more path.
func (v *packetView) add(now time.Time, p *packetPath) {
	v.paths = append(v.paths, p)
	t := p.viewLocked(now)
	v.told[queue.Sparse] = append(v.told[queue.Sparse], t)
	if p.q != nil {
		t.Queued = p.q.Bytes()
	}
	v.told[queue.Bulk] = append(v.told[queue.Bulk], t)
}

// of returns the path of an ID, and takes in that so many bytes more wait in
// front of it.
func (v *packetView) of(id, bytes int) *packetPath {
	for i, p := range v.paths {
		if p.id == id {
			v.told[queue.Bulk][i].Queued += bytes
			return p
		}
	}
	return nil
}

// lookLocked brings what policies are told up to date. The bond is among it when
// there is nothing else.
func (l *packetLane) lookLocked(now time.Time) {
	v := &l.view
	clear(v.paths)
	v.paths, v.told[0], v.told[1] = v.paths[:0], v.told[0][:0], v.told[1][:0]
	carriers := 0
	for _, p := range l.paths {
		if p.last {
			continue
		}
		carriers++
		if p.usable {
			v.add(now, p)
		}
	}
	for _, p := range l.paths {
		if p.last && carriers == 0 && !p.stuckLocked(now) {
			v.add(now, p)
		}
	}
}

// viewLocked is the path as policies see it. While packets are sent their own
// round trips count, which know of what waits in the kernel.
func (p *packetPath) viewLocked(now time.Time) policy.Path {
	v := policy.Path{
		ID: p.id, RTT: p.rtt.Smoothed, Variation: p.rtt.Variation, Rate: p.rate.at(now),
		Loss: p.told.loss, Standby: p.standby, Late: p.late,
	}
	if p.told.rtt > 0 && (v.RTT == 0 || p.kept.idle()) {
		v.RTT = p.told.rtt
	}
	if v.Delivered = float64(p.told.rate); v.Delivered == 0 {
		v.Delivered = p.rate.seen
	}
	if v.Rate > 0 {
		v.Rate = max(v.Rate, float64(p.told.rate))
	}
	return v
}

// tellRTT says what others measure of the path's round trip.
func (p *packetPath) tellRTT(rtt time.Duration) {
	p.lane.mu.Lock()
	defer p.lane.mu.Unlock()
	if rtt > 0 {
		p.told.rtt = rtt
		p.lane.waitLocked()
	}
}

// waitLocked says for how long packets of a spread flow wait for each other: by how
// much the paths' round trips differ, twice. What the paths' queues add is mostly in
// one direction, so they are not halved; a queue that grows is ahead of what is
// averaged; and too long a wait costs little, since what is lost is passed over as
// soon as all paths have brought something later.
func (l *packetLane) waitLocked() {
	var space [wire.MaxUplinks]resequence.Delay
	list := space[:0]
	for _, p := range l.paths {
		if p.usable && !p.last && len(list) < len(space) {
			if rtt := max(p.told.rtt, p.rtt.Smoothed); rtt > 0 {
				list = append(list, resequence.Delay{Mean: rtt, Variation: p.rtt.Variation})
			}
		}
	}
	l.order.wait.Store(int64(2 * resequence.Wait(list)))
}

// tellLine says what the uplink was seen to deliver of late, streams counted, in
// bits per second, and what part of it is lost, 0 to 1.
func (p *packetPath) tellLine(u *UplinkUsage) {
	p.lane.mu.Lock()
	defer p.lane.mu.Unlock()
	p.told.rate, p.told.loss = u.DeliverTx, u.loss.Part()
}

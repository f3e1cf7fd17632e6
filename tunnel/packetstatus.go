package tunnel

import (
	"time"

	"braid/scheduler/policy"
	"braid/scheduler/queue"
)

// PacketLaneStatus is what a session's packet lane knows now. Packets are those
// that the kernel makes of super-packets where it says so.
type PacketLaneStatus struct {
	Sparse, Bulk ClassStatus
	Waiting      int    // packets that wait because no path works, super-packets being one
	Resent       uint64 // packets sent again on another path, super-packets being one
	Duplicates   uint64 // that arrived, likewise

	AtOnce, Again CopyStatus  // outbound
	Order         OrderStatus // inbound
	Saved         uint64      // packets of which only a copy has come, as far as is known
}

// ClassStatus is of one class of flows, outbound; packets are those that the
// kernel makes of super-packets.
type ClassStatus struct {
	Packets, Bytes uint64
	Dropped        uint64 // by CoDel
	Overflowed     uint64 // dropped for want of memory
	TooOld         uint64 // dropped, likewise
	Marked         uint64
	Delay          time.Duration // smoothed, of the path where it is longest
	DelayMax       time.Duration // since the session began
}

func (c *ClassStatus) lost() uint64 { return c.Dropped + c.Overflowed + c.TooOld }

// status returns a snapshot; of nil, nothing.
func (l *packetLane) status() (s PacketLaneStatus) {
	if l == nil {
		return s
	}
	l.mu.Lock()
	s.Sparse, s.Bulk = l.classLocked(queue.Sparse), l.classLocked(queue.Bulk)
	s.Resent = l.resent
	s.AtOnce, s.Again = l.copyStatusLocked(policy.AtOnce), l.copyStatusLocked(policy.Again)
	if useful := s.AtOnce.Useful + s.Again.Useful; useful > l.behind {
		s.Saved = useful - l.behind
	}
	if l.waiting != nil {
		s.Waiting = l.waiting.Len()
	}
	l.mu.Unlock()
	l.in.Lock()
	s.Duplicates = l.in.duplicates
	l.in.Unlock()
	s.Order = l.order.status()
	return s
}

func (l *packetLane) classLocked(c queue.Class) (s ClassStatus) {
	sum := l.gone[c]
	for _, p := range l.paths {
		if p.q != nil {
			n := p.q.Counters(c)
			add(&sum, n)
			s.Delay = max(s.Delay, n.DelaySmoothed)
		}
	}
	if l.waiting != nil {
		add(&sum, l.waiting.Counters(c))
	}
	s.Packets, s.Bytes, s.Dropped, s.Overflowed = sum.Packets, sum.Bytes, sum.Dropped, sum.Overflowed
	s.TooOld, s.Marked, s.DelayMax = sum.TooOld, sum.Marked, sum.DelayMax
	return s
}

// PathPackets is what a path's carriers brought since the session began;
// duplicates count, and a super-packet as one. Bytes are of IP packets.
type PathPackets struct {
	TxPackets, TxBytes, RxPackets, RxBytes uint64
	Queued                                 int // bytes that wait in front of it now
}

// status adds what the path brought to what those before it did.
func (p *packetPath) status(was PathPackets) PathPackets {
	if p == nil {
		return was
	}
	n := &p.count
	was.TxPackets += n.txPackets.Load()
	was.TxBytes += n.txBytes.Load()
	was.RxPackets += n.rxPackets.Load()
	was.RxBytes += n.rxBytes.Load()
	p.lane.mu.Lock()
	defer p.lane.mu.Unlock()
	if p.q != nil {
		was.Queued = p.q.Bytes()
	}
	return was
}

// queued is how many bytes wait in front of paths; of nil, none.
func (l *packetLane) queued() (bytes uint64) {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.paths {
		if p.q != nil {
			bytes += uint64(p.q.Bytes())
		}
	}
	return bytes
}

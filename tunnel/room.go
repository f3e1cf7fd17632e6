package tunnel

import (
	"slices"
	"time"

	"braid/scheduler"
)

// makeRoom bounds what the kernel holds of a stream, from what the link's
// subflows did since the last time.
func (l *link) makeRoom(now time.Time) {
	s := &l.sampled
	elapsed := now.Sub(s.at)
	if !s.at.IsZero() && elapsed < makeRoomEvery {
		return
	}
	in, ok := roomInput(s.was, s.list, elapsed)
	s.at, s.was = now, append(s.was[:0], s.list...)
	l.room.Lock()
	defer l.room.Unlock()
	if !ok { // nobody sends, or the bound has stopped everybody
		l.freeRoomLocked()
		return
	}
	if bytes, changed := l.room.Step(in); changed {
		_ = l.conn.SetSendRoom(bytes) // it is a bound that helps, and no more
	}
}

// roomInput compares two readings of a link's subflows; false: nothing follows.
func roomInput(was, is []Subflow, elapsed time.Duration) (in scheduler.SendRoomInput, ok bool) {
	var total uint64
	moved := make([]uint64, len(is))
	for i, f := range is {
		for _, o := range was {
			if o.Local != f.Local || o.Remote != f.Remote {
				continue
			}
			moved[i] = f.TxBytes - min(o.TxBytes, f.TxBytes)
			sent, again := f.TxSegments-min(o.TxSegments, f.TxSegments), f.Retransmission-min(o.Retransmission, f.Retransmission)
			in.Lossy = in.Lossy || lossPart*again > sent
		}
		total += moved[i]
	}
	if total == 0 || elapsed <= 0 {
		return in, false
	}
	in.Changed = len(was) != len(is) || slices.ContainsFunc(is, func(f Subflow) bool {
		return !slices.ContainsFunc(was, func(o Subflow) bool { return o.Local == f.Local && o.Remote == f.Remote })
	})
	in.Rate, in.Dry = scheduler.BitRate(8*float64(total)/elapsed.Seconds()), true
	for i, f := range is {
		if moved[i] < total/muchPart {
			if moved[i] > 0 {
				in.Far = max(in.Far, f.RTT)
			}
			continue
		}
		queue := time.Duration(float64(f.NotSent) / float64(moved[i]) * float64(elapsed))
		if in.RTT == 0 || queue < in.Queue {
			in.Queue = queue
		}
		in.RTT = max(in.RTT, f.RTT, 1)
		in.MinRTT = max(in.MinRTT, f.MinRTT)
		in.Dry = in.Dry && f.NotSent == 0
	}
	return in, true
}

// makeRoomEvery is how long a rate is measured.
const makeRoomEvery = 400 * time.Millisecond

// renew readies the link for another stream.
func (l *link) renew() {
	l.conn.Renew()
	l.room.Lock()
	defer l.room.Unlock()
	l.freeRoomLocked()
}

func (l *link) freeRoomLocked() {
	if bytes, changed := l.room.Reset(); changed {
		_ = l.conn.SetSendRoom(bytes)
	}
}

// muchPart is one over the part of all that is much for one subflow.
const muchPart = 5

// lossPart is one over the loss from which on a path is lossy.
const lossPart = 700

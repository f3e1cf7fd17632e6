package queue

import "time"

// Counters are of one class, since the Queue was made. Packets are those that
// the kernel makes of super-packets, and bytes include virtio-net headers.
type Counters struct {
	Packets, Bytes uint64 // that left
	Dropped        uint64 // packets, by CoDel
	Overflowed     uint64 // packets, for want of memory
	TooOld         uint64 // packets
	Marked         uint64 // packets

	DelayMax      time.Duration // in the queue, since ResetDelay
	DelaySmoothed time.Duration // moving average over some 16 that left
}

func (c *Counters) left(packets, bytes int, waited time.Duration) {
	c.Packets += uint64(packets)
	c.Bytes += uint64(bytes)
	c.DelayMax = max(c.DelayMax, waited)
	c.DelaySmoothed += (waited - c.DelaySmoothed) / 16
}

// Counters returns those of a class. A packet counts for the class that its
// flow has when it leaves or is dropped.
func (q *Queue[M]) Counters(c Class) Counters { return q.counters[c] }

// ResetDelay begins DelayMax anew, in both classes.
func (q *Queue[M]) ResetDelay() {
	for i := range q.counters {
		q.counters[i].DelayMax = 0
	}
}

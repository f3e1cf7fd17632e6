package scheduler

import "time"

const (
	// deliveryInterval is over how long a rate is taken. What a lost segment
	// held up comes all at once, a round trip late: over two seconds that looks
	// like 10 % too much on an uplink of 200 ms, and like 2 % on one of 40.
	deliveryInterval = 2 * time.Second

	// deliveryWindow is how long the most is remembered: a radio's rate of an
	// hour ago says nothing.
	deliveryWindow = 10 * time.Minute

	deliverySlots = 10
	deliverySlot  = deliveryWindow / deliverySlots
)

// Delivery tells the most that an uplink delivered of late in one direction. Its
// capacity is no less; it is more where nothing asked for all of it. It needs no
// word of the peer: what arrived, or was acknowledged, was delivered.
//
// The zero value is ready. A Delivery belongs to one goroutine.
type Delivery struct {
	since time.Time // of total; zero: there is none yet
	total uint64    // bytes
	slots [deliverySlots]deliveryMost
}

// deliveryMost is the most in a part of the window.
type deliveryMost struct {
	from time.Time
	rate BitRate
}

// Add says how many bytes have been delivered until now, in all. A number that
// falls begins anew.
func (d *Delivery) Add(now time.Time, total uint64) {
	elapsed := now.Sub(d.since)
	switch {
	case d.since.IsZero(), total < d.total, elapsed < 0:
		d.since, d.total = now, total
		return
	case elapsed < deliveryInterval:
		return
	}
	rate := BitRate(8 * float64(total-d.total) / elapsed.Seconds())
	d.since, d.total = now, total
	if now.Sub(d.slots[0].from) >= deliverySlot {
		copy(d.slots[1:], d.slots[:])
		d.slots[0] = deliveryMost{from: now}
	}
	d.slots[0].rate = max(d.slots[0].rate, rate)
}

// Most returns the most of the last ten minutes; 0: nothing is known.
func (d *Delivery) Most(now time.Time) (most BitRate) {
	for _, s := range d.slots {
		if now.Sub(s.from) < deliveryWindow {
			most = max(most, s.rate)
		}
	}
	return most
}

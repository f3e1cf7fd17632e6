// Package emulator computes what a network link does to packets: when each
// leaves, and which are lost. It is pure: time comes in as an argument,
// randomness from a seed, and there is no clock, lock or goroutine inside, so
// the same calls always give the same answers.
//
// One Direction is one way of one link, in three stages:
//
//	Push ──► queue ──► serialiser ──► wire ──► Pop
//	         drop-tail  one packet    delay,
//	                    at a time,    jitter
//	                    Rate; loss
//	                    is drawn as
//	                    it finishes
//
// Package lab moves real frames through it.
package emulator

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// BitRate is a rate in bits per second. It counts IP bytes: a frame's 14 bytes
// of Ethernet header take no time on the link, so that 50 Mbps is what a
// provider's contract or a speed test calls 50 Mb/s.
type BitRate int64

// Units of BitRate; decimal, as for links.
const (
	BitPerSecond BitRate = 1
	Kbps                 = 1000 * BitPerSecond
	Mbps                 = 1000 * Kbps
	Gbps                 = 1000 * Mbps
)

// MaxRate bounds Shape.Rate; nothing here is exact beyond it.
const MaxRate = 100 * Gbps

// String formats the rate with the largest unit that keeps it at least 1.
func (r BitRate) String() string {
	switch {
	case r >= Gbps:
		return strconv.FormatFloat(float64(r)/float64(Gbps), 'g', 6, 64) + " Gb/s"
	case r >= Mbps:
		return strconv.FormatFloat(float64(r)/float64(Mbps), 'g', 6, 64) + " Mb/s"
	case r >= Kbps:
		return strconv.FormatFloat(float64(r)/float64(Kbps), 'g', 6, 64) + " kb/s"
	}
	return strconv.FormatInt(int64(r), 10) + " b/s"
}

// DefaultQueueTime is the depth of the queue of a rated link that sets neither
// QueueTime nor QueueBytes. 100 ms is about the middle of what home routers
// and modems hold: enough for one TCP flow to fill the link, and clearly
// visible as latency.
const DefaultQueueTime = 100 * time.Millisecond

// Shape describes one direction of a link. The zero value is a perfect wire.
type Shape struct {
	// Rate limits the throughput, in IP bits per second; 0 is unlimited.
	Rate BitRate

	// Delay is the one-way propagation delay, after serialisation.
	Delay time.Duration

	// Jitter lets the delay wander between Delay-Jitter and Delay+Jitter; it
	// may not exceed Delay. Without Reorder the delay follows a straight line
	// between random points 2×Jitter apart in time, which never falls faster
	// than time passes: packets keep their order, dense flows see the
	// variation too, and the mean stays Delay.
	Jitter time.Duration

	// Reorder draws the jitter independently for every packet, so that a later
	// one may overtake.
	Reorder bool

	// Loss is drawn when a packet leaves the serialiser: a lost packet has used
	// its share of the link, as on radio.
	Loss Loss

	// QueueTime and QueueBytes bound the drop-tail queue in front of the
	// serialiser; with both set the smaller holds, with none DefaultQueueTime.
	// QueueTime is the longest that a packet may take through queue and
	// serialiser at the present rate. QueueBytes counts IP bytes. An empty
	// queue takes any packet. Without a Rate there is no queue.
	QueueTime  time.Duration
	QueueBytes int

	// BlackHole swallows everything silently: what arrives, what is queued and
	// what is on the wire.
	BlackHole bool

	// StripMPTCP puts no-operation options in the place of Multipath TCP's in
	// all TCP segments that arrive, as some middleboxes do.
	StripMPTCP bool
	// StripMPTCPData is StripMPTCP for all segments but SYNs.
	StripMPTCPData bool

	// LargestPacket, in IP bytes, swallows what is larger without telling anybody,
	// as a router does whose ICMP is filtered; 0 is no limit.
	LargestPacket int
}

// Loss is how packets are lost: independently with probability Random, or in
// bursts by a two-state Gilbert-Elliott chain that enters the bad state with
// probability P per packet, leaves it with R, and loses all packets while bad
// (mean loss P/(P+R), mean burst 1/R packets). Setting both applies both.
type Loss struct {
	Random float64
	P, R   float64
}

// RandomLoss loses each packet independently with the given probability.
func RandomLoss(probability float64) Loss { return Loss{Random: probability} }

// BurstLoss loses the given share of all packets in bursts of a mean length in
// packets. A share above one half needs a mean burst well above 1.
func BurstLoss(share, meanBurst float64) Loss {
	r := 1 / meanBurst
	return Loss{P: share * r / (1 - share), R: r}
}

// Validate reports every field that makes no sense, all at once.
func (s Shape) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if s.Rate < 0 || s.Rate > MaxRate {
		bad("rate %d b/s is outside 0 to %v", int64(s.Rate), MaxRate)
	}
	if s.Delay < 0 || s.Delay > time.Minute {
		bad("delay %v is outside 0 to 1m", s.Delay)
	}
	if s.Jitter < 0 || s.Jitter > max(s.Delay, 0) {
		bad("jitter %v is outside 0 to the delay of %v", s.Jitter, s.Delay)
	}
	for _, p := range []struct {
		name  string
		value float64
	}{{"random loss", s.Loss.Random}, {"loss p", s.Loss.P}, {"loss r", s.Loss.R}} {
		if !(p.value >= 0 && p.value <= 1) { // also refuses NaN
			bad("%s %v is outside 0 to 1", p.name, p.value)
		}
	}
	if s.Loss.P > 0 && s.Loss.R == 0 {
		bad("loss p %v without r: the burst would never end (use a black hole)", s.Loss.P)
	}
	if s.QueueTime < 0 || s.QueueTime > time.Minute {
		bad("queue time %v is outside 0 to 1m", s.QueueTime)
	}
	if s.LargestPacket < 0 {
		bad("largest packet of %d bytes is negative", s.LargestPacket)
	}
	if s.QueueBytes < 0 {
		bad("queue of %d bytes is negative", s.QueueBytes)
	}
	return errors.Join(errs...)
}

// queueLimit is the queue's bound in IP bytes.
func (s Shape) queueLimit() int64 {
	byTime := s.QueueTime
	if byTime == 0 && s.QueueBytes == 0 {
		byTime = DefaultQueueTime
	}
	limit := int64(s.QueueBytes)
	if byTime > 0 {
		// In float64: rate × time overflows an int64, and a byte more or less
		// does not matter here.
		b := int64(float64(s.Rate) / 8 * byTime.Seconds())
		if limit == 0 || b < limit {
			limit = b
		}
	}
	return limit
}

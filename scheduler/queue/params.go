package queue

import "time"

// Params are what a Queue is made with. What is 0 has its default.
type Params struct {
	Flows   int // that have a queue of their own; default 1024 (RFC 8290, section 5.2)
	Quantum int // bytes that a flow may send in a turn; default DefaultQuantum
	Limit   int // bytes that may wait, with overhead for each packet; default 4 MiB

	Target, Interval time.Duration // of CoDel; defaults DefaultTarget, DefaultInterval

	// CEThreshold is a delay above which packets are marked whose senders heed
	// it, whatever CoDel says (RFC 8290, section 5.2); 0 is none.
	CEThreshold time.Duration

	// MaxAge is how long a packet of each class is worth sending; after that
	// it is dropped. Defaults are one second for Sparse: a resolver or a game
	// has asked again. Two for Bulk: what is inside has sent it again.
	MaxAge [classes]time.Duration
}

// DefaultQuantum is a full packet of the tunnel, whose MTU is 1500, with its
// virtio-net header.
const DefaultQuantum = 1500 + VnetLen

const (
	defaultFlows = 1024
	defaultLimit = 4 << 20

	// overhead is what a waiting packet takes besides its bytes, about, so that
	// tiny ones are bounded too.
	overhead = 128

	// dropMost bounds the segments dropped in a row for want of memory (RFC
	// 8290, section 4.1): half of the fattest queue, but no more.
	dropMost = 64

	// backgroundPart of what others send, background flows send while they wait:
	// last, but not never.
	backgroundPart = 1.0 / 16
)

func (p Params) withDefaults() Params {
	or := func(n *int, standard int) {
		if *n <= 0 {
			*n = standard
		}
	}
	orTime := func(d *time.Duration, standard time.Duration) {
		if *d <= 0 {
			*d = standard
		}
	}
	or(&p.Flows, defaultFlows)
	or(&p.Quantum, DefaultQuantum)
	or(&p.Limit, defaultLimit)
	orTime(&p.Target, DefaultTarget)
	orTime(&p.Interval, DefaultInterval)
	orTime(&p.MaxAge[Sparse], time.Second)
	orTime(&p.MaxAge[Bulk], 2*time.Second)
	return p
}

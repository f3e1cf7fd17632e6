// Package choice says on which path a packet goes.
//
// It does no I/O, reads no clock and locks nothing: the time is an argument.
package choice

import (
	"time"

	"braid/scheduler/queue"
)

// Path is what a policy is told of one path that works.
type Path struct {
	ID        int // stays as long as the path's carrier
	RTT       time.Duration
	Variation time.Duration
	Rate      float64 // bits per second that it delivers when asked for all; 0: not known
	Queued    int     // bytes that wait in front of it
	Standby   bool    // to be used when no other works
}

// Packet is what a policy is told of a packet.
type Packet struct {
	Key   queue.FlowKey
	Class queue.Class
	Bytes int
	DSCP  uint8
}

// Policy chooses paths.
type Policy interface {
	// Pick appends to dst the ID of the path for p, and behind it those of the
	// paths that are to carry copies; nothing when there is no path. It keeps
	// neither slice, and does not allocate when dst has room.
	Pick(now time.Time, p Packet, paths []Path, dst []int) []int
}

package policy

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"braid/scheduler/queue"
)

// Path is what a policy is told of one usable uplink, in the direction of the
// packet. What is unknown is 0.
type Path struct {
	ID        int           // its name in answers
	RTT       time.Duration // smoothed
	Variation time.Duration // of RTT, smoothed (RFC 6298)

	// Rate is what it delivers when it is filled, bits per second. What a thin
	// flow happens to send is no rate.
	Rate float64
	// Delivered is the most that it was seen to deliver of late over half a second,
	// whatever was sent, bits per second. Rate, of shorter times, may be too high
	// by a fifth; this is never, but too low as long as nobody asks for all.
	Delivered float64
	// Queued is how many bytes wait in front of it that this packet has to wait
	// for, ours and the kernel's, all that were picked for it before included.
	// A sparse packet goes before most of ours (package queue): for one those
	// do not count, or it flees from a queue that it would not stand in.
	Queued int
	Loss   float64 // part of its packets that are lost, 0 to 1

	// Standby says that it carries packets only when no other does, and copies
	// only where every path is asked for.
	Standby bool

	// Late says that an answer is overdue, so that it may be dead. Sparse packets
	// take another path then, if there is one of the same standing; bulk flows stay,
	// since most such doubts are none.
	Late bool
}

// Packet is what a policy is told of a packet.
type Packet struct {
	Key   queue.FlowKey
	Hash  queue.Hash // of Key, by the policy's seed, if it is known
	Class queue.Class
	Bytes int // virtio-net header included; up to 64 KiB
	DSCP  uint8
}

// Policy chooses the paths of packets.
type Policy interface {
	// Pick returns IDs of paths: the first carries the packet, the rest carry
	// copies, none twice. paths are in the order in which they are preferred
	// between equals, and may differ from call to call; a policy heeds the
	// first 16. The answer is empty if and only if there are no paths, and uses
	// the memory of dst, whose contents do not matter.
	Pick(now time.Time, p Packet, paths []Path, dst []int) []int
}

// kind is a policy as it is named in the configuration.
type kind struct {
	name    string
	spreads bool
	hedges  bool // late packets are sent again
	copies  bool // packets of any size have copies
	make    func(maphash.Seed, *Hedge) Policy
}

var kinds = []kind{
	{name: "auto", hedges: true, make: func(seed maphash.Seed, h *Hedge) Policy { return NewAuto(seed, h) }},
	{name: "redundant", copies: true, make: func(maphash.Seed, *Hedge) Policy { return redundant{} }},
	{name: "weighted", make: func(seed maphash.Seed, _ *Hedge) Policy { return newWeighted(seed) }},
	{name: "roundrobin", spreads: true, make: func(maphash.Seed, *Hedge) Policy { return &roundRobin{} }},
	{name: "minrtt", make: func(maphash.Seed, *Hedge) Policy { return &minRTT{} }},
	{name: "ecf", spreads: true, make: func(seed maphash.Seed, _ *Hedge) Policy { return newECF(seed) }},
}

// Names are those that New knows, the default first.
func Names() []string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return names
}

// Spreads says whether packets of one flow take several paths at a time, so
// that they arrive out of order.
func Spreads(name string) bool {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name })
	return i >= 0 && kinds[i].spreads
}

// New makes the policy of a name. The seed is for its table of flows. An "auto"
// made here has a Hedge of its own, with the default share; NewAuto takes one.
func New(name string, seed maphash.Seed) (Policy, error) {
	for _, k := range kinds {
		if k.name == name {
			return k.make(seed, NewHedge(0)), nil
		}
	}
	return nil, fmt.Errorf("make policy %q: must be one of %s", name, strings.Join(Names(), ", "))
}

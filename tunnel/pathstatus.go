package tunnel

import (
	"slices"
	"time"

	"braid/scheduler"
)

// PathStatus is what a client knows of one uplink now.
type PathStatus struct {
	Uplink    string
	Present   bool                 // the host has it
	Role      scheduler.Role       // that the cap leaves
	Cap       *scheduler.CapStatus // nil: there is none
	State     scheduler.State
	Reason    string // of the state
	Use       scheduler.Use
	UseReason string
	Since     time.Time // of the state
	RTT       scheduler.RTT
	Connected bool   // it has a path carrier
	Deaths    int    // since the client started
	BeatsSent uint64 // likewise
	BeatsLost uint64 // of these, without an answer
	Packets   PathPackets
}

// status returns the uplinks in the order of the host's preference, and the
// latest changes.
func (k *pathKeeper) status() (list []PathStatus, events []UplinkEvent) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	for _, p := range k.paths {
		var spent *scheduler.CapStatus
		if p.cap != nil {
			st := p.cap.Status(now)
			spent = &st
		}
		list = append(list, PathStatus{
			Uplink: p.uplink.Name, Present: p.present, Role: p.role(now), Cap: spent,
			State: p.shown(), Reason: p.reason(now), Use: p.use, UseReason: p.why, Since: p.since,
			RTT: p.health.RTT(), Connected: p.car != nil, Deaths: p.deaths, BeatsSent: p.beats, BeatsLost: p.lost,
			Packets: p.packets(),
		})
	}
	return list, slices.Clone(k.events)
}

// packets is what all of the path's carriers brought.
func (p *path) packets() PathPackets {
	if p.car == nil {
		return p.moved
	}
	return p.car.packets.status(p.moved)
}

package tunnel

import (
	"sync/atomic"

	"braid/tunnel/wire"
)

// counters count what a session did; they only grow. Bytes are of IP packets.
type counters struct {
	rxPackets, rxBytes atomic.Uint64 // inbound, given to the TUN
	txPackets, txBytes atomic.Uint64 // outbound, given to the lane
	malformed          atomic.Uint64 // carriers ended for what the peer sent
	spoofed            atomic.Uint64 // inbound packets from a foreign source
	isolated           atomic.Uint64 // inbound packets toward another client
	refused            atomic.Uint64 // packets that this host's kernel refused
}

// Counters is a snapshot of a session's counters. Packets and bytes are of
// the inner IP packets; a super-packet counts as one.
type Counters struct {
	RxPackets, RxBytes uint64 // inbound, given to the host
	TxPackets, TxBytes uint64 // outbound, taken from the host
	Dropped            uint64 // outbound packets that were dropped on their way, segments of super-packets
	Malformed          uint64 // carriers ended because of what the peer sent
	Spoofed            uint64 // inbound packets whose source is not the client's
	Isolated           uint64 // inbound packets toward another client
	Refused            uint64 // inbound packets that the host's kernel refused
}

func (c *counters) snapshot(l PacketLaneStatus) Counters {
	return Counters{
		RxPackets: c.rxPackets.Load(), RxBytes: c.rxBytes.Load(),
		TxPackets: c.txPackets.Load(), TxBytes: c.txBytes.Load(),
		Dropped: l.Sparse.lost() + l.Bulk.lost(), Malformed: c.malformed.Load(), Spoofed: c.spoofed.Load(),
		Isolated: c.isolated.Load(), Refused: c.refused.Load(),
	}
}

// inbound gives a checked packet to the host and counts it.
func (c *counters) inbound(d Device, payload []byte) {
	if d.Write(payload) != nil {
		c.refused.Add(1)
		return
	}
	c.rxPackets.Add(1)
	c.rxBytes.Add(uint64(len(payload) - wire.VnetLen))
}

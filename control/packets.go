package control

import (
	"fmt"
	"strings"
)

// PacketLane is what became of packets in this session.
type PacketLane struct {
	Sparse PacketClass `json:"sparse"` // outbound, as Bulk
	Bulk   PacketClass `json:"bulk"`
	// Waiting packets have no path that works, Resent ones were sent again on
	// another path, and Duplicates arrived a second time. A super-packet counts
	// once.
	Waiting    int    `json:"waiting"`
	Resent     uint64 `json:"resent"`
	Duplicates uint64 `json:"duplicates"`
	// Copies are outbound: at once with their packets, and again because those
	// were late.
	CopiesAtOnce PacketCopies `json:"copies_at_once"`
	CopiesAgain  PacketCopies `json:"copies_again"`
	// Saved packets came as a copy alone, as far as is known so far.
	Saved uint64 `json:"saved"`
	// Inbound, of flows that take several paths: Held packets wait for others.
	// Disordered ones did so, and Passed are those that were waited for in vain.
	Held       int    `json:"held"`
	Disordered uint64 `json:"disordered"`
	Passed     uint64 `json:"passed"`
}

// PacketCopies is what copies of packets did.
type PacketCopies struct {
	Sent    uint64 `json:"sent"`
	Bytes   uint64 `json:"bytes"`
	Useful  uint64 `json:"useful"`  // came before the packet, or instead of it
	Refused uint64 `json:"refused"` // not sent, for want of budget
}

// PacketClass is what became of the packets of one class of flows in the queues
// in front of the uplinks. Packets are those that super-packets are cut into.
type PacketClass struct {
	Packets    uint64  `json:"packets"` // that left
	Bytes      uint64  `json:"bytes"`
	Dropped    uint64  `json:"dropped"`    // because the queue was long (CoDel)
	Overflowed uint64  `json:"overflowed"` // because memory was short
	TooOld     uint64  `json:"too_old"`
	Marked     uint64  `json:"marked"`   // with ECN, instead of dropped
	DelayMs    float64 `json:"delay_ms"` // in the queue where it is longest, smoothed
	DelayMaxMs float64 `json:"delay_max_ms"`
}

// PathPackets is what one uplink's path carrier brought of the packet lane: IP
// packets, a super-packet being one, also those that were sent or came twice.
type PathPackets struct {
	TxPackets uint64 `json:"tx_packets"`
	TxBytes   uint64 `json:"tx_bytes"`
	RxPackets uint64 `json:"rx_packets"`
	RxBytes   uint64 `json:"rx_bytes"`
	Queued    int    `json:"queued_bytes"` // that wait in front of it
}

// text writes what became of packets, if there were any.
func (l *PacketLane) text(b *strings.Builder) {
	if l.Sparse.Packets+l.Bulk.Packets == 0 {
		return
	}
	parts := []string{fmt.Sprintf("packets: sparse ones wait %s, bulk %s", FormatMillis(l.Sparse.DelayMs), FormatMillis(l.Bulk.DelayMs))}
	add := func(n uint64, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(l.Sparse.lost()+l.Bulk.lost(), "dropped")
	add(l.Sparse.Marked+l.Bulk.Marked, "marked")
	if n := l.CopiesAtOnce.Sent + l.CopiesAgain.Sent; n > 0 {
		parts = append(parts, fmt.Sprintf("%d copies sent, %d useful", n, l.CopiesAtOnce.Useful+l.CopiesAgain.Useful))
	}
	add(l.Saved, "saved by a copy")
	writeWrapped(b, "", strings.Join(parts, ", "))
}

func (c *PacketClass) lost() uint64 { return c.Dropped + c.Overflowed + c.TooOld }

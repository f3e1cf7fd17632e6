// Package queue holds packets in front of an uplink as FQ-CoDel does.
//
// A packet is here what it is in the rest of braid: a virtio-net header of 10
// bytes (struct virtio_net_hdr of linux/virtio_net.h, little-endian) and one IP
// packet, which may be a super-packet of up to 64 KiB. Its stations:
//
//	1 Parse   reads the flow, DSCP, ECN and segments
//	2 Push    finds the flow's queue in the table, judges the flow's class, and
//	          drops from the fattest queue when memory is short
//	3 waits   in its flow's queue; flows wait in one of four lists: new and
//	          sparse, new, old (RFC 8290), background
//	4 Pop     takes the list's first flow with credit left; drops what is too
//	          old; CoDel (RFC 8289) drops or marks one segment
//	5 leaves  whole, or the segments of a super-packet that there is room for
//
// Where it differs from RFC 8290, and why:
//
//   - Flows do not share a queue while there is a free one: the table is keyed
//     by flow, not by hash alone.
//   - Drops, marks and what leaves are counted in segments. The RFC's packets
//     are one MTU; 64 KiB take 52 ms at 10 Mb/s, and dropping all 44 segments
//     would be a burst of losses where CoDel means one.
//   - Of new flows those judged sparse go first.
//   - A sparse flow that comes back while it has credit left of its turn does
//     not wait for its next one. It gets no more than its turn.
//   - Who asks for less than best effort (RFC 8622) is served last.
//
// Nothing here does I/O, reads a clock, locks or starts a goroutine: the time
// is an argument, and the same calls give the same answers. A value belongs to
// one goroutine, or to whoever holds its owner's lock. Times should carry a
// monotonic reading, as time.Now gives them.
package queue

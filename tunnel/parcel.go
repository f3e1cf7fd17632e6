package tunnel

import (
	"sync"
	"time"

	"braid/scheduler/queue"
	"braid/tunnel/wire"
)

// parcelHead is the room for a frame's header before its packet, bytes.
const parcelHead = wire.HeaderLen + wire.MaxPacketHeadLen

// parcel is a packet on its way out. Whoever holds it owns it, and frees it or
// hands it on; nothing else refers to its bytes.
type parcel struct {
	buf    []byte // all of it
	size   int    // its index in parcelSizes
	packet []byte // virtio-net header and IP packet; at least parcelHead into buf
	header queue.Header
	class  queue.Class // of the flow, when it came
	policy int         // of the flow, an index in the lane's
	since  time.Time   // when it came
	sent   time.Time   // when a carrier's writer last took it

	number   uint64
	numbered bool // it has been sent, and must not change any more
	kind     wire.CopyKind
	copied   bool // another is on its way

	whole bool   // it must not be cut
	flow  uint32 // that takes several paths, and its place there; 0: none
	place uint64
}

// parcelSizes are the lengths of buffers: none is more than half empty, but for
// small packets.
var parcelSizes = [...]int{2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 80 << 10}

// parcels are those that nobody needs, by parcelSizes.
var parcels [len(parcelSizes)]sync.Pool

// newParcel copies a packet. It is of no more than wire.VnetLen +
// wire.MaxPacketLen bytes.
func newParcel(packet []byte) *parcel {
	i := 0
	for parcelSizes[i] < parcelHead+len(packet) {
		i++
	}
	c, _ := parcels[i].Get().(*parcel)
	if c == nil {
		c = &parcel{buf: make([]byte, parcelSizes[i]), size: i}
	}
	c.packet = c.buf[parcelHead : parcelHead+len(packet)]
	copy(c.packet, packet)
	return c
}

// clone copies a parcel.
func (c *parcel) clone(kind wire.CopyKind) *parcel {
	n := newParcel(c.packet)
	n.header, n.class, n.policy, n.since, n.number, n.numbered = c.header, c.class, c.policy, c.since, c.number, c.numbered
	n.kind, n.copied, n.whole, n.flow, n.place = kind, true, c.whole, c.flow, c.place
	return n
}

// isCopy reports whether the original is elsewhere.
func (c *parcel) isCopy() bool { return c.kind == wire.CopyAtOnce || c.kind == wire.CopyAgain }

// free gives a parcel up.
func (c *parcel) free() {
	*c = parcel{buf: c.buf, size: c.size}
	parcels[c.size].Put(c)
}

// frame writes the frame's head before the packet and returns the whole.
func (c *parcel) frame() []byte {
	h := wire.PacketHead{Number: c.number, Bulk: c.class == queue.Bulk, Copy: c.kind, Flow: c.flow, Place: c.place}
	// What is left of a super-packet that was cut begins further behind.
	at := len(c.buf) - cap(c.packet)
	f := c.buf[at-wire.HeaderLen-h.Len() : at+len(c.packet)]
	wire.PutPacketHead(f, &h)
	return f
}

// packetMaxAge is how long a packet is worth sending, by class: after a second a
// resolver or a game has asked again, after two what is inside a bulk flow has
// sent it again.
var packetMaxAge = [2]time.Duration{queue.Sparse: time.Second, queue.Bulk: 2 * time.Second}

// stale reports whether nobody waits for it any more.
func (c *parcel) stale(now time.Time) bool { return now.Sub(c.since) > packetMaxAge[c.class] }

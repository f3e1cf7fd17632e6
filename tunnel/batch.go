package tunnel

import (
	"net/netip"
	"time"

	"braid/tunnel/wire"
)

const (
	// batchBytes is room for three super-packets, or a burst of small ones.
	batchBytes = 4 * wire.MaxPayloadLen
	// batchPackets bounds a batch of small packets, so that the first of
	// them does not wait for a slow reader.
	batchPackets = 128
)

// batch is what one read of the TUN brought.
type batch struct {
	buf   []byte
	sizes [batchPackets]int
	n     int

	parcels []*parcel
}

func newBatch() *batch { return &batch{buf: make([]byte, batchBytes)} }

func (b *batch) read(d Device) (err error) {
	b.n, err = d.ReadBatch(b.buf, 0, b.sizes[:])
	return err
}

// each calls take with each packet that is to be carried and that taken has not
// taken.
func (b *batch) each(taken func([]byte) bool, take func(packet []byte, dst netip.Addr)) {
	off := 0
	for _, size := range b.sizes[:b.n] {
		packet := b.buf[off : off+size]
		off += size
		if taken(packet) || wire.NormalizePacket(packet) != nil {
			continue
		}
		if _, dst, ok := wire.Addresses(packet[wire.VnetLen:]); ok && carried(dst) {
			take(packet, dst)
		}
	}
}

// keep copies a packet, for the next flush.
func (b *batch) keep(packet []byte) { b.parcels = append(b.parcels, newParcel(packet)) }

// flush gives the kept packets to a lane, and counts them.
func (b *batch) flush(l *packetLane, stats *counters) {
	if len(b.parcels) == 0 {
		return
	}
	bytes := 0
	for _, c := range b.parcels {
		bytes += len(c.packet) - wire.VnetLen
	}
	stats.txPackets.Add(uint64(len(b.parcels)))
	stats.txBytes.Add(uint64(bytes))
	if l != nil {
		l.push(time.Now(), b.parcels)
	} else {
		for _, c := range b.parcels {
			c.free()
		}
	}
	clear(b.parcels)
	b.parcels = b.parcels[:0]
}

// carried reports whether packets to dst belong in a tunnel: what is for one
// link only, such as router solicitations and mDNS, ends at the TUN.
func carried(dst netip.Addr) bool {
	return !dst.IsMulticast() && !dst.IsLinkLocalUnicast() && !dst.IsUnspecified() &&
		dst != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

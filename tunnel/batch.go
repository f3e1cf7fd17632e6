package tunnel

import (
	"net/netip"

	"braid/tunnel/wire"
)

const (
	// batchBytes is room for three super-packets, or a burst of small ones.
	batchBytes = 4 * (wire.HeaderLen + wire.MaxPayloadLen)
	// batchPackets bounds a batch of small packets, so that the first of
	// them does not wait for a slow reader.
	batchPackets = 128
)

// batch is what one read of the TUN brought. Room for a frame header is kept
// before each packet, so that the batch as it lies is a sequence of frames.
type batch struct {
	buf   []byte
	sizes [batchPackets]int
	n     int
}

func newBatch() *batch { return &batch{buf: make([]byte, batchBytes)} }

func (b *batch) read(d Device) (err error) {
	b.n, err = d.ReadBatch(b.buf, wire.HeaderLen, b.sizes[:])
	return err
}

// frames turns packet i, at offset off, into a frame, in place. ok is false
// for a packet that must not be carried, or that taken has taken.
func (b *batch) frame(off, size int, taken func([]byte) bool) (frame []byte, dst netip.Addr, ok bool) {
	frame = b.buf[off : off+wire.HeaderLen+size]
	payload := frame[wire.HeaderLen:]
	if taken(payload) || wire.NormalizePacket(payload) != nil {
		return frame, dst, false
	}
	_, dst, ok = wire.Addresses(payload[wire.VnetLen:])
	wire.PutHeader(frame, wire.TypePacket, size)
	return frame, dst, ok && carried(dst)
}

// each calls push with runs of frames that follow each other, their number
// and their bytes of IP packets, of packets that taken has not taken.
func (b *batch) each(taken func([]byte) bool, push func(frames []byte, packets, bytes int)) {
	off, start, packets, bytes := 0, 0, 0, 0
	for i := range b.n {
		size := b.sizes[i]
		end := off + wire.HeaderLen + size
		if _, _, ok := b.frame(off, size, taken); ok {
			packets++
			bytes += size - wire.VnetLen
		} else {
			if packets > 0 {
				push(b.buf[start:off], packets, bytes)
			}
			start, packets, bytes = end, 0, 0
		}
		off = end
	}
	if packets > 0 {
		push(b.buf[start:off], packets, bytes)
	}
}

// carried reports whether packets to dst belong in a tunnel: what is for one
// link only, such as router solicitations and mDNS, ends at the TUN.
func carried(dst netip.Addr) bool {
	return !dst.IsMulticast() && !dst.IsLinkLocalUnicast() && !dst.IsUnspecified() &&
		dst != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

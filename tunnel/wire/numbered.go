package wire

import "encoding/binary"

const (
	// PacketHeadLen is what a Packet frame has before the virtio-net header at
	// least, bytes, and MaxPacketHeadLen at most.
	PacketHeadLen    = 9
	MaxPacketHeadLen = PacketHeadLen + orderLen

	orderLen = 12
)

// MaxNumber is the highest number of a packet. At ten million a second it takes
// thirty thousand years to get there, so numbers never begin again.
const MaxNumber = 1<<63 - 1

// PacketHead is the beginning of a Packet frame.
//
//	number u64 | flags u8 [ | flow u32 | place u64 ]
type PacketHead struct {
	Number uint64 // of the session and direction, from 0; the same for a copy
	Bulk   bool   // what the sender takes its flow for; else it is sparse
	Copy   CopyKind

	// Flow is that of a packet whose flow takes several paths, and Place its place
	// there, from 0: the receiver puts them in order. 0 is none.
	Flow  uint32
	Place uint64
}

// CopyKind is why a number is sent.
type CopyKind uint8

const (
	Original   CopyKind = iota // for the first time
	CopyAtOnce                 // together with the original, on another path
	CopyAgain                  // because the original is late
	Moved                      // in place of the original, whose path may be dead
)

// Flags of a Packet frame.
const (
	packetBulk      = 0x01
	packetCopy      = 0x06 // a CopyKind
	packetCopyShift = 1
	packetOrdered   = 0x08
)

// Len is the length of the head, bytes.
func (h *PacketHead) Len() int {
	if h.Flow != 0 {
		return MaxPacketHeadLen
	}
	return PacketHeadLen
}

// PutPacketHead writes a Packet frame's header and head into the first
// HeaderLen + h.Len() bytes of frame, which is all of it.
func PutPacketHead(frame []byte, h *PacketHead) {
	PutHeader(frame, TypePacket, len(frame)-HeaderLen)
	binary.BigEndian.PutUint64(frame[HeaderLen:], h.Number)
	flags := uint8(h.Copy) << packetCopyShift & packetCopy
	if h.Bulk {
		flags |= packetBulk
	}
	if h.Flow != 0 {
		flags |= packetOrdered
		binary.BigEndian.PutUint32(frame[HeaderLen+PacketHeadLen:], h.Flow)
		binary.BigEndian.PutUint64(frame[HeaderLen+PacketHeadLen+4:], h.Place)
	}
	frame[HeaderLen+8] = flags
}

// ParsePacket parses and checks the payload of a Packet frame: packet is the
// virtio-net header and the IP packet, which CheckPacket has found to be right.
// It does not allocate for what is well formed.
func ParsePacket(p []byte) (h PacketHead, packet []byte, err error) {
	if len(p) < PacketHeadLen {
		return h, nil, malformed("packet frame of %d bytes", len(p))
	}
	flags := p[8]
	h = PacketHead{Number: binary.BigEndian.Uint64(p), Bulk: flags&packetBulk != 0, Copy: CopyKind(flags & packetCopy >> packetCopyShift)}
	packet = p[PacketHeadLen:]
	switch {
	case h.Number > MaxNumber:
		return h, nil, malformed("packet number %d", h.Number)
	case flags&^(packetBulk|packetCopy|packetOrdered) != 0:
		return h, nil, malformed("packet flags %#x", flags)
	case flags&packetOrdered == 0:
		return h, packet, CheckPacket(packet)
	case len(packet) < orderLen:
		return h, nil, malformed("packet frame of %d bytes, with an order", len(p))
	}
	h.Flow, h.Place = binary.BigEndian.Uint32(packet), binary.BigEndian.Uint64(packet[4:])
	packet = packet[orderLen:]
	if h.Flow == 0 || h.Place > MaxNumber {
		return h, nil, malformed("place %d in flow %d", h.Place, h.Flow)
	}
	return h, packet, CheckPacket(packet)
}

const arrivedLen = 36

// Arrived is a receiver's word on a carrier's packets.
//
//	packets u64 | age u32 | at once u64 | again u64 | behind u64
type Arrived struct {
	// Packets is how many have arrived on this carrier since it began. A
	// carrier keeps their order, so these are the first that were sent on it.
	Packets uint64
	AgeUs   uint32 // microseconds since the last of them came

	// Of Packets: copies that came before their originals, or instead of them,
	// and originals that came behind a copy.
	AtOnce, Again, Behind uint64
}

// Append appends the frame to b.
func (a Arrived) Append(b []byte) []byte {
	return appendFrame(b, TypeArrived, func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(b, a.Packets), a.AgeUs)
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, a.AtOnce), a.Again)
		return binary.BigEndian.AppendUint64(b, a.Behind)
	})
}

// ParseArrived parses the payload of an Arrived frame.
func ParseArrived(p []byte) (Arrived, error) {
	if len(p) != arrivedLen {
		return Arrived{}, malformed("arrived of %d bytes", len(p))
	}
	u64 := binary.BigEndian.Uint64
	return Arrived{Packets: u64(p), AgeUs: binary.BigEndian.Uint32(p[8:]), AtOnce: u64(p[12:]), Again: u64(p[20:]), Behind: u64(p[28:])}, nil
}

package wire

import "encoding/binary"

// PacketHeadLen is what a Packet frame has before the virtio-net header, bytes.
const PacketHeadLen = 9

// MaxNumber is the highest number of a packet. At ten million a second it takes
// thirty thousand years to get there, so numbers never begin again.
const MaxNumber = 1<<63 - 1

// PacketHead is the beginning of a Packet frame.
//
//	number u64 | class u8 | virtio-net header | IP packet
type PacketHead struct {
	Number uint64 // of the session and direction, from 0; the same for a copy
	Class  uint8  // 0 sparse, 1 bulk; it is for counting, and unknown ones are no error
}

// PutPacketHead writes a Packet frame's header and head into the first
// HeaderLen + PacketHeadLen bytes of frame, which is all of it.
func PutPacketHead(frame []byte, h PacketHead) {
	PutHeader(frame, TypePacket, len(frame)-HeaderLen)
	binary.BigEndian.PutUint64(frame[HeaderLen:], h.Number)
	frame[HeaderLen+8] = h.Class
}

// ParsePacket parses and checks the payload of a Packet frame: packet is the
// virtio-net header and the IP packet, which CheckPacket has found to be right.
// It does not allocate for what is well formed.
func ParsePacket(p []byte) (h PacketHead, packet []byte, err error) {
	if len(p) < PacketHeadLen {
		return h, nil, malformed("packet frame of %d bytes", len(p))
	}
	h = PacketHead{Number: binary.BigEndian.Uint64(p), Class: p[8]}
	if h.Number > MaxNumber {
		return h, nil, malformed("packet number %d", h.Number)
	}
	return h, p[PacketHeadLen:], CheckPacket(p[PacketHeadLen:])
}

const arrivedLen = 12

// Arrived is a receiver's word on a carrier's packets.
//
//	packets u64 | age u32
type Arrived struct {
	// Packets is how many have arrived on this carrier since it began. A
	// carrier keeps their order, so these are the first that were sent on it.
	Packets uint64
	AgeUs   uint32 // microseconds since the last of them came
}

// Append appends the frame to b.
func (a Arrived) Append(b []byte) []byte {
	return appendFrame(b, TypeArrived, func(b []byte) []byte {
		return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(b, a.Packets), a.AgeUs)
	})
}

// ParseArrived parses the payload of an Arrived frame.
func ParseArrived(p []byte) (Arrived, error) {
	if len(p) != arrivedLen {
		return Arrived{}, malformed("arrived of %d bytes", len(p))
	}
	return Arrived{Packets: binary.BigEndian.Uint64(p), AgeUs: binary.BigEndian.Uint32(p[8:])}, nil
}

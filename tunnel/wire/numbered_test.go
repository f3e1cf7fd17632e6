package wire

import (
	"bytes"
	"errors"
	"testing"
)

// ipv4 is the smallest packet there is, behind a virtio-net header.
func ipv4() []byte {
	p := make([]byte, VnetLen+minIPLen)
	p[VnetLen], p[VnetLen+3] = 0x45, minIPLen
	return p
}

func packetFrame(h PacketHead, packet []byte) []byte {
	f := append(make([]byte, HeaderLen+h.Len()), packet...)
	PutPacketHead(f, &h)
	return f
}

func TestPacketRoundTrip(t *testing.T) {
	for _, h := range []PacketHead{
		{}, {Number: 1, Bulk: true}, {Number: MaxNumber, Copy: Moved}, {Number: 3, Copy: CopyAtOnce},
		{Number: 4, Bulk: true, Copy: CopyAgain, Flow: 1}, {Flow: 1<<32 - 1, Place: MaxNumber},
	} {
		p := payload(t, packetFrame(h, ipv4()), TypePacket)
		got, packet, err := ParsePacket(p)
		if err != nil || got != h || !bytes.Equal(packet, ipv4()) {
			t.Errorf("ParsePacket = %+v, % x, %v; want %+v", got, packet, err, h)
		}
		truncations(t, p, func(b []byte) error { _, _, err := ParsePacket(b); return err })
	}
}

func TestBadPacketHeads(t *testing.T) {
	flags := func(f byte) []byte {
		p := packetFrame(PacketHead{Flow: 1}, ipv4())[HeaderLen:]
		p[8] = f
		return p
	}
	noFlow := packetFrame(PacketHead{Flow: 1}, ipv4())[HeaderLen:]
	clear(noFlow[9:13])
	for name, p := range map[string][]byte{
		"a number beyond the last": packetFrame(PacketHead{Number: MaxNumber + 1}, ipv4())[HeaderLen:],
		"a place beyond the last":  packetFrame(PacketHead{Flow: 1, Place: MaxNumber + 1}, ipv4())[HeaderLen:],
		"a place in no flow":       noFlow,
		"unknown flags":            flags(0x18),
		"the highest flag":         flags(0x80),
	} {
		if _, _, err := ParsePacket(p); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestArrivedRoundTrip(t *testing.T) {
	const most = 1<<64 - 1
	for _, a := range []Arrived{{}, {1, 2, 3, 4, 5}, {most, 1<<32 - 1, most, most - 1, most - 2}} {
		p := payload(t, a.Append(nil), TypeArrived)
		if got, err := ParseArrived(p); err != nil || got != a {
			t.Errorf("ParseArrived = %+v, %v; want %+v", got, err, a)
		}
		truncations(t, p, func(b []byte) error { _, err := ParseArrived(b); return err })
	}
}

func FuzzPacket(f *testing.F) {
	f.Add(packetFrame(PacketHead{Number: 7, Bulk: true}, ipv4())[HeaderLen:])
	f.Add(packetFrame(PacketHead{Number: 7, Copy: CopyAgain, Flow: 8, Place: 9}, ipv4())[HeaderLen:])
	f.Add(Arrived{5, 6, 7, 8, 9}.Append(nil)[HeaderLen:])
	f.Fuzz(func(t *testing.T, p []byte) {
		if h, packet, err := ParsePacket(p); err == nil {
			if again := packetFrame(h, packet)[HeaderLen:]; !bytes.Equal(again, p) {
				t.Fatalf("%x became %x", p, again)
			}
		} else if !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
		if a, err := ParseArrived(p); err == nil {
			if again := a.Append(nil)[HeaderLen:]; !bytes.Equal(again, p) {
				t.Fatalf("%x became %x", p, again)
			}
		} else if !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
	})
}

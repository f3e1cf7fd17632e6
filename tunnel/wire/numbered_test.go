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
	f := append(make([]byte, HeaderLen+PacketHeadLen), packet...)
	PutPacketHead(f, h)
	return f
}

func TestPacketRoundTrip(t *testing.T) {
	for _, h := range []PacketHead{{}, {1, 1}, {MaxNumber, 255}} {
		p := payload(t, packetFrame(h, ipv4()), TypePacket)
		got, packet, err := ParsePacket(p)
		if err != nil || got != h || !bytes.Equal(packet, ipv4()) {
			t.Errorf("ParsePacket = %+v, % x, %v; want %+v", got, packet, err, h)
		}
		truncations(t, p, func(b []byte) error { _, _, err := ParsePacket(b); return err })
	}
	if _, _, err := ParsePacket(packetFrame(PacketHead{Number: MaxNumber + 1}, ipv4())[HeaderLen:]); !errors.Is(err, ErrMalformed) {
		t.Errorf("a number beyond the last: %v", err)
	}
}

func TestArrivedRoundTrip(t *testing.T) {
	for _, a := range []Arrived{{}, {1, 2}, {1<<64 - 1, 1<<32 - 1}} {
		p := payload(t, a.Append(nil), TypeArrived)
		if got, err := ParseArrived(p); err != nil || got != a {
			t.Errorf("ParseArrived = %+v, %v; want %+v", got, err, a)
		}
		truncations(t, p, func(b []byte) error { _, err := ParseArrived(b); return err })
	}
}

func FuzzPacket(f *testing.F) {
	f.Add(packetFrame(PacketHead{7, 1}, ipv4())[HeaderLen:])
	f.Add(Arrived{5, 6}.Append(nil)[HeaderLen:])
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

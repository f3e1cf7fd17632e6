package tunnel

import (
	"log/slog"
	"net/netip"
	"testing"

	"braid/tunnel/wire"
)

// Packets pass between two clients when one of them reaches the other; which one
// begins is not for the session to know.
func TestPacketsBetweenClients(t *testing.T) {
	peer := func(name, address, route string, reach ...string) Peer {
		return Peer{
			Name: name, Addresses: []netip.Prefix{netip.MustParsePrefix(address)}, Routes: []netip.Prefix{netip.MustParsePrefix(route)}, Reach: reach,
		}
	}
	device := &sourceDevice{}
	s := NewServer(ServerConfig{Device: device, Log: slog.New(slog.DiscardHandler), Peers: []Peer{
		peer("a", "10.77.0.2/24", "192.168.2.0/24", "b"), peer("b", "10.77.0.3/24", "192.168.3.0/24"),
		peer("c", "10.77.0.4/24", "192.168.4.0/24"), peer("d", "10.77.0.5/24", "192.168.5.0/24", "*"),
	}})
	for _, test := range []struct {
		from     int // of the peers
		src, dst string
		passes   bool
	}{
		{0, "10.77.0.2", "10.77.0.3", true}, {0, "192.168.2.9", "192.168.3.9", true}, {1, "192.168.3.9", "10.77.0.2", true},
		{0, "10.77.0.2", "10.77.0.4", false}, {2, "10.77.0.4", "192.168.2.9", false}, {1, "10.77.0.3", "10.77.0.4", false},
		{3, "10.77.0.5", "192.168.4.9", true}, {2, "10.77.0.4", "10.77.0.5", true},
		{0, "10.77.0.2", "192.168.2.9", false}, {0, "10.77.0.2", "10.77.0.1", true}, {0, "10.77.0.2", "8.8.8.8", true},
	} {
		ses := s.sessions()[test.from]
		before := ses.stats.isolated.Load()
		s.inbound(ses, icmpTo(test.src, test.dst))
		if passed := ses.stats.isolated.Load() == before; passed != test.passes {
			t.Errorf("%s to %s: passes %v, want %v", test.src, test.dst, passed, test.passes)
		}
	}
}

// icmpTo is a packet without payload, with its virtio-net header.
func icmpTo(src, dst string) []byte {
	ip := make([]byte, wire.VnetLen+20)
	h := ip[wire.VnetLen:]
	h[0], h[3], h[8], h[9] = 0x45, 20, 64, 1
	copy(h[12:], netip.MustParseAddr(src).AsSlice())
	copy(h[16:], netip.MustParseAddr(dst).AsSlice())
	return ip
}

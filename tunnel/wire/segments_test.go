package wire

import (
	"hash/maphash"
	"slices"
	"testing"
	"time"

	"braid/scheduler/queue"
)

// FuzzSegments: of a packet that a peer takes it takes all that package queue
// makes of it.
func FuzzSegments(f *testing.F) {
	f.Add(frame(vnet{vnetNeedsCsum, vnetGSOTCPv4, 52, 100, 20, 16}, ip4(protoTCP, tcp(32, 300))), 200)
	f.Add(frame(vnet{vnetNeedsCsum, vnetGSOTCPv6, 60, 100, 40, 16}, ip6(protoTCP, tcp(20, 250))), 0)
	udp := make([]byte, 8+250)
	udp[4], udp[5] = 1, 2
	f.Add(frame(vnet{vnetNeedsCsum, vnetGSOUDPL4, 28, 100, 20, 6}, ip4(protoUDP, udp)), 150)
	f.Add(frame(vnet{}, ip6(58, make([]byte, 8))), 10)
	f.Fuzz(func(t *testing.T, payload []byte, room int) {
		if CheckPacket(payload) != nil {
			return
		}
		h, ok := queue.Parse(payload)
		if !ok {
			t.Fatal("has no flow")
		}
		n := 1
		rest := slices.Clone(payload)
		for {
			if rest, ok = queue.DropSegment(rest); !ok {
				break
			}
			n++
			if err := CheckPacket(rest); err != nil {
				t.Fatalf("with %d segments removed: %v", n-1, err)
			}
		}
		if n != h.Segments {
			t.Fatalf("%d segments, %d could be removed", h.Segments, n)
		}
		q := queue.New[int](queue.Params{}, maphash.MakeSeed(), nil)
		q.Push(time.Unix(1, 0), &h, queue.Packet[int]{Payload: payload})
		for {
			p, ok := q.Pop(time.Unix(1, 0), room)
			if !ok {
				break
			}
			if err := CheckPacket(p.Payload); err != nil {
				t.Fatalf("a part: %v", err)
			}
		}
	})
}

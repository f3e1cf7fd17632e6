package tunnel

import (
	"encoding/binary"
	"testing"
	"time"

	"braid/scheduler/queue"
	"braid/tunnel/wire"
)

// datagram is a header and UDP packet of so many bytes of IP, from 10.0.0.1 to
// 10.0.0.2, or its answer.
func datagram(size int, answer bool) []byte {
	p := make([]byte, wire.VnetLen+size)
	ip := p[wire.VnetLen:]
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(size))
	from, to := byte(1), byte(2)
	if answer {
		from, to = to, from
	}
	copy(ip[12:], []byte{10, 0, 0, from})
	copy(ip[16:], []byte{10, 0, 0, to})
	binary.BigEndian.PutUint16(ip[20:], 4000+uint16(from))
	binary.BigEndian.PutUint16(ip[22:], 4000+uint16(to))
	return p
}

// Both ends of a call know of it, and neither takes the acknowledgements of
// something large for one.
func TestTalk(t *testing.T) {
	for _, test := range []struct {
		name   string
		every  time.Duration
		size   int
		answer int // size of what comes back for each; 0: nothing
		many   int // answers at a time
		want   bool
	}{
		{"call, one way", 20 * time.Millisecond, 188, 0, 0, true},
		{"call, both ways", 20 * time.Millisecond, 188, 188, 1, true},
		{"game", 16 * time.Millisecond, 100, 300, 1, true},
		{"ssh", 150 * time.Millisecond, 80, 150, 1, true},
		{"keep-alive", 5 * time.Second, 60, 60, 1, false},
		{"bulk", 2 * time.Millisecond, 1400, 0, 0, false},
		{"acknowledgements of bulk", 10 * time.Millisecond, 60, 1400, 4, false},
		{"flood", 200 * time.Microsecond, 60, 0, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			ends := [2]*packetLane{}
			heard := [2]int{}
			for i := range ends {
				ends[i] = newPacketLane(wire.SessionID{1}, PacketPolicies{}, func([]byte) {})
				ends[i].talks = func(time.Time) { heard[i]++ }
			}
			now := time.Unix(1e9, 0)
			send := func(from, to *packetLane, p []byte) {
				from.push(now, []*parcel{newParcel(p)})
				h, _ := queue.Parse(p)
				from.mu.Lock()
				f, _ := from.flows.Get(&h.Key)
				head := wire.PacketHead{Bulk: f.behaviour.Class() == queue.Bulk}
				from.mu.Unlock()
				to.hear(now, &head, p)
			}
			all := 0
			for end := now.Add(10 * time.Second); now.Before(end); now = now.Add(test.every) {
				all++
				send(ends[0], ends[1], datagram(test.size, false))
				for range test.many {
					send(ends[1], ends[0], datagram(test.answer, true))
				}
			}
			for i, n := range heard {
				if test.want && n < all/4 || !test.want && n > all/50 {
					t.Errorf("end %d heard a conversation in %d of %d", i, n, all)
				}
				ends[i].close()
			}
		})
	}
}

func TestTalkAllocatesNothing(t *testing.T) {
	l := newPacketLane(wire.SessionID{1}, PacketPolicies{}, nil)
	l.talks = func(time.Time) {}
	p := datagram(188, true)
	now := time.Unix(1e9, 0)
	if n := testing.AllocsPerRun(100, func() { l.hear(now, &wire.PacketHead{}, p); l.hear(now, &wire.PacketHead{}, p[:5]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHear(b *testing.B) {
	l := newPacketLane(wire.SessionID{1}, PacketPolicies{}, nil)
	l.talks = func(time.Time) {}
	p := datagram(188, true)
	now := time.Unix(1e9, 0)
	b.ReportAllocs()
	for b.Loop() {
		l.hear(now, &wire.PacketHead{}, p)
	}
}

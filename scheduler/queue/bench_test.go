package queue

import (
	"fmt"
	"hash/maphash"
	"math"
	"testing"
	"time"
)

// loop pushes a packet of each of many flows in turn and pops one, with some
// four of each waiting.
type loop struct {
	q       *Queue[int]
	packets [][]byte
	now     time.Time
	room    int
	n       int
}

func newLoop(flows, room int, s spec) *loop {
	l := &loop{now: epoch, room: room}
	l.q = New[int](Params{Limit: 1 << 30, MaxAge: [classes]time.Duration{time.Hour, time.Hour}, Target: time.Hour}, maphash.MakeSeed(), nil)
	for i := range 4*flows + 1 {
		s.sport = uint16(i % flows)
		l.packets = append(l.packets, s.build())
	}
	for range 4 * flows {
		l.push()
	}
	for range 10 * flows {
		l.step()
	}
	return l
}

func (l *loop) push() {
	p := l.packets[l.n%len(l.packets)]
	l.n++
	h, _ := Parse(p)
	l.q.Push(l.now, &h, Packet[int]{Payload: p, Meta: l.n})
}

func (l *loop) step() {
	l.now = l.now.Add(time.Microsecond)
	l.push()
	for {
		if p, ok := l.q.Pop(l.now, l.room); !ok || !p.More {
			return
		}
	}
}

// BenchmarkPushPop is Parse, Push and Pop of one packet.
func BenchmarkPushPop(b *testing.B) {
	for _, flows := range []int{1, 64, 1000} {
		b.Run(fmt.Sprintf("%d flows", flows), func(b *testing.B) {
			l := newLoop(flows, math.MaxInt, spec{udp: true, data: 1200})
			b.ReportAllocs()
			for b.Loop() {
				l.step()
			}
		})
	}
	b.Run("64 KiB", func(b *testing.B) {
		l := newLoop(8, math.MaxInt, spec{data: 64000, size: 1448})
		b.ReportAllocs()
		for b.Loop() {
			l.step()
		}
	})
}

// BenchmarkParts pops a super-packet of 44 segments in parts of four.
func BenchmarkParts(b *testing.B) {
	q := New[int](Params{}, maphash.MakeSeed(), nil)
	whole := spec{data: 63712, size: 1448, flags: 0x10}.build()
	payload := make([]byte, len(whole))
	b.ReportAllocs()
	for b.Loop() {
		copy(payload, whole) // which is some of the time
		h, _ := Parse(payload)
		q.Push(epoch, &h, Packet[int]{Payload: payload})
		for {
			if p, ok := q.Pop(epoch, 6000); !ok || !p.More {
				break
			}
		}
	}
}

func BenchmarkDropSegment(b *testing.B) {
	whole := spec{data: 63712, size: 1448, flags: 0x10}.build()
	headers := append([]byte(nil), whole[:100]...)
	b.ReportAllocs()
	for b.Loop() {
		DropSegment(whole)
		copy(whole, headers)
	}
}

// TestAllocations: nothing per packet allocates, drops included.
func TestAllocations(t *testing.T) {
	for name, l := range map[string]*loop{
		"packets":       newLoop(64, math.MaxInt, spec{data: 1000}),
		"super-packets": newLoop(8, math.MaxInt, spec{data: 30000, size: 1000}),
		"many flows":    newLoop(3000, math.MaxInt, spec{udp: true, data: 10}),
	} {
		if n := testing.AllocsPerRun(1000, l.step); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}

	whole := spec{data: 30000, size: 1000}.build()
	var buffers [128][]byte // more than fit the limit, as short as they get
	var unused []int
	for i := range buffers {
		buffers[i] = make([]byte, len(whole))
		unused = append(unused, i)
	}
	back := func(i int) { unused = append(unused, i) }
	q := New(Params{Limit: 80_000}, maphash.MakeSeed(), back)
	n, now := 0, epoch
	cycle := func() {
		now = now.Add(time.Duration(n%100) * ms)
		n++
		i := unused[len(unused)-1]
		unused = unused[:len(unused)-1]
		copy(buffers[i], whole)
		h, _ := Parse(buffers[i])
		q.Push(now, &h, Packet[int]{Payload: buffers[i], Meta: i})
		if p, ok := q.Pop(now, 4000); ok && !p.More {
			back(p.Meta)
		}
	}
	for range 500 {
		cycle()
	}
	if n := testing.AllocsPerRun(1000, cycle); n != 0 {
		t.Errorf("drops and parts: %v allocations", n)
	}
	if c := q.Counters(Bulk); c.Overflowed == 0 || c.Dropped == 0 || c.Packets == 0 {
		t.Errorf("nothing was dropped: %+v", c)
	}
}

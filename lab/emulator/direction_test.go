package emulator

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const ms = time.Millisecond

// frameOf returns a frame of the given number of IP bytes, numbered.
func frameOf(size int, number byte) []byte {
	f := make([]byte, ethernetHeader+size)
	f[0] = number
	return f
}

// arrival is one frame as it came out.
type arrival struct {
	At     time.Duration
	Number byte
}

func newDirection(t *testing.T, s Shape, seed uint64) *Direction {
	t.Helper()
	d, err := New(s, seed)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// runUntil pops everything up to a time, waking exactly when Next says so, as
// the pump does.
func runUntil(d *Direction, end time.Duration) []arrival {
	var out []arrival
	for {
		at, ok := d.Next()
		if !ok || at > end {
			return out
		}
		for {
			frame, delivered, ok := d.Pop(at)
			if !ok {
				break
			}
			if delivered {
				out = append(out, arrival{at, frame[0]})
			}
		}
	}
}

func TestDirection(t *testing.T) {
	const mtu = 1500 // 1500 bytes at 12 Mb/s take 1 ms
	tests := []struct {
		name  string
		shape Shape
		play  func(d *Direction) []arrival
		want  []arrival
		count Counters
	}{
		{
			name: "a perfect wire delivers at once",
			play: func(d *Direction) []arrival {
				d.Push(5*ms, frameOf(mtu, 1))
				return runUntil(d, time.Second)
			},
			want:  []arrival{{5 * ms, 1}},
			count: Counters{Packets: 1, Bytes: mtu, Large: 1},
		},
		{
			name:  "rate and delay",
			shape: Shape{Rate: 12 * Mbps, Delay: 10 * ms},
			play: func(d *Direction) []arrival {
				d.Push(0, frameOf(mtu, 1))
				d.Push(0, frameOf(mtu/2, 2))
				d.Push(20*ms, frameOf(mtu, 3))
				return runUntil(d, time.Second)
			},
			want:  []arrival{{11 * ms, 1}, {11*ms + 500*time.Microsecond, 2}, {31 * ms, 3}},
			count: Counters{Packets: 3, Bytes: 2*mtu + mtu/2, Large: 2},
		},
		{
			name:  "queue by time drops the tail",
			shape: Shape{Rate: 12 * Mbps, QueueTime: 3 * ms},
			play: func(d *Direction) []arrival {
				for i := range byte(5) {
					d.Push(0, frameOf(mtu, i))
				}
				d.Push(1*ms, frameOf(mtu, 5))
				return runUntil(d, time.Second)
			},
			want:  []arrival{{1 * ms, 0}, {2 * ms, 1}, {3 * ms, 2}, {4 * ms, 5}},
			count: Counters{Packets: 4, Bytes: 4 * mtu, Large: 4, DroppedQueue: 2},
		},
		{
			name:  "queue by bytes, and an empty queue takes anything",
			shape: Shape{Rate: 12 * Mbps, QueueBytes: 1000},
			play: func(d *Direction) []arrival {
				d.Push(0, frameOf(mtu, 1))
				d.Push(0, frameOf(1, 2))
				return runUntil(d, time.Second)
			},
			want:  []arrival{{1 * ms, 1}},
			count: Counters{Packets: 1, Bytes: mtu, Large: 1, DroppedQueue: 1},
		},
		{
			name:  "a new rate holds for the packet being sent and those queued",
			shape: Shape{Rate: 12 * Mbps},
			play: func(d *Direction) []arrival {
				d.Push(0, frameOf(mtu, 1))
				d.Push(0, frameOf(mtu, 2))
				// Half of the first is left: at half the rate 1 ms, then 2 ms.
				d.SetShape(500*time.Microsecond, Shape{Rate: 6 * Mbps})
				out := runUntil(d, 2*ms)
				d.SetShape(2500*time.Microsecond, Shape{}) // unlimited: go now
				return append(out, runUntil(d, time.Second)...)
			},
			want:  []arrival{{1500 * time.Microsecond, 1}, {2500 * time.Microsecond, 2}},
			count: Counters{Packets: 2, Bytes: 2 * mtu, Large: 2},
		},
		{
			name:  "a new delay holds for packets on the wire",
			shape: Shape{Delay: 100 * ms},
			play: func(d *Direction) []arrival {
				d.Push(0, frameOf(mtu, 1))
				d.Push(50*ms, frameOf(mtu, 2))
				d.SetShape(60*ms, Shape{Delay: 30 * ms})
				first, _, _ := d.Pop(60 * ms) // overdue under the new delay
				return append([]arrival{{60 * ms, first[0]}}, runUntil(d, time.Second)...)
			},
			want:  []arrival{{60 * ms, 1}, {80 * ms, 2}},
			count: Counters{Packets: 2, Bytes: 2 * mtu, Large: 2},
		},
		{
			name:  "a black hole swallows wire, queue and newcomers",
			shape: Shape{Rate: 12 * Mbps, Delay: 5 * ms},
			play: func(d *Direction) []arrival {
				for i := range byte(3) {
					d.Push(0, frameOf(mtu, i))
				}
				s := d.Shape()
				s.BlackHole = true
				d.SetShape(1500*time.Microsecond, s) // 0 on the wire, 1 and 2 queued
				out := runUntil(d, 2*ms)
				d.Push(2*ms, frameOf(mtu, 3))
				s.BlackHole = false
				d.SetShape(10*ms, s)
				d.Push(10*ms, frameOf(mtu, 4))
				return append(out, runUntil(d, time.Second)...)
			},
			want:  []arrival{{16 * ms, 4}},
			count: Counters{Packets: 1, Bytes: mtu, Large: 1, DroppedBlackHole: 4},
		},
		{
			name:  "down is a black hole of its own",
			shape: Shape{Delay: 5 * ms},
			play: func(d *Direction) []arrival {
				d.Push(0, frameOf(mtu, 1))
				d.SetDown(true)
				out := runUntil(d, time.Second)
				d.SetDown(false)
				d.Push(time.Second, frameOf(mtu, 2))
				return append(out, runUntil(d, 2*time.Second)...)
			},
			want:  []arrival{{time.Second + 5*ms, 2}},
			count: Counters{Packets: 1, Bytes: mtu, Large: 1, DroppedBlackHole: 1},
		},
		{
			name:  "certain loss uses the link and delivers nothing",
			shape: Shape{Rate: 12 * Mbps, Loss: RandomLoss(1)},
			play: func(d *Direction) []arrival {
				d.Push(0, frameOf(mtu, 1))
				out := runUntil(d, ms/2)
				d.SetShape(ms/2, Shape{Rate: 12 * Mbps})
				d.Push(ms/2, frameOf(mtu, 2)) // 1 is no longer lost either
				return append(out, runUntil(d, time.Second)...)
			},
			want:  []arrival{{1 * ms, 1}, {2 * ms, 2}},
			count: Counters{Packets: 2, Bytes: 2 * mtu, Large: 2},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := newDirection(t, test.shape, 1)
			got := test.play(d)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("arrivals (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.count, d.Counters(time.Hour)); diff != "" {
				t.Errorf("counters (-want +got):\n%s", diff)
			}
		})
	}
}

func TestQueueCounters(t *testing.T) {
	d := newDirection(t, Shape{Rate: 12 * Mbps, Delay: 10 * ms}, 1)
	for i := range byte(4) {
		d.Push(0, frameOf(1500, i))
	}
	got := d.Counters(1500 * time.Microsecond)
	want := Counters{QueuePackets: 3, QueueBytes: 4500, WirePackets: 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

func TestDrainReturnsEverything(t *testing.T) {
	d := newDirection(t, Shape{Rate: 12 * Mbps, Delay: 10 * ms}, 1)
	for i := range byte(4) {
		d.Push(0, frameOf(1500, i))
	}
	d.Pop(2 * ms)
	n := 0
	for _, ok := d.Drain(); ok; _, ok = d.Drain() {
		n++
	}
	if c := d.Counters(2 * ms); n != 4 || c != (Counters{}) {
		t.Errorf("drained %d frames, counters then %+v; want 4 and none", n, c)
	}
}

func TestValidate(t *testing.T) {
	for _, s := range []Shape{
		{Rate: -1}, {Rate: MaxRate + 1}, {Delay: -1}, {Jitter: 1}, {Delay: ms, Jitter: 2 * ms},
		{Loss: RandomLoss(1.1)}, {Loss: Loss{P: 0.1}}, {Loss: BurstLoss(0.1, 0)},
		{QueueTime: -1}, {QueueBytes: -1}, {Delay: time.Hour},
	} {
		if d, err := New(s, 0); err == nil || d != nil {
			t.Errorf("New(%+v) was accepted", s)
		}
		d := newDirection(t, Shape{Rate: Mbps}, 0)
		if err := d.SetShape(0, s); err == nil || d.Shape() != (Shape{Rate: Mbps}) {
			t.Errorf("SetShape(%+v) was accepted", s)
		}
	}
}

func TestBitRateString(t *testing.T) {
	for r, want := range map[BitRate]string{
		999: "999 b/s", 1500: "1.5 kb/s", 50 * Mbps: "50 Mb/s", 2500 * Mbps: "2.5 Gb/s",
	} {
		if got := r.String(); got != want {
			t.Errorf("%d: got %q, want %q", int64(r), got, want)
		}
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	d := newDirection(t, Shape{Rate: 100 * Mbps, Delay: 10 * ms, Jitter: ms, Loss: RandomLoss(0.01)}, 1)
	frame := frameOf(1500, 1)
	now := time.Duration(0)
	step := func() {
		now += 120 * time.Microsecond
		d.Push(now, frame)
		for _, _, ok := d.Pop(now); ok; _, _, ok = d.Pop(now) {
		}
	}
	for range 1000 {
		step()
	}
	if n := testing.AllocsPerRun(1000, step); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

func BenchmarkDirection(b *testing.B) {
	d, err := New(Shape{Rate: 100 * Mbps, Delay: 10 * ms, Jitter: ms, Loss: BurstLoss(0.01, 3)}, 1)
	if err != nil {
		b.Fatal(err)
	}
	frame := frameOf(1500, 1)
	now := time.Duration(0)
	b.ReportAllocs()
	for b.Loop() {
		now += 120 * time.Microsecond
		d.Push(now, frame)
		for _, _, ok := d.Pop(now); ok; _, _, ok = d.Pop(now) {
		}
		d.Next()
	}
}

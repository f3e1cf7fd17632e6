package emulator

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// randomShape draws any valid shape.
func randomShape(r *rand.Rand) Shape {
	s := Shape{Reorder: r.IntN(2) == 0, BlackHole: r.IntN(10) == 0}
	if r.IntN(5) > 0 {
		s.Rate = BitRate(1 + r.Int64N(int64(200*Mbps)))
	}
	if r.IntN(3) > 0 {
		s.Delay = time.Duration(r.Int64N(int64(100 * ms)))
		s.Jitter = time.Duration(r.Int64N(int64(s.Delay) + 1))
	}
	switch r.IntN(3) {
	case 0:
		s.QueueTime = time.Duration(r.Int64N(int64(200 * ms)))
	case 1:
		s.QueueBytes = r.IntN(100_000)
	}
	switch r.IntN(3) {
	case 0:
		s.Loss = RandomLoss(r.Float64())
	case 1:
		s.Loss = BurstLoss(0.5*r.Float64(), 1+5*r.Float64())
	}
	return s
}

func (d *Direction) nextExact() (at time.Duration, known, exact bool) {
	at, known = d.Next()
	return at, known, d.queue.len == 0
}

// play does random things to a direction for a while and returns a transcript.
// It checks what holds always: every accepted frame comes out once, Next is
// never late, counters add up.
func play(t *testing.T, seed uint64) string {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	d := newDirection(t, randomShape(r), seed)
	inside := map[*byte]bool{}
	var transcript []byte
	var accepted, refused, delivered, handedBack uint64
	pop := func(now time.Duration) {
		for {
			// With a packet in the serialiser Next is only a lower bound.
			at, known, exact := d.nextExact()
			frame, arrived, ok := d.Pop(now)
			if !ok {
				if known && exact && at <= now {
					t.Fatalf("seed %d: Next said %v, but nothing at %v", seed, at, now)
				}
				return
			}
			if !known || at > now {
				t.Fatalf("seed %d: a frame at %v that Next did not announce (%v, %v)", seed, now, at, known)
			}
			if !inside[&frame[0]] {
				t.Fatalf("seed %d: a frame came out that was not inside", seed)
			}
			delete(inside, &frame[0])
			if arrived {
				delivered++
			} else {
				handedBack++
			}
			transcript = fmt.Appendf(transcript, "%d %v %d;", now, arrived, len(frame))
		}
	}
	now := time.Duration(0)
	for range 2000 {
		now += time.Duration(r.Int64N(int64(ms)))
		switch r.IntN(100) {
		case 0:
			if err := d.SetShape(now, randomShape(r)); err != nil {
				t.Fatal(err)
			}
		case 1:
			d.SetDown(r.IntN(3) == 0)
		case 2:
			now += time.Duration(r.Int64N(int64(300 * ms)))
		default:
			for range r.IntN(4) {
				frame := make([]byte, 1+r.IntN(2000))
				if d.Push(now, frame) {
					inside[&frame[0]] = true
					accepted++
				} else {
					refused++
				}
			}
		}
		pop(now)
		c := d.Counters(now)
		if c.QueuePackets+c.WirePackets != len(inside) {
			t.Fatalf("seed %d: %d frames inside, counted %+v", seed, len(inside), c)
		}
	}
	d.SetDown(false)
	s := d.Shape()
	s.BlackHole, s.Rate = false, 0
	if err := d.SetShape(now, s); err != nil {
		t.Fatal(err)
	}
	pop(now + time.Hour)
	c := d.Counters(now + time.Hour)
	if len(inside) != 0 || accepted != delivered+handedBack || c.Packets != delivered ||
		c.DroppedQueue+c.DroppedLoss+c.DroppedBlackHole != refused+handedBack ||
		c.QueueBytes != 0 {
		t.Fatalf("seed %d: accepted %d refused %d delivered %d handed back %d, counters %+v",
			seed, accepted, refused, delivered, handedBack, c)
	}
	return string(transcript)
}

func TestConservationAndReplay(t *testing.T) {
	for seed := range uint64(50) {
		first, second := play(t, seed), play(t, seed)
		if first != second {
			t.Fatalf("seed %d: two runs differ", seed)
		}
	}
}

// TestWakingLateChangesNothing runs one direction with exact and one with
// sloppy wake-ups: the throughput, in the link's own time, is the same.
func TestWakingLateChangesNothing(t *testing.T) {
	shape := Shape{Rate: 50 * Mbps, Delay: 15 * ms, QueueTime: 50 * ms}
	run := func(step time.Duration) (last time.Duration, bytes uint64) {
		d := newDirection(t, shape, 1)
		for now := time.Duration(0); now < time.Second; now += 100 * time.Microsecond {
			d.Push(now, frameOf(1500, 0))
			if now%step == 0 {
				for _, _, ok := d.Pop(now); ok; _, _, ok = d.Pop(now) {
				}
			}
		}
		c := d.Counters(time.Second)
		return step, c.Bytes + uint64(c.WirePackets)*1500
	}
	_, exact := run(100 * time.Microsecond)
	_, sloppy := run(7 * ms)
	if exact != sloppy {
		t.Errorf("%d bytes with exact wake-ups, %d with late ones", exact, sloppy)
	}
	// 1 s at 50 Mb/s, less the packet being sent.
	if exact < 6_248_500 || exact > 6_250_000 {
		t.Errorf("%d bytes in a second at 50 Mb/s", exact)
	}
}

func TestOrderIsKeptUnlessAsked(t *testing.T) {
	for _, reorder := range []bool{false, true} {
		d := newDirection(t, Shape{Delay: 20 * ms, Jitter: 10 * ms, Reorder: reorder}, 7)
		var out []arrival
		for i := range 200 {
			now := time.Duration(i) * ms
			out = append(out, runUntil(d, now)...)
			d.Push(now, frameOf(100, byte(i)))
		}
		out = append(out, runUntil(d, time.Second)...)
		sorted := slices.IsSortedFunc(out, func(a, b arrival) int { return int(a.Number) - int(b.Number) })
		if len(out) != 200 || sorted == reorder {
			t.Errorf("reorder %v: %d packets, in order: %v", reorder, len(out), sorted)
		}
	}
}

func TestJitterSpreadsAroundTheDelay(t *testing.T) {
	for _, reorder := range []bool{false, true} {
		shape := Shape{Delay: 20 * ms, Jitter: 10 * ms, Reorder: reorder}
		d := newDirection(t, shape, 3)
		const n = 20_000
		var sum, lowest, highest = time.Duration(0), time.Hour, time.Duration(0)
		for i := range n {
			now := time.Duration(i) * 50 * ms // alone on the wire
			d.Push(now, frameOf(100, 0))
			for _, a := range runUntil(d, now+50*ms-1) {
				took := a.At - now
				sum += took
				lowest, highest = min(lowest, took), max(highest, took)
			}
		}
		mean := sum / n
		if lowest < 10*ms || highest > 30*ms || highest-lowest < 18*ms ||
			mean < 19800*time.Microsecond || mean > 20200*time.Microsecond {
			t.Errorf("reorder %v: delay %v to %v, mean %v; want 10 to 30 ms, mean 20 ms", reorder, lowest, highest, mean)
		}
	}
}

func TestLossRates(t *testing.T) {
	const n = 200_000
	tests := []struct {
		name      string
		loss      Loss
		wantShare float64
		wantBurst float64
	}{
		{"random 2 %", RandomLoss(0.02), 0.02, 1 / 0.98},
		{"random 0.5 %", RandomLoss(0.005), 0.005, 1 / 0.995},
		{"bursts of 5, 3 %", BurstLoss(0.03, 5), 0.03, 5},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := newDirection(t, Shape{Loss: test.loss}, 11)
			lost, bursts, wasLost := 0, 0, false
			for i := range n {
				now := time.Duration(i) * ms
				d.Push(now, frameOf(100, 0))
				_, delivered, _ := d.Pop(now)
				if !delivered {
					lost++
					if !wasLost {
						bursts++
					}
				}
				wasLost = !delivered
			}
			share, burst := float64(lost)/n, float64(lost)/float64(bursts)
			if math.Abs(share/test.wantShare-1) > 0.1 || math.Abs(burst/test.wantBurst-1) > 0.1 {
				t.Errorf("lost %.4f in bursts of %.2f; want %.4f and %.2f", share, burst, test.wantShare, test.wantBurst)
			}
		})
	}
}

// TestRateIsExact checks that rounding to nanoseconds does not add up, with a
// rate and a size that do not divide.
func TestRateIsExact(t *testing.T) {
	for _, rate := range []BitRate{7 * Kbps, 1_234_567, 97 * Mbps, 30 * Gbps} {
		d := newDirection(t, Shape{Rate: rate, QueueBytes: 1 << 30}, 1)
		const n, size = 10_000, 1391
		for range n {
			d.Push(0, frameOf(size, 0))
		}
		out := runUntil(d, 1<<62)
		want := float64(n*size*8) / float64(rate) * 1e9
		if got := float64(out[n-1].At); math.Abs(got-want) > 1+want*1e-12 {
			t.Errorf("%v: last packet at %.0f ns, want %.0f", rate, got, want)
		}
	}
}

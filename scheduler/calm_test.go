package scheduler

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// calmWorld is a bottleneck with a queue, and a sender like bbr: twice what the
// line holds is under way at most, and no more than the bound.
type calmWorld struct {
	rate    func(at time.Duration) BitRate // of the bottleneck
	base    time.Duration
	jitter  time.Duration
	burst   time.Duration // by which full packets of ours take longer than what is small
	held    time.Duration // acknowledgements come in lumps, up to so long late
	loss    float64
	other   func(at time.Duration) BitRate // of another program, which does not yield
	greedy  bool                           // and fills half of the queue always
	farther time.Duration                  // by which the way becomes longer after ten seconds
	demand  BitRate                        // of ours; 0: as much as it gets
	pauses  func(at time.Duration) bool    // when it sends next to nothing
	bursts  time.Duration                  // instead of a flow, 64 kB so often
	unbound bool
}

// calmTrace is what came of it, each 10 ms.
type calmTrace struct {
	delay   []time.Duration // of a small packet
	carried []float64       // bits in the step
}

const calmTick = 10 * time.Millisecond

func (w calmWorld) run(length time.Duration) (tr calmTrace) {
	random := rand.New(rand.NewPCG(1, 2))
	var c Calm
	var bound BitRate
	var queue, delivered, lump float64 // bytes
	var waits float64                  // of bursts
	var next time.Duration             // when a lump comes
	est := w.rate(0)                   // what our sender thinks that it gets
	srtt := w.base
	dt := calmTick.Seconds()
	for at := time.Duration(0); at < length; at += calmTick {
		rate := float64(w.rate(at)) / 8
		limit := rate * 0.1
		send := 1.2 * float64(est) / 8
		if queue > rate*w.base.Seconds() { // the window is full
			send = rate
		}
		if w.bursts > 0 {
			if at%w.bursts == 0 {
				waits += 64e3
			}
			send = waits / dt
		}
		if w.demand > 0 {
			send = min(send, float64(w.demand)/8)
		}
		if bound > 0 && !w.unbound {
			send = min(send, float64(bound)/8)
		}
		paused := w.pauses != nil && w.pauses(at)
		if paused {
			send = min(send, 1e6/8)
		}
		waits -= min(waits, send*dt)
		other := 0.0
		if w.other != nil {
			other = float64(w.other(at)) / 8
		}
		if w.greedy {
			other = max(0, rate+(limit/2-queue)/0.1-send)
		}
		arrive := (send*(1-w.loss) + other) * dt
		out := min(queue+arrive, rate*dt)
		mine := 0.0
		if send+other > 0 {
			mine = out * send / (send + other)
		}
		queue = min(queue+arrive-out, limit)
		if lump += mine; at >= next {
			delivered, lump = delivered+lump, 0
			if w.held > 0 {
				next = at + time.Duration(random.Int64N(int64(w.held)))
			}
		}
		tr.carried = append(tr.carried, 8*mine)
		delay := w.base + time.Duration(queue/rate*1e9)
		shortest := w.base
		if at > 10*time.Second {
			delay, shortest = delay+w.farther, shortest+w.farther
		}
		tr.delay = append(tr.delay, delay)
		sample := delay + w.burst
		if w.jitter > 0 {
			sample += time.Duration(random.Int64N(int64(w.jitter)))
		}
		if !paused && mine > 0 { // few acknowledgements tell
			srtt += time.Duration(0.3 * float64(sample-srtt))
		}
		est += BitRate(0.1) * (max(BitRate(8*mine/dt), BitRate(0.8)*est) - est)
		if at%calmEvery == 0 && at > 0 {
			bound = c.Step(CalmInput{Elapsed: calmEvery, Delivered: uint64(delivered), RTT: srtt, MinRTT: shortest})
			delivered = 0
		}
	}
	return tr
}

// between is the part of a trace.
func (tr calmTrace) between(from, to time.Duration) (p50, p99 time.Duration, rate BitRate) {
	a, b := int(from/calmTick), int(to/calmTick)
	d := slices.Sorted(slices.Values(tr.delay[a:b]))
	sum := 0.0
	for _, x := range tr.carried[a:b] {
		sum += x
	}
	return d[len(d)/2], d[len(d)*99/100], BitRate(sum / (to - from).Seconds())
}

func steady(r BitRate) func(time.Duration) BitRate { return func(time.Duration) BitRate { return r } }

func TestCalmKeepsTheQueueShort(t *testing.T) {
	for _, test := range []struct {
		name string
		w    calmWorld
	}{
		{"dsl down", calmWorld{rate: steady(50e6), base: 30 * time.Millisecond}},
		{"dsl up", calmWorld{rate: steady(10e6), base: 30 * time.Millisecond}},
		{"lte", calmWorld{rate: steady(30e6), base: 60 * time.Millisecond}},
		{"far", calmWorld{rate: steady(30e6), base: 200 * time.Millisecond, loss: 0.005}},
		{"lossy", calmWorld{rate: steady(30e6), base: 60 * time.Millisecond, loss: 0.02}},
		{"jitter", calmWorld{rate: steady(30e6), base: 60 * time.Millisecond, jitter: 10 * time.Millisecond}},
		{"bursts up", calmWorld{rate: steady(10e6), base: 30 * time.Millisecond, burst: 8 * time.Millisecond, jitter: 4 * time.Millisecond}},
		{"late acknowledgements", calmWorld{rate: steady(30e6), base: 60 * time.Millisecond, loss: 0.02, held: 60 * time.Millisecond, jitter: 8 * time.Millisecond}},
		{"wireless", calmWorld{rate: steady(30e6), base: 40 * time.Millisecond, burst: 15 * time.Millisecond, jitter: 25 * time.Millisecond}},
		{"slow", calmWorld{rate: steady(1e6), base: 50 * time.Millisecond}},
	} {
		t.Run(test.name, func(t *testing.T) {
			tr := test.w.run(30 * time.Second)
			p50, p99, rate := tr.between(2*time.Second, 30*time.Second)
			full := test.w.rate(0)
			w := test.w
			w.unbound = true
			u50, u99, all := w.run(30*time.Second).between(2*time.Second, 30*time.Second)
			t.Logf("queue %v/%v, %.1f %%; without %v/%v, %.1f %%", p50-w.base, p99-w.base, 100*rate/full, u50-w.base, u99-w.base, 100*all/full)
			if limit := max(12*time.Millisecond, w.base/4); p50-w.base > limit {
				t.Errorf("a queue of %v at the median, want %v", p50-w.base, limit)
			}
			packets := time.Duration(4 * calmPacket / float64(full) * 1e9)
			if limit := max(30*time.Millisecond, w.base/2, packets) + w.burst; p99-w.base > limit {
				t.Errorf("a queue of %v at the worst, want %v", p99-w.base, limit)
			}
			if rate < 0.91*all {
				t.Errorf("%.1f %% of the rate is kept, want 91", 100*rate/all)
			}
		})
	}
}

func TestCalmFollowsTheRate(t *testing.T) {
	w := calmWorld{base: 30 * time.Millisecond, rate: func(at time.Duration) BitRate {
		if at >= 10*time.Second && at < 20*time.Second {
			return 25e6
		}
		return 50e6
	}}
	tr := w.run(30 * time.Second)
	for _, part := range []struct {
		from, to time.Duration
		full     BitRate
	}{{12 * time.Second, 20 * time.Second, 25e6}, {24 * time.Second, 30 * time.Second, 50e6}} {
		p50, p99, rate := tr.between(part.from, part.to)
		t.Logf("from %v: %v/%v, %.1f %%", part.from, p50, p99, 100*rate/part.full)
		if p50 > 45*time.Millisecond || p99 > 65*time.Millisecond || rate < 0.88*part.full {
			t.Errorf("from %v: %v/%v, %v", part.from, p50, p99, rate)
		}
	}
}

// Another program that fills the queue takes nothing that it would not take
// without a bound.
func TestCalmDoesNotStarve(t *testing.T) {
	w := calmWorld{base: 30 * time.Millisecond, rate: steady(50e6), greedy: true}
	_, _, rate := w.run(60*time.Second).between(0, 60*time.Second)
	if rate < 10e6 {
		t.Errorf("beside a greedy neighbour %v is left", rate)
	}
	w = calmWorld{base: 30 * time.Millisecond, rate: steady(50e6), other: steady(20e6)}
	p50, _, rate := w.run(30*time.Second).between(2*time.Second, 30*time.Second)
	if rate < 26e6 || p50 > 45*time.Millisecond {
		t.Errorf("beside a neighbour of 20 Mb/s: %v, %v", rate, p50)
	}
}

// Pauses, such as bbr makes every ten seconds, cost hardly anything, whatever the
// queue was when they began.
func TestCalmOverlooksPauses(t *testing.T) {
	for began := time.Duration(0); began < 4*time.Second; began += 300 * time.Millisecond {
		w := calmWorld{base: 30 * time.Millisecond, rate: steady(50e6), pauses: func(at time.Duration) bool {
			return (at+began)%(10*time.Second) > 9750*time.Millisecond
		}}
		if _, _, rate := w.run(60*time.Second).between(2*time.Second, 60*time.Second); rate < 0.92*50e6 {
			t.Errorf("%v later: %.1f %% is left", began, 100*rate/50e6)
		}
	}
}

// A way that has become longer is not taken for a queue for ever.
func TestCalmLearnsALongerWay(t *testing.T) {
	w := calmWorld{base: 30 * time.Millisecond, rate: steady(50e6), farther: 60 * time.Millisecond}
	p50, _, rate := w.run(60*time.Second).between(20*time.Second, 60*time.Second)
	if rate < 0.9*50e6 || p50 > 115*time.Millisecond {
		t.Errorf("%v, %v", rate, p50)
	}
}

// Who sends less than the uplink carries is not bounded.
func TestCalmLeavesSmallLoadsAlone(t *testing.T) {
	w := calmWorld{base: 30 * time.Millisecond, rate: steady(50e6), demand: 20e6}
	if _, _, rate := w.run(10*time.Second).between(0, 10*time.Second); rate < 19.9e6 {
		t.Errorf("%v of 20 Mb/s", rate)
	}
}

// Who fills the queue for moments only is not bounded: what was delivered says
// nothing of the uplink, and the queue is gone before a bound could shorten it.
func TestCalmLeavesBurstsAlone(t *testing.T) {
	for _, every := range []time.Duration{300 * time.Millisecond, 600 * time.Millisecond, 2 * time.Second} {
		w := calmWorld{base: 30 * time.Millisecond, rate: steady(10e6), bursts: every}
		free := w
		free.unbound = true
		bounded := w.run(20 * time.Second).carried
		for at, carried := range free.run(20 * time.Second).carried {
			if got := bounded[at]; got < carried {
				t.Errorf("each %v: after %v only %.0f of %.0f bits are carried", every, time.Duration(at)*calmTick, got, carried)
				break
			}
		}
	}
}

func TestCalmAllocatesNothing(t *testing.T) {
	var c Calm
	in := CalmInput{Elapsed: calmEvery, Delivered: 1 << 20, RTT: 50 * time.Millisecond, MinRTT: 30 * time.Millisecond}
	if n := testing.AllocsPerRun(100, func() { c.Step(in) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

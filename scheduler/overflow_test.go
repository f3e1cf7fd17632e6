package scheduler

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// lines model a DSL of 20 Mb/s and an LTE of 30 for one direction, as fluids:
// what does not fit waits at the sender.
type lines struct {
	o       OverflowControl
	now     time.Time
	rng     *rand.Rand
	step    time.Duration
	rx      bool
	waiting float64 // bits
	lteBits float64 // all that LTE carried
	engaged time.Duration
	changes []time.Time
}

func newLines(seed uint64, rx bool) *lines {
	return &lines{now: epoch, rng: rand.New(rand.NewPCG(seed, 3)), rx: rx, step: 100*ms + time.Duration(seed%4)*50*ms}
}

// run goes on for so long. offered is what comes in, in bit/s, and limit what
// the sender's window lets out at most.
func (l *lines) run(d time.Duration, offered, limit func(since time.Duration) float64) {
	const tick = 10 * ms
	begin := l.now
	for l.now.Before(begin.Add(d)) {
		var dsl, lte float64
		waited := 0
		n := int(l.step / tick)
		for range n {
			since := l.now.Sub(begin)
			l.waiting += offered(since) * tick.Seconds()
			capacity := 20e6 * tick.Seconds()
			if l.o.Engaged() {
				capacity = 50e6 * tick.Seconds()
			}
			out := min(l.waiting, capacity, limit(since)*tick.Seconds())
			l.waiting -= out
			part := 1.0
			if l.o.Engaged() {
				part = .4
			}
			dsl += out * part
			lte += out * (1 - part)
			if l.waiting > 8*3000 {
				waited++
			}
			l.now = l.now.Add(tick)
		}
		l.lteBits += lte
		noise := 1 + .03*l.rng.NormFloat64()
		in := OverflowInput{Names: "dsl"}
		bond, over := BitRate(dsl/l.step.Seconds()*noise), BitRate(lte/l.step.Seconds()*noise)
		if l.rx {
			in.Bond.Rx, in.Overflow.Rx, in.RxBacklog = bond, over, waited > n/2
		} else {
			in.Bond.Tx, in.Overflow.Tx, in.TxBacklog = bond, over, waited > n/2
		}
		if l.o.Step(l.now, in) {
			l.changes = append(l.changes, l.now)
		}
		if l.o.Engaged() {
			l.engaged += l.step
		}
	}
}

func always(v float64) func(time.Duration) float64 { return func(time.Duration) float64 { return v } }

func unlimited(time.Duration) float64 { return math.Inf(1) }

func TestOverflow(t *testing.T) {
	for seed := range uint64(8) {
		l := newLines(seed, seed%2 == 0)
		l.run(time.Minute, always(10e6), unlimited)
		if len(l.changes) != 0 || l.o.Reason() != "the bond suffices" {
			t.Errorf("seed %d: 10 Mb/s: %v, %s", seed, l.changes, l.o.Reason())
		}

		began := l.now
		l.run(time.Minute, always(35e6), unlimited)
		if len(l.changes) != 1 || l.changes[0].Sub(began) > time.Second || !l.o.Engaged() {
			t.Fatalf("seed %d: 35 Mb/s: %v", seed, l.changes)
		}
		if got := l.o.Capacity().Rx + l.o.Capacity().Tx; got < 18e6 || got > 22e6 {
			t.Errorf("seed %d: 20 Mb/s were learnt as %v", seed, got)
		}

		began, l.waiting = l.now, 0
		l.run(10*time.Second, always(10e6), unlimited)
		if len(l.changes) != 2 || l.changes[1].Sub(began) > 4*time.Second || l.o.Engaged() {
			t.Fatalf("seed %d: 10 Mb/s after 35: %v", seed, l.changes)
		}

		l.run(time.Minute, always(35e6), unlimited)
		began, l.waiting = l.now, 0
		l.run(10*time.Second, always(0), unlimited)
		if len(l.changes) != 4 || l.changes[3].Sub(began) > 2500*ms || l.o.Reason() != "nothing moves" {
			t.Fatalf("seed %d: nothing after 35: %v, %s", seed, l.changes, l.o.Reason())
		}
	}
}

// A sender that pauses for a moment every ten seconds, as bbr does, catches up
// afterwards; that is no need for more.
func TestPausesDoNotCallOverflow(t *testing.T) {
	for seed := range uint64(8) {
		for _, pause := range []time.Duration{100 * ms, 200 * ms, 300 * ms} {
			l := newLines(seed, seed%2 == 0)
			for range 12 {
				l.run(9*time.Second+time.Duration(seed)*30*ms, always(10e6), unlimited)
				l.run(pause, always(10e6), always(5e5))
				l.run(time.Second, always(10e6), always(17e6))
			}
			if len(l.changes) != 0 {
				t.Errorf("seed %d, pauses of %v: engaged %d times", seed, pause, len(l.changes))
			}
		}
	}
}

// Two megabytes every five seconds, out of slow start: they would each be over
// in less than a second.
func TestBurstsHardlyCallOverflow(t *testing.T) {
	for seed := range uint64(8) {
		l := newLines(seed, true)
		const bursts = 60
		for range bursts {
			l.waiting += 8 * 2e6
			l.run(5*time.Second, always(0), func(since time.Duration) float64 {
				return 4e6 * math.Pow(2, since.Seconds()/.03) // 15 KB, doubled each round trip
			})
		}
		part := l.lteBits / (bursts * 8 * 2e6)
		t.Logf("seed %d: engaged %d times, %v of %v, %.0f %% of the bytes", seed, len(l.changes)/2, l.engaged, bursts*5*time.Second, 100*part)
		if len(l.changes) > 2*bursts/6 || part > .05 || l.engaged > bursts*5*time.Second/10 {
			t.Errorf("seed %d: engaged %d times, %v, %.0f %% of the bytes", seed, len(l.changes)/2, l.engaged, 100*part)
		}
	}
}

// A load at the edge: it flaps less and less.
func TestOverflowFlapsLess(t *testing.T) {
	l := newLines(1, true)
	for range 40 {
		l.run(4*time.Second, always(30e6), unlimited)
		l.waiting = 0
		l.run(4*time.Second, always(12e6), unlimited)
	}
	late := 0
	for _, c := range l.changes {
		if c.After(epoch.Add(time.Minute)) {
			late++
		}
	}
	if late > 2 {
		t.Errorf("%d changes, %d of them after the first minute", len(l.changes), late)
	}
}

func TestOverflowReason(t *testing.T) {
	var o OverflowControl
	now := epoch
	step := func(in OverflowInput) bool {
		now = now.Add(100 * ms)
		return o.Step(now, in)
	}
	full := OverflowInput{Names: "dsl", Bond: Rates{Tx: 19.8e6}, TxBacklog: true}
	for range 20 {
		step(full)
	}
	if got := o.Reason(); !o.Engaged() || got != "dsl is full: 19.8 of 19.8 Mb/s up" {
		t.Errorf("%v: %s", o.Engaged(), got)
	}
	for range 40 {
		step(OverflowInput{Names: "dsl", Bond: Rates{Tx: 8e6}})
	}
	if got := o.Reason(); o.Engaged() || got != "dsl suffices: 8.0 of 19.8 Mb/s up" {
		t.Errorf("%v: %s", o.Engaged(), got)
	}
	// Other uplinks: what was learnt of those before says nothing.
	step(OverflowInput{Names: "dsl, cable"})
	if got := o.Capacity(); got != (Rates{}) {
		t.Errorf("%+v", got)
	}
}

func TestOverflowHardCases(t *testing.T) {
	for name, test := range map[string]struct {
		in   OverflowInput
		step time.Duration
		want bool
	}{
		"a backlog of which nothing moves": {OverflowInput{RxBacklog: true}, 100 * ms, false},
		"no number":                        {OverflowInput{Bond: Rates{Rx: BitRate(math.NaN()), Tx: BitRate(math.Inf(1))}, RxBacklog: true, TxBacklog: true}, 100 * ms, false},
		"negative":                         {OverflowInput{Bond: Rates{Rx: -5}, RxBacklog: true}, 100 * ms, false},
		"called very often":                {OverflowInput{Bond: Rates{Rx: 1e6}, RxBacklog: true}, ms, true},
		"called seldom":                    {OverflowInput{Bond: Rates{Rx: 1e6}, RxBacklog: true}, 10 * time.Second, false},
		"a clock that goes back":           {OverflowInput{Bond: Rates{Rx: 1e6}, RxBacklog: true}, -time.Second, false},
	} {
		var o OverflowControl
		now := epoch
		for range 2000 {
			now = now.Add(test.step)
			o.Step(now, test.in)
		}
		if c := o.Capacity(); o.Engaged() != test.want || math.IsNaN(float64(c.Rx+c.Tx)) {
			t.Errorf("%s: engaged %v, capacity %+v", name, o.Engaged(), c)
		}
	}
}

package tunnel

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"braid/scheduler"
)

// fakePacing remembers the bounds that are set.
type fakePacing struct {
	mu    sync.Mutex // guards what follows
	bound map[netip.AddrPort]scheduler.BitRate
	err   error
	calls int
}

func (p *fakePacing) Pace(list []PacedSubflow) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	for _, f := range list {
		if p.bound[f.Remote] = f.Rate; f.Rate == 0 {
			delete(p.bound, f.Remote)
		}
	}
	return p.err
}

// now is of those that send.
func (p *fakePacing) now() (sum scheduler.BitRate, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for f, r := range p.bound {
		if f.Port() < idlePort {
			sum += r
			n++
		}
	}
	return sum, n
}

// idlePort is the first of subflows that send nothing.
const idlePort = 2000

// calmLine is an uplink of 40 Mb/s and 30 ms, with subflows that send three times
// as much as the one before while nothing bounds them.
type calmLine struct {
	pacing  *fakePacing
	mu      sync.Mutex // guards what follows
	queue   float64    // bytes
	acked   [3]float64
	at      time.Time
	present int
	idle    int // subflows that send nothing

	packets bool // the first of those present is the path carrier
	limit   scheduler.BitRate
}

func (l *calmLine) limitPath(_ string, rate scheduler.BitRate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = rate
}

func (l *calmLine) movingSubflows(dst []Subflow) []Subflow {
	l.mu.Lock()
	defer l.mu.Unlock()
	const rate = 40e6 / 8
	now := time.Now()
	dt := now.Sub(l.at).Seconds()
	l.at = now
	sum, n := l.pacing.now()
	if l.limit > 0 {
		sum, n = sum+l.limit, n+1
	}
	arrive := 1.3 * rate
	if n > 0 {
		arrive = float64(sum) / 8
	}
	sent := min(l.queue+arrive*dt, rate*dt)
	l.queue = min(max(0, l.queue+(arrive-rate)*dt), rate*0.04)
	for i := range l.present {
		l.acked[i] += sent * []float64{1, 3, 9}[i] / []float64{1, 4, 13}[l.present-1]
		dst = append(dst, Subflow{
			Uplink: "dsl", Local: netip.MustParseAddrPort("192.0.2.1:443"), Path: l.packets && i == 0,
			Remote: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), uint16(1000+i)),
			RTT:    30*time.Millisecond + time.Duration(l.queue/rate*1e9), MinRTT: 30 * time.Millisecond, AckedBytes: uint64(l.acked[i]),
		})
	}
	for i := range l.idle {
		dst = append(dst, Subflow{
			Uplink: "dsl", Local: netip.MustParseAddrPort("192.0.2.1:443"),
			Remote: netip.AddrPortFrom(netip.MustParseAddr("192.0.2.2"), uint16(idlePort+i)), RTT: 30 * time.Millisecond,
		})
	}
	return dst
}

// Warm carriers that wait for a stream take nothing of the rate.
func TestCalmSparesIdleSubflows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pacing := &fakePacing{bound: map[netip.AddrPort]scheduler.BitRate{}}
		line := &calmLine{pacing: pacing, at: time.Now(), queue: 40e6 / 8 * 0.03, present: 1, idle: 5}
		c := newCalm(slog.New(slog.DiscardHandler), pacing, line)
		for range 30 {
			c.step(time.Now(), line.movingSubflows(nil))
			time.Sleep(calmTick)
		}
		if sum, n := pacing.now(); n != 1 || sum < 0.85*40e6 {
			t.Errorf("%d subflows send at most %v", n, sum)
		}
		if len(pacing.bound) != 6 {
			t.Errorf("%d subflows are bounded, want those that may begin, too", len(pacing.bound))
		}
	})
}

func TestCalmOnlyDuringCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pacing := &fakePacing{bound: map[netip.AddrPort]scheduler.BitRate{}}
		line := &calmLine{pacing: pacing, at: time.Now(), queue: 40e6 / 8 * 0.03, present: 3}
		c := newCalm(slog.New(slog.DiscardHandler), pacing, line)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { c.run(ctx) })
		call := func(length time.Duration) {
			for end := time.Now().Add(length); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				c.hear(time.Now())
			}
		}
		time.Sleep(5 * time.Second)
		if pacing.calls > 0 {
			t.Error("bounds without a call")
		}
		call(4 * time.Second)
		sum, n := pacing.now()
		if n != 3 || sum < 0.85*40e6 || sum > 1.1*40e6 {
			t.Errorf("during a call %d subflows are bounded to %v in all", n, sum)
		}
		line.mu.Lock()
		if queue := line.queue / (40e6 / 8); queue > 0.012 {
			t.Errorf("the queue has %.0f ms", 1e3*queue)
		}
		line.present = 2 // one ends
		line.mu.Unlock()
		call(300 * time.Millisecond)
		if _, n := pacing.now(); n != 2 {
			t.Errorf("%d bounds for two subflows", n)
		}
		time.Sleep(2 * time.Second)
		if sum, n := pacing.now(); n != 0 {
			t.Errorf("after the call %d subflows are bounded to %v", n, sum)
		}
		call(2 * time.Second)
		if _, n := pacing.now(); n != 2 {
			t.Errorf("%d bounds during the next call", n)
		}
		cancel()
		running.Wait()
		if _, n := pacing.now(); n != 0 {
			t.Errorf("%d bounds are left behind", n)
		}
	})
}

// Packets have their part of the rate, and it is theirs when streams are gone.
func TestCalmPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pacing := &fakePacing{bound: map[netip.AddrPort]scheduler.BitRate{}}
		line := &calmLine{pacing: pacing, at: time.Now(), queue: 40e6 / 8 * 0.03, present: 2, packets: true}
		c := newCalm(slog.New(slog.DiscardHandler), pacing, line)
		for range 50 {
			c.step(time.Now(), line.movingSubflows(nil))
			time.Sleep(calmTick)
		}
		// One stream and the packets, which the line serves 3 to 1.
		sum, n := pacing.now()
		if n != 1 || line.limit < 0.2*40e6 || sum < 0.2*40e6 || sum+line.limit < 0.85*40e6 || sum+line.limit > 1.2*40e6 {
			t.Errorf("%d streams have %v, packets %v", n, sum, line.limit)
		}
		line.present = 1
		for range 30 {
			c.step(time.Now(), line.movingSubflows(nil))
			time.Sleep(calmTick)
		}
		if _, n := pacing.now(); n != 0 || line.limit < 0.85*40e6 {
			t.Errorf("%d streams, packets have %v", n, line.limit)
		}
		if c.free(); line.limit != 0 {
			t.Errorf("%v is left behind", line.limit)
		}
	})
}

// The acknowledgements of a download are not bounded, however long the queue in its
// direction is.
func TestCalmSparesAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := &calmLine{pacing: &fakePacing{}, at: time.Now(), present: 1, packets: true}
		c := newCalm(slog.New(slog.DiscardHandler), nil, line)
		for i := range 30 {
			c.step(time.Now(), []Subflow{{
				Uplink: "dsl", Path: true, RTT: 90 * time.Millisecond, MinRTT: 30 * time.Millisecond,
				AckedBytes: uint64(i) * 12_500, RxBytes: uint64(i) * 500_000,
			}})
			if line.limit != 0 {
				t.Fatalf("1 Mb/s beside 40 the other way is bounded to %v", line.limit)
			}
			time.Sleep(calmTick)
		}
	})
}

// Where streams cannot be bounded packets are, but not beside streams, to which
// they would only give way.
func TestCalmPacketsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		none := &fakePacing{}
		line := &calmLine{pacing: none, at: time.Now(), queue: 40e6 / 8 * 0.03, present: 1, packets: true}
		c := newCalm(slog.New(slog.DiscardHandler), nil, line)
		run := func() {
			for range 30 {
				c.step(time.Now(), line.movingSubflows(nil))
				time.Sleep(calmTick)
			}
		}
		if run(); line.limit < 0.85*40e6 {
			t.Errorf("packets have %v", line.limit)
		}
		line.present = 2
		if run(); line.limit != 0 {
			t.Errorf("packets have %v beside streams that are not bounded", line.limit)
		}
	})
}

// A kernel that cannot do it is asked once.
func TestCalmRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pacing := &fakePacing{bound: map[netip.AddrPort]scheduler.BitRate{}, err: errors.New("no")}
		line := &calmLine{pacing: pacing, at: time.Now(), queue: 40e6 / 8 * 0.03, present: 1}
		c := newCalm(slog.New(slog.DiscardHandler), pacing, line)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { c.run(ctx) })
		for range 500 {
			c.hear(time.Now())
			time.Sleep(20 * time.Millisecond)
		}
		cancel()
		running.Wait()
		if pacing.calls > 2 { // the second would have taken the bound away
			t.Errorf("asked %d times", pacing.calls)
		}
	})
}

// A step allocates only for subflows that are new.
func TestCalmStepAllocatesNothing(t *testing.T) {
	pacing := &fakePacing{bound: map[netip.AddrPort]scheduler.BitRate{}}
	line := &calmLine{pacing: pacing, at: time.Now(), present: 3}
	c := newCalm(slog.New(slog.DiscardHandler), pacing, line)
	list := line.movingSubflows(nil)
	now := time.Now()
	c.step(now, list)
	if n := testing.AllocsPerRun(100, func() { now = now.Add(calmTick); c.step(now, list) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { c.hear(now) }); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}

package lab_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/emulator"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const second = time.Second

func TestLinkRate(t *testing.T) {
	for _, rate := range []emulator.BitRate{8 * emulator.Mbps, 50 * emulator.Mbps, 100 * emulator.Mbps} {
		t.Run(rate.String(), func(t *testing.T) {
			p := newPair(t, both(emulator.Shape{Rate: rate, QueueTime: 50 * ms}))
			const size = 1500
			accurately(t, func() error {
				s := flood(p.toB(size, 0, 1500*ms), 1.2*float64(rate))
				got := rateOf(s.run(t, nil), size, 100*ms, 1500*ms) / float64(rate)
				t.Logf("%.3f of the rate", got)
				if math.Abs(got-1) > 0.02 {
					return fmt.Errorf("%.3f of %v arrived, want within 2 %%", got, rate)
				}
				return nil
			})
		})
	}
}

// TestLinkRateTCP checks each direction with what TCP makes of it.
func TestLinkRateTCP(t *testing.T) {
	p := newPair(t, lab.LinkConfig{
		AToB: emulator.Shape{Rate: 20 * emulator.Mbps, Delay: 5 * ms},
		BToA: emulator.Shape{Rate: 50 * emulator.Mbps, Delay: 5 * ms},
	})
	for _, h := range []*lab.Host{p.a, p.b} {
		check(t, h.SetCongestionControl("cubic")) // fills a queue, and so the link
	}
	// Of 1500 bytes, 1448 are payload; a full queue spares TCP all pauses.
	const want = 1448. / 1500
	accurately(t, func() error {
		up := tcpRate(t, p.a, p.b, p.bAddr) / 20e6 / want
		down := tcpRate(t, p.b, p.a, p.aAddr) / 50e6 / want
		t.Logf("up %.3f, down %.3f of the rate", up, down)
		if math.Abs(up-1) > 0.02 || math.Abs(down-1) > 0.02 {
			return fmt.Errorf("TCP gets %.3f of 20 Mb/s up and %.3f of 50 Mb/s down, want within 2 %%", up, down)
		}
		return nil
	})
}

func TestLinkDelay(t *testing.T) {
	p := newPair(t, lab.LinkConfig{
		AToB: emulator.Shape{Rate: 50 * emulator.Mbps, Delay: 15 * ms},
		BToA: emulator.Shape{Delay: 40 * ms},
	})
	accurately(t, func() error {
		up := medianTook(p.toB(100, 5*ms, 500*ms).run(t, nil))
		down := medianTook(p.toA(100, 5*ms, 500*ms).run(t, nil))
		t.Logf("up %v, down %v", up, down)
		if up < 15*ms || up > 16*ms || down < 40*ms || down > 41*ms {
			return fmt.Errorf("delays %v and %v, want 15 and 40 ms", up, down)
		}
		return nil
	})
	timing, err := p.lab.Timing()
	check(t, err)
	t.Logf("%+v", timing)
	if timing.Wakeups == 0 || timing.CPU == 0 || timing.WorstLate < timing.MeanLate {
		t.Errorf("timing %+v", timing)
	}
}

func TestLinkLoss(t *testing.T) {
	const interval, length = 500 * time.Microsecond, 2 * second
	for _, test := range []struct {
		name  string
		loss  emulator.Loss
		share float64
		burst float64
	}{
		{"random", emulator.RandomLoss(0.05), 0.05, 1 / 0.95},
		{"bursty", emulator.BurstLoss(0.10, 5), 0.10, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPair(t, lab.LinkConfig{AToB: emulator.Shape{Loss: test.loss}, Seed: 3})
			fates := p.toB(100, interval, length).run(t, nil)
			lost, bursts := 0, 0
			for i, f := range fates {
				if f.lost() {
					lost++
					if i == 0 || !fates[i-1].lost() {
						bursts++
					}
				}
			}
			n := float64(len(fates))
			share, burst := float64(lost)/n, float64(lost)/float64(bursts)
			// Bursts are some n·share/burst independent events, and their lengths
			// spread as much as their mean: four standard deviations.
			events := n * test.share / test.burst
			tolerance := 4 * math.Sqrt(2/events)
			t.Logf("lost %.4f in bursts of %.2f", share, burst)
			if math.Abs(share/test.share-1) > tolerance || math.Abs(burst/test.burst-1) > tolerance {
				t.Errorf("lost %.4f in bursts of %.2f, want %.4f and %.2f within %.0f %%", share, burst,
					test.share, test.burst, 100*tolerance)
			}
			c, err := p.link.Counters(lab.AToB)
			check(t, err)
			if int(c.DroppedLoss) != lost || int(c.Packets) != len(fates)-lost || c.DroppedQueue != 0 {
				t.Errorf("counters %+v; %d were sent and %d lost", c, len(fates), lost)
			}
			if back, err := p.link.Counters(lab.BToA); err != nil || back.Packets != 0 || back.DroppedLoss != 0 {
				t.Errorf("counters of the silent direction %+v (%v)", back, err)
			}
		})
	}
}

func TestLinkQueueBound(t *testing.T) {
	for _, test := range []struct {
		name  string
		shape emulator.Shape
		want  time.Duration
	}{
		{"time", emulator.Shape{Rate: 20 * emulator.Mbps, Delay: 10 * ms, QueueTime: 50 * ms}, 60 * ms},
		{"bytes", emulator.Shape{Rate: 12 * emulator.Mbps, Delay: 10 * ms, QueueBytes: 30_000}, 30 * ms},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPair(t, both(test.shape))
			const size = 1500
			accurately(t, func() error {
				before, err := p.link.Counters(lab.AToB)
				check(t, err)
				fates := flood(p.toB(size, 0, 600*ms), 1.5*float64(test.shape.Rate)).run(t, nil)
				took := medianTook(between(fates, 300*ms, 600*ms))
				t.Logf("delay under overload %v", took)
				// A packet less than full, and 1 ms of lateness.
				if took < test.want-2*ms || took > test.want+1*ms {
					return fmt.Errorf("delay under overload %v, want %v", took, test.want)
				}
				c, err := p.link.Counters(lab.AToB)
				check(t, err)
				lost := uint64(len(fates) - len(arrived(fates)))
				if lost == 0 || c.DroppedQueue-before.DroppedQueue != lost || c.Bytes != c.Packets*size || c.QueuePackets != 0 {
					return fmt.Errorf("counters %+v after %+v; %d were lost", c, before, lost)
				}
				return nil
			})
		})
	}
}

func TestLinkBlackHole(t *testing.T) {
	p := newPair(t, both(emulator.Shape{Rate: 20 * emulator.Mbps, Delay: 10 * ms}))
	accurately(t, func() error {
		var on, off time.Duration
		fates := p.toB(200, 2*ms, 500*ms).run(t, func(begin time.Time) {
			time.Sleep(150 * ms)
			on = time.Since(begin)
			check(t, p.link.SetBlackHole(true))
			time.Sleep(150 * ms)
			check(t, p.link.SetBlackHole(false))
			off = time.Since(begin)
		})
		for _, span := range []struct {
			from, to time.Duration
			lost     bool
		}{{0, on - 12*ms, false}, {on + 1*ms, off - 5*ms, true}, {off + 1*ms, 500 * ms, false}} {
			for _, f := range between(fates, span.from, span.to) {
				if f.lost() != span.lost {
					return fmt.Errorf("black hole from %v to %v: sent at %v, lost: %v", on, off, f.sent, f.lost())
				}
			}
		}
		return nil
	})
	if s, err := p.link.Shape(lab.BToA); err != nil || s.BlackHole || s.Delay != 10*ms {
		t.Errorf("shape is %+v (%v)", s, err)
	}
	if c, err := p.link.Counters(lab.AToB); err != nil || c.DroppedBlackHole == 0 {
		t.Errorf("counters %+v (%v)", c, err)
	}
}

func TestLinkChangesWhileRunning(t *testing.T) {
	first := emulator.Shape{Rate: 10 * emulator.Mbps, Delay: 10 * ms, QueueTime: 20 * ms}
	changed := emulator.Shape{Rate: 40 * emulator.Mbps, Delay: 50 * ms, QueueTime: 20 * ms}
	p := newPair(t, both(first))
	const size = 1500
	accurately(t, func() error {
		check(t, p.link.SetShape(lab.AToB, first))
		fates := flood(p.toB(size, 0, 1500*ms), 50e6).run(t, func(time.Time) {
			time.Sleep(700 * ms)
			check(t, p.link.SetShape(lab.AToB, changed))
		})
		before := rateOf(fates, size, 100*ms, 700*ms) / 10e6
		after := rateOf(fates, size, 850*ms, 1500*ms) / 40e6
		tookBefore, tookAfter := medianTook(between(fates, 100*ms, 600*ms)), medianTook(between(fates, 800*ms, 1500*ms))
		t.Logf("%.3f and %.3f of the rates, %v and %v", before, after, tookBefore, tookAfter)
		if math.Abs(before-1) > 0.02 || math.Abs(after-1) > 0.02 {
			return fmt.Errorf("%.3f and %.3f of the rates, want within 2 %%", before, after)
		}
		// The queue wavers below full by the packets that come in one burst.
		if tookBefore < 28*ms || tookBefore > 31*ms || tookAfter < 68*ms || tookAfter > 71*ms {
			return fmt.Errorf("delays %v and %v, want 30 and 70 ms", tookBefore, tookAfter)
		}
		return nil
	})
	if err := p.link.SetShape(lab.AToB, emulator.Shape{Delay: -1}); err == nil {
		t.Error("a negative delay was taken")
	}
}

// operational tells what a host knows of its cable.
func operational(t *testing.T, h *lab.Host) (up bool) {
	t.Helper()
	check(t, h.Netlink(func(nl *netlink.Handle) error {
		l, err := nl.LinkByName("eth")
		if err == nil {
			lower := l.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
			up = l.Attrs().OperState != netlink.OperDown
			if lower != up {
				t.Errorf("%s: lower up is %v, operational state %v", h.Name(), lower, l.Attrs().OperState)
			}
		}
		return err
	}))
	return up
}

func TestLinkCarrier(t *testing.T) {
	p := newPair(t, both(emulator.Shape{Delay: 5 * ms}))
	passes := func() bool { return len(arrived(p.toB(100, 5*ms, 50*ms).run(t, nil))) == 10 }
	for range 2 {
		for _, h := range []*lab.Host{p.a, p.b} {
			if !operational(t, h) {
				t.Errorf("%s has no carrier", h.Name())
			}
		}
		if !passes() {
			t.Error("packets are lost with the cable plugged in")
		}
		check(t, p.link.SetCarrier(false))
		for _, h := range []*lab.Host{p.a, p.b} {
			if operational(t, h) {
				t.Errorf("%s has still carrier", h.Name())
			}
		}
		if n := len(arrived(p.toB(100, 5*ms, 50*ms).run(t, nil))); n != 0 {
			t.Errorf("%d packets passed a pulled cable", n)
		}
		check(t, p.link.SetCarrier(true))
	}
}

func TestLinkRemoveAndCreateAnew(t *testing.T) {
	shape := both(emulator.Shape{Rate: 20 * emulator.Mbps, Delay: 5 * ms})
	p := newPair(t, shape)
	oldA, oldB := p.link.MAC()
	for range 3 {
		// Under load, so that frames are inside.
		done := make(chan struct{})
		go func() {
			defer close(done)
			flood(p.toB(1500, 0, 60*ms), 30e6).run(t, nil)
		}()
		time.Sleep(30 * ms)
		check(t, p.link.Remove())
		<-done
		for _, h := range []*lab.Host{p.a, p.b} {
			if names, err := h.Interfaces(); err != nil || slices.Contains(names, "eth") {
				t.Errorf("%s has %v (%v) after the removal", h.Name(), names, err)
			}
		}
		if err := p.link.SetCarrier(true); err == nil {
			t.Error("a removed link was changed")
		}
		p.connect(t, p.lab, shape)
		if n := len(arrived(p.toB(100, 5*ms, 50*ms).run(t, nil))); n != 10 {
			t.Errorf("%d of 10 packets pass the new link", n)
		}
	}
	if a, b := p.link.MAC(); a.String() != oldA.String() || b.String() != oldB.String() {
		t.Error("the new link has other hardware addresses")
	}
}

// TestInterfaceDeletedByOthers checks that the emulator neither spins nor fails
// when a program deletes its interface.
func TestInterfaceDeletedByOthers(t *testing.T) {
	p := newPair(t, both(emulator.Shape{Delay: 5 * ms}))
	check(t, p.a.DeleteInterface("eth"))
	before, err := p.lab.Timing()
	check(t, err)
	time.Sleep(100 * ms)
	after, err := p.lab.Timing()
	check(t, err)
	if used := after.CPU - before.CPU; used > 10*ms {
		t.Errorf("the emulator used %v of CPU in 100 ms of idleness", used)
	}
	check(t, p.link.Remove())
	p.connect(t, p.lab, both(emulator.Shape{Delay: 5 * ms}))
	if n := len(arrived(p.toB(100, 5*ms, 50*ms).run(t, nil))); n != 10 {
		t.Errorf("%d of 10 packets pass the new link", n)
	}
}

func TestLinkMTU(t *testing.T) {
	c := both(emulator.Shape{})
	c.MTU = 9000
	p := newPair(t, c)
	if n := len(arrived(p.toB(9000, 5*ms, 50*ms).run(t, nil))); n != 10 {
		t.Errorf("%d of 10 large packets arrived", n)
	}
	if c, err := p.link.Counters(lab.AToB); err != nil || c.Bytes != 90_000 || c.Packets != 10 {
		t.Errorf("counters %+v (%v), want 10 packets of 9000 bytes", c, err)
	}
}

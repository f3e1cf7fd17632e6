package scheduler

import (
	"fmt"
	"testing"
	"time"
)

const ms = time.Millisecond

func deaths(changes []Transition) (n int) {
	for _, c := range changes {
		if c.To == Dead {
			n++
		}
	}
	return n
}

func firstDeath(changes []Transition) time.Time {
	for _, c := range changes {
		if c.To == Dead {
			return c.At
		}
	}
	return time.Time{}
}

func TestBlackHole(t *testing.T) {
	for _, test := range []struct {
		rtt, jitter time.Duration
		loss        float64
	}{
		{5 * ms, 0, 0}, {20 * ms, 2 * ms, 0}, {30 * ms, 0, 0}, {60 * ms, 10 * ms, 0}, {200 * ms, 5 * ms, 0},
		{20 * ms, 2 * ms, .03}, {60 * ms, 10 * ms, .03}, {100 * ms, 30 * ms, .01}, {200 * ms, 20 * ms, .03},
	} {
		for _, way := range []string{"both", "up", "down"} {
			t.Run(fmt.Sprint(test.rtt, test.loss, way), func(t *testing.T) {
				var worst, sum, expected time.Duration
				const rounds = 10
				for seed := range uint64(rounds) {
					p := newPath(seed, test.rtt, test.jitter, test.loss)
					p.run(10*time.Second + time.Duration(seed)*7*ms)
					if s := p.health.State(); s != Up && s != Late {
						t.Fatalf("seed %d: %v before it began: %s", seed, s, p.health.Reason())
					}
					began := p.now
					p.upLost, p.dnLost = way != "down", way != "up"
					changes := p.run(3 * time.Second)
					if deaths(changes) == 0 || p.health.State() != Dead {
						t.Fatalf("seed %d: %+v", seed, changes)
					}
					took := firstDeath(changes).Sub(began)
					r := p.health.RTT()
					worst = max(worst, took-p.health.patience.extra)
					sum += took
					expected += r.Smoothed + max(4*r.Variation, leastAllowance) + 150*ms
				}
				t.Logf("mean %v, worst %v, expected %v", sum/rounds, worst, expected/rounds)
				limit := quickDeath + test.jitter
				if way == "up" && test.loss > 0 {
					// The server misses acknowledgements, sends again after
					// its timeout, and is heard.
					limit += 200*ms + test.rtt
				}
				if worst > limit {
					t.Errorf("the worst of %d took %v", rounds, worst)
				}
				// Answers that are under way when only the way up breaks
				// are still heard.
				if test.loss == 0 && sum > expected+rounds*50*ms {
					t.Errorf("the mean is %v, expected were %v", sum/rounds, expected/rounds)
				}
			})
		}
	}
}

// Three in a hundred lost on each way, and no death for hours.
func TestLossIsNotDeath(t *testing.T) {
	const hours = 2
	for _, test := range []struct{ rtt, jitter time.Duration }{
		{20 * ms, 2 * ms}, {60 * ms, 10 * ms}, {200 * ms, 10 * ms},
	} {
		t.Run(test.rtt.String(), func(t *testing.T) {
			t.Parallel()
			p := newPath(7, test.rtt, test.jitter, .03)
			n := 0
			for range hours * 60 {
				n += deaths(p.run(time.Minute))
			}
			t.Logf("%d deaths in %d hours", n, hours)
			if n >= hours {
				t.Errorf("%d false deaths in %d hours", n, hours)
			}
		})
	}
}

// Beats are far apart on an idle uplink, and yet its end is seen soon after
// the first that is lost.
func TestIdleBlackHole(t *testing.T) {
	for _, rtt := range []time.Duration{20 * ms, 80 * ms, 200 * ms} {
		p := newPath(3, rtt, rtt/20, 0)
		p.run(5 * time.Second)
		p.idle = true
		sent := len(p.beatSent)
		if changes := p.run(10 * time.Minute); len(changes) != 0 {
			t.Errorf("%v: idle: %+v", rtt, changes)
		}
		if n := len(p.beatSent) - sent; n > 50 {
			t.Errorf("%v: %d beats in ten idle minutes", rtt, n)
		}
		p.upLost = true
		sent = len(p.beatSent)
		died := firstDeath(p.run(2 * time.Minute))
		if died.IsZero() {
			t.Fatalf("%v: never dead", rtt)
		}
		if took := died.Sub(p.beatSent[sent]); took > quickDeath {
			t.Errorf("%v: dead %v after the first lost beat", rtt, took)
		}
	}
}

// A queue fills: the round trip grows from 30 ms to a second, stays, and
// shrinks again. Bulk on the uplink is acknowledged all the while; or, where
// it fills less fast, the bulk is another host's, and only beats are heard.
func TestFullQueueIsNotDeath(t *testing.T) {
	for _, test := range []struct {
		filling time.Duration
		ours    bool
	}{{300 * ms, true}, {time.Second, true}, {3 * time.Second, true}, {time.Second, false}, {3 * time.Second, false}} {
		p := newPath(5, 30*ms, 0, 0)
		p.run(10 * time.Second)
		began := p.now
		p.delay = func() time.Duration {
			switch since := p.now.Sub(began); {
			case since < test.filling:
				return 15*ms + since*485/test.filling*ms
			case since < 3*test.filling:
				return 500 * ms
			default:
				return max(15*ms, 500*ms-(since-3*test.filling)/2)
			}
		}
		var bulk func()
		bulk = func() {
			p.transmit(p.server, -1)
			p.at(p.now.Add(10*ms), bulk)
		}
		if test.ours {
			bulk()
		}
		if changes := p.run(20 * time.Second); deaths(changes) > 0 {
			t.Errorf("%+v: %+v", test, changes)
		}
		if r := p.health.RTT(); p.health.State() != Up || r.Min != 30*ms || r.Smoothed > 40*ms {
			t.Errorf("%+v: %v, %+v", test, p.health.State(), r)
		}
	}
}

// The path pauses for longer than a death takes, and loses nothing. Each time
// more patience is shown, until none is needed, and it fades within minutes.
func TestSpuriousDeathTeaches(t *testing.T) {
	p := newPath(9, 40*ms, ms, 0)
	const pause = 450 * ms
	p.run(2 * time.Minute)
	n := 0
	for ; n < 10; n++ {
		until := p.now.Add(pause)
		p.delay = func() time.Duration { return max(20*ms, until.Sub(p.now)) }
		if deaths(p.run(3*time.Second)) == 0 {
			break
		}
		if p.health.State() != Up {
			t.Fatalf("after pause %d: %v: %s", n, p.health.State(), p.health.Reason())
		}
	}
	if n == 0 || n > 6 {
		t.Errorf("%d deaths until it was learnt", n)
	}
	if extra := p.health.patience.extra; extra > maxPatience || extra < pause/4 {
		t.Errorf("patience %v", extra)
	}
	p.run(10 * time.Minute)
	if extra := p.health.patience.extra; extra > 10*ms {
		t.Errorf("patience %v after ten minutes", extra)
	}
	began := p.now
	p.upLost, p.dnLost = true, true
	if took := firstDeath(p.run(5 * time.Second)).Sub(began); took > 250*ms {
		t.Errorf("dead after %v", took)
	}
}

// An outage that TCP outlives: the answers of before come late, and prove
// nothing but that the path is back.
func TestOutage(t *testing.T) {
	for _, away := range []time.Duration{2 * time.Second, 5 * time.Second, 20 * time.Second} {
		p := newPath(11, 40*ms, 2*ms, 0)
		p.run(2 * time.Minute)
		p.upLost, p.dnLost = true, true
		p.run(away)
		p.upLost, p.dnLost = false, false
		back := p.now
		changes := p.run(time.Minute)
		if len(changes) != 2 || changes[0].To != Probing || changes[1].To != Up {
			t.Fatalf("%v: %+v", away, changes)
		}
		// TCP tries again at the latest after as long as the outage.
		if took := changes[1].At.Sub(back); took < againTime || took > away+time.Second {
			t.Errorf("%v: up %v after the return", away, took)
		}
		if settled := changes[1].At.Sub(changes[0].At); settled < againTime || settled > 2*againTime {
			t.Errorf("%v: settled in %v", away, settled)
		}
		if p.health.patience.extra > 0 {
			t.Errorf("%v: a true death was called spurious", away)
		}
	}
}

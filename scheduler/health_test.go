package scheduler

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestHealth plays scripts, a step in each line: milliseconds since the
// beginning, what happens, and the state and reason after it, if they matter.
//
//	beats A-B RTT   beats every 50 ms from now to B, each answered after RTT ms
func TestHealth(t *testing.T) {
	for name, script := range map[string]string{
		"a first start": `
			0    step           | probing not looked at yet
			0    present        | probing connects
			100  connected      | probing connected, waits for answers
			100  beats 200 30   | probing answers since 0.1 s, 2 of 3
			200  beats 250 30   | up answers in 30 ms
			9000 step           | up answers in 30 ms`,
		"not there": `
			0    absent no link | dead no link
			10   connected      | dead no link
			20   disconnected x | dead no link
			30   sent           | dead no link
			40   answered 10    | dead no link
			50   heard          | dead no link
			60   absent no route| dead no route
			70   present        | probing connects
			75   connected      | probing connected, waits for answers
			80   absent no link | dead no link`,
		"no connection": `
			0    present
			900  disconnected connection refused | dead connection refused
			1000 disconnected connection timed out | dead connection timed out
			1000 disconnected   | dead connection timed out
			1200 connected      | probing connected, waits for answers
			1300 step           | probing connected, waits for answers
			1300 disconnected   | dead its carrier broke`,
		"the link is lost and comes back": `
			0    up
			5000 absent link is down | dead link is down
			5000 disconnected its address is gone | dead link is down
			6000 present        | probing connects
			6100 connected      | probing connected, waits for answers
			6100 beats 6250 30  | probing answers again since 0.1 s, 3 of 5
			6250 beats 6350 30  | probing answers again since 0.2 s, 5 of 5
			6350 beats 6450 30  | up answers in 30 ms`,
		"a carrier is replaced while up": `
			0    up
			5000 sent
			5010 connected      | up answers in 30 ms
			9000 step           | up answers in 30 ms`,
		"silence": `
			0    up
			5000 sent
			5049 step           | up answers in 30 ms
			5050 sent           | late no answer for 50 ms
			5149 step           | late no answer for 149 ms
			5150 step           | dead no answer for 150 ms
			9000 step           | dead no answer for 150 ms`,
		"late, and heard": `
			0    up
			5000 sent
			5050 sent           | late no answer for 50 ms
			5080 heard          | up answers in 30 ms
			5300 step           | late no answer for 220 ms`,
		"one unanswered beat is not death": `
			0    up
			5000 sent
			5060 step           | late no answer for 60 ms
			7000 step           | late no answer for 2000 ms
			7050 sent           | late no answer for 2050 ms
			7099 step           | late no answer for 2099 ms
			7100 step           | dead no answer for 2100 ms`,
		"a held-up process is not death": `
			0    up
			5000 sent
			5050 sent
			5060 step           | late no answer for 60 ms
			8000 step           | late no answer for 3000 ms
			8040 step           | late no answer for 3040 ms
			8040 answered 2990  | up answers in 30 ms`,
		"acknowledged by a middlebox only": `
			0    up
			5000 sent
			5050 sent
			5050 hear 10100     | dead acknowledged, but not answered for 5070 ms`,
		"woke, and all is well": `
			0    up
			5000 sent
			5000 sent
			9000 woke           | late was asleep, waits for an answer
			9001 sent
			9800 step           | late was asleep, waits for an answer
			9900 answered 899   | up answers in 30 ms`,
		"woke, and nothing is well": `
			0    up
			5000 sent
			9000 woke           | late was asleep, waits for an answer
			9001 sent
			9051 sent
			10021 step          | late was asleep, waits for an answer
			10120 step          | late was asleep, waits for an answer
			10121 step          | dead no answer for 1120 ms
			10200 connected     | probing connected, waits for answers`,
		"woke while dead": `
			0    up
			5000 absent link is down
			9000 woke           | dead link is down`,
		"steady answers have no gaps": `
			0    up
			5000 disconnected reset by peer | dead reset by peer
			5000 connected
			5000 beats 5200 30  | probing answers again since 0.2 s, 4 of 5
			5200 sent
			5320 step           | probing connected, waits for answers
			5320 answered 120   | probing connected, waits for answers
			5350 beats 5600 30  | probing answers again since 0.2 s, 5 of 5`,
		"answers of before do not make it steady": `
			0    up
			5000 sent
			5050 sent
			5160 step           | dead no answer for 160 ms
			9000 answered 4000  | probing connected, waits for answers
			9000 answered 3950  | probing connected, waits for answers`,
		"flapping": `
			0    newly up
			5000 disconnected a | dead a
			5000 connected      | probing flaps: waits 0.6 s
			5000 beats 5600 30  | probing flaps: waits 0.6 s, answers since 0.6 s
			5600 beats 5650 30  | up answers in 30 ms
			6000 disconnected b | dead b
			6000 connected      | probing flaps: waits 1.2 s
			6000 beats 7300 30  | up answers in 30 ms
			70000 disconnected c| dead c
			70000 connected     | probing flaps: waits 1.2 s
			70000 beats 71300 30| up answers in 30 ms
			700000 disconnected d
			700000 connected    | probing connected, waits for answers`,
	} {
		t.Run(name, func(t *testing.T) { play(t, script) })
	}
}

// play runs a script. "up" is an uplink that has been up for an hour, with a
// variation of nearly zero; "newly" is one that has been up for seconds.
func play(t *testing.T, script string) {
	h := NewHealth(epoch.Add(-time.Hour))
	for line := range strings.Lines(strings.TrimSpace(script)) {
		do, want, check := strings.Cut(strings.TrimSpace(line), "|")
		var at int
		var what, rest string
		if _, err := fmt.Sscan(do, &at, &what); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if _, after, ok := strings.Cut(do, what); ok {
			rest = strings.TrimSpace(after)
		}
		now := epoch.Add(time.Duration(at) * ms)
		perform(t, h, now, what, rest)
		got := h.State().String() + " " + h.Reason()
		if check && got != strings.TrimSpace(want) {
			t.Errorf("%s: %s", strings.TrimSpace(line), got)
		}
	}
}

func perform(t *testing.T, h *Health, now time.Time, what, rest string) {
	switch what {
	case "step":
		h.Step(now)
	case "present":
		h.Present(now, true, "")
	case "absent":
		h.Present(now, false, rest)
	case "connected":
		h.Connected(now)
	case "disconnected":
		h.Disconnected(now, rest)
	case "sent":
		h.Sent(now)
	case "heard":
		h.Heard(now)
	case "woke":
		h.Woke(now)
	case "answered":
		var rtt int
		fmt.Sscan(rest, &rtt)
		h.Answered(now, time.Duration(rtt)*ms)
	case "up":
		perform(t, h, now.Add(-time.Hour), "newly", "")
		perform(t, h, now, "newly", "")
		return
	case "newly":
		h.Present(now, true, "")
		h.Connected(now)
		for range 95 {
			h.Sent(now)
			h.Step(now)
			h.Answered(now.Add(30*ms), 30*ms)
			h.Step(now.Add(30 * ms))
			now = now.Add(50 * ms)
		}
		if r := h.RTT(); h.State() != Up || r.Smoothed != 30*ms || r.Variation > 2*ms {
			t.Fatalf("%v: %s, %+v", h.State(), h.Reason(), r)
		}
	case "hear":
		var until int
		fmt.Sscan(rest, &until)
		for end := epoch.Add(time.Duration(until) * ms); now.Before(end); now = now.Add(20 * ms) {
			h.Heard(now)
			h.Step(now)
		}
	case "beats":
		var until, rtt int
		fmt.Sscan(rest, &until, &rtt)
		for end := epoch.Add(time.Duration(until) * ms); now.Before(end); now = now.Add(50 * ms) {
			h.Sent(now)
			h.Step(now)
			d := time.Duration(rtt) * ms
			h.Answered(now.Add(d), d)
			h.Step(now.Add(d))
		}
		h.Step(end(h, now))
		return
	default:
		t.Fatalf("no such step: %s", what)
	}
	h.Step(now)
}

// end is the time of the last answer, or now if that is later.
func end(h *Health, now time.Time) time.Time {
	if h.now.After(now) {
		return h.now
	}
	return now
}

// A minute of dying and returning, over and over: each return takes longer,
// up to half a minute.
func TestFlappingIsDamped(t *testing.T) {
	p := newPath(1, 20*ms, 0, 0)
	p.run(time.Second)
	last, ups := p.now, 0
	for range 400 {
		p.health.Disconnected(p.now, "reset")
		p.health.Connected(p.now)
		for p.health.State() != Up {
			p.run(50 * ms)
		}
		ups++
		took := p.now.Sub(last)
		if want := min(againTime<<min(ups, 10), longestTime); took < want || took > want+500*ms {
			t.Fatalf("return %d took %v, not %v", ups, took, want)
		}
		if ups > 12 {
			break
		}
		last = p.now
	}
}

func TestWrongDeathIsNotFlapping(t *testing.T) {
	p := newPath(1, 20*ms, 0, 0)
	p.run(10 * time.Second)
	until := p.now.Add(300 * ms)
	p.delay = func() time.Duration { return max(10*ms, until.Sub(p.now)) }
	if deaths(p.run(200*ms)) != 1 {
		t.Fatal("not dead")
	}
	p.run(time.Second)
	if p.health.State() != Up || p.health.settling.flaps != 0 {
		t.Errorf("%v: %s; flaps %d", p.health.State(), p.health.Reason(), p.health.settling.flaps)
	}
}

func TestHealthDoesNotAllocate(t *testing.T) {
	h := NewHealth(epoch)
	now := epoch
	h.Present(now, true, "")
	h.Connected(now)
	turn := func() {
		h.Sent(now)
		h.Step(now)
		h.Heard(now.Add(10 * ms))
		h.Answered(now.Add(20*ms), 20*ms)
		h.Step(now.Add(20 * ms))
		h.Deadline()
		now = now.Add(50 * ms)
	}
	for range 20 {
		turn()
	}
	if n := testing.AllocsPerRun(100, turn); n != 0 || h.State() != Up {
		t.Errorf("%v: %v allocations", h.State(), n)
	}
}

func TestZeroHealth(t *testing.T) {
	var h Health
	if h.State() != Probing || !h.Deadline().IsZero() || h.Quick() || h.Step(epoch) != nil {
		t.Errorf("%v, %v, %v", h.State(), h.Deadline(), h.Quick())
	}
}

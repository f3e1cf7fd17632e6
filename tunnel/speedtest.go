package tunnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"braid/scheduler"
	"braid/tunnel/wire"
)

// A speed test measures each uplink by itself and then the bond, down and up,
// between this client and its server. Each measurement has a carrier of streams of
// its own, with subflows on the uplinks that it is about, which ends with it
// (speedtrial.go); speedserve.go is the server's part. What goes over the path
// carriers meanwhile, heartbeats 50 ms apart, tells how long a packet takes beside
// it (beatLog).
//
//	idle ─▶ dsl down ─▶ dsl up ─▶ lte down ─▶ lte up ─▶ bond down ─▶ bond up

// SpeedPlan says what is measured.
type SpeedPlan struct {
	Alone []string      // uplinks, each by itself
	Bond  []string      // uplinks of the bond; with fewer than two it is not measured
	For   time.Duration // each measurement, from a second to wire.MaxTestTime
}

// SpeedPhase is what a speed test does.
type SpeedPhase int

// The phases.
const (
	SpeedIdle SpeedPhase = iota
	SpeedDown
	SpeedUp
)

// SpeedStep is how far a speed test is.
type SpeedStep struct {
	Number, Of int // of measurements, the idle one is 0
	Phase      SpeedPhase
	Uplink     string        // "" is the bond, or all while idle
	Done, For  time.Duration // of this one
	Rate       scheduler.BitRate
}

// SpeedResult is what a speed test found.
type SpeedResult struct {
	Idle  map[string]SpeedLatency // by the uplink's name
	Alone []SpeedLine             // as the plan has them
	Bond  *SpeedLine              // nil: it was not measured
	// Others is the most that others carried beside a measurement.
	Others scheduler.Rates
	// Calls: somebody called meanwhile, and transfers made room.
	Calls bool
}

// SpeedLine is what an uplink, or the bond, carries.
type SpeedLine struct {
	Uplink   string // "" is the bond
	Down, Up SpeedWay
}

// SpeedWay is one measurement.
type SpeedWay struct {
	Rate   scheduler.BitRate // of the payload, once it was steady
	Line   scheduler.BitRate // the same with the headers of TLS, TCP and IP, about
	Bytes  uint64            // of payload in all
	Lost   float64           // of the segments that were sent, 0 to 1
	Loaded map[string]SpeedLatency
	Parts  map[string]scheduler.BitRate // of Rate, by uplink
	// Problem says why there is no rate; "" when there is one.
	Problem string
}

// Errors of Client.Speedtest.
var (
	ErrSpeedtestRuns = errors.New("a speed test is running already")
	ErrNotConnected  = errors.New("there is no connection to the server")
	ErrNoSpeedtest   = errors.New("the server is an older braid, which knows no speed test")
	ErrNoStreams     = errors.New("a speed test travels as a stream, and TCP travels as packets here")
)

// SpeedRefusedError is the server's refusal of a speed test.
type SpeedRefusedError struct{ Reason string }

func (e *SpeedRefusedError) Error() string { return "the server refused: " + e.Reason }

const (
	// speedIdle is how long round trips are looked at before anything is sent.
	speedIdle = 1500 * time.Millisecond
	// speedTick is how often a measurement is looked at.
	speedTick = 100 * time.Millisecond
	// speedRest lets the queues of the last measurement run empty, and is longer than
	// what has been carried waits to be counted.
	speedRest = 600 * time.Millisecond
)

// speedtest is a client's, which runs one at a time.
type speedtest struct {
	running sync.Mutex  // held while a test runs
	offered atomic.Bool // the server takes part
	beats   beatLog
}

// Speedtest measures what the plan says, and calls told some ten times a second. It
// ends early when ctx does or the server refuses, and leaves nothing running. An
// uplink that fails has a Problem in the result. Any goroutine may call it; told is
// called by that one.
func (c *Client) Speedtest(ctx context.Context, plan SpeedPlan, told func(SpeedStep)) (SpeedResult, error) {
	if !c.speed.running.TryLock() {
		return SpeedResult{}, ErrSpeedtestRuns
	}
	defer c.speed.running.Unlock()
	l := c.streams()
	switch {
	case c.packetCarrier() == nil:
		return SpeedResult{}, ErrNotConnected
	case !c.speed.offered.Load():
		return SpeedResult{}, ErrNoSpeedtest
	case l == nil:
		return SpeedResult{}, ErrNoStreams
	}
	t := &speedRun{c: c, lane: l, plan: plan, told: told}
	t.step.Of = 2 * len(plan.Alone)
	if len(plan.Bond) > 1 {
		t.step.Of += 2
	}
	c.speed.beats.watch(slices.Concat(plan.Alone, plan.Bond))
	defer c.speed.beats.watch(nil)
	if err := t.idle(ctx); err != nil {
		return SpeedResult{}, err
	}
	for _, name := range plan.Alone {
		line, err := t.line(ctx, name, []string{name})
		if err != nil {
			return SpeedResult{}, err
		}
		t.result.Alone = append(t.result.Alone, line)
	}
	if len(plan.Bond) > 1 {
		line, err := t.line(ctx, "", plan.Bond)
		if err != nil {
			return SpeedResult{}, err
		}
		t.result.Bond = &line
	}
	return t.result, nil
}

// KnownRates is what is known of an uplink's rates without a test; 0 is unknown.
// Any goroutine may call it.
func (c *Client) KnownRates(uplink string) scheduler.Rates {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := scheduler.Rates{Rx: c.usage.line(uplink, true).Rate, Tx: c.usage.line(uplink, false).Rate}
	if r.Rx == 0 {
		r.Rx = c.usage.guesses[uplink]
	}
	if up := c.usage.uplinks[uplink]; up != nil {
		r.Rx, r.Tx = max(r.Rx, up.DeliverRx), max(r.Tx, up.DeliverTx)
	}
	return r
}

// speedRun is one test.
type speedRun struct {
	c      *Client
	lane   *lane
	plan   SpeedPlan
	told   func(SpeedStep)
	step   SpeedStep
	result SpeedResult
}

// idle looks at round trips while nothing is measured.
func (t *speedRun) idle(ctx context.Context) error {
	t.step.Phase, t.step.For = SpeedIdle, speedIdle
	began := time.Now()
	err := t.each(ctx, func() bool {
		t.c.stir() // so that heartbeats come as often as beside traffic
		t.tell(began, 0)
		return time.Since(began) >= speedIdle
	})
	t.result.Idle = t.c.speed.beats.since(began, time.Now())
	return err
}

// line measures both directions of an uplink, or of the bond.
func (t *speedRun) line(ctx context.Context, name string, uplinks []string) (line SpeedLine, err error) {
	line.Uplink, t.step.Uplink = name, name
	for _, way := range []struct {
		phase  SpeedPhase
		result *SpeedWay
	}{{SpeedDown, &line.Down}, {SpeedUp, &line.Up}} {
		t.step.Number++
		t.step.Phase, t.step.For = way.phase, t.plan.For
		t.tell(time.Now(), 0)
		*way.result, err = t.measure(ctx, uplinks)
		_, refused := errors.AsType[*SpeedRefusedError](err)
		switch {
		case ctx.Err() != nil:
			return line, ctx.Err()
		case refused:
			return line, err
		case err != nil:
			way.result.Problem = err.Error()
		}
	}
	return line, nil
}

// measure takes one measurement.
func (t *speedRun) measure(ctx context.Context, uplinks []string) (SpeedWay, error) {
	k, err := t.c.dialTrial(ctx, t.lane, uplinks)
	if err != nil {
		return SpeedWay{}, err
	}
	return t.transfer(ctx, newTrial(k, t.step.Phase == SpeedUp))
}

// tell says how far a measurement is that began at a time.
func (t *speedRun) tell(began time.Time, rate scheduler.BitRate) {
	t.step.Done, t.step.Rate = min(time.Since(began), t.step.For), rate
	t.told(t.step)
}

// each calls f every speedTick until it returns true or ctx ends.
func (t *speedRun) each(ctx context.Context, f func() (done bool)) error {
	tick := time.NewTicker(speedTick)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// dialTrial makes a link for one measurement over some uplinks.
func (c *Client) dialTrial(ctx context.Context, l *lane, uplinks []string) (*link, error) {
	servers, err := c.Servers(ctx)
	if err != nil {
		return nil, fmt.Errorf("look up server: %w", err)
	}
	list := candidates(servers, onlyThese(c.reachable(), uplinks))
	if len(list) == 0 {
		return nil, ErrNoUplink
	}
	s, _, err := connect(ctx, c.Dialer, ForStreams, c.TLS, c.Key, list, usualStagger)
	if err != nil {
		return nil, err
	}
	car, err := c.greetStreams(ctx, s, l, wire.KindStreams)
	if err != nil {
		return nil, err
	}
	k, ok := l.enterTrial(car, c.keeper.number(), uplinks)
	if !ok {
		s.conn.Close()
		return nil, errors.New("the session has ended")
	}
	c.keeper.settle(ctx, k)
	return k, nil
}

// others is what this client carries beside a link, bytes in one direction.
func (c *Client) others(l *lane, but *link, up bool) (bytes uint64) {
	for _, k := range l.allLinks() {
		in := k.bytesIn.Load()
		switch {
		case k == but:
		case up:
			bytes += k.bytes.Load() - in
		default:
			bytes += in
		}
	}
	if up {
		return bytes + c.stats.txBytes.Load()
	}
	return bytes + c.stats.rxBytes.Load()
}

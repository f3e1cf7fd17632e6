package main

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"braid/lab"
	"braid/lab/emulator"
	"braid/lab/probe"
)

const (
	calmFor = 10 * time.Second // of each phase
	// calmSettle is what a phase is left alone before it counts: the goal for a
	// link whose rate has changed.
	calmSettle = 2 * time.Second
	// Goals of the echo, and what a transfer keeps of what it has alone.
	calmGoalP50  = 45
	calmGoalP99  = 65
	calmGoalKept = 0.91
)

// Phases of one transfer, in this order.
const (
	calmAlone   = "alone"
	calmEcho    = "echo"    // with the call
	calmHalved  = "halved"  // and the first uplink has half of its rate, both ways
	calmDoubled = "doubled" // and all of it again
)

// calmResult is one phase of one transfer.
type calmResult struct {
	Suite     string  `json:"suite"`
	Contender string  `json:"contender"`
	Run       string  `json:"run"`
	Round     int     `json:"round"` // from 1
	Phase     string  `json:"phase"`
	Mbps      float64 `json:"mbps"` // payload of all flows
	// Round trips of a UDP echo through the contender, 50 a second.
	IdleP50 float64 `json:"idle_p50_ms"` // before the transfer
	P50     float64 `json:"p50_ms,omitempty"`
	P99     float64 `json:"p99_ms,omitempty"`
	Lost    int     `json:"lost,omitempty"`
	Sent    int     `json:"sent,omitempty"`
	// Uplinks are echoes outside of the contender, bound to each uplink: the
	// queue in front of it.
	Uplinks []calmUplink `json:"uplinks,omitempty"`
}

// calmUplink is the echo on one uplink.
type calmUplink struct {
	Name string  `json:"uplink"`
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	Lost int     `json:"lost"`
}

// calm measures transfers alone, then with a call beside them, and then with an
// uplink whose rate changes under both.
func calm(ctx context.Context, b *bench, s *suite, stages []*stage) error {
	idle := make(map[*stage]time.Duration)
	for _, g := range stages {
		var err error
		if idle[g], err = g.idle(ctx); err != nil {
			return fmt.Errorf("%s: echo: %w", g.name(), err)
		}
	}
	b.report.calmHeader()
	for _, what := range calmRuns {
		if !b.wants(what.name) {
			continue
		}
		for round := range b.roundsOr(3) {
			for _, g := range stages {
				list, err := g.calm(ctx, what, b.lengthOr(calmFor))
				if err != nil {
					return fmt.Errorf("%s, %s: %w", g.name(), what.name, err)
				}
				for i := range list {
					r := &list[i]
					r.Suite, r.Contender, r.Run, r.Round, r.IdleP50 = s.name, g.name(), what.name, round+1, ms(idle[g])
				}
				b.report.addCalm(list)
			}
		}
	}
	b.report.concludeCalm(s, stages)
	return nil
}

// calm takes all phases of one transfer.
func (g *stage) calm(ctx context.Context, what run, length time.Duration) (list []calmResult, err error) {
	flows, err := g.load.run(ctx, g.way(), what)
	if err != nil {
		return nil, err
	}
	defer flows.stop()
	if err := sleep(ctx, what.warm); err != nil {
		return nil, err
	}
	alone, err := g.calmPhase(ctx, flows, length, nil)
	if err != nil {
		return nil, err
	}
	alone.Phase = calmAlone
	list = append(list, alone)
	first := slices.SortedFunc(maps.Keys(g.net.Links), func(a, b string) int { return g.order(a) - g.order(b) })[0]
	for _, p := range []struct {
		name   string
		factor float64 // of the first uplink's rate
	}{{calmEcho, 1}, {calmHalved, 0.5}, {calmDoubled, 2}} {
		calls, err := g.startCalls()
		if err != nil {
			return nil, err
		}
		if err = g.scale(first, p.factor); err == nil {
			err = sleep(ctx, calmSettle)
		}
		if later, e := g.startCalls(); err == nil && e == nil {
			calls.stop() // they kept the call going until now
			calls = later
		} else if err == nil {
			err = e
		}
		var r calmResult
		if err == nil {
			r, err = g.calmPhase(ctx, flows, length, calls)
		}
		calls.stop()
		if err != nil {
			return nil, err
		}
		r.Phase = p.name
		list = append(list, r)
	}
	flows.stop()
	// What is still under way must not meet the next measurement.
	return list, sleep(ctx, 2*time.Second)
}

// calmPhase measures the flows, and the echoes if there are any, for a time.
func (g *stage) calmPhase(ctx context.Context, flows *flows, length time.Duration, calls *calls) (r calmResult, err error) {
	before, began := flows.received(), time.Now()
	if err := sleep(ctx, length); err != nil {
		return r, err
	}
	moved, _ := difference(before, flows.received())
	if r.Mbps = moved * 8 / time.Since(began).Seconds() / 1e6; moved == 0 {
		return r, errNothing
	}
	if calls != nil {
		calls.read(&r)
	}
	return r, nil
}

// scale multiplies an uplink's rate, both ways.
func (g *stage) scale(uplink string, factor float64) error {
	for _, w := range []lab.Way{up, down} {
		shape, err := g.net.Links[uplink].Shape(w)
		if err != nil {
			return err
		}
		if shape.Rate = emulator.BitRate(float64(shape.Rate) * factor); factor == 1 {
			continue
		}
		if err := g.net.Links[uplink].SetShape(w, shape); err != nil {
			return err
		}
	}
	return nil
}

// calls are the echo through the contender, and one on each uplink.
type calls struct {
	through *probe.Echo
	names   []string
	over    []*probe.Echo
}

func (g *stage) startCalls() (c *calls, err error) {
	c = &calls{names: slices.SortedFunc(maps.Keys(g.net.Links), func(a, b string) int { return g.order(a) - g.order(b) })}
	if c.through, err = g.startEcho(); err != nil {
		return nil, err
	}
	for _, name := range c.names {
		e, err := probe.StartEchoOver(g.net.Client, name, netip.AddrPortFrom(g.net.ServerAddr4, g.echo.Addr.Port()), echoEvery, echoBytes)
		if err != nil {
			c.stop()
			return nil, err
		}
		c.over = append(c.over, e)
	}
	return c, nil
}

// read ends the echoes and takes what they saw.
func (c *calls) read(r *calmResult) {
	seen := c.through.Stop(time.Second)
	c.through = nil
	r.P50, r.P99, r.Lost, r.Sent = ms(seen.Percentile(50)), ms(seen.Percentile(99)), seen.Lost(), seen.Sent
	for i, e := range c.over {
		seen := e.Stop(time.Second)
		r.Uplinks = append(r.Uplinks, calmUplink{c.names[i], ms(seen.Percentile(50)), ms(seen.Percentile(99)), seen.Lost()})
	}
	c.over = nil
}

// stop ends those that were not read.
func (c *calls) stop() {
	for _, e := range append(c.over, c.through) {
		if e != nil {
			e.Stop(0)
		}
	}
	c.through, c.over = nil, nil
}

const calmRow = "%-10s %-6s %5s %-8s %7s %8s %8s %8s %9s  %s\n"

func (*report) calmHeader() {
	fmt.Printf(calmRow, "", "", "round", "phase", "Mb/s", "idle ms", "p50 ms", "p99 ms", "lost", "uplinks p50/p99 ms")
}

func (r *report) addCalm(list []calmResult) {
	r.Calm = append(r.Calm, list...)
	for _, x := range list {
		lost, uplinks := "–", ""
		if x.Sent > 0 {
			lost = fmt.Sprintf("%d/%d", x.Lost, x.Sent)
		}
		for _, u := range x.Uplinks {
			uplinks += fmt.Sprintf("%s %.0f/%.0f ", u.Name, u.P50, u.P99)
		}
		fmt.Printf(calmRow, x.Contender, x.Run, fmt.Sprint(x.Round), x.Phase, number(x.Mbps, 1), number(x.IdleP50, 1),
			number(x.P50, 1), number(x.P99, 1), lost, uplinks)
	}
}

// concludeCalm prints medians of a suite.
func (r *report) concludeCalm(s *suite, stages []*stage) {
	fmt.Println()
	for _, what := range calmRuns {
		for _, g := range stages {
			for _, phase := range []string{calmEcho, calmHalved, calmDoubled} {
				alone := calmColumn(r.Calm, s.name, g.name(), what.name, calmAlone, func(x calmResult) float64 { return x.Mbps })
				of := func(f func(calmResult) float64) []float64 {
					return calmColumn(r.Calm, s.name, g.name(), what.name, phase, f)
				}
				rates := of(func(x calmResult) float64 { return x.Mbps })
				if len(rates) == 0 {
					continue
				}
				line := fmt.Sprintf("%s %s %s %s: %.1f Mb/s", s.name, what.name, g.name(), phase, median(rates))
				if phase != calmHalved {
					line += fmt.Sprintf(", %.1f %% of alone (goal %.0f)", 100*median(ratios(rates, alone)), 100*calmGoalKept)
				}
				line += fmt.Sprintf(", echo %.0f/%.0f ms (goal %d/%d), lost %.0f", median(of(func(x calmResult) float64 { return x.P50 })),
					median(of(func(x calmResult) float64 { return x.P99 })), calmGoalP50, calmGoalP99, median(of(func(x calmResult) float64 { return float64(x.Lost) })))
				for i, u := range r.calmUplinks(s.name) {
					line += fmt.Sprintf(", %s %.0f/%.0f", u, median(of(func(x calmResult) float64 { return x.Uplinks[i].P50 })),
						median(of(func(x calmResult) float64 { return x.Uplinks[i].P99 })))
				}
				fmt.Println(line)
			}
		}
	}
}

// calmUplinks are the uplinks of a suite.
func (r *report) calmUplinks(suite string) (names []string) {
	for _, x := range r.Calm {
		if x.Suite == suite && len(x.Uplinks) > 0 {
			for _, u := range x.Uplinks {
				names = append(names, u.Name)
			}
			break
		}
	}
	return names
}

// calmColumn is one figure of all rounds of a phase, in their order.
func calmColumn(list []calmResult, suite, contender, run, phase string, of func(calmResult) float64) (column []float64) {
	for _, x := range list {
		if x.Suite == suite && x.Contender == contender && x.Run == run && x.Phase == phase {
			column = append(column, of(x))
		}
	}
	return column
}

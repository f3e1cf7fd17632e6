package main

import (
	"context"
	"fmt"
	"time"

	"braid/lab/daemon"
	"braid/lab/emulator"
	"braid/lab/topology"
)

const (
	overflowFor = 20 * time.Second // each load
	smallLoad   = 10 * emulator.Mbps
	largeLoad   = 35 * emulator.Mbps // more than DSL has
	backupLoad  = 15 * emulator.Mbps
	backupDead  = 5 * time.Second
	// quietRate is less than an uplink may carry in quietWindow to be called
	// quiet, and quietShare what it may have of all bytes to be unused;
	// quietWatch bounds the wait for both.
	quietRate   = 10 * emulator.Kbps
	quietShare  = 0.01
	quietWindow = time.Second
	quietWatch  = 20 * time.Second
	// joinedRate is what the second uplink carries once it has joined.
	joinedRate = emulator.Mbps
)

// overflowResult is one round of both roles. Seconds that reach the bound of
// the wait mean that it did not happen.
type overflowResult struct {
	Contender string `json:"contender"`
	Round     int    `json:"round"` // from 1
	Role      string `json:"role"`  // of LTE

	// Role overflow: LTE's part of all bytes on the wire, both ways, under the
	// small load; what of the large one arrived, from its third second, and when
	// LTE joined; when LTE was unused under the small load again, and quiet
	// without load.
	SmallShare float64 `json:"small_load_share"`
	Carried    float64 `json:"large_load_carried"`
	LargeShare float64 `json:"large_load_share"`
	JoinedS    float64 `json:"joined_s"`
	UnusedS    float64 `json:"unused_s"`
	QuietS     float64 `json:"quiet_s"`

	// Role backup: what LTE carried while DSL lived, and how many of its packets
	// were so large that they can be nothing but payload; the silence when DSL
	// died; what LTE carried of the load from a second later on; when it was quiet
	// after DSL came back.
	IdleBytes  uint64  `json:"backup_bytes"`
	IdleLarge  uint64  `json:"backup_large_packets"`
	StallMs    float64 `json:"stall_ms"`
	DeadRate   float64 `json:"dead_carried"`
	ReturnedS  float64 `json:"returned_s"`
	LoadLength float64 `json:"load_s"`
}

func overflowNet() topology.Config {
	return topology.Config{Uplinks: []topology.Uplink{
		topology.Line("dsl", 20*emulator.Mbps, 5*emulator.Mbps, 30*time.Millisecond),
		topology.Line("lte", 30*emulator.Mbps, 10*emulator.Mbps, 60*time.Millisecond),
	}}
}

// overflow measures both roles of LTE, each with a tunnel of its own. Only
// braid's contenders know roles.
func overflow(ctx context.Context, b *bench, s *suite) error {
	for _, name := range b.contendersOf(s) {
		for round := range b.roundsOr(1) {
			for _, role := range []struct {
				name    string
				measure func(*stage, context.Context, time.Duration, *overflowResult) error
			}{{"overflow", (*stage).overflow}, {"backup", (*stage).backup}} {
				c, ok := newContender(name, b.programs).(*braidTunnel)
				if !ok {
					return fmt.Errorf("%s has no roles of uplinks", name)
				}
				c.options = withRole(c.options, role.name)
				g, err := newStage(ctx, overflowNet(), c, b.report.Default)
				if err != nil {
					return err
				}
				length := b.lengthOr(overflowFor)
				res := overflowResult{Contender: name, Round: round + 1, Role: role.name, LoadLength: length.Seconds()}
				err = sleep(ctx, failoverSettle)
				if err == nil {
					err = role.measure(g, ctx, length, &res)
				}
				if closing := g.close(); err == nil {
					err = closing
				}
				if err != nil {
					return fmt.Errorf("%s, role %s: %w", name, role.name, err)
				}
				b.report.addOverflow(res)
			}
		}
	}
	return nil
}

// withRole gives LTE a role.
func withRole(o daemon.Options, role string) daemon.Options {
	o.ClientMore += fmt.Sprintf("\n[[uplink]]\ninterface = \"lte\"\nrole = %q\n\n[[uplink]]\ninterface = \"*\"\n", role)
	return o
}

// paced is a download at a rate that can be changed.
type paced struct {
	*flows
	set func(emulator.BitRate) error
}

func (g *stage) paced(ctx context.Context, rate emulator.BitRate) (*paced, error) {
	f, err := g.load.run(ctx, g.way(), run{}) // none yet
	if err != nil {
		return nil, err
	}
	c, err := g.dial(ctx, sendAtRate, uint64(rate))
	if err != nil {
		return nil, err
	}
	f.take(c)
	return &paced{f, func(r emulator.BitRate) error { return writeNumber(c, uint64(r)) }}, nil
}

// wire is what both uplinks have carried, both ways.
type wire struct{ dsl, lte, large uint64 }

func (g *stage) wire() (w wire, err error) {
	for name, bytes := range map[string]*uint64{"dsl": &w.dsl, "lte": &w.lte} {
		n, err := g.bytes(name)
		if err != nil {
			return w, err
		}
		*bytes = n[up] + n[down]
	}
	c, err := g.net.Links["lte"].Counters(down)
	w.large = c.Large
	return w, err
}

func (w wire) since(before wire) wire {
	return wire{w.dsl - before.dsl, w.lte - before.lte, w.large - before.large}
}

// share is LTE's part.
func (w wire) share() float64 {
	if w.dsl+w.lte == 0 {
		return 0
	}
	return float64(w.lte) / float64(w.dsl+w.lte)
}

// during is what the uplinks carry in a time.
func (g *stage) during(ctx context.Context, d time.Duration) (wire, error) {
	before, err := g.wire()
	if err != nil {
		return wire{}, err
	}
	if err := sleep(ctx, d); err != nil {
		return wire{}, err
	}
	after, err := g.wire()
	return after.since(before), err
}

// until waits for a window of time in which the uplinks carry what is wanted,
// and returns after how many seconds that window began, or the bound of the wait.
func (g *stage) until(ctx context.Context, want func(wire) bool) (float64, error) {
	const step = 50 * time.Millisecond
	var list []wire
	for began := time.Now(); time.Since(began) < quietWatch; {
		w, err := g.wire()
		if err != nil {
			return 0, err
		}
		list = append(list, w)
		if i := len(list) - 1 - int(quietWindow/step); i >= 0 && want(w.since(list[i])) {
			return max(0, time.Since(began)-quietWindow).Seconds(), nil
		}
		if err := sleep(ctx, time.Until(began.Add(time.Duration(len(list))*step))); err != nil {
			return 0, err
		}
	}
	return quietWatch.Seconds(), nil
}

func inWindow(r emulator.BitRate) uint64 { return uint64(float64(r) / 8 * quietWindow.Seconds()) }

func quiet(w wire) bool { return w.lte < inWindow(quietRate) }

// overflow: a small load, a large one, the small one again, none.
func (g *stage) overflow(ctx context.Context, length time.Duration, res *overflowResult) error {
	before, err := g.wire()
	if err != nil {
		return err
	}
	p, err := g.paced(ctx, smallLoad)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := sleep(ctx, length); err != nil {
		return err
	}
	after, err := g.wire()
	if err != nil {
		return err
	}
	res.SmallShare = after.since(before).share()

	if err := p.set(largeLoad); err != nil {
		return err
	}
	began := time.Now()
	if res.JoinedS, err = g.until(ctx, func(w wire) bool { return w.lte > inWindow(joinedRate) }); err != nil {
		return err
	}
	if err := sleep(ctx, time.Until(began.Add(shapedWarm))); err != nil {
		return err
	}
	arrived, counting := p.received()[0], time.Now()
	w, err := g.during(ctx, max(time.Second, time.Until(began.Add(length))))
	if err != nil {
		return err
	}
	rate := float64(p.received()[0]-arrived) * 8 / time.Since(counting).Seconds()
	res.Carried, res.LargeShare = rate/float64(largeLoad), w.share()

	if err := p.set(smallLoad); err != nil {
		return err
	}
	if res.UnusedS, err = g.until(ctx, func(w wire) bool { return w.share() < quietShare }); err != nil {
		return err
	}
	if err := p.set(0); err != nil {
		return err
	}
	res.QuietS, err = g.until(ctx, quiet)
	return err
}

// backup: DSL alone, its death, its return.
func (g *stage) backup(ctx context.Context, length time.Duration, res *overflowResult) error {
	p, err := g.paced(ctx, backupLoad)
	if err != nil {
		return err
	}
	defer p.stop()
	w, err := g.during(ctx, length)
	if err != nil {
		return err
	}
	res.IdleBytes, res.IdleLarge = w.lte, w.large

	died := time.Now()
	if err := g.net.Links["dsl"].SetBlackHole(true); err != nil {
		return err
	}
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	arrived, counting := p.received()[0], time.Now()
	if err := sleep(ctx, backupDead); err != nil {
		return err
	}
	rate := float64(p.received()[0]-arrived) * 8 / time.Since(counting).Seconds()
	res.DeadRate = rate / float64(backupLoad)
	res.StallMs = ms(p.gaps.Longest(died, time.Now()))
	if err := g.net.Links["dsl"].SetBlackHole(false); err != nil {
		return err
	}
	res.ReturnedS, err = g.until(ctx, func(w wire) bool { return w.large == 0 })
	return err
}

func (r *report) addOverflow(x overflowResult) {
	r.Overflow = append(r.Overflow, x)
	fmt.Printf("%s, LTE is %s, round %d\n", x.Contender, x.Role, x.Round)
	line := func(what, goal, format string, args ...any) {
		fmt.Printf("  %-52s %14s   goal %s\n", what, fmt.Sprintf(format, args...), goal)
	}
	seconds := func(s float64) string {
		if s >= quietWatch.Seconds() {
			return "not at all"
		}
		return fmt.Sprintf("%.1f s", s)
	}
	switch x.Role {
	case "overflow":
		line("LTE's part of a load of 10 Mb/s", "1 %", "%.2f %%", 100*x.SmallShare)
		line("of a load of 35 Mb/s arrived", "100 %", "%.1f %%", 100*x.Carried)
		line("LTE's part of it", "–", "%.0f %%", 100*x.LargeShare)
		line("LTE joined after", "1 s", "%s", seconds(x.JoinedS))
		line("10 Mb/s again: LTE is unused after", "5 s", "%s", seconds(x.UnusedS))
		line("no load: LTE is quiet (10 kb/s) after", "5 s", "%s", seconds(x.QuietS))
	case "backup":
		line(fmt.Sprintf("LTE's bytes while DSL lives, in %.0f s", x.LoadLength), "few", "%d", x.IdleBytes)
		line("its packets of 1,000 bytes and more", "0", "%d", x.IdleLarge)
		line("silence when DSL becomes a black hole", "350 ms", "%.0f ms", x.StallMs)
		line("of 15 Mb/s arrived then", "100 %", "%.0f %%", 100*x.DeadRate)
		line("DSL is back: LTE has no payload after", "–", "%s", seconds(x.ReturnedS))
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// failoverRun is one way in which an uplink dies and returns, beside one kind of
// traffic.
type failoverRun struct {
	name    string
	about   string
	goal    time.Duration // of the silence around the death
	fault   func(g *stage, victim string) fault
	traffic func(ctx context.Context, g *stage) (traffic, error)
	light   bool // so little traffic that several can be measured at the same time
	loaded  bool // what an uplink carries is looked at
	both    bool // all uplinks die, and the victim alone returns
	alone   bool // nothing is measured at the same time
}

// fault makes an uplink die and return.
type fault struct{ begin, end func() error }

var failoverRuns = []failoverRun{
	{
		name: "idle", about: "black hole, a request on an open connection 100 ms later", goal: 350 * time.Millisecond,
		fault: blackHole, traffic: openRequests, light: true,
	},
	{
		name: "new", about: "black hole, a request on a new connection 100 ms later", goal: 350 * time.Millisecond,
		fault: blackHole, traffic: newRequests, light: true,
	},
	{
		name: "echo", about: "black hole, 50 UDP packets a second", goal: 250 * time.Millisecond,
		fault: blackHole, traffic: echoes, light: true,
	},
	{
		name: "load", about: "black hole under one download", goal: 350 * time.Millisecond,
		fault: blackHole, traffic: download, loaded: true,
	},
	{
		name: "linkdown", about: "carrier lost under one download", goal: 100 * time.Millisecond,
		fault: unplug, traffic: download, loaded: true, alone: true, // kernels tell late of the second of two lost carriers
	},
	{
		name: "address", about: "addresses removed under one download", goal: 100 * time.Millisecond,
		fault: removeAddress, traffic: download, loaded: true,
	},
	{
		name: "both", about: "all uplinks are black holes under one download, and the named one returns: silence from then", goal: 500 * time.Millisecond,
		fault: allBlack, traffic: downloadUntilBack, both: true,
	},
}

func failoverNames() []string {
	var list []string
	for _, r := range failoverRuns {
		list = append(list, r.name)
	}
	return list
}

func blackHole(g *stage, victim string) fault {
	set := func(on bool) func() error {
		return func() error { return g.net.Links[victim].SetBlackHole(on) }
	}
	return fault{set(true), set(false)}
}

func allBlack(g *stage, victim string) fault {
	return fault{
		func() error {
			var errs []error
			for _, l := range g.net.Links {
				errs = append(errs, l.SetBlackHole(true))
			}
			return errors.Join(errs...)
		},
		func() error { return g.net.Links[victim].SetBlackHole(false) },
	}
}

func unplug(g *stage, victim string) fault {
	set := func(on bool) func() error {
		return func() error { return g.net.Links[victim].SetCarrier(on) }
	}
	return fault{set(false), set(true)}
}

func removeAddress(g *stage, victim string) fault {
	return fault{
		func() error { return g.net.RemoveAddress(victim) },
		func() error { return g.net.ConfigureUplink(victim) },
	}
}

const (
	failoverSettle = 2 * time.Second // of a stage that was just built
	// failoverLoad is how long a download runs before an uplink dies, and
	// failoverBefore the end of that in which its share is taken. Ten seconds
	// after its start, and again and again, bbr sends next to nothing on an
	// uplink for 200 ms (PROBE_RTT). Both death and return lie between two of
	// these, so that they are not taken for its silence.
	failoverLoad   = 12 * time.Second
	failoverBefore = 2 * time.Second
	failoverDead   = 5 * time.Second
	failoverWatch  = 3 * time.Second // after the return
	bothWatch      = 10 * time.Second
	// shareWatch bounds the wait for the share, which is taken over shareWindow
	// every shareStep, and shareGoal the part of its former share that an uplink
	// must have.
	shareWatch  = 10 * time.Second
	shareWindow = 500 * time.Millisecond
	shareStep   = 50 * time.Millisecond
	shareGoal   = 0.8
)

// failoverResult is one death and return.
type failoverResult struct {
	Suite     string `json:"suite"`
	Run       string `json:"run"`
	Uplink    string `json:"uplink"`
	Contender string `json:"contender"`
	Round     int    `json:"round"` // from 1
	// The longest silence at the receiver that belongs to the time of death, and
	// that after the return. In the run "both" only the second: from the return.
	DeathMs  float64 `json:"death_ms"`
	ReturnMs float64 `json:"return_ms"`
	// Share is what the uplink carried of all bytes down before it died, and
	// BackS the seconds until it had shareGoal of that again: 0 when that was not
	// looked at, the bound of the wait when it did not come.
	Share float64 `json:"share,omitempty"`
	BackS float64 `json:"share_back_s,omitempty"`
	// Unfinished is set when the traffic did not survive.
	Unfinished string `json:"unfinished,omitempty"`
}

// failover measures each run with each uplink and contender, round after round.
// Each measurement has a network and daemons of its own, for what they have
// learnt of an uplink that dies again and again is not what is measured.
func failover(ctx context.Context, b *bench, s *suite) error {
	var victims []string
	for _, u := range s.net().Uplinks {
		victims = append(victims, u.Name)
	}
	b.report.failoverHeader()
	before := b.report.failoverRounds(s.name)
	for round := range b.roundsOr(20) {
		for i := range failoverRuns {
			what := &failoverRuns[i]
			if !b.wants(what.name) {
				continue
			}
			for _, todo := range together(what, victims, b.contendersOf(s)) {
				for i := range todo {
					todo[i].Suite, todo[i].Round = s.name, before+round+1
				}
				if err := b.failovers(ctx, s, what, todo); err != nil {
					return err
				}
				for _, res := range todo {
					b.report.addFailover(res)
				}
			}
		}
	}
	b.report.concludeFailover(s)
	return nil
}

// together returns what a run measures, in parts of which each is measured at the
// same time: one contender's uplinks, all that is light, or one alone.
func together(what *failoverRun, victims, contenders []string) (parts [][]failoverResult) {
	var all []failoverResult
	for _, c := range contenders {
		var part []failoverResult
		for _, v := range victims {
			part = append(part, failoverResult{Run: what.name, Uplink: v, Contender: c})
		}
		if all = append(all, part...); !what.alone {
			parts = append(parts, part)
			continue
		}
		for i := range part {
			parts = append(parts, part[i:i+1])
		}
	}
	if what.light {
		return [][]failoverResult{all}
	}
	return parts
}

// failovers fills in the results, all at the same time. No network is built or
// taken down meanwhile: kernels make whoever asks for another one's addresses wait
// for that, for half a second at times.
func (b *bench) failovers(ctx context.Context, s *suite, what *failoverRun, todo []failoverResult) (err error) {
	stages := make([]*stage, len(todo))
	defer func() {
		for _, g := range stages {
			if g != nil {
				err = errors.Join(err, g.close())
			}
		}
	}()
	for i, t := range todo {
		if stages[i], err = newStage(ctx, s.net(), newContender(t.Contender, b.programs), b.report.Default); err != nil {
			return fmt.Errorf("%s, %s: %w", t.Contender, what.name, err)
		}
	}
	errs := make([]error, len(todo))
	var all sync.WaitGroup
	for i := range todo {
		all.Go(func() {
			if err := b.failover(ctx, stages[i], what, &todo[i]); err != nil {
				errs[i] = fmt.Errorf("%s, %s, %s: %w", todo[i].Contender, what.name, todo[i].Uplink, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// failover is one measurement.
func (b *bench) failover(ctx context.Context, g *stage, what *failoverRun, res *failoverResult) (err error) {
	if err := sleep(ctx, failoverSettle); err != nil {
		return err
	}
	t, err := what.traffic(ctx, g)
	if err != nil {
		return err
	}
	defer t.stop()
	var before float64
	if what.loaded {
		was, err := g.carried()
		if err != nil {
			return err
		}
		if err := sleep(ctx, failoverBefore); err != nil {
			return err
		}
		is, err := g.carried()
		if err != nil {
			return err
		}
		before = share(was, is, res.Uplink)
	}

	f := what.fault(g, res.Uplink)
	died := time.Now()
	if err := f.begin(); err != nil {
		return err
	}
	t.after()
	if err := sleep(ctx, time.Until(died.Add(failoverDead))); err != nil {
		return err
	}
	returned := time.Now()
	if err := f.end(); err != nil {
		return err
	}
	if err := t.ready(ctx); err != nil {
		res.Unfinished = err.Error()
	}
	t.after()
	if what.loaded {
		res.Share = before
		if res.BackS, err = g.shareBack(ctx, res.Uplink, before*shareGoal, returned); err != nil {
			return err
		}
	}
	end := returned.Add(failoverWatch)
	if what.both {
		end = returned.Add(bothWatch)
	}
	if err := sleep(ctx, time.Until(end)); err != nil {
		return err
	}
	if err := t.ready(ctx); err != nil && res.Unfinished == "" {
		res.Unfinished = err.Error()
	}
	atDeath, atReturn := t.silences(died, returned, end)
	if !what.both {
		res.DeathMs = ms(atDeath)
	}
	res.ReturnMs = ms(atReturn)
	return nil
}

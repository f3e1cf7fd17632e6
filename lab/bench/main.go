// Command bench measures braid in the lab beside raw kernel MPTCP, wireguard-go
// and the best uplink without a tunnel, in one run on one machine, so that the
// figures can be compared as ratios whatever the machine is.
//
//	bench -braid PROGRAM [-wireguard PROGRAM] [flags] [SUITE...]
//
// SUITE is unshaped, cellA, cellB, cellC, requests or streams; none is all of
// these. Only when named: grid, failover (or failoverA, failoverB), calm (or
// calmA, calmB, calmC), packets and speedtest (likewise), redundant, idle and overflow. One
// figure of one suite takes less than a minute:
//
//	bench -contenders braid,mptcp -runs down1 -rounds 1 cellB
//	bench -pairs "50/2 30/600ms" grid
//
// It needs root.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bench is what was asked for on the command line.
type bench struct {
	programs   programs
	congestion string // of the hosts; "" is the machine's
	contenders []string
	runs       []string
	rounds     int           // 0 is the suite's
	seconds    time.Duration // of a measurement, the warm-up apart; 0 is the suite's
	requests   int           // in a round
	streams    int
	pairs      []string // of the grid; none is all
	part, of   int      // of the chosen pairs; all of them is 1 of 1
	jsonFile   string
	goOn       bool // the failover rounds in jsonFile count, too
	report     *report
}

// roundsOr is how often each measurement is taken.
func (b *bench) roundsOr(usual int) int { return cmp.Or(b.rounds, usual) }

// lengthOr is how long each takes.
func (b *bench) lengthOr(usual time.Duration) time.Duration { return cmp.Or(b.seconds, usual) }

// wants tells whether a run was asked for.
func (b *bench) wants(run string) bool { return len(b.runs) == 0 || slices.Contains(b.runs, run) }

func main() {
	b := &bench{part: 1, of: 1}
	list := func(to *[]string) func(string) error {
		return func(s string) error { *to = strings.Split(s, ","); return nil }
	}
	flag.StringVar(&b.programs.braid, "braid", "build/braid", "braid's program")
	flag.StringVar(&b.programs.wireguard, "wireguard", "", "wireguard-go's program; without it that contender is left out")
	flag.StringVar(&b.congestion, "congestion", "", "congestion control of the hosts in the lab and of braid's carriers, such as cubic; default the machine's and braid's")
	flag.Func("contenders", "instead of each suite's own, with commas: "+strings.Join(contenderNames, ", "), list(&b.contenders))
	flag.Func("runs", "only these of each suite's, with commas: "+strings.Join(runNames(), ", "), list(&b.runs))
	flag.IntVar(&b.rounds, "rounds", 0, "how often each measurement is taken, the contenders in turn; default 3, in failover 20, in grid and overflow 1")
	flag.DurationVar(&b.seconds, "for", 0, "length of each transfer, the warm-up apart; default 12s in cells, 10s in calm, 4s unshaped, 17s in grid, 20s in overflow, 5m in idle")
	flag.Func("pairs", "only these pairs of the grid, with commas: names, or parts of names", list(&b.pairs))
	flag.Func("part", "only a part of the chosen pairs, such as 2/4: every fourth, from the second", b.setPart)
	flag.IntVar(&b.requests, "requests", 40, "requests in a round of the suite requests")
	flag.IntVar(&b.streams, "streams", 2000, "connections in the suite streams")
	flag.StringVar(&b.jsonFile, "json", "", "write the results here, too")
	flag.BoolVar(&b.goOn, "go-on", false, "failover: go on after the rounds that the file of results has, which count, too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.run(ctx, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

// check refuses what the command line has wrong.
func (b *bench) check(names []string) error {
	var errs []error
	for _, n := range names {
		if !slices.ContainsFunc(suites, func(s *suite) bool { return s.answersTo(n) }) {
			errs = append(errs, fmt.Errorf("there is no suite %s: want %s", n, strings.Join(suiteNames(), ", ")))
		}
	}
	for _, n := range b.contenders {
		if !slices.Contains(contenderNames, n) {
			errs = append(errs, fmt.Errorf("there is no contender %s: want %s", n, strings.Join(contenderNames, ", ")))
		}
	}
	for _, n := range b.runs {
		if !slices.Contains(runNames(), n) {
			errs = append(errs, fmt.Errorf("there is no run %s: want %s", n, strings.Join(runNames(), ", ")))
		}
	}
	if b.rounds < 0 || b.requests < 1 || b.streams < 1 || b.seconds < 0 {
		errs = append(errs, errors.New("rounds, requests and streams must be at least 1, and a length above 0"))
	}
	if _, err := choosePairs(b.pairs, b.part, b.of); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (b *bench) setPart(text string) error {
	if n, err := fmt.Sscanf(text, "%d/%d", &b.part, &b.of); err != nil || n != 2 || b.part < 1 || b.part > b.of {
		return errors.New("want a part of all, such as 2/4")
	}
	return nil
}

func (b *bench) run(ctx context.Context, names []string) error {
	if err := b.check(names); err != nil {
		return err
	}
	b.programs.congestion = b.congestion
	b.report = newReport(b.congestion)
	if b.jsonFile != "" {
		if err := b.report.load(b.jsonFile, b.goOn); err != nil {
			return err
		}
	}
	var errs []error
	for _, s := range suites {
		if len(names) == 0 && !s.named || slices.ContainsFunc(names, s.answersTo) {
			errs = append(errs, b.suite(ctx, s))
		}
	}
	if b.jsonFile != "" {
		if err := b.report.save(b.jsonFile); err != nil {
			errs = append(errs, err)
		} else {
			fmt.Println("written to", b.jsonFile)
		}
	}
	return errors.Join(errs...)
}

// suite measures one suite with all contenders.
func (b *bench) suite(ctx context.Context, s *suite) (err error) {
	fmt.Printf("\n%s: %s\n", s.name, s.about)
	if s.own != nil {
		if err := s.own(ctx, b, s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		return nil
	}
	var stages []*stage
	defer func() {
		for _, g := range stages {
			err = errors.Join(err, g.close())
		}
	}()
	for _, n := range b.contendersOf(s) {
		if n == "wireguard-go" && b.programs.wireguard == "" {
			continue
		}
		g, err := newStage(ctx, s.net(), newContender(n, b.programs), b.report.Default)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		stages = append(stages, g)
	}
	if err := s.measure(ctx, b, s, stages); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// contendersOf is who is measured in a suite.
func (b *bench) contendersOf(s *suite) []string {
	if len(b.contenders) > 0 {
		return b.contenders
	}
	return s.contenders
}

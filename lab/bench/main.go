// Command bench measures braid in the lab beside raw kernel MPTCP, wireguard-go
// and the best uplink without a tunnel, in one run on one machine, so that the
// figures can be compared as ratios whatever the machine is.
//
//	bench -braid PROGRAM [-wireguard PROGRAM] [flags] [SUITE...]
//
// SUITE is unshaped, cellA, cellB, cellC, requests or streams; none is all of
// them. One figure of one suite takes less than a minute:
//
//	bench -contenders braid,mptcp -runs down1 -rounds 1 cellB
//
// It needs root.
package main

import (
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

	"braid/lab/topology"
)

// suite is a network and what is measured in it.
type suite struct {
	name       string
	about      string
	net        func() topology.Config
	contenders []string // unless others are chosen
	measure    func(context.Context, *bench, *suite, []*stage) error
}

func fast() topology.Config { return topology.Fast(2) }

var suites = []*suite{
	{
		"unshaped", "two uplinks without limits: what the code and the kernel can do", fast,
		[]string{"braid", "mptcp", "wireguard-go"}, transfers(unshapedRuns),
	},
	{
		"cellA", "DSL 50/10 Mb/s 30 ms, LTE 30/10 Mb/s 60 ms", topology.CellA,
		[]string{"braid", "mptcp"}, transfers(cellRuns),
	},
	{
		"cellB", "the same, but LTE 200 ms with 0.5 % loss", topology.CellB,
		[]string{"braid", "mptcp"}, transfers(cellRuns),
	},
	{
		"cellC", "the same, but LTE with 2 % loss", topology.CellC,
		[]string{"braid", "mptcp"}, transfers(cellRuns),
	},
	{
		"requests", "cell A: 100 KB on a new connection, one after another; and connections alone", topology.CellA,
		[]string{"braid", "mptcp", "best-uplink"}, requests,
	},
	{
		"streams", "two uplinks without limits: what idle connections cost", fast,
		[]string{"braid"}, idleStreams,
	},
}

// bench is what was asked for on the command line.
type bench struct {
	programs   programs
	congestion string // of the hosts; "" is the machine's
	contenders []string
	runs       []string
	rounds     int
	seconds    time.Duration // of a transfer, the warm-up apart; 0 is the suite's
	requests   int           // in a round
	streams    int
	jsonFile   string
	report     *report
}

// wants tells whether a run was asked for.
func (b *bench) wants(run string) bool { return len(b.runs) == 0 || slices.Contains(b.runs, run) }

func main() {
	b := &bench{}
	list := func(to *[]string) func(string) error {
		return func(s string) error { *to = strings.Split(s, ","); return nil }
	}
	flag.StringVar(&b.programs.braid, "braid", "build/braid", "braid's program")
	flag.StringVar(&b.programs.wireguard, "wireguard", "", "wireguard-go's program; without it that contender is left out")
	flag.StringVar(&b.congestion, "congestion", "", "congestion control of the hosts in the lab and of braid's carriers, such as cubic; default the machine's and braid's")
	flag.Func("contenders", "instead of each suite's own, with commas: "+strings.Join(contenderNames, ", "), list(&b.contenders))
	flag.Func("runs", "only these transfers, with commas: down1, up1, down8 in cells; down1, up1, down4, up4 unshaped", list(&b.runs))
	flag.IntVar(&b.rounds, "rounds", 3, "how often each measurement is taken, the contenders in turn")
	flag.DurationVar(&b.seconds, "for", 0, "length of each transfer, the warm-up apart; default 12s in cells, 4s unshaped")
	flag.IntVar(&b.requests, "requests", 40, "requests in a round of the suite requests")
	flag.IntVar(&b.streams, "streams", 2000, "connections in the suite streams")
	flag.StringVar(&b.jsonFile, "json", "", "write the results here, too")
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
		if !slices.ContainsFunc(suites, func(s *suite) bool { return s.name == n }) {
			errs = append(errs, fmt.Errorf("there is no suite %s: want unshaped, cellA, cellB, cellC, requests or streams", n))
		}
	}
	for _, n := range b.contenders {
		if !slices.Contains(contenderNames, n) {
			errs = append(errs, fmt.Errorf("there is no contender %s: want %s", n, strings.Join(contenderNames, ", ")))
		}
	}
	for _, n := range b.runs {
		if !slices.ContainsFunc(slices.Concat(unshapedRuns, cellRuns), func(r run) bool { return r.name == n }) {
			errs = append(errs, fmt.Errorf("there is no run %s: want down1, up1, down4, up4 or down8", n))
		}
	}
	if b.rounds < 1 || b.requests < 1 || b.streams < 1 || b.seconds < 0 {
		errs = append(errs, errors.New("rounds, requests and streams must be at least 1, and a length above 0"))
	}
	return errors.Join(errs...)
}

func (b *bench) run(ctx context.Context, names []string) error {
	if err := b.check(names); err != nil {
		return err
	}
	b.programs.congestion = b.congestion
	b.report = newReport(b.congestion)
	var errs []error
	for _, s := range suites {
		if len(names) == 0 || slices.Contains(names, s.name) {
			errs = append(errs, b.suite(ctx, s))
		}
	}
	if b.jsonFile != "" {
		errs = append(errs, b.report.write(b.jsonFile))
	}
	return errors.Join(errs...)
}

// suite measures one suite with all contenders.
func (b *bench) suite(ctx context.Context, s *suite) (err error) {
	fmt.Printf("\n%s: %s\n", s.name, s.about)
	names := s.contenders
	if len(b.contenders) > 0 {
		names = b.contenders
	}
	var stages []*stage
	defer func() {
		for _, g := range stages {
			err = errors.Join(err, g.close())
		}
	}()
	for _, n := range names {
		if n == "wireguard-go" && b.programs.wireguard == "" {
			continue
		}
		g, err := newStage(ctx, s, newContender(n, b.programs), b.report.Default)
		if err != nil {
			return err
		}
		stages = append(stages, g)
	}
	if err := s.measure(ctx, b, s, stages); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

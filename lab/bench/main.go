// Command bench measures braid in the lab beside raw kernel MPTCP and
// wireguard-go, in one run on one machine, so that the figures can be compared
// as ratios whatever the machine is.
//
//	bench -braid PROGRAM [-wireguard PROGRAM] [-json FILE] [NAME...]
//
// NAME is unshaped, cellA, cellB or cellC; none is all of them. It needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"braid/lab/topology"
)

// suite is a network and what is measured in it.
type suite struct {
	name  string
	about string
	net   func() topology.Config
	runs  []run
}

// run is one measurement, of each contender.
type run struct {
	name    string
	flows   int
	up      bool
	seconds time.Duration
	warm    time.Duration // at the beginning, not counted
	latency bool          // with a UDP echo beside it
}

const (
	unshapedFor = 5 * time.Second
	shapedFor   = 15 * time.Second
	// shapedWarm: the rate of a shaped transfer counts from here.
	shapedWarm = 3 * time.Second
)

func cell(name, about string, net func() topology.Config) suite {
	return suite{name, about, net, []run{
		{"down, 1 flow", 1, false, shapedFor, shapedWarm, true},
		{"up, 1 flow", 1, true, shapedFor, shapedWarm, true},
		{"down, 4 flows", 4, false, shapedFor, shapedWarm, true},
	}}
}

var suites = []suite{
	{"unshaped", "two uplinks without limits: what the code and the kernel can do", func() topology.Config { return topology.Fast(2) }, []run{
		{"down, 1 flow", 1, false, unshapedFor, time.Second, false},
		{"up, 1 flow", 1, true, unshapedFor, time.Second, false},
		{"down, 4 flows", 4, false, unshapedFor, time.Second, false},
		{"up, 4 flows", 4, true, unshapedFor, time.Second, false},
	}},
	cell("cellA", "DSL 50/10 Mb/s 30 ms, LTE 30/10 Mb/s 60 ms", topology.CellA),
	cell("cellB", "the same, but LTE 200 ms with 0.5 % loss", topology.CellB),
	cell("cellC", "the same, but LTE with 2 % loss", topology.CellC),
}

func main() {
	braid := flag.String("braid", "build/braid", "braid's program")
	wireguard := flag.String("wireguard", "", "wireguard-go's program; without it that contender is left out")
	congestion := flag.String("congestion", "", "congestion control of the hosts in the lab; the machine's by default")
	jsonFile := flag.String("json", "", "write the results here, too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, *braid, *wireguard, *congestion, *jsonFile, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func bench(ctx context.Context, braid, wireguard, congestion, jsonFile string, names []string) error {
	for _, n := range names {
		if !slices.ContainsFunc(suites, func(s suite) bool { return s.name == n }) {
			return fmt.Errorf("there is no benchmark %s: want unshaped, cellA, cellB or cellC", n)
		}
	}
	contenders := []contender{&braidTunnel{program: braid}, &rawMPTCP{}}
	if wireguard != "" {
		contenders = append(contenders, &wireguardTunnel{program: wireguard})
	}
	r := newReport(congestion)
	var errs []error
	for _, s := range suites {
		if len(names) > 0 && !slices.Contains(names, s.name) {
			continue
		}
		fmt.Printf("\n%s: %s\n", s.name, s.about)
		printHeader()
		for _, c := range contenders {
			if err := measureAll(ctx, s, c, r); err != nil {
				errs = append(errs, fmt.Errorf("%s of %s: %w", s.name, c.name(), err))
			}
		}
	}
	r.conclude()
	if jsonFile != "" {
		errs = append(errs, r.write(jsonFile))
	}
	return errors.Join(errs...)
}

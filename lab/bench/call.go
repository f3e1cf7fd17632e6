package main

import (
	"context"
	"fmt"
	"time"

	"braid/lab/emulator"
	"braid/lab/probe"
	"braid/lab/topology"
)

// callFor is how long a call alone takes; 99.9 % of it are 3,000 packets less 3.
const callFor = time.Minute

// callResult is one call with nothing beside it.
type callResult struct {
	Suite     string  `json:"suite"`
	Contender string  `json:"contender"`
	Round     int     `json:"round"` // from 1
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Worst     float64 `json:"worst_ms"`
	Lost      int     `json:"lost"`
	Sent      int     `json:"sent"`
}

// lossyCell is cell A with a loss of 2 % on both uplinks, each way.
func lossyCell() topology.Config {
	c := topology.CellA()
	for i := range c.Uplinks {
		c.Uplinks[i] = c.Uplinks[i].WithLoss(emulator.RandomLoss(0.02))
	}
	return c
}

// callAlone measures a call of each contender at the same time: their networks have
// nothing in common.
func callAlone(ctx context.Context, b *bench, s *suite, stages []*stage) error {
	const row = "%-16s %5s %8s %8s %9s %10s\n"
	fmt.Printf(row, "", "round", "p50 ms", "p99 ms", "worst ms", "lost")
	for round := range b.roundsOr(3) {
		running := make([]*probe.Echo, len(stages))
		var err error
		for i, g := range stages {
			if running[i], err = g.startEcho(); err != nil {
				err = fmt.Errorf("%s: echo: %w", g.name(), err)
				break
			}
		}
		if err == nil {
			err = sleep(ctx, b.lengthOr(callFor))
		}
		for i, e := range running {
			if e == nil {
				continue
			}
			seen := e.Stop(2 * time.Second)
			r := callResult{
				Suite: s.name, Contender: stages[i].name(), Round: round + 1, Lost: seen.Lost(), Sent: seen.Sent,
				P50: ms(seen.Percentile(50)), P99: ms(seen.Percentile(99)), Worst: ms(seen.Percentile(100)),
			}
			b.report.Calls = append(b.report.Calls, r)
			fmt.Printf(row, r.Contender, fmt.Sprint(r.Round), number(r.P50, 1), number(r.P99, 1), number(r.Worst, 1),
				fmt.Sprintf("%d/%d", r.Lost, r.Sent))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

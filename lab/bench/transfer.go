package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"braid/lab/emulator"
	"braid/lab/probe"
)

// run is one kind of transfer, measured of each contender.
type run struct {
	name    string
	flows   int
	up      bool
	seconds time.Duration
	warm    time.Duration // at the beginning, not counted
	latency bool          // with a UDP echo beside it
	quic    bool          // over QUIC, down
	// udp says that the first so many flows are bulk over UDP, down, each of which
	// is offered at udpRate, or without bound.
	udp     int
	udpRate emulator.BitRate
}

const (
	unshapedFor  = 5 * time.Second
	unshapedWarm = time.Second
	shapedFor    = 15 * time.Second
	// shapedWarm: the rate of a shaped transfer counts from here.
	shapedWarm = 3 * time.Second
)

var (
	unshapedRuns = []run{
		{name: "down1", flows: 1, seconds: unshapedFor, warm: unshapedWarm},
		{name: "up1", flows: 1, up: true, seconds: unshapedFor, warm: unshapedWarm},
		{name: "down4", flows: 4, seconds: unshapedFor, warm: unshapedWarm},
		{name: "up4", flows: 4, up: true, seconds: unshapedFor, warm: unshapedWarm},
		{name: "udp1", flows: 1, udp: 1, seconds: unshapedFor, warm: unshapedWarm},
	}
	cellRuns = []run{
		{name: "down1", flows: 1, seconds: shapedFor, warm: shapedWarm, latency: true},
		{name: "up1", flows: 1, up: true, seconds: shapedFor, warm: shapedWarm, latency: true},
		{name: "down8", flows: 8, seconds: shapedFor, warm: shapedWarm, latency: true},
	}
	// packetRuns are bulk that travels as packets, and streams beside it.
	packetRuns = []run{
		quicRun,
		{name: "udp1", flows: 1, udp: 1, udpRate: udpOffered, seconds: shapedFor, warm: shapedWarm, latency: true},
		{name: "udp2", flows: 2, udp: 2, udpRate: udpOffered, seconds: shapedFor, warm: shapedWarm, latency: true},
		{name: "mixed", flows: 5, udp: 1, udpRate: udpOffered, seconds: shapedFor, warm: shapedWarm, latency: true},
	}
	quicRun = run{name: "quic1", flows: 1, quic: true, seconds: shapedFor, warm: shapedWarm}
	// calmRuns are those beside which somebody calls: bulk on both lanes.
	calmRuns = append(slices.Clone(cellRuns), quicRun, packetRuns[1])
)

// runNames are those of all suites.
func runNames() (names []string) {
	for _, r := range slices.Concat(cellRuns, unshapedRuns, packetRuns) {
		if !slices.Contains(names, r.name) {
			names = append(names, r.name)
		}
	}
	return append(names, failoverNames()...)
}

// udpOffered is more than any cell carries.
const udpOffered emulator.BitRate = 200e6

// transferResult is one measurement.
type transferResult struct {
	Suite     string  `json:"suite"`
	Contender string  `json:"contender"`
	Run       string  `json:"run"`
	Round     int     `json:"round"` // from 1
	Mbps      float64 `json:"mbps"`  // payload of all flows, after the warm-up
	// Share is the smallest flow's part of its fair share, which is the mean.
	Share float64 `json:"smallest_share"`
	// CPU time in seconds per gigabyte of payload: of the whole machine, the load
	// generator and the emulator included, and of each daemon.
	HostCPU   float64 `json:"host_cpu_s_per_gb"`
	ClientCPU float64 `json:"client_cpu_s_per_gb"`
	ServerCPU float64 `json:"server_cpu_s_per_gb"`
	// Latency of a UDP echo of 50 packets a second: idle, and under the load.
	IdleP50 float64 `json:"idle_p50_ms,omitempty"`
	P50     float64 `json:"p50_ms,omitempty"`
	P99     float64 `json:"p99_ms,omitempty"`
	Lost    int     `json:"lost,omitempty"`
	Sent    int     `json:"sent,omitempty"`
}

// transfers measures each run of each contender in turn, round after round.
func transfers(runs []run) func(context.Context, *bench, *suite, []*stage) error {
	return func(ctx context.Context, b *bench, s *suite, stages []*stage) error {
		chosen := slices.DeleteFunc(slices.Clone(runs), func(r run) bool { return !b.wants(r.name) })
		idle := make(map[*stage]time.Duration)
		if slices.ContainsFunc(chosen, func(r run) bool { return r.latency }) {
			for _, g := range stages {
				var err error
				if idle[g], err = g.idle(ctx); err != nil {
					return fmt.Errorf("%s: echo: %w", g.name(), err)
				}
			}
		}
		b.report.transferHeader()
		for _, what := range chosen {
			if b.seconds > 0 {
				what.seconds = what.warm + b.seconds
			}
			for round := range b.roundsOr(3) {
				for _, g := range stages {
					res, err := g.transfer(ctx, what)
					if err != nil {
						return fmt.Errorf("%s, %s: %w", g.name(), what.name, err)
					}
					res.Suite, res.Contender, res.Run, res.Round = s.name, g.name(), what.name, round+1
					if what.latency {
						res.IdleP50 = ms(idle[g])
					}
					b.report.addTransfer(res)
				}
			}
		}
		b.report.concludeTransfers(s, chosen, stages)
		return nil
	}
}

var errNothing = errors.New("not a byte arrived")

// transfer takes one measurement.
func (g *stage) transfer(ctx context.Context, what run) (res transferResult, err error) {
	flows, err := g.load.run(ctx, g.way(), what)
	if err != nil {
		return res, err
	}
	defer flows.stop()
	if err := sleep(ctx, what.warm); err != nil {
		return res, err
	}
	var echo *probe.Echo
	if what.latency {
		if echo, err = g.startEcho(); err != nil {
			return res, err
		}
	}
	cpu, before, began := readCPU(g.daemons()), flows.received(), time.Now()
	if err := sleep(ctx, what.seconds-what.warm); err != nil {
		return res, err
	}
	after, took, used := flows.received(), time.Since(began).Seconds(), readCPU(g.daemons()).since(cpu)
	moved, smallest := difference(before, after)
	if moved == 0 {
		return res, errNothing
	}
	res.Mbps = moved * 8 / took / 1e6
	res.Share = smallest * float64(len(after)) / moved
	perGB := func(d time.Duration) float64 { return d.Seconds() / (moved / 1e9) }
	res.HostCPU, res.ClientCPU, res.ServerCPU = perGB(used.host), perGB(used.client), perGB(used.server)
	if echo != nil {
		seen := echo.Stop(time.Second)
		res.P50, res.P99 = ms(seen.Percentile(50)), ms(seen.Percentile(99))
		res.Lost, res.Sent = seen.Lost(), seen.Sent
	}
	flows.stop()
	// What is still under way must not meet the next measurement.
	return res, sleep(ctx, time.Second)
}

// difference is the bytes of all flows between two readings, and of the one
// with the fewest.
func difference(before, after []int64) (sum, smallest float64) {
	for i := range after {
		d := float64(after[i] - before[i])
		sum += d
		if i == 0 || d < smallest {
			smallest = d
		}
	}
	return sum, smallest
}

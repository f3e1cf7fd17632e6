package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"braid/lab"
	"braid/lab/probe"
	"braid/lab/topology"
)

// result is one line of the report.
type result struct {
	Suite     string  `json:"suite"`
	Contender string  `json:"contender"`
	Run       string  `json:"run"`
	Mbps      float64 `json:"mbps"` // payload, after the warm-up
	// HostCPU is the CPU time of the whole machine, the load generator and the
	// emulator included, per gigabyte of payload; DaemonCPU of both daemons.
	HostCPU   float64 `json:"host_cpu_s_per_gb"`
	DaemonCPU float64 `json:"daemon_cpu_s_per_gb"`
	// Latency of a UDP echo of 50 packets a second: idle, and under the load.
	IdleP50 float64 `json:"idle_p50_ms,omitempty"`
	P50     float64 `json:"p50_ms,omitempty"`
	P99     float64 `json:"p99_ms,omitempty"`
	Lost    int     `json:"lost,omitempty"`
	Sent    int     `json:"sent,omitempty"`
}

// contender is a way to get from the client to the server.
type contender interface {
	name() string
	// start makes it ready in a fresh network.
	start(ctx context.Context, n *topology.Net, dir string) error
	// target is the server as seen through it; multipath tells that the load
	// itself speaks MPTCP.
	target(n *topology.Net) (at netip.Addr, multipath bool)
	// pids are the daemons whose CPU time counts.
	pids() []int
	stop() error
}

// measureAll takes all measurements of a suite with one contender, in a
// network of its own.
func measureAll(ctx context.Context, s suite, c contender, r *report) (err error) {
	l, err := lab.New(s.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	n, err := topology.Build(l, s.net())
	if err != nil {
		return err
	}
	for _, h := range []*lab.Host{n.Client, n.Server} {
		if err := h.SetCongestionControl(r.Default); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "braid-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	starting, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := c.start(starting, n, dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	at, multipath := c.target(n)
	load, err := listenLoad(n.Server, multipath)
	if err != nil {
		return err
	}
	defer load.close()
	echo, err := probe.ServeEcho(n.Server, ":7007")
	if err != nil {
		return err
	}
	defer echo.Close()
	for _, what := range s.runs {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		res, err := measure(ctx, n, c, load, at, what)
		if err != nil {
			return fmt.Errorf("%s: %w", what.name, err)
		}
		res.Suite, res.Contender, res.Run = s.name, c.name(), what.name
		r.add(res)
	}
	return nil
}

// measure takes one measurement.
func measure(ctx context.Context, n *topology.Net, c contender, load *loadServer, at netip.Addr, what run) (result, error) {
	var res result
	echoTo := netip.AddrPortFrom(at, 7007)
	if what.latency {
		idle, err := echoFor(n.Client, echoTo, 2*time.Second)
		if err != nil {
			return res, err
		}
		res.IdleP50 = ms(idle.Percentile(50))
	}
	flows, err := load.run(ctx, n.Client, at, what)
	if err != nil {
		return res, err
	}
	defer flows.stop()
	if err := sleep(ctx, what.warm); err != nil {
		return res, err
	}
	var echo *probe.Echo
	if what.latency {
		if echo, err = probe.StartEcho(n.Client, echoTo, echoEvery, echoBytes); err != nil {
			return res, err
		}
	}
	cpu, bytes, began := readCPU(c.pids()), flows.received(), time.Now()
	if err := sleep(ctx, what.seconds-what.warm); err != nil {
		return res, err
	}
	moved, took, used := float64(flows.received()-bytes), time.Since(began).Seconds(), readCPU(c.pids()).since(cpu)
	if moved == 0 {
		return res, errors.New("not a byte arrived")
	}
	res.Mbps = moved * 8 / took / 1e6
	res.HostCPU, res.DaemonCPU = used.host.Seconds()/(moved/1e9), used.daemons.Seconds()/(moved/1e9)
	if echo != nil {
		seen := echo.Stop(time.Second)
		res.P50, res.P99 = ms(seen.Percentile(50)), ms(seen.Percentile(99))
		res.Lost, res.Sent = seen.Lost(), seen.Sent
	}
	flows.stop()
	// What is still under way must not meet the next measurement.
	return res, sleep(ctx, time.Second)
}

// The echo is as a call would be: small packets, 50 a second.
const (
	echoEvery = 20 * time.Millisecond
	echoBytes = 160
)

func echoFor(h *lab.Host, to netip.AddrPort, d time.Duration) (probe.EchoResult, error) {
	e, err := probe.StartEcho(h, to, echoEvery, echoBytes)
	if err != nil {
		return probe.EchoResult{}, err
	}
	time.Sleep(d)
	return e.Stop(time.Second), nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

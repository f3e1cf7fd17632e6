package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"braid/lab"
)

const (
	idleSettle = 4 * time.Minute // after the start: who was just busy is asked soon, then less and less often
	idleFor    = 5 * time.Minute
	month      = 30 * 24 * time.Hour
	// What an idle tunnel may cost a metered uplink in a month, and each daemon
	// of one core.
	idleGoalMB  = 20
	idleGoalCPU = 0.2 // per cent
)

// idleResult is what a tunnel without traffic costs one uplink, or the daemons.
type idleResult struct {
	Contender string  `json:"contender"`
	Uplink    string  `json:"uplink"`
	Seconds   float64 `json:"seconds"`
	// On the wire, with the headers of IP and TCP.
	UpPerHour   float64 `json:"up_bytes_per_hour"`
	DownPerHour float64 `json:"down_bytes_per_hour"`
	MBPerMonth  float64 `json:"mb_per_month"`
	// Of both daemons, whatever the uplink.
	ClientCPU float64 `json:"client_cpu_pct"` // of one core
	ServerCPU float64 `json:"server_cpu_pct"`
}

// idleTunnel leaves tunnels alone and counts. All contenders are watched at the
// same time.
func idleTunnel(ctx context.Context, b *bench, _ *suite, stages []*stage) error {
	if err := sleep(ctx, idleSettle); err != nil {
		return err
	}
	type reading struct {
		at       time.Time
		cpu      cpu
		counters map[string][2]uint64
	}
	read := func(g *stage) (r reading, err error) {
		r = reading{time.Now(), readCPU(g.daemons()), make(map[string][2]uint64)}
		for name := range g.net.Links {
			if r.counters[name], err = g.bytes(name); err != nil {
				return r, err
			}
		}
		return r, nil
	}
	before := make([]reading, len(stages))
	for i, g := range stages {
		var err error
		if before[i], err = read(g); err != nil {
			return err
		}
	}
	if err := sleep(ctx, b.lengthOr(idleFor)); err != nil {
		return err
	}
	for i, g := range stages {
		after, err := read(g)
		if err != nil {
			return err
		}
		took := after.at.Sub(before[i].at)
		used := after.cpu.since(before[i].cpu)
		var list []idleResult
		for name, is := range after.counters {
			was := before[i].counters[name]
			perHour := func(w lab.Way) float64 { return float64(is[w]-was[w]) / took.Hours() }
			list = append(list, idleResult{
				Contender: g.name(), Uplink: name, Seconds: took.Seconds(), UpPerHour: perHour(up), DownPerHour: perHour(down),
				MBPerMonth: (perHour(up) + perHour(down)) * month.Hours() / 1e6,
				ClientCPU:  100 * used.client.Seconds() / took.Seconds(), ServerCPU: 100 * used.server.Seconds() / took.Seconds(),
			})
		}
		slices.SortFunc(list, func(a, b idleResult) int { return g.order(a.Uplink) - g.order(b.Uplink) })
		b.report.addIdle(list)
	}
	return nil
}

// bytes is what an uplink has carried, by way, as the emulator counts.
func (g *stage) bytes(uplink string) (n [2]uint64, err error) {
	for _, w := range []lab.Way{up, down} {
		c, err := g.net.Links[uplink].Counters(w)
		if err != nil {
			return n, err
		}
		n[w] = c.Bytes
	}
	return n, nil
}

// order puts uplinks in the order in which the host prefers them.
func (g *stage) order(uplink string) int {
	return int(g.net.ClientAddr4(uplink).As4()[1]) // their number is in it
}

const idleRow = "%-14s %-8s %12s %12s %12s %12s %12s\n"

func (r *report) addIdle(list []idleResult) {
	r.Idle = append(r.Idle, list...)
	fmt.Printf(idleRow, "", "uplink", "KB/h up", "KB/h down", "MB/month", "client CPU", "server CPU")
	for _, x := range list {
		fmt.Printf(idleRow, x.Contender, x.Uplink, fmt.Sprintf("%.1f", x.UpPerHour/1e3), fmt.Sprintf("%.1f", x.DownPerHour/1e3),
			fmt.Sprintf("%.1f", x.MBPerMonth), fmt.Sprintf("%.3f %%", x.ClientCPU), fmt.Sprintf("%.3f %%", x.ServerCPU))
	}
	fmt.Printf("\ngoals: %d MB in a month of 30 days on each uplink, %.1f %% of a core for each daemon; measured for %.0f s\n",
		idleGoalMB, idleGoalCPU, list[0].Seconds)
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report collects results and prints them as they come.
type report struct {
	When      string           `json:"when"`
	Kernel    string           `json:"kernel"`
	CPUs      int              `json:"cpus"`
	Default   string           `json:"congestion_control"` // of the load's connections
	Transfers []transferResult `json:"transfers,omitempty"`
	Requests  []requestResult  `json:"requests,omitempty"`
	Streams   []streamResult   `json:"streams,omitempty"`
	// Failover is also of earlier runs, if they count.
	Failover []failoverResult `json:"failover,omitempty"`
	Calm     []calmResult     `json:"calm,omitempty"`
	Calls    []callResult     `json:"calls,omitempty"`
	Idle     []idleResult     `json:"idle,omitempty"`
	Overflow []overflowResult `json:"overflow,omitempty"`
	Speed    []speedResult    `json:"speedtest,omitempty"`
	// Grid is also of earlier runs, which measured other pairs.
	Grid []gridResult `json:"grid,omitempty"`
}

func newReport(congestion string) *report {
	read := func(path string) string {
		b, _ := os.ReadFile(path)
		return strings.TrimSpace(string(b))
	}
	r := &report{
		When: time.Now().UTC().Format(time.RFC3339), Kernel: read("/proc/sys/kernel/osrelease"), CPUs: runtime.NumCPU(),
		Default: read("/proc/sys/net/ipv4/tcp_congestion_control"),
	}
	if congestion != "" {
		r.Default = congestion
	}
	fmt.Printf("Linux %s, %d processors, congestion control %s\n", r.Kernel, r.CPUs, r.Default)
	return r
}

const transferRow = "%-14s %-6s %5s %8s %7s %9s %7s %7s %8s %7s %7s %8s\n"

func (*report) transferHeader() {
	fmt.Printf(transferRow, "", "", "round", "Mb/s", "share", "CPU s/GB", "client", "server", "idle ms", "p50 ms", "p99 ms", "lost")
}

// number formats a figure; what was not measured is 0.
func number(f float64, digits int) string {
	if f == 0 {
		return "–"
	}
	return fmt.Sprintf("%.*f", digits, f)
}

func (r *report) addTransfer(res transferResult) {
	r.Transfers = append(r.Transfers, res)
	lost := "–"
	if res.Sent > 0 {
		lost = fmt.Sprintf("%d/%d", res.Lost, res.Sent)
	}
	digits := 1
	if res.Mbps >= 1000 {
		digits = 0
	}
	fmt.Printf(transferRow, res.Contender, res.Run, fmt.Sprint(res.Round), number(res.Mbps, digits), fmt.Sprintf("%.0f %%", 100*res.Share),
		number(res.HostCPU, 2), number(res.ClientCPU, 2), number(res.ServerCPU, 2),
		number(res.IdleP50, 1), number(res.P50, 1), number(res.P99, 1), lost)
}

// column is one figure of all rounds of a run, in their order.
func (r *report) column(suite, contender, run string, of func(transferResult) float64) []float64 {
	var list []float64
	for _, x := range r.Transfers {
		if x.Suite == suite && x.Contender == contender && x.Run == run {
			list = append(list, of(x))
		}
	}
	return list
}

func rate(x transferResult) float64 { return x.Mbps }

// reference is what a suite's contenders are compared with, and how the ratio
// is told.
func reference(suite string) (contender string, tell func(float64) string) {
	switch {
	case strings.HasPrefix(suite, "packets"):
		return "best-uplink", func(f float64) string { return fmt.Sprintf("%.1f %%", 100*f) }
	case suite == "unshaped":
		return "wireguard-go", func(f float64) string { return fmt.Sprintf("%.2f", f) }
	}
	return "mptcp", func(f float64) string { return fmt.Sprintf("%.1f %%", 100*f) }
}

// goals are what braid promises of the ratios.
func goals(suite, congestion string, of run) string {
	switch {
	case strings.HasPrefix(suite, "packets"):
		return "95 %"
	case suite != "unshaped":
		return "97 %"
	case of.udp > 0:
		return "2"
	case congestion == "bbr":
		return "1.7 with one flow"
	}
	return "3 with one flow"
}

// concludeTransfers prints medians and ratios of a suite.
func (r *report) concludeTransfers(s *suite, runs []run, stages []*stage) {
	against, tell := reference(s.name)
	fmt.Println()
	for _, what := range runs {
		base := r.column(s.name, against, what.name, rate)
		for _, g := range stages {
			rates := r.column(s.name, g.name(), what.name, rate)
			if len(rates) == 0 {
				continue
			}
			line := fmt.Sprintf("%s %s %s: median %.1f Mb/s", s.name, what.name, g.name(), median(rates))
			if ratios := ratios(rates, base); g.name() != against && len(ratios) > 0 {
				line += fmt.Sprintf(", to %s %s (of the rounds:", against, tell(median(ratios)))
				for _, f := range ratios {
					line += " " + tell(f)
				}
				line += ")"
				if g.name() == "braid" {
					line += ", goal " + goals(s.name, r.Default, what)
				}
			}
			if what.flows > 1 {
				shares := r.column(s.name, g.name(), what.name, func(x transferResult) float64 { return x.Share })
				line += fmt.Sprintf("; smallest flow %.0f %% of its fair share, at worst %.0f %%", 100*median(shares), 100*slices.Min(shares))
			}
			if g.daemons() != (pids{}) {
				line += fmt.Sprintf("; CPU s/GB client %.2f, server %.2f",
					median(r.column(s.name, g.name(), what.name, func(x transferResult) float64 { return x.ClientCPU })),
					median(r.column(s.name, g.name(), what.name, func(x transferResult) float64 { return x.ServerCPU })))
			}
			fmt.Println(line)
		}
	}
	for _, way := range []string{"down", "up"} {
		one, four := r.column(s.name, "braid", way+"1", rate), r.column(s.name, "braid", way+"4", rate)
		if len(one) > 0 && len(four) > 0 {
			fmt.Printf("%s %s braid: four flows %.2f of one, goal 1.00\n", s.name, way, median(four)/median(one))
		}
	}
}

// ratios divides round by round; nothing when a round is missing.
func ratios(of, to []float64) []float64 {
	if len(of) != len(to) {
		return nil
	}
	list := make([]float64, len(of))
	for i := range of {
		list[i] = of[i] / to[i]
	}
	return list
}

// median is the middle of a list, which must not be empty, or the mean of the
// two in the middle.
func median(list []float64) float64 {
	s := slices.Sorted(slices.Values(list))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

const requestRow = "%-14s %9s %8s %8s %12s %8s %14s %8s %9s\n"

// addRequests prints the requests of all contenders.
func (r *report) addRequests(list []requestResult) {
	r.Requests = append(r.Requests, list...)
	fmt.Printf(requestRow, "", "requests", "p50 ms", "p90 ms", "connect p50", "p90", "first byte p50", "p90", "echo ms")
	for _, x := range list {
		fmt.Printf(requestRow, x.Contender, fmt.Sprint(x.Requests), number(x.P50, 1), number(x.P90, 1), number(x.ConnectP50, 1),
			number(x.ConnectP90, 1), number(x.FirstP50, 1), number(x.FirstP90, 1), number(x.RTT, 1))
	}
	fmt.Println()
	i := slices.IndexFunc(list, func(x requestResult) bool { return x.Contender == "best-uplink" })
	if i < 0 {
		return
	}
	best := list[i]
	for _, x := range list {
		if x.Contender == best.Contender {
			continue
		}
		line := fmt.Sprintf("%s %s: request %.2f of the best uplink's; set-up %+.1f ms to it, whose round trip is %.1f ms",
			x.Suite, x.Contender, x.P50/best.P50, x.FirstP50-best.FirstP50, best.RTT)
		if x.Contender == "braid" {
			line += "; goals 0.60 and one round trip"
		}
		fmt.Println(line)
	}
}

const streamRow = "%-14s %-7s %8s %10s %10s %10s %11s %6s %6s %6s %9s\n"

// addStreams prints what idle streams cost one contender's daemons.
func (r *report) addStreams(list []streamResult) {
	r.Streams = append(r.Streams, list...)
	mb := func(n int64) string { return fmt.Sprintf("%.1f", float64(n)/1e6) }
	fmt.Printf(streamRow, "", "", "streams", "MB before", "with", "after", "KB each", "fds", "with", "after", "settled s")
	for _, x := range list {
		fmt.Printf(streamRow, x.Contender, x.Daemon, fmt.Sprint(x.Streams), mb(x.Before.RSS), mb(x.With.RSS), mb(x.After.RSS),
			fmt.Sprintf("%.1f", x.Each/1e3), fmt.Sprint(x.Before.Descriptors), fmt.Sprint(x.With.Descriptors), fmt.Sprint(x.After.Descriptors),
			fmt.Sprintf("%.1f", x.Settled))
	}
	fmt.Printf("\ngoal: at most 100 KB each, and the descriptors of before; the streams were set up in %.1f s\n", list[0].Set)
}

// load takes over the grid of a report that was saved before, if there is one, and
// to go on the rounds of failover.
func (r *report) load(file string, goOn bool) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var before report
	if err == nil {
		err = json.Unmarshal(b, &before)
	}
	if err != nil {
		return fmt.Errorf("read earlier results: %w (remove %s to begin anew)", err, file)
	}
	r.Grid = before.Grid
	if goOn {
		r.Failover = before.Failover
	}
	return nil
}

func (r *report) save(file string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err == nil {
		err = os.WriteFile(file, append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// report collects results and prints them as they come.
type report struct {
	When    string   `json:"when"`
	Kernel  string   `json:"kernel"`
	CPUs    int      `json:"cpus"`
	Default string   `json:"congestion_control"` // of the load's connections
	Results []result `json:"results"`
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

const rowFormat = "%-14s %-13s %9s %9s %9s %8s %8s %8s %9s\n"

func printHeader() {
	fmt.Printf(rowFormat, "", "", "Mb/s", "CPU s/GB", "daemons", "idle ms", "p50 ms", "p99 ms", "lost")
}

func (r *report) add(res result) {
	r.Results = append(r.Results, res)
	number := func(f float64, digits int) string {
		if f == 0 {
			return "–"
		}
		return fmt.Sprintf("%.*f", digits, f)
	}
	lost := "–"
	if res.Sent > 0 {
		lost = fmt.Sprintf("%d/%d", res.Lost, res.Sent)
	}
	digits := 1
	if res.Mbps >= 1000 {
		digits = 0
	}
	fmt.Printf(rowFormat, res.Contender, res.Run, number(res.Mbps, digits), number(res.HostCPU, 2), number(res.DaemonCPU, 2),
		number(res.IdleP50, 1), number(res.P50, 1), number(res.P99, 1), lost)
}

// of returns the rate of a run, or 0.
func (r *report) of(suite, contender, run string) float64 {
	for _, x := range r.Results {
		if x.Suite == suite && x.Contender == contender && x.Run == run {
			return x.Mbps
		}
	}
	return 0
}

// conclude prints the figures that braid promises.
func (r *report) conclude() {
	fmt.Println()
	for _, run := range []string{"down, 1 flow", "up, 1 flow"} {
		if b, w := r.of("unshaped", "braid", run), r.of("unshaped", "wireguard-go", run); b > 0 && w > 0 {
			fmt.Printf("unshaped %s: %.2f times wireguard-go (goal 1.7)\n", run, b/w)
		}
	}
	for _, s := range []string{"cellA", "cellB", "cellC"} {
		if b, m := r.of(s, "braid", "down, 1 flow"), r.of(s, "mptcp", "down, 1 flow"); b > 0 && m > 0 {
			goal := ""
			if s == "cellA" {
				goal = " (goal 60 Mb/s)"
			}
			fmt.Printf("%s down, 1 flow: %.1f Mb/s%s, %.0f %% of raw MPTCP\n", s, b, goal, 100*b/m)
		}
	}
}

func (r *report) write(file string) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err == nil {
		err = os.WriteFile(file, append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	fmt.Println("written to", file)
	return nil
}

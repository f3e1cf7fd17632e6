package main

import (
	"fmt"
	"slices"
)

const failoverRow = "%-10s %-9s %-6s %-14s %5s %9s %10s %7s %13s\n"

func (*report) failoverHeader() {
	fmt.Printf(failoverRow, "", "", "uplink", "", "round", "death ms", "return ms", "share", "again after s")
}

func (r *report) addFailover(x failoverResult) {
	r.Failover = append(r.Failover, x)
	fmt.Printf(failoverRow, x.Suite, x.Run, x.Uplink, x.Contender, fmt.Sprint(x.Round), number(x.DeathMs, 0), figure(x.ReturnMs, 0), percent(x.Share), back(x.BackS))
	if x.Unfinished != "" {
		fmt.Printf("    did not survive: %s\n", x.Unfinished)
	}
}

// failoverRounds is the last round that there is of a suite; 0 is none.
func (r *report) failoverRounds(suite string) (last int) {
	for _, x := range r.Failover {
		if x.Suite == suite {
			last = max(last, x.Round)
		}
	}
	return last
}

// back tells when an uplink had its share again.
func back(seconds float64) string {
	if seconds >= shareWatch.Seconds() {
		return "not at all"
	}
	return number(seconds, 1)
}

func percent(f float64) string {
	if f == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f %%", 100*f)
}

const failoverSummary = "%-10s %-9s %-6s %-14s %4s %9s %7s %10s %7s %11s %11s\n"

// concludeFailover prints median and worst of a suite's measurements.
func (r *report) concludeFailover(s *suite) {
	fmt.Printf("\n"+failoverSummary, "", "", "uplink", "", "runs", "death p50", "worst", "return p50", "worst", "share p50 s", "worst")
	type key struct{ run, uplink, contender string }
	var order []key
	all := make(map[key][]failoverResult)
	for _, x := range r.Failover {
		if k := (key{x.Run, x.Uplink, x.Contender}); x.Suite == s.name {
			if all[k] == nil {
				order = append(order, k)
			}
			all[k] = append(all[k], x)
		}
	}
	for _, k := range order {
		column := func(of func(failoverResult) float64) (p50, worst float64) {
			var list []float64
			for _, x := range all[k] {
				list = append(list, of(x))
			}
			return median(list), slices.Max(list)
		}
		death, deathWorst := column(func(x failoverResult) float64 { return x.DeathMs })
		ret, retWorst := column(func(x failoverResult) float64 { return x.ReturnMs })
		share, shareWorst := column(func(x failoverResult) float64 { return x.BackS })
		fmt.Printf(failoverSummary, s.name, k.run, k.uplink, k.contender, fmt.Sprint(len(all[k])), number(death, 0), number(deathWorst, 0),
			figure(ret, 0), figure(retWorst, 0), back(share), back(shareWorst))
	}
	fmt.Println()
	for _, what := range failoverRuns {
		if slices.ContainsFunc(order, func(k key) bool { return k.run == what.name }) {
			fmt.Printf("%s: %s; goal %v\n", what.name, what.about, what.goal)
		}
	}
	fmt.Printf("goals of the return: no silence, and %.0f %% of the former share within 3 s\n", 100*shareGoal)
}

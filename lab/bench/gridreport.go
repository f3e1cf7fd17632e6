package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// What braid promises of each pair: the bond's download to the better uplink's
// alone, and the better uplink's time for 2 MB to the bond's.
const (
	gridDownGoal  = 0.97
	gridSmallGoal = 0.95
)

// verdict is how a contender stands to the better uplink alone in one pair, over
// all rounds: medians. What was not measured is NaN.
type verdict struct {
	mbps, down   float64 // Mb/s, and to the better uplink's
	smallMs, two float64 // ms for 2 MB, and the better uplink's to it
}

// judge compares a contender in a pair, round by round.
func judge(results []gridResult, pair, contender string) verdict {
	var mbps, down, smalls, two []float64
	for _, own := range results {
		if own.Pair != pair || own.Contender != contender {
			continue
		}
		best, quickest := 0.0, math.Inf(1)
		for _, r := range results {
			if r.Pair == pair && r.Round == own.Round && slices.Contains(pairUplinks[:], r.Contender) {
				best = max(best, r.Mbps)
				if r.SmallMs > 0 {
					quickest = min(quickest, r.SmallMs)
				}
			}
		}
		mbps, smalls = append(mbps, own.Mbps), append(smalls, own.SmallMs)
		if best > 0 {
			down = append(down, own.Mbps/best)
		}
		if own.SmallMs > 0 && !math.IsInf(quickest, 1) {
			two = append(two, quickest/own.SmallMs)
		}
	}
	return verdict{medianOrNaN(mbps), medianOrNaN(down), medianOrNaN(smalls), medianOrNaN(two)}
}

func medianOrNaN(list []float64) float64 {
	if len(list) == 0 {
		return math.NaN()
	}
	return median(list)
}

// misses lists what of a contender is below the goals, pair by pair.
func misses(results []gridResult, pair, contender string) []string {
	v := judge(results, pair, contender)
	var list []string
	if v.down < gridDownGoal {
		list = append(list, fmt.Sprintf("down %.2f", v.down))
	}
	if v.two < gridSmallGoal {
		list = append(list, fmt.Sprintf("2 MB %.2f", v.two))
	}
	return list
}

// figure is number for what can be NaN, and where 0 is a result.
func figure(f float64, digits int) string {
	if math.IsNaN(f) {
		return "–"
	}
	return fmt.Sprintf("%.*f", digits, f)
}

const gridPair = "%-28s"

// gridHeader prints the titles of the rows. Behind each contender's figure
// stands its ratio to the better uplink, better above 1.
func (*report) gridHeader(contenders []string) {
	line := fmt.Sprintf(gridPair, "")
	for _, what := range []string{"Mb/s", "ms"} {
		line += fmt.Sprintf(" %7s %7s", what+" one", "two")
		for _, c := range contenders {
			line += fmt.Sprintf(" %8.8s %5s", c, "ratio")
		}
		line += "  "
	}
	fmt.Println(line)
}

// gridRow prints one pair, the medians of its rounds.
func (r *report) gridRow(pair string, contenders []string) {
	if judged := judge(r.Grid, pair, contenders[0]); math.IsNaN(judged.mbps) {
		return // it failed, which is told at the end
	}
	line := fmt.Sprintf(gridPair, pair)
	for _, what := range []struct {
		digits int
		of     func(verdict) (float64, float64)
	}{
		{1, func(v verdict) (float64, float64) { return v.mbps, v.down }},
		{0, func(v verdict) (float64, float64) { return v.smallMs, v.two }},
	} {
		for _, uplink := range pairUplinks {
			own, _ := what.of(judge(r.Grid, pair, uplink))
			line += fmt.Sprintf(" %7s", number(own, what.digits))
		}
		for _, c := range contenders {
			own, ratio := what.of(judge(r.Grid, pair, c))
			line += fmt.Sprintf(" %8s %5s", figure(own, what.digits), figure(ratio, 2))
		}
		line += "  "
	}
	fmt.Println(line)
	for _, x := range r.Grid {
		if x.Pair == pair && x.Error != "" {
			fmt.Printf(gridPair+" %s: %s\n", "", x.Contender, x.Error)
		}
	}
}

// concludeGrid prints the pairs that miss, of all that is in the report: of
// pieces that were measured before, too.
func (r *report) concludeGrid(contenders []string) {
	for _, c := range contenders {
		measured, met := 0, 0
		var rows []string
		for _, p := range pairNames() {
			if math.IsNaN(judge(r.Grid, p, c).mbps) {
				continue
			}
			measured++
			if list := misses(r.Grid, p, c); len(list) > 0 {
				rows = append(rows, fmt.Sprintf(gridPair+" %s", p, strings.Join(list, ", ")))
			} else {
				met++
			}
		}
		fmt.Printf("\n%s: %d of %d pairs meet the goals, down %.2f and 2 MB %.2f; %d of the grid's %d are measured\n",
			c, met, measured, gridDownGoal, gridSmallGoal, measured, len(pairs))
		for _, row := range rows {
			fmt.Println(row)
		}
	}
}

// forget drops what is known of a pair: only what one run measured is compared.
func (r *report) forget(pair string) {
	r.Grid = slices.DeleteFunc(r.Grid, func(x gridResult) bool { return x.Pair == pair })
}

package top

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// graphSpan is how much of the past a graph shows at least.
const graphSpan = 50 * time.Second

// graphSteps are how long a bar may stand for.
var graphSteps = []time.Duration{
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
}

// stepOf is what a bar stands for, where so many make a graph.
func stepOf(bars int) time.Duration {
	for _, step := range graphSteps {
		if time.Duration(bars)*step >= graphSpan {
			return step
		}
	}
	return graphSteps[len(graphSteps)-1]
}

// scaleOf is the end of a scale: a round number that is no less than any rate,
// and no less than 1 Mb/s, so that a trickle does not look like a flood.
func scaleOf(most float64) float64 {
	const least = 1e6
	if most <= least || math.IsNaN(most) || math.IsInf(most, 0) {
		return least
	}
	unit := math.Pow(10, math.Floor(math.Log10(most)))
	for _, m := range []float64{1, 2, 3, 4, 5, 6, 8, 10} {
		if m*unit >= most {
			return m * unit
		}
	}
	return 10 * unit
}

// scaleText is a scale in at most four columns: "50M".
func scaleText(bps float64) string {
	switch {
	case bps >= 1e12:
		return fmt.Sprintf("%.0fT", bps/1e12)
	case bps >= 1e9:
		return fmt.Sprintf("%.0fG", bps/1e9)
	case bps >= 1e6:
		return fmt.Sprintf("%.0fM", bps/1e6)
	}
	return fmt.Sprintf("%.0fk", bps/1e3)
}

// perColumn is how many bars one column of a graph has.
func perColumn(plain bool) int {
	if plain {
		return 1
	}
	return 2
}

// visible reports whether a rate is drawn: heartbeats are not.
func visible(bps, scale float64) bool { return bps >= scale/100 }

// graph draws bars as lines of text, the top one first, columns wide.
func graph(bars []float64, scale float64, columns, lines int, plain bool) []string {
	heights := make([]int, len(bars)) // in fourths of a line
	for i, b := range bars {
		if visible(b, scale) {
			heights[i] = min(max(int(math.Round(b/scale*float64(4*lines))), 1), 4*lines)
		}
	}
	per := perColumn(plain)
	out := make([]string, lines)
	for l := range out {
		var b strings.Builder
		floor := 4 * (lines - 1 - l)
		for c := range columns {
			var part [2]int // how much of this line each half fills, 0 to 4
			for h := range per {
				part[h] = min(max(heights[c*per+h]-floor, 0), 4)
			}
			if plain {
				b.WriteByte(" .:|#"[part[0]])
			} else {
				b.WriteRune(braille(part[0], part[1]))
			}
		}
		out[l] = b.String()
	}
	return out
}

// braille is the character with so many dots from below on its left and its right
// (Unicode, "Braille Patterns": dots 1 to 8 are bits 0 to 7).
func braille(left, right int) rune {
	if left == 0 && right == 0 {
		return ' '
	}
	return 0x2800 | [...]rune{0, 0x40, 0x44, 0x46, 0x47}[left] | [...]rune{0, 0x80, 0xa0, 0xb0, 0xb8}[right]
}

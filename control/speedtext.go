package control

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// speedColumns is how wide the table and the picture are at most.
const speedColumns = 80

// WriteSpeedtest writes what a speed test found for people: a table, a picture of it,
// and in a sentence what the bond is good for. It needs no colours.
func WriteSpeedtest(w io.Writer, s *Speedtest) error {
	var b strings.Builder
	narrow(&b, "", fmt.Sprintf("through %s, %s for each figure, payload of TCP", s.Server, FormatSeconds(s.Seconds)))
	b.WriteByte('\n')
	s.table(&b)
	for _, u := range s.Uplinks {
		if u.LeftOut != "" {
			narrow(&b, "  ", u.Interface+": "+u.LeftOut)
		}
		for _, way := range []struct {
			name string
			*SpeedtestWay
		}{{SpeedDown, u.Down}, {SpeedUp, u.Up}} {
			if way.SpeedtestWay != nil && way.Problem != "" {
				narrow(&b, "  ", fmt.Sprintf("%s %s: %s", u.Interface, way.name, way.Problem))
			}
		}
	}
	if s.Bond != nil {
		for _, way := range []struct {
			name string
			*SpeedtestWay
		}{{"bond down", s.Bond.Down}, {"bond up", s.Bond.Up}} {
			if way.Problem != "" {
				narrow(&b, "  ", way.name+": "+way.Problem)
			}
		}
	}
	s.picture(&b, SpeedDown)
	s.picture(&b, SpeedUp)
	s.conclusion(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// FormatSeconds formats a time for people: "6 s", "2.5 s".
func FormatSeconds(s float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", s), ".0") + " s"
}

// table writes a line for each uplink that was measured, and one for the bond.
func (s *Speedtest) table(b *strings.Builder) {
	var lines strings.Builder
	t := tabwriter.NewWriter(&lines, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "\tdown\tup\tidle\tloaded down\tloaded up\tlost\n")
	row := func(name string, idle float64, down, up *SpeedtestWay) {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, down.rateText(), up.rateText(), wholeMs(idle), down.loadedText(), up.loadedText(), lostText(down, up))
	}
	measured := 0
	for _, u := range s.Uplinks {
		if u.Down != nil && u.Up != nil {
			row(ShortName(u.Interface), u.IdleMs, u.Down, u.Up)
			measured++
		}
	}
	if s.Bond != nil {
		row("bond", s.Bond.IdleMs, s.Bond.Down, s.Bond.Up)
	}
	if measured == 0 {
		return
	}
	t.Flush()
	writeTrimmed(b, lines.String())
	note := "(round trips in ms: median, loaded also the worst"
	if s.Bond != nil {
		note += "; the bond's: nearest uplink"
	}
	narrow(b, "  ", note+")")
}

func (w *SpeedtestWay) rateText() string {
	if w.Problem != "" {
		return "–"
	}
	return FormatRate(w.Bps)
}

// loadedText is the median and the worst.
func (w *SpeedtestWay) loadedText() string {
	if w.LoadedMs == 0 {
		return "–"
	}
	return wholeMs(w.LoadedMs) + " / " + wholeMs(w.LoadedWorstMs)
}

func wholeMs(ms float64) string {
	if ms == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f", max(ms, 1))
}

// lostText is the worse of both directions.
func lostText(down, up *SpeedtestWay) string { return FormatPercent(max(down.LostPct, up.LostPct)) }

// fills are what the uplinks' parts of a bar are drawn with.
var fills = []string{"█", "▒", "▓", "░", "#", "=", "+", "o"}

// barColumns leaves room for a name of 22 columns and a rate.
const barColumns = 44

// bar is one line of the picture.
type bar struct {
	name  string
	total float64
	parts []barPart
}

type barPart struct {
	fill string
	bps  float64
}

// picture draws each uplink's rate in one direction, and the bond's out of its parts.
func (s *Speedtest) picture(b *strings.Builder, direction string) {
	bars := s.bars(direction)
	most, width := 0.0, 0
	for _, x := range bars {
		most, width = max(most, x.total), max(width, len([]rune(x.name)))
	}
	if len(bars) == 0 || most == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", direction)
	for _, x := range bars {
		var drawn strings.Builder
		done, sum := 0, 0.0
		for _, p := range x.parts {
			sum += p.bps
			end := int(sum/most*barColumns + 0.5)
			drawn.WriteString(strings.Repeat(p.fill, max(0, end-done)))
			done = max(done, end)
		}
		pad := strings.Repeat(" ", width-len([]rune(x.name)))
		fmt.Fprintf(b, "  %s%s  %s %s\n", x.name, pad, drawn.String(), FormatRate(x.total))
	}
}

// bars are those of one direction. A fill is one uplink's in all of them.
func (s *Speedtest) bars(direction string) (bars []bar) {
	fill := map[string]string{}
	way := func(down, up *SpeedtestWay) *SpeedtestWay {
		if direction == SpeedUp {
			return up
		}
		return down
	}
	for _, u := range s.Uplinks {
		w := way(u.Down, u.Up)
		if w == nil {
			continue
		}
		fill[u.Interface] = fills[len(fill)%len(fills)]
		if w.Problem == "" {
			bars = append(bars, bar{ShortName(u.Interface), w.Bps, []barPart{{fill[u.Interface], w.Bps}}})
		}
	}
	if s.Bond == nil {
		return bars
	}
	if w := way(s.Bond.Down, s.Bond.Up); w.Problem == "" {
		together := bar{name: "bond", total: w.Bps}
		for _, p := range w.Parts {
			if fill[p.Interface] == "" {
				fill[p.Interface] = fills[len(fill)%len(fills)]
			}
			together.parts = append(together.parts, barPart{fill[p.Interface], p.Bps})
		}
		bars = append(bars, together)
	}
	return bars
}

// Gain is how many times the best uplink alone the bond is in a direction; 0 when
// either is not known.
func (s *Speedtest) Gain(direction string) float64 {
	if s.Bond == nil {
		return 0
	}
	best, together := 0.0, s.Bond.Down
	if direction == SpeedUp {
		together = s.Bond.Up
	}
	for _, u := range s.Uplinks {
		w := u.Down
		if direction == SpeedUp {
			w = u.Up
		}
		if w != nil && w.Problem == "" {
			best = max(best, w.Bps)
		}
	}
	if best == 0 || together.Problem != "" {
		return 0
	}
	return together.Bps / best
}

// conclusion says what was gained, and what to know about it.
func (s *Speedtest) conclusion(b *strings.Builder) {
	b.WriteByte('\n')
	if down, up := s.Gain(SpeedDown), s.Gain(SpeedUp); down > 0 && up > 0 {
		narrow(b, "", fmt.Sprintf("together %s down, %.1f times the best uplink alone, and %s up, %.1f times",
			FormatRate(s.Bond.Down.Bps), down, FormatRate(s.Bond.Up.Bps), up))
	}
	if s.OthersRxBps > othersWorthTelling || s.OthersTxBps > othersWorthTelling {
		narrow(b, "", fmt.Sprintf("others shared the uplinks, with up to %s down and %s up: without them it would be more",
			FormatRate(s.OthersRxBps), FormatRate(s.OthersTxBps)))
	}
	if s.Calls {
		narrow(b, "", "somebody called meanwhile, and transfers kept below what the uplinks carry: without that it would be a little more")
	}
}

// othersWorthTelling is beyond what an idle host sends anyhow.
const othersWorthTelling = 300e3

// narrow writes a text in lines of speedColumns.
func narrow(b *strings.Builder, indent, text string) { wrapTo(b, indent, text, speedColumns) }

// Text says how far a test is, in one line.
func (s SpeedtestStep) Text() string {
	if s.Direction == "" {
		return fmt.Sprintf("round trips of the idle uplinks, %.1f of %s", s.Done, FormatSeconds(s.Seconds))
	}
	name := s.Interface
	if name == "" {
		name = "bond"
	}
	return fmt.Sprintf("%d of %d: %s %s, %.1f of %s, %s", s.Number, s.Of, ShortName(name), s.Direction, s.Done, FormatSeconds(s.Seconds), FormatRate(s.Bps))
}

// SpeedtestTakes is about how long a test of so many measurements takes: each also
// connects, and lets the uplinks' queues run empty.
func SpeedtestTakes(measurements int, each time.Duration) time.Duration {
	return (2*time.Second + time.Duration(measurements)*(each+time.Second)).Round(time.Second)
}

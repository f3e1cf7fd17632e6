package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"braid/control"
)

// rows draws the table with its graphs; the chosen row is marked. Where not all
// fit, those around the chosen one are drawn.
func (m *Model) rows(p *page, r room, chosen int) []string {
	if len(p.rows) == 0 {
		return []string{heading.Render("UPLINK"), p.empty}
	}
	first := min(max(chosen-r.rows/2, 0), max(len(p.rows)-r.rows, 0))
	cells := make([][]cell, len(p.rows))
	for i, row := range p.rows {
		cells[i] = row.cells
	}
	text := table(m.width-2, p.columns, cells) // widths are of all, so that scrolling moves nothing
	title := "  " + text[0]
	if len(p.rows) > r.rows {
		title += faint.Render(fmt.Sprintf("  %d to %d of %d", first+1, first+r.rows, len(p.rows)))
	}
	lines := []string{title}
	scales := m.scales(p)
	details := r.details
	shown := p.rows[first:min(first+r.rows, len(p.rows))]
	told := make([]bool, len(shown))
	for _, faults := range []bool{true, false} { // what is wrong goes first
		for i, row := range shown {
			if row.detail != "" && row.fault == faults && details > 0 {
				told[i] = true
				details--
			}
		}
	}
	for i, row := range shown {
		mark := "  "
		if first+i == chosen {
			mark = bold.Render("▸") + " "
		}
		lines = append(lines, mark+text[1+first+i])
		if told[i] {
			style := faint
			if row.fault {
				style = plainStyle
			}
			lines = append(lines, "    "+style.Render(fit(row.detail, m.width-4)))
		}
		lines = append(lines, m.graphs(p, &row, r.graph, scales)...)
	}
	return lines
}

// labelColumns is how wide the names of directions are, with their scales.
func labelColumns(p *page) int { return max(len(p.words[0]), len(p.words[1])) + 6 }

// graphColumns is how wide each of the two graphs beside each other is.
func (m *Model) graphColumns(p *page) int {
	const most = 240
	return min(max((m.width-4-2*labelColumns(p)-4)/2, 0), most)
}

// scales are the ends of the scales of the two directions, the same for all rows.
func (m *Model) scales(p *page) (scales [2]float64) {
	n := m.graphColumns(p) * perColumn(m.plain)
	for way := range scales {
		most := 0.0
		for i := range p.rows {
			for _, b := range p.rows[i].past.bars(way, n, stepOf(n), m.shown().at) {
				most = max(most, b)
			}
		}
		scales[way] = scaleOf(most)
	}
	return scales
}

// busy reports whether there is anything to see in a row's graphs.
func (m *Model) busy(p *page, row *row, scales [2]float64) bool {
	n := m.graphColumns(p) * perColumn(m.plain)
	for way, scale := range scales {
		for _, b := range row.past.bars(way, n, stepOf(n), m.shown().at) {
			if visible(b, scale) {
				return true
			}
		}
	}
	return false
}

// graphs draws both directions of a row, beside each other; of one that carried
// nothing, nothing.
func (m *Model) graphs(p *page, row *row, lines int, scales [2]float64) []string {
	columns := m.graphColumns(p)
	if lines == 0 || columns < 4 || !m.busy(p, row, scales) {
		return nil
	}
	n := columns * perColumn(m.plain)
	var drawn [2][]string
	for way := range drawn {
		drawn[way] = graph(row.past.bars(way, n, stepOf(n), m.shown().at), scales[way], columns, lines, m.plain)
	}
	out := make([]string, lines)
	for l := range out {
		var b strings.Builder
		b.WriteString("    ")
		for way, style := range []lipgloss.Style{received, sent} {
			label := ""
			if l == 0 {
				label = p.words[way] + " " + scaleText(scales[way])
			}
			b.WriteString(faint.Render(fmt.Sprintf("%-*s", labelColumns(p), label)) + style.Render(drawn[way][l]) + "  ")
		}
		out[l] = strings.TrimRight(b.String(), " ")
	}
	return out
}

// streamLines draws the streams, one line each and one for the titles.
func (m *Model) streamLines(p *page, lines int) []string {
	if lines == 0 || p.streams == nil {
		return nil
	}
	list := slices.Clone(p.streams.List)
	key := func(s control.Stream) float64 {
		switch m.sort {
		case byAge:
			return s.AgeS
		case byBytes:
			return float64(s.RxBytes + s.TxBytes)
		}
		return s.RxBps + s.TxBps
	}
	slices.SortStableFunc(list, func(a, b control.Stream) int { return cmp.Compare(key(b), key(a)) })
	list = list[:min(len(list), lines-1)]
	var cells [][]cell
	for _, s := range list {
		over := plainStyle
		if s.State != control.StreamOpen {
			over = doubtful
		}
		cells = append(cells, []cell{
			{control.ShortAddrPort(s.Destination), plainStyle}, {control.FormatAge(s.AgeS), plainStyle},
			{control.FormatRate(s.RxBps + s.TxBps), plainStyle}, {control.FormatBytes(s.RxBytes + s.TxBytes), plainStyle},
			{clean(s.Over()), over},
		})
	}
	streams := "STREAMS"
	if p.streams.Open == 1 {
		streams = "STREAM"
	}
	title := fmt.Sprintf("%d %s BY %s", p.streams.Open, streams, strings.ToUpper(m.sort.String()))
	if len(p.streams.List) == 0 {
		return []string{"  " + heading.Render("NO STREAMS")}
	}
	text := table(m.width-2, []column{
		{title, false, 9}, {"AGE", true, 2}, {"RATE", true, 8}, {"BYTES", true, 3}, {"OVER", false, 7},
	}, cells)
	if p.streams.Waiting > 0 {
		text[0] += doubtful.Render(fmt.Sprintf("  %d wait for a carrier", p.streams.Waiting))
	}
	if p.streams.Failed > 0 {
		text[0] += faint.Render(fmt.Sprintf("  %d failed", p.streams.Failed))
	}
	for i := range text {
		text[i] = "  " + text[i]
	}
	return text
}

// laneLines draws what becomes of packets.
func laneLines(p *page, lines int) []string {
	if lines == 0 || p.lane == nil {
		return nil
	}
	rate := p.counts.perSecond()
	class := func(name string, c *control.PacketClass, perSecond float64) string {
		return fmt.Sprintf("%-7s%5.0f/s, wait %s, %d dropped", name, perSecond, control.FormatMillis(c.DelayMs), c.Dropped+c.Overflowed+c.TooOld)
	}
	copies := fmt.Sprintf(", %.0f copies/s", rate[2])
	if p.lane.Saved > 0 {
		copies += fmt.Sprintf(" (%d saved a packet)", p.lane.Saved)
	}
	return []string{
		"  " + heading.Render("PACKETS ") + class("sparse", &p.lane.Sparse, rate[0]) + copies,
		"          " + class("bulk", &p.lane.Bulk, rate[1]),
	}
}

// eventLines draws the last changes, the latest first. That an uplink was late for
// a moment, and is up again, would hide what matters.
func eventLines(p *page, lines int) []string {
	var out []string
	title := "EVENTS  "
	for i := len(p.events) - 1; i >= 0 && len(out) < lines; i-- {
		e := p.events[i]
		if passing(e) {
			continue
		}
		at := e.Time
		if t, err := time.Parse(time.RFC3339, e.Time); err == nil {
			at = t.Local().Format("15:04:05")
		}
		text := clean(control.ShortName(e.Uplink)) + " is "
		if e.To == "" {
			text += "gone"
		} else {
			text += stateStyle(e.To).Render(clean(e.To))
		}
		if e.Reason != "" {
			text += ": " + clean(e.Reason)
		}
		out = append(out, "  "+heading.Render(title)+clean(at)+"  "+text)
		title = "        "
	}
	return out
}

// passing reports whether a change is of an uplink that is late, which it is for a
// moment only: it is up again, or dead, which is another event.
func passing(e control.Event) bool {
	return e.To == control.UplinkLate || e.From == control.UplinkLate && e.To == control.UplinkUp
}

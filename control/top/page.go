package top

import (
	"errors"
	"strings"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"braid/control"
)

// page is what is drawn of one client, or of a server's clients: the parts from
// top to bottom, each of which gives lines for the room that it gets.
type page struct {
	title   string // who it is
	facts   []string
	verdict control.Verdict
	sum     string // rates of all together

	columns []column
	rows    []row
	words   [2]string // of the two directions
	empty   string    // instead of rows

	// These are of one client alone.
	link    bool
	streams *control.Streams
	lane    *control.PacketLane
	counts  past
	events  []control.Event
}

// row is an uplink or a client: a line of the table, its graphs, and what is to
// be said of it.
type row struct {
	name   string
	cells  []cell
	detail string
	fault  bool // the detail says what is wrong
	past   past
}

// room is how many lines the parts of a page get.
type room struct {
	verdict, rows, details, graph, streams, lane, events int
	gaps                                                 bool // empty lines between the parts
}

// View draws.
func (m *Model) View() tea.View {
	v := tea.NewView(strings.Join(m.lines(), "\n"))
	v.AltScreen = true
	v.DisableBracketedPasteMode = true
	return v
}

// lines is the picture: at most as many lines as the terminal has, none wider.
func (m *Model) lines() []string {
	if m.width < 1 || m.height < 1 {
		return nil
	}
	var lines []string
	switch p := m.page(); {
	case m.help:
		lines = append([]string{bold.Render("braid top")}, helpText()...)
	case p == nil:
		lines = []string{bold.Render("braid top"), "", "waiting for the first status"}
	default:
		lines = m.draw(p)
	}
	lines = lines[:min(len(lines), m.height-1)]
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines, m.footer())
	for i, l := range lines {
		if m.plain {
			l = ascii.Replace(l)
		}
		if lines[i] = fit(l, m.width); m.plain {
			lines[i] = ascii.Replace(lines[i])
		}
	}
	return lines
}

// page is what there is to draw, nil before the first status.
func (m *Model) page() *page {
	s := m.shown()
	switch status := s.status.(type) {
	case *control.Client:
		return clientPage(s, status)
	case *control.Server:
		if p := m.peer(status); p != nil {
			return peerPage(s, p)
		}
		return serverPage(s, status)
	}
	return nil
}

// draw lays a page out.
func (m *Model) draw(p *page) []string {
	r := m.divide(p)
	at := m.chosen(m.names())
	var lines []string
	part := func(more []string) {
		if len(more) > 0 && r.gaps && len(lines) > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, more...)
	}
	head := []string{m.head(p)}
	for _, l := range m.verdict(p, r.verdict) {
		head = append(head, levelStyle(m.level(p)).Render(l))
	}
	part(append(head, p.sum))
	part(m.rows(p, r, at))
	part(m.streamLines(p, r.streams))
	part(laneLines(p, r.lane))
	part(eventLines(p, r.events))
	return lines
}

// level is how well it does; what does not answer does not work, as far as is
// known.
func (m *Model) level(p *page) control.Level {
	if m.lost != nil && m.frozen == nil {
		return control.LevelBad
	}
	return p.verdict.Level
}

// head is the first line: who it is and how it does.
func (m *Model) head(p *page) string {
	word := "DOWN"
	if p.verdict.Working() {
		word = "WORKING"
	} else if p.verdict.Level == control.LevelWarn {
		word = "FAULT"
	}
	switch {
	case m.frozen != nil:
		word = "FROZEN"
	case m.lost != nil:
		word = "NO ANSWER"
	}
	line := bold.Render("braid top") + "  " + bold.Render(p.title) + "  " + banners[m.level(p)].Render(" "+word+" ")
	for _, f := range p.facts {
		more := line + "  " + f
		if lipgloss.Width(more) > m.width {
			break
		}
		line = more
	}
	return line
}

// verdict is the lines that say how it does.
func (m *Model) verdict(p *page, lines int) []string {
	text := p.verdict.Text
	switch {
	case m.frozen != nil:
		text = "the picture of " + m.frozen.at.Local().Format("15:04:05") + ", p goes on; then: " + text
	case m.lost != nil:
		text = "the daemon does not answer since " + m.seen.at.Local().Format("15:04:05") + ": " + short(m.lost).Error() + "; trying again. What is below was so then"
	}
	return wrapped(clean(text), m.width, lines)
}

// short is an error without what was tried and where: the title says who it is.
func short(err error) error {
	if e, ok := errors.AsType[*control.Error](err); ok && errors.Unwrap(e) != nil {
		return errors.Unwrap(e)
	}
	return err
}

// divide gives the parts of a page their lines, what matters more first.
func (m *Model) divide(p *page) room {
	have := m.height - 1 // without the footer
	n := len(p.rows)
	var r room
	r.verdict, r.rows = 1, max(min(n, have-4), 1)
	busy, scales := 0, m.scales(p)
	for i := range p.rows {
		if m.busy(p, &p.rows[i], scales) {
			busy++
		}
	}
	busy = min(busy, r.rows) // of those that are in sight, at most
	used := func() int {
		n := 2 + r.verdict + 1 + r.rows + r.details + busy*r.graph + r.streams + r.lane + r.events
		if r.gaps {
			n += 1
			for _, part := range []int{r.streams, r.lane, r.events} {
				n += min(part, 1)
			}
		}
		return n
	}
	// give adds one to a part, or so many at first, up to most, if there is room.
	give := func(part *int, first, most int) {
		for step := first; *part < most; step = 1 {
			was := *part
			if *part = min(was+step, most); used() > have {
				*part = was
				return
			}
		}
	}
	details, faults := 0, 0
	for _, row := range p.rows[:min(r.rows, n)] {
		if row.detail != "" {
			details++
		}
		if row.fault {
			faults++
		}
	}
	streams, lane, events := 0, 0, 0
	if p.link {
		if p.streams != nil {
			streams = 1 + max(len(p.streams.List), 0)
		}
		lane = 2
		for _, e := range p.events {
			if !passing(e) {
				events++
			}
		}
	}
	give(&r.details, faults, faults)
	give(&r.graph, 1, 1)
	give(&r.streams, 2, min(streams, 2))
	give(&r.verdict, 1, min(len(m.verdict(p, 2)), 2))
	give(&r.events, 1, min(events, 1))
	give(&r.lane, 2, lane)
	give(&r.details, 1, details)
	give(&r.graph, 1, 2)
	give(&r.streams, 1, min(streams, 4))
	give(&r.events, 1, min(events, 3))
	if r.gaps = true; used() > have {
		r.gaps = false
	}
	give(&r.graph, 1, 3)
	give(&r.streams, 1, min(streams, 9))
	give(&r.events, 1, min(events, 6))
	give(&r.graph, 1, 8)
	give(&r.streams, 1, streams)
	give(&r.events, 1, events)
	return r
}

// footer is the last line: a question, what became of a key, or the keys.
func (m *Model) footer() string {
	switch {
	case m.asked != nil:
		return banners[control.LevelWarn].Render(clean(m.asked.text))
	case m.note.text != "" && m.now.Sub(m.note.at) < noteAge:
		if m.note.bad {
			return bad.Render(clean(m.note.text))
		}
		return good.Render(clean(m.note.text))
	}
	keys := [][2]string{{"q", "quit"}, {"?", "help"}, {"p", "freeze"}}
	_, server := m.shown().status.(*control.Server)
	switch {
	case server && m.opened == "":
		keys = append(keys, [2]string{"enter", "open a client"})
	case server:
		keys = append(keys, [2]string{"esc", "back"}, [2]string{"s", "sort"})
	default:
		keys = append(keys, [2]string{"x", "pause"}, [2]string{"b/o/u/n", "role"}, [2]string{"d", "default"}, [2]string{"s", "sort"})
	}
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(bold.Render(k[0]) + " " + faint.Render(k[1]) + "   ")
	}
	return strings.TrimRight(b.String(), " ")
}

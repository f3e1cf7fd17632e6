package top

import (
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

// column is one of a table.
type column struct {
	title string
	right bool // figures
	// keep says which columns stay where there is not room for all: those with
	// the higher numbers.
	keep int
}

// cell is one of a table's row.
type cell struct {
	text  string
	style lipgloss.Style
}

// table lays rows out in columns with two spaces between them, one where that
// does not fit into width, and without the columns that are missed least where that
// does not fit either. The first line is the titles.
func table(width int, columns []column, rows [][]cell) []string {
	widths := make([]int, len(columns))
	for i, c := range columns {
		widths[i] = ansi.StringWidth(c.title)
		for _, r := range rows {
			widths[i] = max(widths[i], ansi.StringWidth(r[i].text))
		}
	}
	shown := make([]bool, len(columns))
	for i := range shown {
		shown[i] = true
	}
	total := func(gap int) (n int) {
		for i, w := range widths {
			if shown[i] {
				n += w + gap
			}
		}
		return n - gap
	}
	gap := 2
	for total(gap) > width {
		if gap == 2 {
			gap = 1
			continue
		}
		least := -1
		for i, c := range columns {
			if shown[i] && i > 0 && (least < 0 || c.keep < columns[least].keep) {
				least = i
			}
		}
		if least < 0 {
			break // fit cuts the first
		}
		shown[least] = false
		gap = 2
	}
	line := func(text func(i int) (string, lipgloss.Style)) string {
		var b strings.Builder
		for i, c := range columns {
			if !shown[i] {
				continue
			}
			if b.Len() > 0 {
				b.WriteString(strings.Repeat(" ", gap))
			}
			t, style := text(i)
			space := strings.Repeat(" ", widths[i]-ansi.StringWidth(t))
			if c.right {
				b.WriteString(space)
			}
			b.WriteString(style.Render(t))
			if !c.right {
				b.WriteString(space)
			}
		}
		return strings.TrimRight(b.String(), " ")
	}
	lines := []string{line(func(i int) (string, lipgloss.Style) { return columns[i].title, heading })}
	for _, r := range rows {
		lines = append(lines, line(func(i int) (string, lipgloss.Style) { return r[i].text, r[i].style }))
	}
	return lines
}

// wrapped is a text in at most so many lines of so many columns, the later ones
// indented by two. The last one ends in "…" if there is more.
func wrapped(text string, width, lines int) []string {
	if width < 8 || lines < 1 {
		return []string{fit(text, width)}
	}
	all := strings.Split(ansi.Wrap(text, width-2, ""), "\n")
	if len(all) > 1 && ansi.StringWidth(text) <= width {
		all = []string{text}
	}
	if len(all) > lines {
		all[lines-1] = fit(all[lines-1], width-3) + "…"
		all = all[:lines]
	}
	for i := 1; i < len(all); i++ {
		all[i] = "  " + all[i]
	}
	return all
}

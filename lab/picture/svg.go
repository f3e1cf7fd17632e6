package main

import (
	"fmt"
	"html"
	"strings"
)

// palette is the terminal's sixteen colours, and ground and ink those without a
// number.
var palette = [16]string{
	"#161b22", "#ff6b68", "#56d364", "#e3b341", "#6cb6ff", "#dcbdfb", "#56d4dd", "#c9d1d9",
	"#8b949e", "#ff938a", "#6bc46d", "#daaa3f", "#6cb6ff", "#e2c5ff", "#76e3ea", "#ffffff",
}

const (
	ground = "#0d1117"
	ink    = "#e6edf3"

	// Of one character, in pixels.
	width, height = 8.4, 18
	baseline      = 13.5
	margin        = 12
)

// colours are what a character and its ground are drawn with; "" is no ground.
func (l look) colours() (fg, bg string) {
	fg, bg = ink, ""
	if l.fg != unset {
		fg = palette[l.fg]
	}
	if l.bg != unset {
		bg = palette[l.bg]
	}
	if l.reverse {
		if bg == "" {
			bg = ground
		}
		fg, bg = bg, fg
	}
	return fg, bg
}

// svg draws lines at least so many columns wide. The dots of Braille characters are
// drawn one by one: few fonts have them as wide as letters.
func svg(lines [][]glyph, title string, columns int) string {
	for _, l := range lines {
		columns = max(columns, len(l))
	}
	w, h := 2*margin+width*float64(columns), 2*margin+height*float64(len(lines))
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" role="img">`+"\n", w, h, w, h)
	fmt.Fprintf(&b, "<title>%s</title>\n", html.EscapeString(title))
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" rx="8" fill="%s"/>`+"\n", ground)
	b.WriteString(`<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14" xml:space="preserve">` + "\n")
	for i, line := range lines {
		top := margin + height*float64(i)
		for from := 0; from < len(line); {
			to := from + 1
			for to < len(line) && line[to].look == line[from].look && dotted(line[to].r) == dotted(line[from].r) {
				to++
			}
			run(line[from:to]).draw(&b, margin+width*float64(from), top)
			from = to
		}
	}
	b.WriteString("</g>\n</svg>\n")
	return b.String()
}

func dotted(r rune) bool { return r >= 0x2800 && r < 0x2900 }

// run is characters with one look.
type run []glyph

func (r run) draw(b *strings.Builder, x, y float64) {
	fg, bg := r[0].colours()
	if bg != "" {
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="%s"/>`+"\n", x, y, width*float64(len(r)), height, bg)
	}
	if dotted(r[0].r) {
		fmt.Fprintf(b, `<path fill="%s" d="`, fg)
		for i, g := range r {
			dots(b, g.r, x+width*float64(i), y)
		}
		b.WriteString("\"/>\n")
		return
	}
	// Word by word, so that no font's width moves what comes behind.
	for from := 0; from < len(r); {
		if r[from].r == ' ' {
			from++
			continue
		}
		to := from
		for to < len(r) && r[to].r != ' ' {
			to++
		}
		var word strings.Builder
		for _, g := range r[from:to] {
			word.WriteRune(g.r)
		}
		weight := ""
		if r[0].bold {
			weight = ` font-weight="bold"`
		}
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" textLength="%.1f" lengthAdjust="spacingAndGlyphs" fill="%s"%s>%s</text>`+"\n",
			x+width*float64(from), y+baseline, width*float64(to-from), fg, weight, html.EscapeString(word.String()))
		from = to
	}
}

// dots draws a Braille character (Unicode, "Braille Patterns") as a part of a path.
func dots(b *strings.Builder, r rune, x, y float64) {
	at := [8][2]int{{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 2}, {0, 3}, {1, 3}} // column, row
	for bit, p := range at {
		if (r-0x2800)>>bit&1 == 1 {
			fmt.Fprintf(b, "M%.1f %.1fh3.4v3.7h-3.4z", x+0.4+width/2*float64(p[0]), y+0.4+float64(height)/4*float64(p[1]))
		}
	}
}

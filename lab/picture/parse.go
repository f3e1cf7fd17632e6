package main

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// look is how a character is drawn: numbers of colours, or unset.
type look struct {
	fg, bg               int
	bold, faint, reverse bool
}

// unset stands for the terminal's own colour.
const unset = -1

// glyph is a character and how it is drawn.
type glyph struct {
	r rune
	look
}

// parse reads lines with SGR sequences (ECMA-48, 8.3.117); tmux prints no others
// that matter, and what else there is, is left out. Each character is one column.
func parse(text string) [][]glyph {
	now := look{fg: unset, bg: unset}
	var lines [][]glyph
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		var out []glyph
		for line != "" {
			if rest, ok := strings.CutPrefix(line, "\x1b["); ok {
				end := strings.IndexFunc(rest, func(r rune) bool { return r >= '@' && r <= '~' })
				if end < 0 {
					break
				}
				if rest[end] == 'm' {
					now.apply(strings.Split(rest[:end], ";"))
				}
				line = rest[end+1:]
				continue
			}
			r, n := utf8.DecodeRuneInString(line)
			if r >= ' ' {
				out = append(out, glyph{r, now})
			}
			line = line[n:]
		}
		lines = append(lines, out)
	}
	return lines
}

// apply changes the look by the parameters of one SGR sequence.
func (l *look) apply(parameters []string) {
	for i := 0; i < len(parameters); i++ {
		n, err := strconv.Atoi(parameters[i])
		if err != nil {
			n = 0 // an empty one is 0
		}
		switch {
		case n == 0:
			*l = look{fg: unset, bg: unset}
		case n == 1:
			l.bold = true
		case n == 2:
			l.faint = true
		case n == 22:
			l.bold, l.faint = false, false
		case n == 7 || n == 27:
			l.reverse = n == 7
		case n >= 30 && n <= 37:
			l.fg = n - 30
		case n >= 90 && n <= 97:
			l.fg = n - 90 + 8
		case n == 39:
			l.fg = unset
		case n >= 40 && n <= 47:
			l.bg = n - 40
		case n >= 100 && n <= 107:
			l.bg = n - 100 + 8
		case n == 49:
			l.bg = unset
		case (n == 38 || n == 48) && i+2 < len(parameters) && parameters[i+1] == "5":
			if c, err := strconv.Atoi(parameters[i+2]); err == nil && c < len(palette) && c >= 0 {
				if n == 38 {
					l.fg = c
				} else {
					l.bg = c
				}
			}
			i += 2
		}
	}
}

package top

import (
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"braid/control"
)

// Styles have the terminal's own sixteen colours, so that they fit to whatever
// background it has. The terminal's driver leaves them out where there are none
// (NO_COLOR, TERM=vt100): whatever a colour says, a word says too.
var (
	plainStyle = lipgloss.NewStyle()
	bold       = lipgloss.NewStyle().Bold(true)
	faint      = lipgloss.NewStyle().Foreground(lipgloss.BrightBlack)
	heading    = lipgloss.NewStyle().Foreground(lipgloss.Cyan)
	good       = lipgloss.NewStyle().Foreground(lipgloss.Green)
	doubtful   = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	bad        = lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true)
	received   = lipgloss.NewStyle().Foreground(lipgloss.Blue)
	sent       = lipgloss.NewStyle().Foreground(lipgloss.Magenta)

	banners = map[control.Level]lipgloss.Style{
		control.LevelGood: lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Black).Background(lipgloss.Green),
		control.LevelHeld: lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Black).Background(lipgloss.Green),
		control.LevelWarn: lipgloss.NewStyle().Bold(true).Foreground(lipgloss.Black).Background(lipgloss.Yellow),
		control.LevelBad:  lipgloss.NewStyle().Bold(true).Foreground(lipgloss.BrightWhite).Background(lipgloss.Red),
	}
)

// stateStyle is that of an uplink's state.
func stateStyle(state string) lipgloss.Style {
	switch state {
	case control.UplinkUp:
		return good
	case control.UplinkDead:
		return bad
	case control.UplinkOff:
		return faint
	}
	return doubtful
}

// levelStyle is that of a verdict's text.
func levelStyle(l control.Level) lipgloss.Style {
	switch l {
	case control.LevelGood, control.LevelHeld:
		return good
	case control.LevelWarn:
		return doubtful
	}
	return bad
}

// PlainText reports whether a terminal may have nothing but ASCII: where the
// locale is not UTF-8, or none is set, and on those whose fonts lack the dots.
func PlainText(environ []string) bool {
	value := map[string]string{}
	for _, e := range environ {
		k, v, _ := strings.Cut(e, "=")
		value[k] = v
	}
	switch term := value["TERM"]; {
	case term == "", term == "dumb", term == "linux", strings.HasPrefix(term, "vt1"), strings.HasPrefix(term, "vt2"):
		return true
	}
	for _, k := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(value[k]); v != "" {
			return !strings.Contains(v, "utf-8") && !strings.Contains(v, "utf8")
		}
	}
	return true
}

// ascii takes the place of other characters, each one column wide as they are.
var ascii = strings.NewReplacer("–", "-", "…", "~", "▸", ">", "·", "|", "→", ">")

// fit is a line in at most so many columns. What does not fit ends in "…".
func fit(line string, columns int) string {
	if columns <= 0 {
		return ""
	}
	return ansi.Truncate(line, columns, "…")
}

// clean is a text without characters that a terminal obeys. Reasons and names
// come from elsewhere.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x200b && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return ' '
		}
		return r
	}, text)
}

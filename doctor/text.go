package doctor

import (
	"fmt"
	"io"
	"strings"
)

// signs of the severities, one column wide.
var signs = map[Severity]string{Note: "·", Warning: "!", Error: "✗"}

// WriteText writes a report for people. With all it lists what is good as well,
// and the figures of each uplink.
func WriteText(w io.Writer, r Report, all bool) error {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s %s: %s: %s\n", signs[f.Severity], f.Severity, f.Subject, f.Problem)
		for _, e := range f.Evidence {
			fmt.Fprintf(&b, "    %s\n", e)
		}
		if f.Mend != "" {
			fmt.Fprintf(&b, "    mend: %s\n", f.Mend)
		}
	}
	if all {
		for _, g := range r.Good {
			fmt.Fprintf(&b, "✓ %s: %s\n", g.Subject, g.Checked)
		}
		for _, u := range r.Uplinks {
			b.WriteString(u.line())
		}
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(&b, "? %s: %s not looked at: %s\n", s.Subject, s.Check, s.Reason)
	}
	fmt.Fprintln(&b, r.Summary())
	_, err := io.WriteString(w, b.String())
	return err
}

// Summary is the report in one line.
func (r Report) Summary() string {
	count := map[Severity]int{}
	for _, f := range r.Findings {
		count[f.Severity]++
	}
	var parts []string
	for _, s := range []Severity{Error, Warning, Note} {
		if n := count[s]; n == 1 {
			parts = append(parts, "1 "+s.String())
		} else if n > 1 {
			parts = append(parts, fmt.Sprintf("%d %ss", n, s))
		}
	}
	good := fmt.Sprintf("%d checks are good", len(r.Good))
	if len(parts) == 0 {
		return "nothing to complain of: " + good
	}
	return strings.Join(parts, ", ") + "; " + good
}

// line is the figures of an uplink.
func (u UplinkFigures) line() string {
	parts := []string{fmt.Sprintf("  %s: %v", u.Interface, u.Addresses)}
	if u.PathMTUBytes > 0 {
		parts = append(parts, fmt.Sprintf("packets of %d bytes", u.PathMTUBytes))
	}
	if u.NAT != "" {
		parts = append(parts, fmt.Sprintf("NAT %s, seen as %v", u.NAT, u.Seen.Addr()))
	}
	if u.RTTms > 0 {
		parts = append(parts, fmt.Sprintf("round trip %.1f ms (%.1f at worst)", u.RTTms, u.WorstRTTms))
	}
	if u.LoadedDownMs > 0 || u.LoadedUpMs > 0 {
		parts = append(parts, fmt.Sprintf("under load %.0f ms down, %.0f ms up", u.LoadedDownMs, u.LoadedUpMs))
	}
	return strings.Join(parts, ", ") + "\n"
}

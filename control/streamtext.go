package control

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// shownStreams is how many streams a person is shown: what fits on a screen
// together with the rest.
const shownStreams = 10

// text writes one line of counts and a table of the most active streams.
// Where there is no session and never was a stream, there is nothing to say.
func (s *Streams) text(b *strings.Builder, session string) {
	none := s.Open == 0 && s.Waiting == 0 && s.Opened == 0 && s.Failed == 0 && s.Denied == 0 && s.Limited == 0
	if none && session != SessionUp {
		return
	}
	fmt.Fprintf(b, "streams: %d open, %d resumed, %d failed", s.Open, s.Resumed, s.Failed)
	for _, more := range []struct {
		n    uint64
		what string
	}{
		{uint64(max(s.Waiting, 0)), "waiting"}, {s.Denied, "denied"}, {s.Limited, "over a limit"},
	} {
		if more.n > 0 {
			fmt.Fprintf(b, ", %d %s", more.n, more.what)
		}
	}
	b.WriteByte('\n')
	if len(s.List) == 0 {
		return
	}
	var lines strings.Builder
	t := tabwriter.NewWriter(&lines, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "stream to\tage\trate\tbytes\tover\n")
	shown := s.List[:min(len(s.List), shownStreams)]
	for _, one := range shown {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", shortAddrPort(one.Destination), formatAge(one.AgeS),
			FormatRate(one.RxBps+one.TxBps), FormatBytes(one.RxBytes+one.TxBytes), one.over())
	}
	t.Flush()
	writeTrimmed(b, lines.String())
	if more := max(s.ListTotal, len(s.List)) - len(shown); more > 0 {
		fmt.Fprintf(b, "and %d more\n", more)
	}
}

// over says which uplinks carried the stream, or why none does.
func (s *Stream) over() string {
	if s.State != StreamOpen {
		return s.State
	}
	list := slices.Clone(s.Uplinks)
	slices.SortStableFunc(list, func(a, b StreamUplink) int { return cmp.Compare(b.SharePct, a.SharePct) })
	var parts []string
	for _, u := range list {
		if u.SharePct >= 0.5 {
			parts = append(parts, fmt.Sprintf("%.0f %% %s", u.SharePct, u.Interface))
		}
	}
	return dash(strings.Join(parts, ", "))
}

// shortAddrPort is an address and port in at most 30 columns, so that a line
// of the table fits into 80 with two uplinks. The middle of a long IPv6
// address is left out.
func shortAddrPort(a netip.AddrPort) string {
	const columns = 30
	text := a.String()
	if !a.IsValid() {
		return dash("")
	}
	if len(text) <= columns {
		return text
	}
	end := text[strings.LastIndexByte(text, ']'):]
	address := text[1 : len(text)-len(end)]
	// What remains for the address beside "[", "…" and the end is given to
	// its network first, and to its last part.
	tail := address[strings.LastIndexByte(address, ':'):]
	head := address[:max(columns-2-len(end)-len(tail), 0)]
	if i := strings.LastIndexByte(head, ':'); i > 0 {
		head = head[:i+1]
	}
	return "[" + head + "…" + tail + end
}

// formatAge formats seconds for people in two units at most: "5s", "3m",
// "2h05m", "12d".
func formatAge(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(d, 0)/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

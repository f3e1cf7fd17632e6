package control

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
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
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", ShortAddrPort(one.Destination), FormatAge(one.AgeS),
			FormatRate(one.RxBps+one.TxBps), FormatBytes(one.RxBytes+one.TxBytes), one.Over())
	}
	t.Flush()
	writeTrimmed(b, lines.String())
	if more := max(s.ListTotal, len(s.List)) - len(shown); more > 0 {
		fmt.Fprintf(b, "and %d more\n", more)
	}
}

// Over says which uplinks carried the stream, or why none does.
func (s *Stream) Over() string {
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

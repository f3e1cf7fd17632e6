package control

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// uplinkTable writes a line for each uplink and, below it, the reason for what
// it says. With the longest name of an interface it fits into textColumns.
func uplinkTable(b *strings.Builder, first, received, sent string, list []Uplink) {
	var lines strings.Builder
	t := tabwriter.NewWriter(&lines, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\trole\tstate\trtt\tloss\t%s\t%s\tbytes\n", first, received, sent)
	for _, u := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", ShortName(u.Interface), u.RoleText(), u.StateText(), FormatMillis(u.RTTms),
			FormatPercent(u.LossPct), FormatRate(u.RxBps), FormatRate(u.TxBps), FormatBytes(u.RxBytes+u.TxBytes))
	}
	t.Flush()
	row := -1 // the first line is the heading
	for line := range strings.Lines(lines.String()) {
		writeTrimmed(b, line)
		if row >= 0 && row < len(list) && list[row].Reason != "" {
			writeWrapped(b, "  ", list[row].Reason)
		}
		if row >= 0 && row < len(list) && list[row].deliverText(received, sent) != "" {
			writeWrapped(b, "  ", list[row].deliverText(received, sent))
		}
		row++
	}
}

// deliverText is the most that the uplink delivered of late, and its jitter; ""
// while nothing is known.
func (u *Uplink) deliverText(received, sent string) string {
	if u.DeliverRxBps == 0 && u.DeliverTxBps == 0 {
		return ""
	}
	text := fmt.Sprintf("at most %s %s, %s %s of late", FormatRate(u.DeliverRxBps), received, FormatRate(u.DeliverTxBps), sent)
	if u.JitterMs > 0 {
		text += ", jitter " + FormatMillis(u.JitterMs)
	}
	return text
}

// overflowText says whether the uplinks with the role overflow are in use, if
// there are such.
func (s *Client) overflowText(b *strings.Builder) {
	text := "overflow: "
	switch {
	case s.OverflowEngaged:
		text += "in use"
	case s.OverflowReason != "":
		text += "not in use"
	default:
		return
	}
	if s.OverflowReason != "" {
		text += ", " + s.OverflowReason
	}
	writeWrapped(b, "", text)
}

// WriteUplinks writes one line for each uplink of a client, for people who
// want to change one.
func WriteUplinks(w io.Writer, s *Client) error {
	var b strings.Builder
	if len(s.Uplinks) == 0 {
		b.WriteString(noUplink)
	} else {
		var lines strings.Builder
		t := tabwriter.NewWriter(&lines, 0, 0, 2, ' ', 0)
		fmt.Fprint(t, "uplink\trole\tconfigured\tstate\tuse\tthis month\treason\n")
		for _, u := range s.Uplinks {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", u.Interface, dash(u.Role), dash(u.ConfiguredRole),
				u.State, dash(u.Use), u.CapText(), strings.Join(strings.Fields(u.Reason), " "))
		}
		t.Flush()
		writeTrimmed(&b, lines.String())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

const noUplink = "no uplink: no interface has a default route, or the configuration allows none\n"

// RoleText is the role and how much of the cap is used.
func (u *Uplink) RoleText() string {
	if u.CapBytes == 0 {
		return dash(u.Role)
	}
	return fmt.Sprintf("%s %s", dash(u.Role), u.capPercent())
}

func (u *Uplink) capPercent() string {
	// A cap that is not used up must not look so.
	pct := 100 * (float64(u.CapUsedBytes) / float64(u.CapBytes))
	if u.CapUsedBytes < u.CapBytes {
		pct = min(pct, 99)
	}
	return fmt.Sprintf("%.0f %%", min(pct, 999))
}

// CapText is how much of the cap is used, and when it begins anew.
func (u *Uplink) CapText() string {
	if u.CapBytes == 0 {
		return dash("")
	}
	text := fmt.Sprintf("%s of %s (%s)", FormatBytes(u.CapUsedBytes), FormatBytes(u.CapBytes), u.capPercent())
	if at, err := time.Parse(time.RFC3339, u.CapResets); err == nil {
		text += at.Format(" until 2006-01-02")
	}
	return text
}

// StateText is the state. It marks what could carry and waits. Of a quarantined uplink that goes
// without saying.
func (u *Uplink) StateText() string {
	if u.Use == UseStandby && u.State != UplinkQuarantined {
		return u.State + ", standby"
	}
	return u.State
}

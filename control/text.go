package control

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
)

// WriteText writes the status, a *Client or a *Server, for people.
func WriteText(w io.Writer, status any) error {
	var b strings.Builder
	switch s := status.(type) {
	case *Client:
		s.text(&b)
	case *Server:
		s.text(&b)
	default:
		return fmt.Errorf("write status: no text for %T", status)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *Client) text(b *strings.Builder) {
	fmt.Fprintf(b, "client %s, tunnel %s", s.Session.State, s.Session.Device)
	if len(s.Session.Addresses) > 0 {
		fmt.Fprintf(b, " with %s", joined(s.Session.Addresses))
	}
	if s.Session.Server != "" {
		fmt.Fprintf(b, ", server %s", s.Session.Server)
	}
	b.WriteByte('\n')
	if s.Session.Reason != "" {
		fmt.Fprintf(b, "reason: %s\n", s.Session.Reason)
	}
	if s.Session.State == SessionUp && !s.Session.MPTCP {
		b.WriteString("the connection is plain TCP: one uplink only\n")
	}
	if len(s.Uplinks) == 0 {
		b.WriteString("no uplink: no interface has a default route, or the configuration allows none\n")
	} else {
		table(b, "uplink", s.Uplinks)
	}
	s.Streams.text(b, s.Session.State)
}

func (s *Server) text(b *strings.Builder) {
	up := 0
	for _, c := range s.Clients {
		if c.State == SessionUp {
			up++
		}
	}
	fmt.Fprintf(b, "server on %s, tunnel %s, %d of %d clients connected\n",
		strings.Join(s.Listen, " "), s.Device, up, len(s.Clients))
	for _, c := range s.Clients {
		fmt.Fprintf(b, "\n%s %s, %s", c.Name, c.State, joined(c.Addresses))
		if c.Since != "" {
			fmt.Fprintf(b, ", session since %s", c.Since)
		}
		b.WriteByte('\n')
		if c.State == SessionUp && !c.MPTCP {
			b.WriteString("the connection is plain TCP: one uplink only\n")
		}
		if len(c.Uplinks) > 0 {
			table(b, "from", c.Uplinks)
		}
		c.Streams.text(b, c.State)
	}
}

func table(b *strings.Builder, first string, list []Uplink) {
	var lines strings.Builder
	t := tabwriter.NewWriter(&lines, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\trole\tstate\trtt\tloss\tdown\tup\treceived\tsent\t\n", first)
	for _, u := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.1f %%\t%s\t%s\t%s\t%s\t%s\n", u.Interface, dash(u.Role), u.State, milliseconds(u.RTTms),
			u.LossPct, FormatRate(u.RxBps), FormatRate(u.TxBps), FormatBytes(u.RxBytes), FormatBytes(u.TxBytes), u.Reason)
	}
	t.Flush()
	writeTrimmed(b, lines.String())
}

// writeTrimmed writes the lines of a table without the spaces at their ends.
func writeTrimmed(b *strings.Builder, lines string) {
	for line := range strings.Lines(lines) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
}

func joined(list []netip.Prefix) string {
	var s []string
	for _, p := range list {
		s = append(s, p.String())
	}
	return strings.Join(s, " ")
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

func milliseconds(ms float64) string {
	if ms == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f ms", ms)
}

// FormatRate formats bits per second for people, in decimal units.
func FormatRate(bps float64) string {
	switch {
	case bps >= 1e9:
		return fmt.Sprintf("%.2f Gb/s", bps/1e9)
	case bps >= 1e6:
		return fmt.Sprintf("%.1f Mb/s", bps/1e6)
	case bps >= 500:
		return fmt.Sprintf("%.0f kb/s", bps/1e3)
	}
	return "0"
}

// FormatBytes formats a number of bytes for people, in decimal units.
func FormatBytes(n uint64) string {
	f := float64(n)
	switch {
	case f >= 1e12:
		return fmt.Sprintf("%.2f TB", f/1e12)
	case f >= 1e9:
		return fmt.Sprintf("%.2f GB", f/1e9)
	case f >= 1e6:
		return fmt.Sprintf("%.1f MB", f/1e6)
	case f >= 1e3:
		return fmt.Sprintf("%.0f kB", f/1e3)
	}
	return fmt.Sprintf("%d B", n)
}

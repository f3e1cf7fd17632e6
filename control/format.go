package control

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// What the texts of status and the terminal view have in common: figures and
// names for people.

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

// FormatMillis formats milliseconds for people; 0 is not known.
func FormatMillis(ms float64) string {
	if ms == 0 {
		return "–"
	}
	if ms >= 99.95 {
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f ms", ms)
}

// FormatPercent formats a percentage for people.
func FormatPercent(pct float64) string {
	if pct >= 9.95 {
		return fmt.Sprintf("%.0f %%", pct)
	}
	return fmt.Sprintf("%.1f %%", pct)
}

// FormatAge formats seconds for people in two units at most: "5s", "3m",
// "2h05m", "12d".
func FormatAge(seconds float64) string {
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

// ShortName is the name of an uplink, or the address that stands for it on a
// server, in at most 22 columns.
func ShortName(name string) string {
	const columns = 22
	r := []rune(name)
	if len(r) <= columns {
		return name
	}
	half := (columns - 1) / 2
	return string(r[:columns-1-half]) + "…" + string(r[len(r)-half:])
}

// ShortAddrPort is an address and port in at most 30 columns, so that a line
// of the table fits into 80 with two uplinks. The middle of a long IPv6
// address is left out.
func ShortAddrPort(a netip.AddrPort) string {
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

// dash stands for what is not known.
func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

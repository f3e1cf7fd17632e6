package demo

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"braid/lab/daemon"
	"braid/lab/emulator"
	"braid/lab/probe"
)

// uplinks in the order of the table.
var uplinks = []string{"eth", "wifi", "3g"}

func header() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%6s", "time")
	for _, u := range uplinks {
		fmt.Fprintf(&b, "%12s", u)
	}
	fmt.Fprintf(&b, "%12s%12s%8s", "sum Mb/s", "file", "ssh")
	return b.String()
}

// row is one line of the live table: the rate of each uplink in Mb/s, or its
// state where it carries nothing.
func (s *show) row(status daemon.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%4.0f s", s.meter.Elapsed().Seconds())
	var sum float64
	for _, name := range uplinks {
		cell := "–"
		for _, u := range status.Uplinks {
			switch {
			case u.Interface != name:
			case u.State == "up":
				sum += u.RxBps
				cell = fmt.Sprintf("%.1f", u.RxBps/1e6)
			default:
				cell = u.State
			}
		}
		fmt.Fprintf(&b, "%12s", cell)
	}
	fmt.Fprintf(&b, "%12.1f%9.0f MB%8d", sum/1e6, float64(s.meter.Total())/1e6, s.ssh.count())
	return b.String()
}

// verdict is what braid says of itself, as its status has it.
func verdict(s daemon.Status) string {
	var b strings.Builder
	for _, text := range []string{s.Verdict.Text, s.Gain.Text} {
		if text != "" {
			fmt.Fprintf(&b, "   %s\n", text)
		}
	}
	return b.String()
}

// conclude prints what was seen and says what was not as promised.
func (s *show) conclude(d *download) error {
	took := s.meter.Elapsed()
	fmt.Fprintf(s.out, "\nWhat was seen in %.0f seconds:\n", took.Seconds())
	for i, m := range s.marks {
		end := took
		if i+1 < len(s.marks) {
			end = s.marks[i+1].at
		}
		fmt.Fprintf(s.out, "  %-34s %5.1f Mb/s of payload\n", m.title, mbps(s.steadyRate(m.at, end)))
	}
	at, stall := s.meter.LongestStall()
	fmt.Fprintf(s.out, "  %-34s %5.1f Mb/s of payload\n", "best second, all uplinks", mbps(s.bestSecond()))
	fmt.Fprintf(s.out, "  %-34s %5.2f s, at %.0f s\n", "longest stall of the download", stall.Seconds(), at.Seconds())

	var errs []error
	switch want := probe.SHA256(fileBytes); {
	case d.err != nil:
		errs = append(errs, fmt.Errorf("the download broke after %d bytes: %w", s.meter.Total(), d.err))
	case d.sum() != want:
		errs = append(errs, fmt.Errorf("the download is damaged: %d bytes with SHA-256 %s, want %s", s.meter.Total(), d.sum(), want))
	default:
		fmt.Fprintf(s.out, "  %-34s %d, SHA-256 as it should be\n", "bytes verified", s.meter.Total())
	}
	s.ssh.mu.Lock()
	defer s.ssh.mu.Unlock()
	if !s.ssh.alive {
		errs = append(errs, fmt.Errorf("the ssh session died after %d lines (%q)", s.ssh.next-1, s.ssh.broken))
	} else {
		fmt.Fprintf(s.out, "  %-34s %d lines, none missing, longest pause %.2f s\n", "ssh alive", s.ssh.next-1, s.ssh.longest.Seconds())
	}
	return errors.Join(errs...)
}

// steadyRate is the payload's rate in a phase without its first three seconds,
// in which TCP finds its pace.
func (s *show) steadyRate(from, to time.Duration) emulator.BitRate {
	const settle = 3 * time.Second
	if to-from > 2*settle {
		from += settle
	}
	return s.meter.Rate(from, to)
}

// bestSecond is the highest rate of the payload over any second.
func (s *show) bestSecond() emulator.BitRate {
	var best emulator.BitRate
	for at := time.Duration(0); at+time.Second <= s.meter.Elapsed(); at += probe.Bin {
		best = max(best, s.meter.Rate(at, at+time.Second))
	}
	return best
}

func mbps(r emulator.BitRate) float64 { return float64(r) / 1e6 }

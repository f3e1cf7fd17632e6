package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"braid/lab"
)

// This file is what happens to a running tunnel: its connections are killed,
// its uplinks die, and what is on the way meddles. topology.Net has the change of
// an address.

// KillCarriers resets, in the kernel of one of the two hosts, the connections
// that are open between a client and the server now, with every subflow, and
// returns how many TCP sockets that were. Both sides see a reset as of the
// network. It needs ss and CONFIG_INET_DIAG_DESTROY.
func (s *Setup) KillCarriers(ctx context.Context, h *lab.Host) (int, error) {
	// The kernel destroys TCP sockets alone, not MPTCP's above them. Listeners
	// are in no connected state.
	filter := fmt.Sprintf("( sport = :%d or dport = :%d )", Port, Port)
	out, err := h.Run(ctx, "ss", "--kill", "--tcp", "--no-header", "--numeric", "state", "connected", "exclude", "time-wait", filter)
	if err != nil {
		return 0, fmt.Errorf("kill carriers: %w", err)
	}
	return strings.Count(string(out), "\n"), nil
}

// BlackHole makes emulated uplinks swallow everything without a sign, or work
// again; without names all of them.
func (s *Setup) BlackHole(on bool, uplinks ...string) error {
	return s.links(uplinks, func(l *lab.Link) error { return l.SetBlackHole(on) })
}

// StripMPTCP makes emulated uplinks take Multipath TCP's options out of all
// segments, or leave them; without names all of them.
func (s *Setup) StripMPTCP(on bool, uplinks ...string) error {
	return s.links(uplinks, func(l *lab.Link) error { return l.SetStripMPTCP(on) })
}

// links does something with the named links, or all.
func (s *Setup) links(names []string, do func(*lab.Link) error) error {
	var errs []error
	for _, name := range names {
		if s.Net.Links[name] == nil {
			errs = append(errs, fmt.Errorf("uplink %s has no emulated link", name))
		}
	}
	for name, l := range s.Net.Links {
		if len(names) == 0 || slices.Contains(names, name) {
			errs = append(errs, do(l))
		}
	}
	return errors.Join(errs...)
}

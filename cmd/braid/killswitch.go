package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"braid/config"
	"braid/hostnet"
)

// closedHost is what a client wants of the host's network before it has anything
// else, and what remains of it when it fails: the kill switch, if there is to be
// one. Servers that have names are let through when they have been found.
func closedHost(cfg *config.Client) hostnet.Desired {
	d := hostnet.Desired{Mark: carrierMark, Exclude: cfg.Tunnel.Exclude, ExcludeBehind: cfg.Tunnel.ExcludeInterfaces}
	if !cfg.Tunnel.KillSwitch {
		return d
	}
	d.KillSwitch = hostnet.KillSwitch{
		Device: cfg.Tunnel.Name, Routes: cfg.Tunnel.Routes, Learning: true, Names: len(cfg.Tunnel.DNS) > 0,
	}
	for _, s := range cfg.Servers {
		if a, ok := s.Addr(); ok {
			d.KillSwitch.Servers = append(d.KillSwitch.Servers, netip.AddrPortFrom(a, s.Port))
		}
	}
	return d
}

// closeClient closes what a client stands on. A kill switch is lifted only when the
// client was told to end: after a failure it goes on blocking.
func closeClient(ctx context.Context, b *base, cfg *config.Client) error {
	if ctx.Err() != nil {
		b.remains = hostnet.Desired{}
	} else if cfg.Tunnel.KillSwitch {
		b.log.Warn("the kill switch goes on blocking what the tunnel's routes hold", "device", cfg.Tunnel.Name, "hint", liftHint)
	}
	return b.close()
}

// followsLocked takes what a later configuration closes: what its tunnel holds is blocked
// from now on, and after a failure, too. Servers pass when they have been found.
func (h *clientHost) followsLocked(closed hostnet.Desired) {
	h.desired.Exclude = closed.Exclude
	h.desired.KillSwitch.Routes = closed.KillSwitch.Routes
	*h.remains = closed
}

const liftHint = "lift it with: braid kill-switch off"

// setPassedLocked lets carriers to these servers through the kill switch, and
// reports whether that is a change.
func (h *clientHost) setPassedLocked(servers []netip.AddrPort) bool {
	k := &h.desired.KillSwitch
	if k.Device == "" || len(servers) == 0 {
		return false
	}
	list := slices.Clone(servers)
	slices.SortFunc(list, netip.AddrPort.Compare)
	list = slices.Compact(list)
	if slices.Equal(list, k.Servers) {
		return false
	}
	k.Servers = list
	return true
}

// setResolvers lets questions for the servers' names through the kill switch.
func (h *clientHost) setResolvers(list []netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if k := &h.desired.KillSwitch; k.Device != "" && !slices.Equal(k.Resolvers, list) {
		k.Resolvers = list
		h.applyLocked()
	}
}

// followNetworks applies what is desired whenever other networks, or the tables of
// the firewall, have changed, until ctx ends. Without it that happens once a
// minute, which is no reason to stop.
func (h *clientHost) followNetworks(ctx context.Context) error {
	if t := h.config().Tunnel; !t.KillSwitch && len(t.ExcludeInterfaces) == 0 {
		return nil
	}
	if err := hostnet.WatchNetworks(ctx, h.apply); err != nil {
		h.log.Warn("changes of other networks will be noticed late", "error", err)
	}
	return nil
}

func newKillSwitchCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "kill-switch",
		Short: "Show whether a kill switch blocks, or lift one whose client is gone",
		Long: "kill-switch shows which kill switches block (tunnel.kill_switch of client.toml). One stays closed when its\n" +
			"client is killed or fails; \"braid kill-switch off\" lifts it, and leaves all else to \"braid cleanup\".",
		RunE: func(cmd *cobra.Command, _ []string) error {
			closed, err := killSwitches(dir)
			if err != nil {
				return err
			}
			for _, s := range closed {
				fmt.Fprintln(cmd.OutOrStdout(), killSwitchText(s))
			}
			if len(closed) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "no kill switch blocks")
			}
			return nil
		},
	}
	off := &cobra.Command{
		Use:   "off",
		Short: "Lift the kill switches of clients that do not run",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host, err := hostnet.OpenHost()
			if err != nil {
				return err
			}
			defer host.Close()
			report, err := hostnet.LiftKillSwitches(host, dir)
			for _, line := range report.Removed {
				fmt.Fprintln(cmd.OutOrStdout(), line)
			}
			return err
		},
	}
	c.PersistentFlags().StringVar(&dir, "dir", runDir, "where the clients had their control sockets")
	c.AddCommand(off)
	return c
}

// noArguments is for commands below those of the root.
func noArguments(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return usage(cmd, err)
	}
	return nil
}

// killSwitches lists those that block in this network namespace.
func killSwitches(dir string) ([]hostnet.ClosedSwitch, error) {
	host, err := hostnet.OpenHost()
	if err != nil {
		return nil, err
	}
	closed, err := hostnet.KillSwitches(host, dir)
	return closed, errors.Join(err, host.Close())
}

func killSwitchText(s hostnet.ClosedSwitch) string {
	if s.Running {
		return "kill switch of " + s.Device + ": closed by its client, which runs"
	}
	return "traffic is blocked: kill switch of " + s.Device + ", its client does not run; " + liftHint
}

// writeOrphans tells of kill switches that nobody keeps. Whoever may not ask is
// told nothing.
func writeOrphans(w io.Writer, dir string) {
	closed, err := killSwitches(dir)
	if err != nil {
		return
	}
	for _, s := range closed {
		if !s.Running {
			fmt.Fprintln(w, killSwitchText(s))
		}
	}
}

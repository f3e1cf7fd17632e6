package main

import (
	"context"
	"fmt"
	"net/netip"

	"braid/lab/daemon"
	"braid/lab/topology"
)

// braidTunnel is braid itself, over all uplinks.
type braidTunnel struct {
	program string
	setup   *daemon.Setup
}

func (b *braidTunnel) name() string { return "braid" }

func (b *braidTunnel) start(ctx context.Context, n *topology.Net, dir string) (err error) {
	if b.setup, err = daemon.New(n, b.program, dir, daemon.Options{}); err != nil {
		return err
	}
	return b.setup.Start(ctx)
}

func (b *braidTunnel) target(*topology.Net) (netip.Addr, bool) { return daemon.Server4, false }
func (b *braidTunnel) pids() []int                             { return []int{b.setup.Client.PID(), b.setup.Server.PID()} }
func (b *braidTunnel) stop() error                             { return b.setup.Stop() }

// rawMPTCP is no tunnel: the load speaks Multipath TCP itself, with the
// kernel's own path manager. It is the bound for all that is built upon it.
type rawMPTCP struct{}

func (*rawMPTCP) name() string { return "mptcp" }

func (*rawMPTCP) start(ctx context.Context, n *topology.Net, _ string) error {
	if err := n.AddSourceRules(); err != nil {
		return err
	}
	if _, err := n.Server.Run(ctx, "ip", "mptcp", "limits", "set", "subflow", "8", "add_addr_accepted", "0"); err != nil {
		return err
	}
	if _, err := n.Client.Run(ctx, "ip", "mptcp", "limits", "set", "subflow", "8", "add_addr_accepted", "0"); err != nil {
		return err
	}
	for uplink := range n.Routers {
		at := n.ClientAddr4(uplink)
		if !at.IsValid() {
			return fmt.Errorf("no address on %s", uplink)
		}
		if _, err := n.Client.Run(ctx, "ip", "mptcp", "endpoint", "add", at.String(), "dev", uplink, "subflow"); err != nil {
			return err
		}
	}
	return nil
}

func (*rawMPTCP) target(n *topology.Net) (netip.Addr, bool) { return n.ServerAddr4, true }
func (*rawMPTCP) pids() []int                               { return nil }
func (*rawMPTCP) stop() error                               { return nil }

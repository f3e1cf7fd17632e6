package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"braid/lab/daemon"
	"braid/lab/topology"
)

// contender is a way to get from the client to the server.
type contender interface {
	name() string
	// start makes it ready in a fresh network.
	start(ctx context.Context, n *topology.Net, dir string) error
	// target is the server as seen through it; multipath tells that the load
	// itself speaks MPTCP.
	target(n *topology.Net) (at netip.Addr, multipath bool)
	// daemons are the processes whose CPU time and memory count, the client's
	// and the server's; without daemons both are 0.
	daemons() pids
	stop() error
}

// pids are the process IDs of a contender's two daemons.
type pids struct{ client, server int }

// programs are what the contenders need.
type programs struct {
	braid, wireguard string
	congestion       string // of braid's carriers; "" is its default
}

// contenderNames in the order in which they are measured.
var contenderNames = []string{"braid", "braid-packets", "braid-metered", "braid-redundant", "mptcp", "wireguard-go", "best-uplink"}

// meteredLTE is a client's configuration in which LTE costs by the byte.
const meteredLTE = `
[[uplink]]
interface = "lte"
metered = true

[[uplink]]
interface = "*"
`

// redundantCalls is a rule that has the echo take all uplinks; side is where it has
// the server's port.
func redundantCalls(side string) string {
	return fmt.Sprintf("\n[[rule]]\nmatch = \"udp %s %d\"\npolicy = \"redundant\"\n", side, echoPort)
}

// newContender returns a contender by its name; nil if there is no such.
func newContender(name string, p programs) contender {
	switch name {
	case "braid":
		return &braidTunnel{title: name, program: p.braid, options: daemon.Options{Congestion: p.congestion}}
	case "braid-packets":
		return &braidTunnel{title: name, program: p.braid, options: daemon.Options{Congestion: p.congestion, TCP: "packets"}}
	case "braid-metered":
		return &braidTunnel{title: name, program: p.braid, options: daemon.Options{Congestion: p.congestion, ClientMore: meteredLTE}}
	case "braid-redundant":
		return &braidTunnel{title: name, program: p.braid, options: daemon.Options{
			Congestion: p.congestion, ClientMore: redundantCalls("dport"), Tunnel: redundantCalls("sport")}}
	case "mptcp":
		return &rawMPTCP{}
	case "wireguard-go":
		return &wireguardTunnel{program: p.wireguard}
	case "best-uplink":
		return &bestUplink{}
	}
	return nil
}

// braidTunnel is braid itself, over all uplinks.
type braidTunnel struct {
	title   string
	program string
	options daemon.Options
	setup   *daemon.Setup
}

func (b *braidTunnel) name() string { return b.title }

func (b *braidTunnel) start(ctx context.Context, n *topology.Net, dir string) (err error) {
	if b.setup, err = daemon.New(n, b.program, dir, b.options); err != nil {
		return err
	}
	return b.setup.Start(ctx)
}

func (b *braidTunnel) target(*topology.Net) (netip.Addr, bool) { return daemon.Server4, false }
func (b *braidTunnel) daemons() pids                           { return pids{b.setup.Client.PID(), b.setup.Server.PID()} }
func (b *braidTunnel) stop() error                             { return b.setup.Stop() }

// rawMPTCP is no tunnel: the load speaks Multipath TCP itself, with the
// kernel's own path manager. It is the bound for all that is built upon it.
type rawMPTCP struct{}

func (*rawMPTCP) name() string { return "mptcp" }

func (*rawMPTCP) start(ctx context.Context, n *topology.Net, _ string) error {
	if err := n.AddSourceRules(); err != nil {
		return err
	}
	// Or one SYN that is lost turns MPTCP off for an hour. Older kernels have no
	// such setting, and do not need it.
	if err := n.Client.SetSysctl("net.mptcp.blackhole_timeout", "0"); err != nil && !errors.Is(err, fs.ErrNotExist) {
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
func (*rawMPTCP) daemons() pids                             { return pids{} }
func (*rawMPTCP) stop() error                               { return nil }

// bestUplink is plain TCP over the first uplink, which is the best one of every
// cell: what a host has without braid.
type bestUplink struct{}

func (*bestUplink) name() string                                       { return "best-uplink" }
func (*bestUplink) start(context.Context, *topology.Net, string) error { return nil }
func (*bestUplink) target(n *topology.Net) (at netip.Addr, mptcp bool) { return n.ServerAddr4, false }
func (*bestUplink) daemons() pids                                      { return pids{} }
func (*bestUplink) stop() error                                        { return nil }

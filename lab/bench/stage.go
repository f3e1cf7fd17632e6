package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"braid/lab"
	"braid/lab/probe"
	"braid/lab/topology"
)

// stage is a contender, ready in a network of its own, with the load's server.
// The stages of a suite stand beside each other, so that a measurement of one is
// followed by the same of the next and the ratio does not depend on what else the
// machine does in that hour.
type stage struct {
	contender
	net  *topology.Net
	from netip.Addr // of the load's connections; invalid: as the host chooses
	at   netip.Addr // of the server
	load *loadServer
	echo *probe.EchoServer

	undo []func() error
}

// startPatience bounds how long a contender takes until it is ready.
const startPatience = 30 * time.Second

// newStage builds it. The hosts in its network have the congestion control.
func newStage(ctx context.Context, network topology.Config, c contender, congestion string) (_ *stage, err error) {
	g := &stage{contender: c}
	defer func() {
		if err != nil {
			err = fmt.Errorf("make %s ready: %w", c.name(), errors.Join(err, g.close()))
		}
	}()
	l, err := lab.New(c.name())
	if err != nil {
		return nil, err
	}
	g.undo = append(g.undo, l.Close)
	if g.net, err = topology.Build(l, network); err != nil {
		return nil, err
	}
	for _, h := range []*lab.Host{g.net.Client, g.net.Server} {
		if err := h.SetCongestionControl(congestion); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "braid-bench-")
	if err != nil {
		return nil, err
	}
	g.undo = append(g.undo, func() error { return os.RemoveAll(dir) })
	starting, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := c.start(starting, g.net, dir); err != nil {
		return nil, err
	}
	g.undo = append(g.undo, c.stop)
	var multipath bool
	g.at, multipath = c.target(g.net)
	if g.load, err = listenLoad(g.net.Server, multipath); err != nil {
		return nil, err
	}
	g.undo = append(g.undo, func() error { g.load.close(); return nil })
	if g.echo, err = probe.ServeEcho(g.net.Server, fmt.Sprintf(":%d", echoPort)); err != nil {
		return nil, err
	}
	g.undo = append(g.undo, g.echo.Close)
	return g, nil
}

func (g *stage) way() way { return way{g.net.Client, g.from, g.at} }

// dial connects to the load's server; the number belongs to the kind.
func (g *stage) dial(ctx context.Context, kind byte, number uint64) (net.Conn, error) {
	return g.load.dial(ctx, g.way(), kind, number)
}

// close takes it down.
func (g *stage) close() error {
	var errs []error
	for i := len(g.undo) - 1; i >= 0; i-- {
		errs = append(errs, g.undo[i]())
	}
	g.undo = nil
	return errors.Join(errs...)
}

// The echo is as a call would be: small packets, 50 a second.
const (
	echoEvery = 20 * time.Millisecond
	echoBytes = 160
	echoPort  = 7007
)

// startEcho starts a series of echoes through the contender.
func (g *stage) startEcho() (*probe.Echo, error) {
	return probe.StartEcho(g.net.Client, netip.AddrPortFrom(g.at, g.echo.Addr.Port()), echoEvery, echoBytes)
}

// idle is the median round trip of echoes without anything beside them.
func (g *stage) idle(ctx context.Context) (time.Duration, error) {
	e, err := g.startEcho()
	if err != nil {
		return 0, err
	}
	err = sleep(ctx, 2*time.Second)
	return e.Stop(time.Second).Percentile(50), err
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

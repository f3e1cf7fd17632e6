package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"

	"braid/config"
	"braid/tunnel"
	"braid/tunnel/relay"
	"braid/tunnel/terminate"
	"braid/tunnel/wire"
)

// newTerminator is tunnel.NewTerminator with this host's kernel, for a TUN
// device that has its addresses already.
func newTerminator(device tunnel.Device, name string, log *slog.Logger) tunnel.NewTerminator {
	return func(addresses []netip.Prefix, accept func(tunnel.HeldConn), capture func(source, destination netip.AddrPort) bool) (tunnel.Terminator, error) {
		c := terminate.Config{
			Device: name, Write: device.Write, Capture: capture,
			Accept: func(p *terminate.Pending) { accept(heldConn{p}) },
		}
		for _, a := range addresses {
			switch fakes := terminate.Fakes(a); {
			case len(fakes) == 0:
				log.Warn("TCP travels as packets", "reason", "the tunnel's range is too small to end connections in it",
					"range", a.Masked(), "hint", "give the tunnel a range of 16 addresses or more")
			case a.Addr().Is4() && !c.Local4.IsValid():
				c.Local4, c.Fakes4 = a.Addr(), fakes
			case a.Addr().Is6() && !c.Local6.IsValid():
				c.Local6, c.Fakes6 = a.Addr(), fakes
			}
		}
		if !c.Local4.IsValid() && !c.Local6.IsValid() {
			return nil, nil
		}
		t, err := terminate.New(c)
		if err != nil {
			return nil, err
		}
		return terminator{t}, nil
	}
}

// terminator adapts the kernel's.
type terminator struct{ *terminate.Terminator }

// Dial implements tunnel.Terminator.
func (t terminator) Dial(ctx context.Context, source, destination netip.AddrPort) (relay.Socket, error) {
	c, err := t.Terminator.Dial(ctx, source, destination)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Run implements tunnel.Terminator.
func (t terminator) Run(ctx context.Context) error {
	if err := t.Terminator.Run(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// heldConn adapts a connection that is held.
type heldConn struct{ *terminate.Pending }

func (h heldConn) Source() netip.AddrPort      { return h.Pending.Source }
func (h heldConn) Destination() netip.AddrPort { return h.Pending.Destination }

// Accept implements tunnel.HeldConn.
func (h heldConn) Accept(ctx context.Context) (relay.Socket, error) {
	c, err := h.Pending.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Fail implements tunnel.HeldConn.
func (h heldConn) Fail(r wire.OpenResult) {
	switch r {
	case wire.OpenHostUnreachable:
		h.Unreachable(terminate.HostUnreachable)
	case wire.OpenNetworkUnreachable:
		h.Unreachable(terminate.NetUnreachable)
	case wire.OpenTimedOut:
		h.Drop()
	default:
		h.Refuse()
	}
}

// minSessionMemory is what one client's streams get at least for their
// buffers, bytes: four streams at full speed on a long path.
const minSessionMemory = 64 << 20

// serverLimits are a server's limits of its clients' streams.
func serverLimits(cfg *config.Server) tunnel.StreamLimits {
	l := streamLimits(cfg.Limits.Limits, cfg.Limits.StreamsPerClient, len(cfg.Clients))
	l.Speedtest = cfg.Limits.Speedtest
	return l
}

// streamLimits are a configuration's limits for each of a number of sessions.
func streamLimits(l config.Limits, perSession, sessions int) tunnel.StreamLimits {
	return tunnel.StreamLimits{
		PerSession: perSession, Total: l.Streams, NewPerSecond: l.NewStreamsPerSecond,
		MemoryBytes: max(l.MemoryBytes/int64(max(sessions, 1)), min(minSessionMemory, l.MemoryBytes)), Resume: l.Resume,
	}
}

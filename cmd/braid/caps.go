package main

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"braid/config"
	"braid/scheduler"
	"braid/tunnel"
)

// caps remembers over restarts what capped uplinks have carried.
type caps struct {
	store  *capStore // nil: no uplink has a cap
	before map[string]capUsage
}

// loadCaps reads what is remembered, if the configuration has any cap.
func loadCaps(cfg *config.Client, log *slog.Logger) (*caps, error) {
	if !slices.ContainsFunc(cfg.Uplinks, func(r config.UplinkRule) bool { return r.CapBytes > 0 }) {
		return &caps{}, nil
	}
	s, err := openCapStore(cfg.State, cfg.Tunnel.Name, log)
	if err != nil {
		return nil, err
	}
	return &caps{store: s, before: maps.Clone(s.saved)}, nil
}

// used is tunnel.ClientConfig.CapUsed.
func (c *caps) used(uplink string) scheduler.CapRecord {
	return scheduler.CapRecord(c.before[uplink])
}

// keep saves what the client's uplinks carry until ctx ends, and then for the
// last time.
func (c *caps) keep(client *tunnel.Client) func(context.Context) error {
	return func(ctx context.Context) error {
		if c.store == nil {
			return nil
		}
		return c.store.run(ctx, func() map[string]cappedUplink {
			m := map[string]cappedUplink{}
			for name, u := range client.Caps() {
				m[name] = cappedUplink{capUsage(u.Record), u.LimitBytes}
			}
			return m
		})
	}
}

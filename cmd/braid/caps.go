package main

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"braid/config"
	"braid/scheduler"
	"braid/tunnel"
)

// caps remembers over restarts what capped uplinks have carried.
type caps struct {
	log    *slog.Logger
	opened chan struct{} // closed when there is a store

	mu     sync.Mutex // guards what follows
	store  *capStore  // nil: no uplink has had a cap so far; keep alone uses it
	before map[string]capUsage
}

// loadCaps reads what is remembered, if the configuration has any cap.
func loadCaps(cfg *config.Client, log *slog.Logger) (*caps, error) {
	c := &caps{log: log, opened: make(chan struct{})}
	return c, c.need(cfg)
}

// need reads what is remembered, if the configuration has any cap and it was not
// read yet.
func (c *caps) need(cfg *config.Client) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.store != nil || !slices.ContainsFunc(cfg.Uplinks, func(r config.UplinkRule) bool { return r.CapBytes > 0 }) {
		return nil
	}
	s, err := openCapStore(cfg.State, cfg.Tunnel.Name, c.log)
	if err != nil {
		return err
	}
	c.store, c.before = s, maps.Clone(s.saved)
	close(c.opened)
	return nil
}

// used is tunnel.ClientConfig.CapUsed.
func (c *caps) used(uplink string) scheduler.CapRecord {
	c.mu.Lock()
	defer c.mu.Unlock()
	return scheduler.CapRecord(c.before[uplink])
}

// keep saves what the client's uplinks carry until ctx ends, and then for the
// last time.
func (c *caps) keep(client *tunnel.Client) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-c.opened:
		case <-ctx.Done():
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

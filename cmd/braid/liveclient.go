package main

import (
	"slices"
	"strings"
	"sync/atomic"

	"braid/config"
	"braid/tunnel"
)

// liveClient is what of a running client follows its configuration.
type liveClient struct {
	now    atomic.Pointer[config.Client] // what holds
	client *tunnel.Client
	host   *clientHost
	names  *resolver
	caps   *caps
	// scraped is set before the client runs.
	scraped *scraped
}

func (l *liveClient) begin(cfg *config.Client, client *tunnel.Client, host *clientHost, names *resolver, caps *caps) {
	l.client, l.host, l.names, l.caps = client, host, names, caps
	l.now.Store(cfg)
}

// clientReload says how a client reads its configuration again.
func clientReload(l *liveClient) reloadable[config.Client] {
	return reloadable[config.Client]{
		open: openClient, changes: config.ClientChanges, live: clientLive,
		keyFile: func(c *config.Client) string { return c.PrivateKeyFile },
		take:    l.take,
	}
}

// clientLive reports whether a key of client.toml can be changed while running.
func clientLive(key string, _ []string) bool {
	switch key {
	case "server", "tunnel.routes", "tunnel.exclude", "tunnel.packets", "tunnel.copies", "metrics.listen", "rule", "uplink":
		return true
	}
	return strings.HasPrefix(key, "limits.")
}

// mergeClient is the configuration that holds when next is read while now does.
func mergeClient(now, next *config.Client) *config.Client {
	m := *now
	m.Servers, m.Limits, m.Rules, m.Uplinks = next.Servers, next.Limits, next.Rules, next.Uplinks
	m.Tunnel.Routes, m.Tunnel.Exclude = next.Tunnel.Routes, next.Tunnel.Exclude
	m.Metrics = next.Metrics
	m.Tunnel.Packets, m.Tunnel.Copies = next.Tunnel.Packets, next.Tunnel.Copies
	return &m
}

// take applies a configuration.
func (l *liveClient) take(next *config.Client, _ []string) []error {
	cfg := mergeClient(l.now.Load(), next)
	var errs []error
	if err := l.caps.need(cfg); err != nil {
		errs = append(errs, err)
	}
	l.now.Store(cfg)
	l.names.setNames(cfg.Servers)
	l.client.SetLimits(streamLimits(cfg.Limits, cfg.Limits.Streams, 1))
	l.client.SetPolicies(packetPolicies(cfg.Rules, cfg.Tunnel.Copies))
	l.client.SetExempt(cfg.Tunnel.Packets)
	if err := l.host.follow(cfg, l.client.SetUplinks); err != nil {
		errs = append(errs, err)
	}
	if err := l.scraped.move(cfg.Metrics); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// follow takes another configuration: its routes, and its rules for uplinks, of
// which it tells use. Roles that were set while running stay.
func (h *clientHost) follow(cfg *config.Client, use func([]tunnel.Uplink)) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cfg = cfg
	h.followsLocked(closedHost(cfg))
	if len(h.desired.Addresses) > 0 { // the server has said what else there is
		h.desired.Routes = slices.Concat(cfg.Tunnel.Routes, h.given)
	}
	h.setUplinksLocked(h.found, use)
	return h.manager.Apply(h.desired)
}

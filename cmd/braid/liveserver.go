package main

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"braid/config"
	"braid/hostnet"
	"braid/tunnel"
)

// liveServer is what of a running server follows its configuration.
type liveServer struct {
	now    atomic.Pointer[config.Server] // what holds
	server *tunnel.Server
	egress *serverEgress
	net    *hostnet.Manager
	// scraped is set before the server runs.
	scraped *scraped
	host    sync.Mutex // makes what was wanted last what the host has
}

func (l *liveServer) begin(cfg *config.Server, server *tunnel.Server, egress *serverEgress, net *hostnet.Manager) {
	l.server, l.egress, l.net = server, egress, net
	l.now.Store(cfg)
}

// serverReload says how a server reads its configuration again.
func serverReload(l *liveServer) reloadable[config.Server] {
	return reloadable[config.Server]{
		open: openServer, changes: config.ServerChanges, live: serverLive,
		keyFile: func(c *config.Server) string { return c.PrivateKeyFile },
		take:    l.take,
	}
}

// serverLive reports whether a key of server.toml can be changed while running.
func serverLive(key string, pending []string) bool {
	switch key {
	case "client":
		// Their addresses lie in the new range, and the old one is in use.
		return !slices.Contains(pending, "tunnel.addresses")
	case "address", "tunnel.nat", "tunnel.packets", "tunnel.copies", "egress.allow", "egress.deny", "metrics.listen", "rule":
		return true
	}
	return strings.HasPrefix(key, "limits.")
}

// mergeServer is the configuration that holds when next is read while now does.
func mergeServer(now, next *config.Server, pending []string) *config.Server {
	m := *now
	m.Address, m.Limits, m.Rules, m.Metrics = next.Address, next.Limits, next.Rules, next.Metrics
	m.Tunnel.NAT, m.Tunnel.Packets, m.Tunnel.Copies = next.Tunnel.NAT, next.Tunnel.Packets, next.Tunnel.Copies
	m.Egress.Allow, m.Egress.Deny = next.Egress.Allow, next.Egress.Deny
	m.Clients = next.Clients
	if !serverLive("client", pending) {
		// Who is not welcome any more goes, whatever else has to wait.
		m.Clients = slices.DeleteFunc(slices.Clone(now.Clients), func(c config.ServerClient) bool {
			return !slices.ContainsFunc(next.Clients, func(o config.ServerClient) bool { return o.PublicKey == c.PublicKey })
		})
	}
	return &m
}

// take applies a configuration. Clients lose what they lose before the host does.
func (l *liveServer) take(next *config.Server, pending []string) []error {
	cfg := mergeServer(l.now.Load(), next, pending)
	l.now.Store(cfg)
	l.egress.policy.Set(egressConfig(cfg))
	peers := serverPeers(cfg)
	l.server.SetPeers(peers)
	l.server.SetLimits(serverLimits(cfg))
	l.server.SetPolicies(packetPolicies(cfg.Rules, cfg.Tunnel.Copies))
	l.server.SetExempt(exempt(cfg.Tunnel.TCP, cfg.Tunnel.Packets))
	var errs []error
	if err := l.applyHost(); err != nil {
		errs = append(errs, err)
	}
	if err := l.scraped.move(cfg.Metrics); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// applyHost makes the host's network as the configuration wants it.
func (l *liveServer) applyHost() error {
	l.host.Lock()
	defer l.host.Unlock()
	return l.net.Apply(serverDesired(l.now.Load()))
}

// exempt is whose TCP travels as packets.
func exempt(mode config.TCPMode, packets []netip.Prefix) []netip.Prefix {
	if mode == config.TCPPackets {
		return everywhere
	}
	return packets
}

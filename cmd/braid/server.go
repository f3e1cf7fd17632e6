package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"

	"github.com/spf13/cobra"

	"braid/config"
	"braid/control"
	"braid/crypto"
	"braid/hostnet"
	"braid/tunnel"
)

func newServerCommand() *cobra.Command {
	c := newDaemonCommand("server", "Run the server", openServer, runServer)
	c.AddCommand(newServerInitCommand())
	return c
}

// serverPeers are the configured clients as the tunnel knows them: a client's
// address comes with the length of the tunnel's network, so that its TUN
// device knows who else is there.
func serverPeers(cfg *config.Server) []tunnel.Peer {
	var peers []tunnel.Peer
	for _, c := range cfg.Clients {
		p := tunnel.Peer{Name: c.Name, Key: c.PublicKey, Routes: c.Routes, Reach: c.Reach}
		for _, a := range c.Addresses {
			p.Addresses = append(p.Addresses, cfg.Tunnel.Prefix(a))
		}
		peers = append(peers, p)
	}
	return peers
}

// serverDesired is what a server wants of its host.
func serverDesired(cfg *config.Server) hostnet.Desired {
	d := hostnet.Desired{
		Device: cfg.Tunnel.Name, MTU: cfg.Tunnel.MTU, Addresses: cfg.Tunnel.Addresses, Forwarding: true,
		Forwards: serverForwards(cfg), Passages: serverPassages(cfg),
	}
	for _, c := range cfg.Clients {
		d.Routes = append(d.Routes, c.Routes...)
	}
	if cfg.Tunnel.NAT {
		// The networks behind clients too: where they go from here, nobody
		// knows a way back to them.
		d.Masquerade = append(d.Masquerade, d.Routes...)
		for _, a := range cfg.Tunnel.Addresses {
			d.Masquerade = append(d.Masquerade, a.Masked())
		}
	}
	return d
}

// everywhere is all addresses.
var everywhere = []netip.Prefix{
	netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0),
}

func runServer(ctx context.Context, file *config.File[config.Server], log *slog.Logger) (err error) {
	cfg := file.Config
	key, err := loadKey(cfg.PrivateKeyFile)
	if err != nil {
		return err
	}
	live := &liveServer{}
	reload := newReloader(file, key.Public(), serverReload(live), log)
	defer reload.close()
	tlsConfig, err := crypto.ServerTLS(key, func(k crypto.PublicKey) error {
		if !live.server.Knows(k) {
			return errors.New("no client of the configuration has this key")
		}
		return nil
	})
	if err != nil {
		return err
	}
	congestion := streamCongestion(cfg.Tunnel.Congestion)
	if err := congestion.check(); err != nil {
		return err
	}
	b, err := openBase(cfg.Tunnel.Name, filepath.Dir(cfg.Control), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	restore, err := raiseSubflowLimit(b.paths, limitsPath(b.dir, cfg.Tunnel.Name), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()
	if err := b.net.Apply(serverDesired(cfg)); err != nil {
		return err
	}
	egress, err := newServerEgress(cfg)
	if err != nil {
		return err
	}
	listeners, err := listen(ctx, cfg.Listen, congestion)
	if err != nil {
		return err
	}
	peers := serverPeers(cfg)
	c := tunnel.ServerConfig{
		Device: b.device, Listeners: listeners, TLS: tlsConfig, Key: key.Public(), Peers: peers,
		MTU: cfg.Tunnel.MTU, Addresses: cfg.Tunnel.Addresses, DNS: cfg.Tunnel.DNS, Exempt: exempt(cfg.Tunnel.TCP, cfg.Tunnel.Packets),
		Judge: egress.judge, Limits: serverLimits(cfg),
		Policies: packetPolicies(cfg.Rules, cfg.Tunnel.Copies), Pacing: newPacing(), Software: software(), Log: log,
	}
	transparent := cfg.Egress.Source == config.SourceTransparent
	if !transparent {
		c.Connect = egress.connect
	}
	if cfg.Tunnel.TCP == config.TCPStreams || transparent {
		c.Terminator = newTerminator(b.device, cfg.Tunnel.Name, log)
	}
	server := tunnel.NewServer(c)
	live.begin(cfg, server, egress, b.net)
	var addrs []string
	for _, l := range listeners {
		addrs = append(addrs, l.Addr().String())
	}
	status := func() any { return serverStatus(cfg, addrs, server.Status(), egress.policy.Counts()) }
	closeAll := func() {
		for _, l := range listeners {
			l.Close()
		}
	}
	scraped, err := serveMetrics(cfg.Metrics, control.RoleServer, status, log)
	if err != nil {
		closeAll()
		return err
	}
	live.scraped = scraped
	serve, err := serveStatus(cfg.Control, cfg.Access, status, control.Changes{Config: reload, Clients: enroller{reload}}, server.Alive, reload.manager)
	if err != nil {
		closeAll()
		return errors.Join(err, scraped.Close())
	}
	log.Info("server started", "version", versionText(), "public_key", key.Public(), "device", b.device.Name(),
		"listen", addrs, "clients", len(peers))
	defer log.Info("server stopped")
	return runAll(ctx, server.Run, serve, scraped.run, egress.keep, reload.run, showDashboard(cfg.Dashboard, status, log), func(ctx context.Context) error {
		return every(ctx, applyEvery, func() {
			if err := live.applyHost(); err != nil {
				log.Error("host network not as it should be", "error", err, "hint", crypto.Hint(err))
			}
		})
	})
}

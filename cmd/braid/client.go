package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"braid/config"
	"braid/control"
	"braid/crypto"
	"braid/hostnet"
	"braid/scheduler"
	"braid/tunnel"
)

func newClientCommand() *cobra.Command {
	return newDaemonCommand("client", "Run the client", openClient, runClient)
}

// clientHost keeps the host's network as the client wants it. Two parties
// say what that is: the watcher of uplinks, and the tunnel with what the server
// gave it.
type clientHost struct {
	manager *hostnet.Manager
	remains *hostnet.Desired // of the host's network after a failure; changed only while it runs
	names   *nameService
	log     *slog.Logger

	mu      sync.Mutex // guards what follows
	cfg     *config.Client
	given   []netip.Prefix // routes by the server's word, those to DNS servers too
	desired hostnet.Desired
	usable  []tunnel.Uplink        // what the tunnel may use, as it was told last
	found   []hostnet.Uplink       // all, those with the role never too
	roles   map[string]config.Role // set while running, by the uplink's name
	// unusable tells of uplinks with addresses why they cannot be used.
	unusable map[string]string
}

// clientSysctls: one lost MPTCP SYN must not turn MPTCP off for an hour
// (net.mptcp.blackhole_timeout, since Linux 6.12).
var clientSysctls = map[string]string{"net.mptcp.blackhole_timeout": "0"}

func newClientHost(cfg *config.Client, b *base, names *nameService, log *slog.Logger) *clientHost {
	d := closedHost(cfg)
	d.Device, d.Sysctls = cfg.Tunnel.Name, clientSysctls
	// After a kill names stay refused until the server has said who answers.
	d.KeepNameservers = wantsNames(cfg)
	return &clientHost{
		cfg: cfg, manager: b.net, remains: &b.remains, names: names, log: log, roles: map[string]config.Role{}, desired: d,
	}
}

// setUplinks takes what the host has now and tells use what the tunnel may use:
// once the host's network is ready for it, and of a loss before that, too.
func (h *clientHost) setUplinks(found []hostnet.Uplink, use func([]tunnel.Uplink)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.setUplinksLocked(found, use)
}

func (h *clientHost) setUplinksLocked(found []hostnet.Uplink, use func([]tunnel.Uplink)) {
	var usable, off []tunnel.Uplink
	h.desired.Uplinks = nil
	apart, unusable := tellApart(found, kernelRelease())
	for name, why := range unusable {
		if h.unusable[name] != why {
			h.log.Warn("uplink not usable", "uplink", name, "reason", why)
		}
	}
	h.unusable = unusable
	for _, u := range apart {
		if h.roleOf(u.Name) == config.RoleNever {
			off = append(off, tunnel.Uplink{Name: u.Name, Role: scheduler.Never})
			continue
		}
		if !u.Usable() {
			continue
		}
		h.desired.Uplinks = append(h.desired.Uplinks, u)
		rule := h.cfg.Uplink(u.Name)
		usable = append(usable, tunnel.Uplink{
			Name: u.Name, Index: u.Index, Addresses: slices.Clone(u.Addresses),
			Role: schedulerRole(h.roleOf(u.Name)), CapBytes: rule.CapBytes, Metered: rule.Metered, Twin: hasTwin(u, apart),
		})
	}
	all := slices.Concat(usable, off)
	if lost(h.usable, usable) {
		use(all)
	}
	h.usable = usable
	h.logUplinks(found)
	h.found = found
	h.applyLocked()
	use(all)
}

// lost reports whether an uplink, or an address of one, is not there any more.
func lost(before, after []tunnel.Uplink) bool {
	return slices.ContainsFunc(before, func(b tunnel.Uplink) bool {
		i := slices.IndexFunc(after, func(a tunnel.Uplink) bool { return a.Name == b.Name && a.Index == b.Index })
		return i < 0 || slices.ContainsFunc(b.Addresses, func(a netip.Addr) bool { return !slices.Contains(after[i].Addresses, a) })
	})
}

// applyLocked applies what is desired. A failure is no reason to stop: most
// carriers still find their way by the host's own routes.
func (h *clientHost) applyLocked() {
	if err := h.manager.Apply(h.desired); err != nil {
		h.log.Error("host network not as it should be", "error", err, "hint", crypto.Hint(err))
	}
}

// logUplinks writes a line for each uplink that came, changed or went.
func (h *clientHost) logUplinks(found []hostnet.Uplink) {
	at := func(list []hostnet.Uplink, index int) int {
		return slices.IndexFunc(list, func(u hostnet.Uplink) bool { return u.Index == index })
	}
	for _, u := range found {
		role := h.roleOf(u.Name)
		i := at(h.found, u.Index)
		if i >= 0 && h.found[i].Name != u.Name {
			h.log.Info("uplink renamed", "uplink", u.Name, "was", h.found[i].Name, "role", role)
		}
		if i < 0 {
			h.log.Info("uplink found", "uplink", u.Name, "role", role, "addresses", u.Addresses)
		} else if !slices.Equal(h.found[i].Addresses, u.Addresses) {
			h.log.Info("uplink changed", "uplink", u.Name, "role", role, "addresses", u.Addresses)
		}
	}
	for _, u := range h.found {
		if at(found, u.Index) < 0 {
			h.log.Info("uplink lost", "uplink", u.Name, "reason", tunnel.GoneReason)
		}
	}
}

// configure gives the TUN device what the server said.
func (h *clientHost) configure(s tunnel.Settings) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.desired.MTU = s.MTU
	h.desired.Addresses = s.Addresses
	nameservers, routes := h.names.use(s)
	h.desired.Nameservers, h.desired.KeepNameservers = nameservers, false
	h.given = slices.Concat(s.Routes, routes)
	h.desired.Routes = slices.Concat(h.cfg.Tunnel.Routes, h.given)
	h.desired.Forwarding = h.cfg.Tunnel.Forwarding
	h.desired.Sources = clientSources(h.cfg.Tunnel.Masquerade, s)
	h.desired.KillSwitch.Learning, h.desired.KillSwitch.Names = false, len(nameservers) > 0
	return h.manager.Apply(h.desired)
}

// setServers takes the servers' addresses and returns them.
func (h *clientHost) setServers(list []netip.AddrPort) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var servers []netip.Addr
	for _, s := range list {
		servers = append(servers, s.Addr().Unmap())
	}
	slices.SortFunc(servers, netip.Addr.Compare)
	servers = slices.Compact(servers)
	changed := h.setPassedLocked(list)
	if changed || !slices.Equal(servers, h.desired.Servers) {
		h.desired.Servers = servers
		h.applyLocked()
	}
}

// config is the configuration that holds now.
func (h *clientHost) config() *config.Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cfg
}

// keep makes again what others have undone, once a minute until ctx ends.
func (h *clientHost) keep(ctx context.Context) error {
	return every(ctx, applyEvery, h.apply)
}

func (h *clientHost) apply() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.applyLocked()
}

// keepNames does the same at once when others set the host's nameservers. Without it
// that waits for keep: no reason to stop.
func (h *clientHost) keepNames(ctx context.Context) error {
	if !wantsNames(h.config()) {
		return nil
	}
	if err := hostnet.WatchDNS(ctx, h.apply); err != nil {
		h.log.Warn("changes of the host's nameservers will be noticed late", "error", err)
	}
	return nil
}

// uplinks returns all uplinks that the host has now, the role of each, and of
// some why they cannot be used, by their names.
func (h *clientHost) uplinks() (found []hostnet.Uplink, roleOf func(name string) config.Role, unusable map[string]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	cfg, roles := h.cfg, make(map[string]config.Role, len(h.found))
	for _, u := range h.found {
		roles[u.Name] = h.roleOf(u.Name)
	}
	return h.found, func(name string) config.Role {
		if r, ok := roles[name]; ok {
			return r
		}
		return cfg.Uplink(name).Role
	}, h.unusable
}

func runClient(ctx context.Context, file *config.File[config.Client], log *slog.Logger) (err error) {
	cfg := file.Config
	// A kill switch blocks before anything that can fail.
	b, err := openHost(cfg.Tunnel.Name, filepath.Dir(cfg.Control), closedHost(cfg), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeClient(ctx, b, cfg)) }()
	key, err := loadKey(cfg.PrivateKeyFile)
	if err != nil {
		return err
	}
	tlsConfig, err := crypto.ClientTLS(key, cfg.ServerPublicKey)
	if err != nil {
		return err
	}
	live := &liveClient{}
	reload := newReloader(file, key.Public(), clientReload(live), log)
	defer reload.close()
	congestion := streamCongestion(cfg.Tunnel.Congestion)
	if err := congestion.check(); err != nil {
		return err
	}
	if err := b.open(cfg.Tunnel.Name); err != nil {
		return err
	}
	forget, err := rememberManager(managerPath(b.dir, cfg.Tunnel.Name), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, forget()) }()

	caps, err := loadCaps(cfg, log)
	if err != nil {
		return err
	}
	dns := openNames(cfg, log)
	host := newClientHost(cfg, b, dns, log)
	names := newResolver(cfg.Servers, log)
	names.own = ownNameservers(b.net, cfg.Tunnel.Name, log)
	var capture tunnel.NewTerminator
	if cfg.Tunnel.TCP == config.TCPStreams {
		capture = newTerminator(b.device, cfg.Tunnel.Name, log)
	}
	prompts := make(chan struct{}, 1)
	client := tunnel.NewClient(tunnel.ClientConfig{
		Device: b.device, Dialer: &dialer{b.paths, names, congestion}, TLS: tlsConfig, Key: key.Public(),
		Servers: func(ctx context.Context) ([]netip.AddrPort, error) {
			host.setResolvers(names.resolvers())
			list, err := names.addresses(ctx)
			host.setServers(list)
			return list, err
		},
		Prompt: func() {
			select {
			case prompts <- struct{}{}:
			default: // the last is not answered yet
			}
		},
		Configure: host.configure, Terminator: capture, Exempt: cfg.Tunnel.Packets,
		Limits: streamLimits(cfg.Limits, cfg.Limits.Streams, 1), Policies: packetPolicies(cfg.Rules, cfg.Tunnel.Copies), CapUsed: caps.used, Pacing: newPacing(), Software: software(), Log: log,
	})
	live.begin(cfg, client, host, names, caps)
	status := func() *control.Client {
		found, roles, unusable := host.uplinks()
		s := clientStatus(live.now.Load(), client.Status(), found, roles, unusable)
		s.KillSwitch = cfg.Tunnel.KillSwitch
		s.DNS = dns.status(b.net.DNSStatus())
		return s
	}
	anyStatus := func() any { return status() }
	scraped, err := serveMetrics(cfg.Metrics, control.RoleClient, anyStatus, log)
	if err != nil {
		return err
	}
	live.scraped = scraped
	serve, err := serveStatus(cfg.Control, cfg.Access, anyStatus,
		control.Changes{Roles: roleChanger{host, client}, Config: reload, Speed: speedtester{client, status, host.config}}, client.Alive, reload.manager)
	if err != nil {
		return errors.Join(err, scraped.Close())
	}
	log.Info("client started", "version", versionText(), "public_key", key.Public(), "device", b.device.Name())
	defer log.Info("client stopped")
	return runAll(ctx, client.Run, serve, scraped.run, host.keep, host.keepNames, host.followNetworks, dns.run, caps.keep(client), reload.run, showDashboard(cfg.Dashboard, anyStatus, log), func(ctx context.Context) error {
		notOurs := func(name string) bool { return name != cfg.Tunnel.Name }
		return hostnet.Watch(ctx, notOurs, func(found []hostnet.Uplink) { host.setUplinks(found, client.SetUplinks) })
	}, func(ctx context.Context) error { watchSleep(ctx, client, log); return nil }, func(ctx context.Context) error {
		host.promptLinks(ctx, prompts)
		return nil
	})
}

// promptLinks asks the kernel for the uplinks' links at each prompt until ctx ends.
func (h *clientHost) promptLinks(ctx context.Context, prompts <-chan struct{}) {
	var indexes []int
	for {
		select {
		case <-prompts:
		case <-ctx.Done():
			return
		}
		indexes = indexes[:0]
		h.mu.Lock()
		for _, u := range h.found {
			indexes = append(indexes, u.Index)
		}
		h.mu.Unlock()
		if err := hostnet.Prompt(indexes); err != nil {
			h.log.Debug("links were not looked at", "error", err)
		}
	}
}

// watchSleep tells the client when the host wakes. Without it uplinks are asked a
// little later: that is no reason to stop.
func watchSleep(ctx context.Context, client *tunnel.Client, log *slog.Logger) {
	err := hostnet.WatchSleep(ctx, func(slept time.Duration) {
		log.Info("the host has slept: all uplinks are asked", "slept", slept.Round(time.Second))
		client.Woke()
	})
	if err != nil {
		log.Warn("a sleep of the host will be noticed late", "error", err)
	}
}

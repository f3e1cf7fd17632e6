package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"braid/config"
	"braid/control"
	"braid/dnsforward"
	"braid/hostnet"
	"braid/tunnel"
)

// nameService is what a client does about this host's names: the programs ask a
// forwarder on a loopback address, and that asks the tunnel's DNS servers. The address
// is there whether or not the tunnel is: when the daemon is killed, queries are refused
// at once, where one of the tunnel's would then be reached, or leaked to, by an uplink.
type nameService struct {
	cfg       *config.Client
	forwarder *dnsforward.Forwarder // nil where none can listen, or none is wanted
	listen    netip.Addr            // where it does
	without   func()                // says, once, that none can

	mu      sync.Mutex // guards what follows
	servers []netip.Addr
}

// wantsNames reports whether a client may have DNS servers of the tunnel at all.
func wantsNames(cfg *config.Client) bool {
	return len(cfg.Tunnel.DNS) > 0 || cfg.Tunnel.ServerDNS && cfg.Tunnel.Full()
}

func openNames(cfg *config.Client, log *slog.Logger) *nameService {
	n := &nameService{cfg: cfg}
	if !wantsNames(cfg) {
		return n
	}
	udp, tcp, err := listenNames(&n.listen)
	if err != nil {
		n.without = sync.OnceFunc(func() {
			log.Warn("no DNS forwarder: programs ask the tunnel's DNS servers themselves", "error", err,
				"hint", "let the other DNS server of this host listen on addresses of its own, not on all")
		})
		return n
	}
	n.forwarder = dnsforward.New(dnsforward.Config{UDP: udp, TCP: tcp, Dial: throughDevice(cfg.Tunnel.Name), Log: log})
	return n
}

// listenNames listens on the first address that is free: there may be other braids.
func listenNames(at *netip.Addr) (net.PacketConn, net.Listener, error) {
	var errs []error
	for _, a := range hostnet.ForwarderAddresses() {
		address := netip.AddrPortFrom(a, dnsPort).String()
		udp, err := net.ListenPacket("udp4", address)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var lc net.ListenConfig
		lc.SetMultipathTCP(false)
		tcp, err := lc.Listen(context.Background(), "tcp4", address)
		if err != nil {
			udp.Close()
			errs = append(errs, err)
			continue
		}
		*at = a
		return udp, tcp, nil
	}
	return nil, nil, fmt.Errorf("listen for DNS: %w", errors.Join(errs...))
}

const dnsPort = 53

// throughDevice dials through the tunnel alone, whatever becomes of its routes.
func throughDevice(device string) func(context.Context, string, netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), device) }); cerr != nil {
			return cerr
		}
		return err
	}}
	return func(ctx context.Context, network string, server netip.AddrPort) (net.Conn, error) {
		return d.DialContext(ctx, network, server.String())
	}
}

// use takes what the server gave and says what that means for the host: whom its
// programs ask, and the addresses that must be reached through the tunnel for it.
func (n *nameService) use(s tunnel.Settings) (nameservers []netip.Addr, routes []netip.Prefix) {
	servers := n.cfg.Tunnel.DNS
	if n.cfg.Tunnel.ServerDNS && n.cfg.Tunnel.Full() {
		servers = slices.DeleteFunc(slices.Clone(s.DNS), func(a netip.Addr) bool { return !a.IsGlobalUnicast() || a.Zone() != "" })
	}
	n.mu.Lock()
	n.servers = servers
	n.mu.Unlock()
	for _, a := range servers {
		routes = append(routes, netip.PrefixFrom(a, a.BitLen()))
	}
	if n.forwarder == nil {
		if len(servers) > 0 && n.without != nil {
			n.without()
		}
		return servers, routes
	}
	n.forwarder.SetServers(servers)
	if len(servers) > 0 {
		nameservers = []netip.Addr{n.listen}
	}
	return nameservers, routes
}

// run serves the forwarder, if there is one.
func (n *nameService) run(ctx context.Context) error {
	if n.forwarder == nil {
		return nil
	}
	return n.forwarder.Run(ctx)
}

// status tells how names are asked, for the control API.
func (n *nameService) status(set []hostnet.DNSMethod, failed error) control.DNS {
	n.mu.Lock()
	d := control.DNS{Servers: slices.Clone(n.servers), SetBy: []string{}}
	n.mu.Unlock()
	if d.Servers == nil {
		d.Servers = []netip.Addr{}
	}
	for _, m := range set {
		d.SetBy = append(d.SetBy, string(m))
	}
	if failed != nil {
		d.Reason = failed.Error()
	}
	if n.forwarder != nil {
		s := n.forwarder.Status()
		d.Listen, d.Queries, d.Failed, d.AskedAgain, d.Limited = n.listen.String(), s.Queries, s.Failed, s.Again, s.Limited
	}
	return d
}

// ownNameservers returns a function that names the host's own nameservers, for names
// that must be asked beside the tunnel.
func ownNameservers(m *hostnet.Manager, device string, log *slog.Logger) func() []netip.Addr {
	return func() []netip.Addr {
		own, err := m.OwnNameservers(device)
		if err != nil {
			log.Debug("the host's own nameservers are not known", "error", err)
		}
		return own
	}
}

package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"braid/config"
	"braid/tunnel/egress"
	"braid/tunnel/relay"
	"braid/tunnel/wire"
)

// serverEgress decides what clients' streams reach from this server, and
// connects them.
type serverEgress struct {
	policy *egress.Policy
	dialer net.Dialer
}

// egressRefresh is how often the host's addresses are read again.
const egressRefresh = 10 * time.Second

func newServerEgress(cfg *config.Server) (*serverEgress, error) {
	host, err := hostAddresses()
	if err != nil {
		return nil, err
	}
	e := &serverEgress{policy: egress.New(egressConfig(cfg), host)}
	// The inner connection is the program's; who keeps it alive is TCP, when
	// the other end has vanished.
	e.dialer.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Minute, Interval: time.Minute, Count: 5}
	e.dialer.SetMultipathTCP(false)
	return e, nil
}

// egressConfig is what a server's configuration says of egress.
func egressConfig(cfg *config.Server) egress.Config {
	c := egress.Config{Allow: egressRules(cfg.Egress.Allow), Deny: egressRules(cfg.Egress.Deny), Reach: map[string][]string{}, Forwards: forwardedPorts(cfg)}
	for _, a := range cfg.Tunnel.Addresses {
		c.Own = append(c.Own, a.Addr())
		c.Ranges = append(c.Ranges, a.Masked())
	}
	for _, client := range cfg.Clients {
		c.Reach[client.Name] = client.Reach
		c.Clients = append(c.Clients, egress.Client{Name: client.Name, Addresses: client.Addresses, Routes: client.Routes})
	}
	return c
}

func egressRules(list []config.EgressRule) []egress.Rule {
	var rules []egress.Rule
	for _, r := range list {
		rules = append(rules, egress.Rule(r))
	}
	return rules
}

// hostAddresses are all of this host's.
func hostAddresses() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("read the host's addresses: %w", err)
	}
	var addrs []netip.Addr
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			addrs = append(addrs, p.Addr().Unmap())
		}
	}
	return addrs, nil
}

// keep follows the host's addresses until ctx ends.
func (e *serverEgress) keep(ctx context.Context) error {
	return every(ctx, egressRefresh, func() {
		if host, err := hostAddresses(); err == nil {
			e.policy.SetHost(host)
		}
	})
}

// judge says why a client may not connect to a destination, or nil.
func (e *serverEgress) judge(client string, to netip.AddrPort) error {
	v := e.policy.Decide(client, to)
	switch {
	case v.Allowed:
		return nil
	case v.Rule != "":
		return fmt.Errorf("egress policy refuses %v: %s (%s)", to, v.Reason, v.Rule)
	}
	return fmt.Errorf("egress policy refuses %v: %s", to, v.Reason)
}

// connect connects with an ordinary socket, from the server's own address. It
// takes as long as this host's kernel does.
func (e *serverEgress) connect(ctx context.Context, client string, o wire.Open) (relay.Socket, error) {
	c, err := e.dialer.DialContext(ctx, "tcp", o.Destination.String())
	if err != nil {
		return nil, err
	}
	tcp := c.(*net.TCPConn)
	// An address that came to the host after it was judged is the host's own.
	local, remote := tcp.LocalAddr().(*net.TCPAddr), tcp.RemoteAddr().(*net.TCPAddr)
	if host, err := hostAddresses(); local.IP.Equal(remote.IP) && err == nil {
		e.policy.SetHost(host)
		if err := e.judge(client, o.Destination); err != nil {
			tcp.Close()
			return nil, &relay.OpenError{Result: wire.OpenDenied, Reason: err.Error()}
		}
	}
	return tcp, nil
}

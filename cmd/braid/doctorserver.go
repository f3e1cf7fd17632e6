package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"braid/control"
	"braid/doctor"
	"braid/mptcp"
)

// lookAtServer looks at the server of this host.
func (e *examiner) lookAtServer(ctx context.Context) {
	s := &doctor.Serving{Clients: len(e.server.Clients)}
	e.facts.Serving = s
	status, running := e.fetch(ctx, e.server.Control).(*control.Server)
	if !running {
		s.PortTaken = takenPorts(e.server.Listen)
		return
	}
	s.Daemon = e.daemon(e.server.Control, "braid "+status.Version, e.server.Limits.Streams)
	for _, a := range e.server.Listen {
		if !slices.ContainsFunc(status.Listen, func(l string) bool { return sameListen(l, a) }) {
			s.NotListening = append(s.NotListening, a.String())
		}
	}
	for _, key := range []string{"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"} {
		// A kernel without IPv6 has no setting for it.
		if v, err := e.host.Sysctl(key); err == nil && v != "1" {
			s.ForwardingOff = append(s.ForwardingOff, key+" is "+v)
		}
	}
	desired := serverDesired(e.server)
	if e.root {
		ok, err := e.host.HasTable(e.server.Tunnel.Name)
		if err != nil {
			e.skip(doctor.SubjectHost, "nftables", err)
		}
		s.TableMissing = err == nil && !ok && len(desired.Masquerade)+len(desired.Forwards)+len(desired.Passages) > 0
		e.lookAtFirewalls(desired)
	}
	if pm, err := mptcp.OpenPathManager(); err == nil {
		if l, err := pm.Limits(); err == nil {
			s.SubflowLimit, s.SubflowWanted = l.ExtraSubflows, mptcp.ServerLimits.ExtraSubflows
		} else {
			e.skip(doctor.SubjectHost, "subflow limits", err)
		}
		pm.Close()
	}
	for _, c := range status.Clients {
		if c.State == control.SessionUp {
			s.Online++
			if !c.MPTCP {
				s.PlainClients = append(s.PlainClients, c.Name)
			}
		}
		if c.Streams.Limited > 0 {
			s.LimitedClients = append(s.LimitedClients, fmt.Sprintf("%s (%d)", c.Name, c.Streams.Limited))
		}
	}
}

// sameListen reports whether a socket's address is the configured one: where IPv6 is
// everywhere, so is IPv4.
func sameListen(is string, want netip.AddrPort) bool {
	a, err := netip.ParseAddrPort(is)
	return err == nil && a.Port() == want.Port() && (a.Addr().Unmap() == want.Addr().Unmap() || a.Addr().IsUnspecified() && want.Addr().IsUnspecified())
}

// takenPorts are the addresses that another program has. It only asks for them: a
// socket that does not listen disturbs nobody.
func takenPorts(list []netip.AddrPort) (taken []string) {
	for _, a := range list {
		if err := tryBind(a); errors.Is(err, unix.EADDRINUSE) {
			taken = append(taken, a.String())
		}
	}
	return taken
}

func tryBind(a netip.AddrPort) error {
	family, address := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())})
	if a.Addr().Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// As the server does: connections that linger are no other program.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if family == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
			return err
		}
	}
	return unix.Bind(fd, address)
}

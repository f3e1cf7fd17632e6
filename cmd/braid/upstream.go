package main

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// resolverFiles name the host's resolvers. Where the first names only a stub on
// this host, the others tell whom that asks: a stub's own questions have no mark,
// and take the tunnel that they are needed for.
var resolverFiles = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"}

// upstreamResolvers are the resolvers beyond this host that the first file names
// which names any, at most as many as are ever asked.
func upstreamResolvers(files []string) []netip.Addr {
	const most = 3 // MAXNS, resolv.conf(5)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		var list []netip.Addr
		for line := range strings.Lines(string(b)) {
			words := strings.Fields(line)
			if len(words) < 2 || words[0] != "nameserver" {
				continue
			}
			a, err := netip.ParseAddr(words[1])
			if a = a.Unmap(); err == nil && !a.IsLoopback() && !a.IsUnspecified() && !slices.Contains(list, a) && len(list) < most {
				list = append(list, a)
			}
		}
		if len(list) > 0 {
			return list
		}
	}
	return nil
}

// resolvers are whom the addresses of servers are asked of; none, when no server
// has a name.
func (r *resolver) resolvers() []netip.Addr {
	for _, n := range r.names {
		if _, ok := n.Addr(); !ok {
			return upstreamResolvers(resolverFiles)
		}
	}
	return nil
}

// pastStub replaces the address of a stub on this host by one of those beyond it,
// in turn.
func pastStub(address string, upstream []netip.Addr, turn uint32) string {
	a, err := netip.ParseAddrPort(address)
	if err != nil || !a.Addr().IsLoopback() || len(upstream) == 0 {
		return address
	}
	return net.JoinHostPort(upstream[int(turn)%len(upstream)].String(), "53")
}

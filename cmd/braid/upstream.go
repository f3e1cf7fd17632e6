package main

import (
	"net/netip"
	"os"
	"slices"
	"strings"

	"braid/config"
)

// resolverFiles name the host's resolvers. Where the first names only a stub on
// this host, the others tell whom that asks: a stub's own questions have no mark,
// and take the tunnel that they are needed for.
var resolverFiles = []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"}

// upstreamResolvers are the resolvers beyond this host that the first file names
// which names any, at most as many as are ever asked.
func upstreamResolvers(files []string) []netip.Addr {
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
			if a, err := netip.ParseAddr(words[1]); err == nil {
				list = addUpstream(list, a)
			}
		}
		if len(list) > 0 {
			return list
		}
	}
	return nil
}

// mostUpstream is how many resolvers are ever asked (MAXNS, resolv.conf(5)).
const mostUpstream = 3

// addUpstream adds a resolver that is beyond this host, while there are few.
func addUpstream(list []netip.Addr, a netip.Addr) []netip.Addr {
	if a = a.Unmap(); a.IsLoopback() || a.IsUnspecified() || slices.Contains(list, a) || len(list) == mostUpstream {
		return list
	}
	return append(list, a)
}

// upstream are the host's own resolvers: those that it has beside ours, or else
// those that its files name.
func (r *resolver) upstream() (list []netip.Addr) {
	if r.own != nil {
		for _, a := range r.own() {
			list = addUpstream(list, a)
		}
	}
	if len(list) == 0 {
		return upstreamResolvers(resolverFiles)
	}
	return list
}

// resolvers are whom the addresses of servers are asked of; none, when no server
// has a name.
func (r *resolver) resolvers() []netip.Addr {
	r.mu.Lock()
	named := slices.ContainsFunc(r.names, func(n config.HostPort) bool { _, ok := n.Addr(); return !ok })
	r.mu.Unlock()
	if !named {
		return nil
	}
	return r.upstream()
}

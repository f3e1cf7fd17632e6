package main

import (
	"net/netip"
	"slices"

	"braid/config"
	"braid/hostnet"
	"braid/tunnel"
	"braid/tunnel/egress"
)

// serverForwards are the ports of the server that lead to clients, one for each
// protocol and family.
func serverForwards(cfg *config.Server) (out []hostnet.Forward) {
	for _, c := range cfg.Clients {
		for _, f := range c.Forwards {
			for _, to := range f.Targets(c) {
				h := hostnet.Forward{
					Listen: f.Listen, First: f.First, Last: f.Last, To: netip.AddrPortFrom(to, f.Port),
					Masquerade: f.Source == config.SourceServer,
				}
				if f.Protocol.TCP() {
					out = append(out, h)
				}
				if f.Protocol.UDP() {
					h.UDP = true
					out = append(out, h)
				}
			}
		}
	}
	return out
}

// forwardedPorts are those that streams of clients reach, too, though they are
// the host's own.
func forwardedPorts(cfg *config.Server) (out []egress.Rule) {
	for _, c := range cfg.Clients {
		for _, f := range c.Forwards {
			if !f.Protocol.TCP() {
				continue
			}
			r := egress.Rule{First: f.First, Last: f.Last}
			if f.Listen.IsValid() {
				r.Network = netip.PrefixFrom(f.Listen, f.Listen.BitLen())
			}
			out = append(out, r)
		}
	}
	return out
}

// clientNetworks are a client's addresses and the networks behind it.
func clientNetworks(c config.ServerClient) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range c.Addresses {
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return append(out, c.Routes...)
}

// serverPassages are the connections that may begin between clients. None says
// that no packets pass there at all, for the server drops them before.
func serverPassages(cfg *config.Server) (out []hostnet.Passage) {
	for _, c := range cfg.Clients {
		all := slices.Contains(c.Reach, egress.Everybody)
		for _, from := range clientNetworks(c) {
			if all {
				out = append(out, hostnet.Passage{From: from})
				continue
			}
			for _, o := range cfg.Clients {
				if !slices.Contains(c.Reach, o.Name) {
					continue
				}
				for _, to := range clientNetworks(o) {
					if from.Addr().Is4() == to.Addr().Is4() {
						out = append(out, hostnet.Passage{From: from, To: to})
					}
				}
			}
		}
	}
	if cfg.Egress.Source != config.SourceTransparent {
		return out
	}
	// Streams come out of the tunnel device, and what egress.allow opens is
	// open there.
	var within []netip.Prefix
	for _, a := range cfg.Tunnel.Addresses {
		within = append(within, a.Masked())
	}
	for _, c := range cfg.Clients {
		within = append(within, c.Routes...)
	}
	for _, r := range cfg.Egress.Allow {
		if r.Network.IsValid() && slices.ContainsFunc(within, func(p netip.Prefix) bool {
			return p.Bits() <= r.Network.Bits() && p.Contains(r.Network.Addr())
		}) {
			out = append(out, hostnet.Passage{To: r.Network, TCP: true, First: r.First, Last: r.Last})
		}
	}
	return out
}

// clientSources are the networks whose packets a client forwards into the tunnel
// as they are.
func clientSources(m config.Masquerade, s tunnel.Settings) []netip.Prefix {
	if m == config.MasqueradeNever {
		return nil
	}
	var out []netip.Prefix
	for _, a := range s.Addresses {
		out = append(out, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
	}
	if m == config.MasqueradeAlways {
		return out
	}
	// Without an address of a family there is nothing to put in place.
	for _, n := range s.Networks {
		if slices.ContainsFunc(s.Addresses, func(a netip.Prefix) bool { return a.Addr().Is4() == n.Addr().Is4() }) {
			out = append(out, n)
		}
	}
	return out
}

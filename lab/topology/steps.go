package topology

import (
	"net/netip"

	"braid/lab"
)

// steps collects the first error of steps that all are tried: what a failed one
// leaves undone makes later ones fail, never do harm.
type steps struct{ err error }

func (s *steps) do(err error) {
	if s.err == nil {
		s.err = err
	}
}

// addresses gives an interface its addresses; invalid ones are left out.
func (s *steps) addresses(h *lab.Host, interfaceName string, prefixes ...netip.Prefix) {
	for _, p := range prefixes {
		if p.IsValid() {
			s.do(h.AddAddress(interfaceName, p))
		}
	}
}

// defaultRoutes gives a host the default route of each gateway's family;
// invalid gateways are left out.
func (s *steps) defaultRoutes(h *lab.Host, interfaceName string, metric int, gateways ...netip.Addr) {
	for _, via := range gateways {
		if !via.IsValid() {
			continue
		}
		destination := default4
		if via.Is6() {
			destination = default6
		}
		s.do(h.AddRoute(lab.Route{Destination: destination, Via: via, Interface: interfaceName, Metric: metric}))
	}
}

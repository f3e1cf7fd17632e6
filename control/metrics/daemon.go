package metrics

import "braid/control"

const (
	buildHelp  = "1, with the daemon's role (client or server) and version."
	egressHelp = "Destinations of streams that were allowed or refused, by reason."
)

// clientFamilies are those of a client as a whole.
var clientFamilies = []family[control.Client]{
	{name: "braid_overflow_engaged", kind: gauge, help: "1 while uplinks with the role overflow are in use, 0 otherwise.",
		value: func(c *control.Client) float64 { return truth(c.OverflowEngaged) }},
	{name: "braid_kill_switch", kind: gauge, help: "1 if what the tunnel's routes hold is blocked beside the tunnel, 0 otherwise.",
		value: func(c *control.Client) float64 { return truth(c.KillSwitch) }},
	{name: "braid_dns_queries_total", kind: counter, help: "Queries of programs that the DNS forwarder was asked.",
		value: dns(func(d *control.DNS) uint64 { return d.Queries })},
	{name: "braid_dns_queries_failed_total", kind: counter, help: "Queries that no DNS server answered in time.",
		value: dns(func(d *control.DNS) uint64 { return d.Failed })},
	{name: "braid_dns_queries_refused_total", kind: counter, help: "Queries refused because there were too many at once.",
		value: dns(func(d *control.DNS) uint64 { return d.Limited })},
	{name: "braid_dns_asked_again_total", kind: counter, help: "Questions asked again, of the same DNS server or another, because an answer was late.",
		value: dns(func(d *control.DNS) uint64 { return d.AskedAgain })},
}

// dns is a count of the forwarder; unknown where there is none.
func dns(count func(*control.DNS) uint64) func(*control.Client) float64 {
	return func(c *control.Client) float64 {
		if c.DNS.Listen == "" {
			return unknown
		}
		return float64(count(&c.DNS))
	}
}

// serverFamilies are those of a server as a whole.
var serverFamilies = []family[control.Server]{
	{name: "braid_clients", kind: gauge, help: "Clients that the configuration has.",
		value: func(s *control.Server) float64 { return float64(len(s.Clients)) }},
	{name: "braid_connections_rejected_total", kind: counter, help: "Connections that failed before they were welcome.",
		value: func(s *control.Server) float64 { return float64(s.Rejected) }},
	{name: "braid_connections_malformed_total", kind: counter, help: "Those of the rejected connections that failed for what the peer sent.",
		value: func(s *control.Server) float64 { return float64(s.Malformed) }},
	{name: "braid_unroutable_packets_total", kind: counter, help: "Packets from the host toward no client.",
		value: func(s *control.Server) float64 { return float64(s.Unroutable) }},
}

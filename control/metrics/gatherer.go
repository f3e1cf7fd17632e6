// Package metrics turns the status of a daemon into Prometheus metrics.
//
// They are made of package control's plain structs when somebody scrapes, and of
// nothing else. The tables of families (daemon.go, session.go, uplink.go,
// packets.go) are all there is; docs/metrics.md lists them, and a test compares
// the two. There is none for each stream: how many series there are follows from
// how many clients and uplinks there are.
package metrics

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"braid/control"
)

// gatherer implements prometheus.Gatherer. As a prometheus.Collector in a registry
// the same took twice as long for a server with many clients: each sample crossed
// a channel, and was hashed and sorted, to find mistakes in the tables that a test
// finds once (gathered).
type gatherer struct {
	status func() any

	names    names
	build    int
	egress   int // of a server
	info     int // of an uplink
	client   []placed[control.Client]
	server   []placed[control.Server]
	sessions []placed[session]
	classes  []placed[control.PacketClass]
	copies   []placed[control.PacketCopies]
	uplinks  []placed[control.Uplink]
}

// New returns the metrics of a daemon with a role of package control. status is
// called for each scrape, from any goroutine, and returns a *control.Client or a
// *control.Server, as the role says.
func New(role string, status func() any) prometheus.Gatherer {
	g := &gatherer{status: status}
	g.build = g.names.place("braid_build_info", gauge, buildHelp)
	g.info = g.names.place("braid_uplink_info", gauge, infoHelp)
	if role == control.RoleServer {
		g.server = place(&g.names, role, serverFamilies)
		g.egress = g.names.place("braid_egress_decisions_total", counter, egressHelp)
	} else {
		g.client = place(&g.names, role, clientFamilies)
	}
	g.sessions = place(&g.names, role, slices.Concat(sessionFamilies, laneFamilies))
	g.classes = place(&g.names, role, classFamilies)
	g.copies = place(&g.names, role, copyFamilies)
	g.uplinks = place(&g.names, role, uplinkFamilies)
	return g
}

// Gather implements prometheus.Gatherer.
func (g *gatherer) Gather() ([]*dto.MetricFamily, error) {
	out := &samples{families: g.names.families()}
	switch s := g.status().(type) {
	case *control.Client:
		g.addBuild(out, s.Role, s.Version)
		add(out, g.client, s, nil)
		g.addSession(out, ofClient(s), nil)
	case *control.Server:
		g.addBuild(out, s.Role, s.Version)
		add(out, g.server, s, nil)
		for _, e := range s.Egress {
			out.add(g.egress, counter, float64(e.Decisions), []*dto.LabelPair{pair("reason", e.Reason)})
		}
		for i := range s.Clients {
			g.addSession(out, ofPeer(&s.Clients[i]), []*dto.LabelPair{pair("client", s.Clients[i].Name)})
		}
	}
	found := slices.DeleteFunc(out.families, func(f *dto.MetricFamily) bool { return len(f.Metric) == 0 })
	slices.SortFunc(found, byName)
	return found, nil
}

func byName(a, b *dto.MetricFamily) int { return cmp.Compare(a.GetName(), b.GetName()) }

func (g *gatherer) addBuild(out *samples, role, version string) {
	out.add(g.build, gauge, 1, []*dto.LabelPair{pair("role", role), pair("version", version)})
}

// mostUplinks bounds the uplinks of a session that are told of. A client has some;
// one that means ill could invent names for them.
const mostUplinks = 32

// addSession adds what there is of a session, and of its uplinks.
func (g *gatherer) addSession(out *samples, s *session, scope []*dto.LabelPair) {
	add(out, g.sessions, s, scope)
	add(out, g.classes, &s.lane.Sparse, with(scope, pair("class", "sparse")))
	add(out, g.classes, &s.lane.Bulk, with(scope, pair("class", "bulk")))
	add(out, g.copies, &s.lane.CopiesAtOnce, with(scope, pair("sent", "at-once")))
	add(out, g.copies, &s.lane.CopiesAgain, with(scope, pair("sent", "again")))
	known := make(map[string]bool, len(s.uplinks))
	for i := range s.uplinks {
		u := &s.uplinks[i]
		name := valid(u.Interface)
		if known[name] || len(known) == mostUplinks {
			continue
		}
		known[name] = true
		of := with(scope, pair("uplink", name))
		add(out, g.uplinks, u, of)
		out.add(g.info, gauge, 1, with(of, pair("role", u.Role), pair("configured_role", u.ConfiguredRole), pair("use", u.Use)))
	}
}

// all is what a daemon exposes: its metrics beside those of others.
type all struct{ own, others prometheus.Gatherer }

// Gather implements prometheus.Gatherer.
func (a all) Gather() ([]*dto.MetricFamily, error) {
	own, err := a.own.Gather()
	if err != nil {
		return nil, err
	}
	others, err := a.others.Gather()
	return append(own, others...), err
}

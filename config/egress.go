package config

import "slices"

// Egress is what clients may reach from the server, and how. Package egress of
// the tunnel says in which order the rules count.
type Egress struct {
	Source EgressSource
	Allow  []EgressRule // none of them is in Deny too
	Deny   []EgressRule
}

// EgressSource is the source address of the connections that the server opens
// for streams.
type EgressSource string

const (
	SourceServer      EgressSource = "server"      // the server's own
	SourceTransparent EgressSource = "transparent" // the client's
)

// egress reads the [egress] table.
func egress(n *node, errs *Errors) Egress {
	allow := unique(each(n.get("allow"), errs, parseEgressRule), errs, removeOne)
	deny := unique(each(n.get("deny"), errs, parseEgressRule), errs, removeOne)
	for _, a := range allow {
		i := slices.IndexFunc(deny, func(d at[EgressRule]) bool { return d.value == a.value })
		if i >= 0 {
			errs.add(a.node, "is denied too, "+deny[i].node.place(), removeOne)
		}
	}
	return Egress{
		Source: one(n.get("source"), errs, choice(SourceServer, SourceTransparent)),
		Allow:  bare(allow),
		Deny:   bare(deny),
	}
}

package egress

// Reason is why a destination is allowed or refused: one fixed word, for a
// line of the log and for the label of a counter.
type Reason string

const (
	// Allowed.
	Default   Reason = "default"    // nothing refuses it
	Tunnel    Reason = "tunnel"     // this host's own address in the tunnel
	AllowRule Reason = "allow-rule" // a rule allows it
	Reach     Reason = "reach"      // another client, which this one reaches
	Forward   Reason = "forward"    // a port of this host that leads to a client

	// Refused.
	DenyRule    Reason = "deny-rule"    // a rule denies it
	Invalid     Reason = "invalid"      // no address or no port
	Unspecified Reason = "unspecified"  // the kernel takes it for the loopback
	Loopback    Reason = "loopback"     // services for this host alone
	LinkLocal   Reason = "link-local"   // neighbours that no router leads to
	Metadata    Reason = "metadata"     // where a cloud tells secrets to this host
	Multicast   Reason = "multicast"    // no TCP there
	Broadcast   Reason = "broadcast"    // no TCP there
	Translated  Reason = "translated"   // may hold any IPv4 address
	Host        Reason = "host"         // this host's own address outside of the tunnel
	OtherClient Reason = "other-client" // clients do not reach each other
	Unassigned  Reason = "unassigned"   // in the tunnel, but nobody's
)

// reasons is all of them, in the order in which they are listed.
var reasons = []Reason{
	Default, Tunnel, AllowRule, Reach, Forward,
	DenyRule, Invalid, Unspecified, Loopback, LinkLocal, Metadata, Multicast, Broadcast, Translated, Host,
	OtherClient, Unassigned,
}

// Count is how many destinations were decided about for a reason.
type Count struct {
	Reason    Reason
	Decisions uint64
}

// Counts returns the counters of all reasons, always in the same order. They
// only grow.
func (p *Policy) Counts() []Count {
	counts := make([]Count, len(reasons))
	for i, r := range reasons {
		counts[i] = Count{r, p.counts[r].Load()}
	}
	return counts
}

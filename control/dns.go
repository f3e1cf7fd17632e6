package control

import (
	"fmt"
	"net/netip"
	"strings"
)

// DNS is how programs of a client's host ask for names.
type DNS struct {
	// Servers are the DNS servers that are asked through the tunnel; none: the
	// host's own are asked.
	Servers []netip.Addr `json:"servers"`
	// SetBy is how the host was told: "systemd-resolved", "resolvconf" and
	// "/etc/resolv.conf", of which there may be two.
	SetBy  []string `json:"set_by"`
	Reason string   `json:"reason"` // why it was not, for people; may be empty
	// Listen is the address where programs ask braid, which asks the servers; ""
	// where they ask those themselves, and the counts are 0.
	Listen     string `json:"listen"`
	Queries    uint64 `json:"queries"`
	Failed     uint64 `json:"failed"`      // of Queries: no server answered in time
	AskedAgain uint64 `json:"asked_again"` // questions asked again, of the same server or another
	Limited    uint64 `json:"limited"`     // queries refused: too many at once
}

func (d DNS) text(b *strings.Builder) {
	if len(d.Servers) == 0 {
		return
	}
	line := "dns: " + joined(d.Servers)
	if len(d.SetBy) > 0 {
		line += ", set by " + strings.Join(d.SetBy, " and ")
	}
	if d.Queries > 0 {
		line += fmt.Sprintf("; %d queries", d.Queries)
		if d.Failed > 0 {
			line += fmt.Sprintf(", %d failed", d.Failed)
		}
	}
	writeWrapped(b, "", line)
	if d.Reason != "" {
		writeWrapped(b, "  ", "not set: "+d.Reason)
	}
}

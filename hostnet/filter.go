package hostnet

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Filter is a chain of somebody else's firewall, as far as it can be told from
// outside whether it lets the TUN's packets pass. All base chains of a hook are
// asked, and one drop is final: an accept of ours could not help.
type Filter struct {
	Family string // ip, ip6 or inet
	Table  string
	Name   string
	Base   bool // it is asked for packets that are forwarded
	Drop   bool // so its policy says
	Rules  []FilterRule
}

// FilterRule is a rule of a Filter.
type FilterRule struct {
	In, Out  Fit          // where a packet comes from, and goes to
	From, To netip.Prefix // of its addresses; invalid: any
	States   uint32       // of its connection, the bits of nftables; 0: any
	DNAT     bool         // its connection's destination was translated
	More     bool         // there are other conditions
	Verdict  FilterVerdict
	Chain    string // of a jump
}

// Fit is what an interface's condition says of the TUN.
type Fit int8

// There is no condition, or none but for others; it names the TUN; or the TUN
// does not meet it.
const (
	FitAny Fit = iota
	FitThis
	FitOther
)

// FilterVerdict is what a rule does with a packet.
type FilterVerdict uint8

// What is no verdict is Continue: packets go on behind it.
const (
	FilterContinue FilterVerdict = iota
	FilterAccept
	FilterDrop // or reject
	FilterJump // or goto
	FilterReturn
)

const stateNew = 8 // NF_STATE_BIT of IP_CT_NEW, linux/netfilter/nf_conntrack_common.h

// conditional reports whether a rule is for some packets only, whatever
// interfaces they use.
func (r FilterRule) conditional() bool {
	return r.More || r.DNAT || r.States != 0 || r.From.IsValid() || r.To.IsValid()
}

// always reports whether a rule is for all packets.
func (r FilterRule) always() bool { return !r.conditional() && r.In == FitAny && r.Out == FitAny }

// drops reports whether a base chain drops what no rule accepts: by its policy,
// or by its last rule, as firewalld does.
func (f Filter) drops() bool {
	n := len(f.Rules)
	return f.Base && (f.Drop || n > 0 && f.Rules[n-1].always() && f.Rules[n-1].Verdict == FilterDrop)
}

// traffic is what a firewall is asked about: new connections from the TUN, or
// such toward it.
type traffic struct {
	toward bool
	ranges []netip.Prefix // of the TUN's side
}

// fits returns a rule's condition on the TUN's side, and whether it lets our
// traffic pass as far as can be told. A rule that is only about the other side
// is about everything that comes from the TUN; of what goes there the other
// side is not known.
func (t traffic) fits(r FilterRule) (named, possible bool) {
	own, other, network := r.In, r.Out, r.From
	if t.toward {
		own, other, network = r.Out, r.In, r.To
	}
	overlaps := !network.IsValid() || slices.ContainsFunc(t.ranges, network.Overlaps)
	named = own == FitThis || network.IsValid() && overlaps
	return named, own != FitOther && overlaps && (!t.toward || named || other == FitAny)
}

// opens reports whether a chain has a rule that accepts our traffic: one that
// names the TUN, or its addresses, or is for all. named says that the way to
// this chain does so.
func (t traffic) opens(chains []Filter, f Filter, named bool, seen []string) bool {
	if slices.Contains(seen, f.Name) {
		return false
	}
	seen = append(seen, f.Name)
	for _, r := range f.Rules {
		names, possible := t.fits(r)
		if !possible {
			continue
		}
		names = names || named
		fresh := r.States == 0 || r.States&stateNew != 0
		switch r.Verdict {
		case FilterAccept:
			if fresh && (names || !r.conditional()) || t.toward && r.DNAT {
				return true
			}
		case FilterDrop, FilterReturn:
			if r.always() {
				return false
			}
		case FilterJump:
			i := slices.IndexFunc(chains, func(o Filter) bool { return o.Family == f.Family && o.Table == f.Table && o.Name == r.Chain })
			if i >= 0 && t.opens(chains, chains[i], names, seen) {
				return true
			}
		}
	}
	return false
}

// closed returns the base chains that drop our traffic.
func (t traffic) closed(chains []Filter) (out []Filter) {
	for _, f := range chains {
		family := func(p netip.Prefix) bool { return f.Family == "inet" || (f.Family == "ip6") == p.Addr().Is6() }
		if f.drops() && slices.ContainsFunc(t.ranges, family) && !t.opens(chains, f, false, nil) {
			out = append(out, f)
		}
	}
	return out
}

// mend is the command that opens a firewall to a device, said as its user
// would say it.
func (f Filter) mend(chains []Filter, device string) string {
	has := func(name string) bool {
		return slices.ContainsFunc(chains, func(o Filter) bool { return o.Family == f.Family && o.Table == f.Table && o.Name == name })
	}
	switch iptables := map[string]string{"ip": "iptables", "ip6": "ip6tables"}[f.Family]; {
	case f.Table == "firewalld":
		return fmt.Sprintf("firewall-cmd --permanent --zone=trusted --add-interface=%s && firewall-cmd --reload", device)
	case iptables != "" && has("ufw-user-forward") || has("ufw6-user-forward"):
		return fmt.Sprintf("ufw route allow in on %[1]s && ufw route allow out on %[1]s", device)
	case iptables != "" && f.Table == "filter" && f.Name == "FORWARD":
		chain := "FORWARD"
		if has("DOCKER-USER") {
			chain = "DOCKER-USER"
		}
		return fmt.Sprintf("%[1]s -I %[2]s -i %[3]s -j ACCEPT && %[1]s -I %[2]s -o %[3]s -j ACCEPT", iptables, chain, device)
	}
	where := strings.Join([]string{f.Family, f.Table, f.Name}, " ")
	return fmt.Sprintf("nft insert rule %[1]s iifname %[2]s accept && nft insert rule %[1]s oifname %[2]s accept", where, device)
}

// warnFilters names the firewalls that keep the TUN's packets from being
// forwarded, once each.
func (m *Manager) warnFilters(d Desired) {
	// A host that forwards for containers alone is no concern of ours.
	behind := slices.ContainsFunc(d.Sources, func(p netip.Prefix) bool { return !p.IsSingleIP() })
	if d.Device == "" || !d.Forwarding && !behind {
		return
	}
	chains, err := m.host.Filters(d.Device)
	if err != nil {
		m.log.Debug("cannot read the firewalls of this host", "error", err)
		return
	}
	ranges := masked(slices.Concat(d.Addresses, d.Sources))
	if len(d.Masquerade) > 0 {
		ranges = masked(d.Masquerade)
	}
	said := make(map[string]bool)
	say := func(t traffic, what string) {
		for _, f := range t.closed(chains) {
			where := strings.Join([]string{f.Family, f.Table, f.Name}, " ")
			if !said[where] {
				said[where] = true
				m.once("a firewall of this host drops "+what, "chain", where, "hint", f.mend(chains, d.Device))
			}
		}
	}
	say(traffic{ranges: ranges}, "what is forwarded from the tunnel")
	if len(d.Forwards) > 0 {
		say(traffic{toward: true, ranges: ranges}, "what port forwards send into the tunnel")
	}
}

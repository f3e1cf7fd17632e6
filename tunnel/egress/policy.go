// Package egress decides what the inner TCP connections of a client may reach
// from the host that opens them. It only computes: no input or output, no
// clock, and nothing on the way of a decision allocates.
//
// # The order
//
// There are rules, which somebody wrote, and defaults, which protect the host.
//
//  1. Of all rules that hold the destination the most specific counts: the one
//     with the longest prefix; among those the one with the fewest ports;
//     among those a deny. Ports without a network (":25") have the length 0.
//  2. When it is a deny, the destination is refused.
//  3. When it is an allow, the destination is allowed, unless a default with a
//     longer prefix refuses it. Whoever opens the web with an allow of ":443"
//     does not mean this host's loopback; an allow of "127.0.0.1:8443" says so.
//  4. Without a rule the defaults decide.
//
// Two of the defaults have exceptions, which no rule opens but a deny closes:
// a client that may reach another one is not refused for it, and a port of this
// host that leads to a client is open to the others as it is to the world.
//
// The defaults, and the prefix length that an allow needs to open them:
//
//	unspecified   0.0.0.0/8, ::                              that of the network
//	loopback      127.0.0.0/8, ::1                           that of the network
//	link-local    169.254.0.0/16, fe80::/10                  that of the network
//	metadata      169.254.169.254, fd00:ec2::/32 and others  that of the network
//	multicast     224.0.0.0/4, ff00::/8                      that of the network
//	broadcast     255.255.255.255                            a single address
//	translated    ::/96, 64:ff9b:1::/48                      that of the network
//	host          each address of this host                  a single address
//	other-client  other clients' addresses                   that of the tunnel's range
//	              other clients' routes                      that of the route
//	unassigned    the rest of the tunnel's ranges            that of the range
//
// The longest prefix counts among the defaults too. Everything else is
// allowed, and so is this host's own address in the tunnel, unless a rule
// denies it.
//
// An IPv6 address in which an IPv4 address travels (NAT64, 6to4, Teredo and
// the like, see held) must be allowed as it stands, and each IPv4 address in
// it must be allowed as well. An IPv4-mapped address is the IPv4 address.
package egress

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/gaissmai/bart"
)

// Config is what a policy is made of. It must not be changed afterwards. Prefixes
// have no host bits and are not IPv4-mapped: package config sees to that.
type Config struct {
	Own     []netip.Addr   // this host's addresses in the tunnel
	Ranges  []netip.Prefix // the tunnel's
	Clients []Client
	Allow   []Rule
	Deny    []Rule
	// Reach is which other clients a client reaches, by their names; Everybody
	// is all.
	Reach map[string][]string
	// Forwards are the ports of this host that lead to clients.
	Forwards []Rule
}

// Everybody, in Config.Reach, is all clients.
const Everybody = "*"

// Client is a client whose addresses and networks the others do not reach.
type Client struct {
	Name      string // not empty
	Addresses []netip.Addr
	Routes    []netip.Prefix
}

// Policy decides. Make one with New. It is safe for concurrent use.
type Policy struct {
	state    atomic.Pointer[state]
	counts   map[Reason]*atomic.Uint64 // the map itself never changes
	changing sync.Mutex                // serializes Set and SetHost
}

// state is what a decision is made by. It never changes.
type state struct {
	cfg    Config
	host   []netip.Addr
	rules  *bart.Table[*node]
	guards *bart.Table[*guard]
}

func newState(cfg Config, host []netip.Addr) *state {
	return &state{cfg: cfg, host: host, rules: newRules(cfg.Allow, cfg.Deny), guards: newGuards(&cfg, host)}
}

// New makes a policy for a host that has these addresses. Those in the tunnel
// may be among them.
func New(cfg Config, host []netip.Addr) *Policy {
	p := &Policy{counts: map[Reason]*atomic.Uint64{}}
	for _, r := range reasons {
		p.counts[r] = new(atomic.Uint64)
	}
	p.state.Store(newState(cfg, host))
	return p
}

// Set replaces what the policy is made of. Decisions under way still see the old.
func (p *Policy) Set(cfg Config) {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.state.Store(newState(cfg, p.state.Load().host))
}

// SetHost replaces the host's addresses. Decisions under way still see the
// old ones.
func (p *Policy) SetHost(host []netip.Addr) {
	p.changing.Lock()
	defer p.changing.Unlock()
	s := *p.state.Load()
	s.host, s.guards = host, newGuards(&s.cfg, host)
	p.state.Store(&s)
}

// Verdict is a decision.
type Verdict struct {
	Allowed bool
	Reason  Reason
	// Rule is the text of the rule or the network of the default that
	// decided, or "". For a default it is the widest network that an allow
	// can name to open it.
	Rule string
}

// Decide says whether the client of that name may connect to a destination,
// and counts the answer. The destination is what will be dialed: a name must
// not be resolved again after it was judged.
func (p *Policy) Decide(client string, to netip.AddrPort) Verdict {
	v := p.decide(client, to)
	p.counts[v.Reason].Add(1)
	return v
}

func (p *Policy) decide(client string, to netip.AddrPort) Verdict {
	if !to.IsValid() || to.Port() == 0 {
		return Verdict{Reason: Invalid}
	}
	s := p.state.Load() // once: a decision sees one state of rules and host
	a := plain(to.Addr())
	v := s.judge(client, a, to.Port())
	inner, n := held(a)
	for _, a4 := range inner[:n] {
		if !v.Allowed {
			return v
		}
		if w := s.judge(client, a4, to.Port()); !w.Allowed {
			v = w
		}
	}
	return v
}

// judge decides about one address, whatever travels in it.
func (s *state) judge(client string, a netip.Addr, port uint16) Verdict {
	bits, r := find(s.rules, a, port)
	if r != nil && !r.allow {
		return Verdict{Reason: DenyRule, Rule: r.text}
	}
	g, _ := s.guards.Lookup(a)
	if g.refuses(client) && (r == nil || bits < g.bits) {
		switch {
		case g.reason == OtherClient && s.reaches(client, g.owner):
			return Verdict{Allowed: true, Reason: Reach, Rule: g.text}
		case g.reason == Host && s.forwards(a, port):
			return Verdict{Allowed: true, Reason: Forward, Rule: g.text}
		}
		return Verdict{Reason: g.reason, Rule: g.text}
	}
	switch {
	case r != nil:
		return Verdict{Allowed: true, Reason: AllowRule, Rule: r.text}
	case g != nil && g.reason == Tunnel:
		return Verdict{Allowed: true, Reason: Tunnel, Rule: g.text}
	}
	return Verdict{Allowed: true, Reason: Default}
}

func (s *state) reaches(client, other string) bool {
	list := s.cfg.Reach[client]
	return slices.Contains(list, Everybody) || slices.Contains(list, other)
}

func (s *state) forwards(a netip.Addr, port uint16) bool {
	return slices.ContainsFunc(s.cfg.Forwards, func(r Rule) bool {
		return r.has(port) && (!r.Network.IsValid() || r.Network.Contains(a))
	})
}

// plain is an address as it is compared: IPv4 in its own form, and without a
// zone, which only says on which link a link-local address is.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

// fakeHost is a kernel in memory, with the habits of the real one that a
// Manager must cope with. It logs each change as a command.
type fakeHost struct {
	links   []Link
	addrs   map[int][]netip.Prefix // by interface index, the oldest first
	routes  []fakeRoute
	rules   []fakeRule
	rejects []netip.Prefix
	sysctls map[string]string
	nat     map[string][]string
	filters []Filter
	// killSwitches are the texts of the tables' rules.
	killSwitches map[string][]string
	attached     []Network
	methods      []DNSMethod // that this host needs
	dns          map[savedDNS][]netip.Addr
	leftDNS      string // the device of a dead process's file

	log []string
	// fail is asked before each change; an error is the change's. When after
	// is true the change is made all the same, as by a process that dies
	// before it hears of it.
	fail func(Change) (after bool, err error)
}

type fakeRoute struct {
	Route
	index    int // of the device
	protocol int
}

type fakeRule struct {
	Rule
	protocol int
}

// newFakeHost has a TUN of this process, a second TUN, two uplinks, a LAN,
// and things that others have made.
func newFakeHost() *fakeHost {
	h := &fakeHost{addrs: map[int][]netip.Prefix{}, sysctls: map[string]string{}, nat: map[string][]string{}, killSwitches: map[string][]string{},
		methods: []DNSMethod{DNSFile}, dns: map[savedDNS][]netip.Addr{}}
	for i, name := range []string{"lo", "dsl", "wwan0.5", "lan", "braid0", "braid1"} {
		l := Link{Name: name, Index: i + 1, MTU: 1500, Up: !strings.HasPrefix(name, "braid")}
		h.links = append(h.links, l)
		h.conf4(name, "0")
		h.conf6(name)
	}
	h.conf4("all", "0")
	h.conf4("default", "0")
	h.sysctls[forward6], h.sysctls["net.ipv6.conf.default.forwarding"] = "0", "0"
	h.sysctls["net.ipv6.conf.default.accept_ra"] = "1"
	h.sysctls[forward4], h.sysctls["net.ipv4.conf.all.accept_redirects"] = "0", "1"
	h.sysctls["net.mptcp.blackhole_timeout"] = "3600"
	h.sysctls["net.core.default_qdisc"] = "pfifo_fast"
	// What another administrator has set up.
	h.sysctls["net.ipv4.conf.dsl.rp_filter"] = "1"
	h.sysctls["net.ipv4.conf.lan.forwarding"] = "1"
	h.sysctls["net.ipv6.conf.lan.forwarding"] = "1" // and so it learns nothing from routers
	h.addrs[2] = prefixes("192.0.2.7/24")
	h.attached = []Network{{"dsl", prefix("192.0.2.0/24")}, {"lan", prefix("192.168.10.0/24")}, {"lan", prefix("fd00:10::/64")}, {"braid1", prefix("10.88.0.0/24")}}
	h.nat["docker"] = []string{"172.17.0.0/16"}
	h.rules = append(h.rules, fakeRule{Rule{Priority: 9003, Table: 100, Mark: 1, Suppress: -1}, 3}, fakeRule{Rule{Priority: 5210, Table: tableMain, Suppress: -1}, Protocol})
	h.routes = append(h.routes, fakeRoute{Route{Table: tableMain, Dst: prefix("0.0.0.0/0"), Device: "dsl", Gateway: netip.MustParseAddr("192.0.2.1")}, 2, 16},
		fakeRoute{Route{Table: 100, Dst: prefix("10.9.0.0/16"), Device: "lan"}, 4, Protocol})
	return h
}

func (h *fakeHost) conf4(name, forwarding string) {
	for _, key := range []string{"rp_filter", "arp_ignore", "arp_announce"} {
		h.sysctls[confKey("ipv4", name, key)] = "0"
	}
	h.sysctls[confKey("ipv4", name, "forwarding")] = forwarding
}

func (h *fakeHost) conf6(name string) {
	forwarding := h.sysctls["net.ipv6.conf.default.forwarding"]
	if forwarding == "" {
		forwarding = "0"
	}
	for key, value := range map[string]string{"forwarding": forwarding, "accept_ra": "1", "addr_gen_mode": "0", "disable_ipv6": "0"} {
		h.sysctls[confKey("ipv6", name, key)] = value
	}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, prefix(s))
	}
	return out
}

func (h *fakeHost) Namespace() string      { return "fake" }
func (h *fakeHost) Links() ([]Link, error) { return slices.Clone(h.links), nil }

func (h *fakeHost) link(name string) *Link {
	i := slices.IndexFunc(h.links, func(l Link) bool { return l.Name == name })
	if i < 0 {
		return nil
	}
	return &h.links[i]
}

func (h *fakeHost) Addresses(device string) ([]netip.Prefix, error) {
	if l := h.link(device); l != nil {
		return slices.Clone(h.addrs[l.Index]), nil
	}
	return nil, nil
}

func (h *fakeHost) Routes() (out []Route, err error) {
	for _, r := range h.routes {
		if r.protocol == Protocol {
			r.Device = linkOf(h.links, r.index).Name
			out = append(out, r.Route)
		}
	}
	return out, nil
}

func (h *fakeHost) Rules() (out []Rule, err error) {
	for _, r := range h.rules {
		if r.protocol == Protocol {
			out = append(out, r.Rule)
		}
	}
	return out, nil
}

func (h *fakeHost) Rejects() ([]netip.Prefix, error) { return h.rejects, nil }

func (h *fakeHost) Sysctl(key string) (string, error) {
	if v, ok := h.sysctls[key]; ok {
		return v, nil
	}
	return "", fmt.Errorf("%s: %w", key, fs.ErrNotExist)
}

func (h *fakeHost) NAT(table string) ([]string, bool, error) {
	lines, ok := h.nat[table]
	return lines, ok, nil
}

func (h *fakeHost) Filters(string) ([]Filter, error) { return h.filters, nil }

func (h *fakeHost) Attached() ([]Network, error) { return slices.Clone(h.attached), nil }

// Behind knows only what is attached.
func (h *fakeHost) Behind(patterns []string) (out []Network, err error) {
	for _, n := range h.attached {
		if matchesAny(patterns, n.Device) {
			out = append(out, n)
		}
	}
	return out, nil
}

func (h *fakeHost) KillSwitch(table string) ([]string, bool, error) {
	texts, ok := h.killSwitches[table]
	return slices.Clone(texts), ok, nil
}

func (h *fakeHost) KillSwitches() ([]string, error) {
	return slices.Sorted(maps.Keys(h.killSwitches)), nil
}

func (h *fakeHost) DNS(device string) (DNS, error) {
	d := DNS{Methods: h.methods, Set: map[DNSMethod][]netip.Addr{}, Own: addresses("192.0.2.1")}
	for s, servers := range h.dns {
		if s.Device == device {
			d.Set[s.Method] = servers
		}
	}
	return d, nil
}

func (h *fakeHost) LeftDNS() (string, error) { return h.leftDNS, nil }

func (h *fakeHost) Do(c Change) error {
	if h.fail != nil {
		if after, err := h.fail(c); err != nil {
			if after {
				h.do(c)
			}
			return err
		}
	}
	err := h.do(c)
	if err == nil {
		h.log = append(h.log, c.String())
	}
	return err
}

var errFake = errors.New("the fake kernel refuses")

func (h *fakeHost) do(c Change) error {
	switch o := c.Object.(type) {
	case Address:
		return h.doAddress(o, c.Remove)
	case LinkMTU:
		l := h.link(o.Device)
		if l == nil {
			return errFake
		}
		if o.MTU < 1280 { // the kernel takes IPv6 away
			h.addrs[l.Index] = slices.DeleteFunc(h.addrs[l.Index], func(p netip.Prefix) bool { return p.Addr().Is6() })
			h.flush(l.Index, true)
			maps.DeleteFunc(h.sysctls, func(k, _ string) bool { return strings.HasPrefix(k, "net.ipv6.conf."+o.Device+".") })
		} else if l.MTU < 1280 {
			h.conf6(o.Device)
		}
		l.MTU = o.MTU
	case LinkUp:
		l := h.link(o.Device)
		if l == nil {
			return errFake
		}
		if l.Up = !c.Remove; c.Remove {
			h.flush(l.Index, false)
			h.flush(l.Index, true)
		}
	case Route:
		return h.doRoute(o, c.Remove)
	case Rule:
		h.doRule(o, c.Remove)
	case Setting:
		if _, ok := h.sysctls[o.Key]; !ok {
			return errFake
		}
		if h.sysctls[o.Key] != o.Value {
			h.sysctls[o.Key] = o.Value
			for _, side := range sides(o.Key, h.links) {
				if _, ok := h.sysctls[side.Key]; ok {
					h.sysctls[side.Key] = o.Value
					if side.Value == "0" {
						h.sysctls[side.Key] = map[string]string{"0": "1", "1": "0"}[o.Value]
					}
				}
			}
		}
	case Nameservers:
		delete(h.dns, savedDNS{o.Method, o.Device})
		if c.Remove {
			if o.Method == DNSFile && h.leftDNS == o.Device {
				h.leftDNS = ""
			}
			break
		}
		if o.Method == DNSFile { // there is one file for all
			maps.DeleteFunc(h.dns, func(s savedDNS, _ []netip.Addr) bool { return s.Method == DNSFile })
			h.leftDNS = ""
		}
		h.dns[savedDNS{o.Method, o.Device}] = o.Servers
	case NAT:
		delete(h.nat, o.Table)
		if !c.Remove {
			h.nat[o.Table] = o.lines()
		}
	case KillSwitchTable:
		delete(h.killSwitches, o.Table)
		if !c.Remove {
			h.killSwitches[o.Table] = o.texts()
		}
	}
	return nil
}

// flush removes the routes of a family by an interface.
func (h *fakeHost) flush(index int, v6 bool) {
	h.routes = slices.DeleteFunc(h.routes, func(r fakeRoute) bool { return r.index == index && r.Dst.Addr().Is6() == v6 })
}

func (h *fakeHost) doAddress(a Address, remove bool) error {
	l := h.link(a.Device)
	if l == nil || a.Prefix.Addr().Is6() && l.MTU < 1280 {
		return errFake
	}
	list := h.addrs[l.Index]
	at := slices.Index(list, a.Prefix)
	switch {
	case !remove && at < 0:
		h.addrs[l.Index] = append(list, a.Prefix)
	case remove && at >= 0:
		// With the first IPv4 address of a network go the others, and with
		// the last of all the routes.
		secondary := slices.ContainsFunc(list[:at], func(p netip.Prefix) bool { return p.Masked() == a.Prefix.Masked() })
		list = slices.DeleteFunc(slices.Clone(list), func(p netip.Prefix) bool {
			return p == a.Prefix || !secondary && p.Addr().Is4() && p.Masked() == a.Prefix.Masked()
		})
		h.addrs[l.Index] = list
		if a.Prefix.Addr().Is4() && !slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Addr().Is4() }) {
			h.flush(l.Index, false)
		}
	}
	return nil
}

func (h *fakeHost) doRoute(r Route, remove bool) error {
	var index int
	if !r.Throw {
		l := h.link(r.Device)
		if l == nil || !remove && !l.Up {
			return errFake
		}
		index = l.Index
	}
	same := func(o fakeRoute) bool { return o.key() == r.key() && o.protocol == Protocol }
	h.routes = slices.DeleteFunc(h.routes, same)
	if !remove {
		h.routes = append(h.routes, fakeRoute{r, index, Protocol})
	}
	return nil
}

// doRule compares as little as the kernel does: when deleting, a mark of 0 is
// any mark, and neither "not" nor the protocol counts.
func (h *fakeHost) doRule(r Rule, remove bool) {
	i := slices.IndexFunc(h.rules, func(o fakeRule) bool {
		same := o.V6 == r.V6 && o.Priority == r.Priority && o.Table == r.Table
		if remove {
			return same && (r.Mark == 0 || o.Mark == r.Mark) && (!r.From.IsValid() || o.From == r.From) &&
				(r.Suppress < 0 || o.Suppress == r.Suppress)
		}
		return same && o.Mark == r.Mark && o.From == r.From
	})
	switch {
	case remove && i >= 0:
		h.rules = slices.Delete(h.rules, i, i+1)
	case !remove && i < 0:
		h.rules = append(h.rules, fakeRule{r, Protocol})
	}
}

// dump is all of the host as text, in an order of its own.
func (h *fakeHost) dump() string {
	var out []string
	for _, l := range h.links {
		out = append(out, fmt.Sprintf("link %v", l))
		for _, a := range h.addrs[l.Index] {
			out = append(out, "addr "+l.Name+" "+a.String())
		}
	}
	for _, r := range h.routes {
		out = append(out, fmt.Sprintf("%s # protocol %d", r.command(false), r.protocol))
	}
	for _, r := range h.rules {
		out = append(out, fmt.Sprintf("%s # protocol %d", r.command(false), r.protocol))
	}
	for k, v := range h.sysctls {
		if !strings.HasSuffix(k, ".addr_gen_mode") { // goes with the TUN
			out = append(out, k+" = "+v)
		}
	}
	for name, lines := range h.nat {
		out = append(out, fmt.Sprintf("nat %s %q", name, lines))
	}
	for name, rules := range h.killSwitches {
		for _, r := range rules {
			out = append(out, name+" "+r)
		}
	}
	for s, servers := range h.dns {
		out = append(out, fmt.Sprintf("dns %v %v", s, servers))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// difference lists the lines that only one of two dumps has.
func difference(got, want string) string {
	var out []string
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for _, line := range g {
		if !slices.Contains(w, line) {
			out = append(out, "+ "+line)
		}
	}
	for _, line := range w {
		if !slices.Contains(g, line) {
			out = append(out, "- "+line)
		}
	}
	return strings.Join(out, "\n")
}

// testManager returns a Manager with a state file of its own.
func testManager(t *testing.T, h Host) *Manager {
	t.Helper()
	return New(h, StatePath(stateDir(t), "braid0"), slog.New(slog.DiscardHandler))
}

// stateDir is a new directory in memory, as /run is: there are thousands of
// writes.
func stateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "hostnet-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func addresses(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

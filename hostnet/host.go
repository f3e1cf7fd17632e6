package hostnet

import (
	"fmt"
	"net/netip"
	"strings"
)

// Host is the kernel as a Manager sees it. OpenHost gives the real one. It
// is used by one goroutine at a time.
type Host interface {
	// Namespace identifies the network namespace.
	Namespace() string
	// Links lists all interfaces.
	Links() ([]Link, error)
	// Addresses lists a device's addresses without link-local ones; a device
	// that does not exist has none.
	Addresses(device string) ([]netip.Prefix, error)
	// Routes lists the routes of all tables that carry our Protocol.
	Routes() ([]Route, error)
	// Rules lists the rules that carry our Protocol.
	Rules() ([]Rule, error)
	// Rejects lists the destinations that main answers with an error
	// (unreachable, blackhole, prohibit).
	Rejects() ([]netip.Prefix, error)
	// Sysctl returns a setting, its fields separated by single spaces; an
	// error that is fs.ErrNotExist if this kernel has no such setting.
	Sysctl(key string) (string, error)
	// NAT lists the rules of a table of ours, see NAT.lines; false if there is
	// no such table.
	NAT(table string) ([]string, bool, error)
	// Filters lists the chains of others that may drop what is forwarded, with
	// those that they lead to.
	Filters(device string) ([]Filter, error)
	// Attached lists the networks on the interfaces' links, Behind those behind
	// interfaces whose names match a pattern.
	Attached() ([]Network, error)
	Behind(patterns []string) ([]Network, error)
	// KillSwitch lists the rules of a kill switch as texts; false if there is no
	// such table, or not all of it. KillSwitches lists the tables that there are.
	KillSwitch(table string) ([]string, bool, error)
	KillSwitches() ([]string, error)
	// DNS says how this host finds nameservers, and what of that is from us for a
	// device.
	DNS(device string) (DNS, error)
	// LeftDNS returns the device for which a dead process has set /etc/resolv.conf,
	// or "".
	LeftDNS() (device string, err error)
	// Do makes one change. Adding what is there and removing what is not are
	// no errors.
	Do(Change) error
}

// Link is one interface.
type Link struct {
	Name  string
	Index int
	MTU   int // bytes
	Up    bool
}

// Change adds (or sets) or removes one object.
type Change struct {
	Remove bool
	Object Object
}

// String is the command that would make the change.
func (c Change) String() string { return c.Object.command(c.Remove) }

// Object is something of the host's network that braid makes: Address,
// LinkMTU, LinkUp, Route, Rule, Setting, NAT, KillSwitchTable or Nameservers.
type Object interface{ command(remove bool) string }

// Address is an address of a device, without the kernel's route for its
// network.
type Address struct {
	Device string
	Prefix netip.Prefix
}

// LinkMTU is the MTU of a device. It cannot be removed.
type LinkMTU struct {
	Device string
	MTU    int // bytes
}

// LinkUp is a device's administrative state; removing it sets the device down.
type LinkUp struct{ Device string }

// Route is a route with our Protocol. A table has one per destination:
// adding another replaces it.
type Route struct {
	Table   uint32
	Dst     netip.Prefix
	Throw   bool       // ends the lookup in this table; no device, no gateway
	Device  string     // leaves here
	Gateway netip.Addr // invalid: the destination is on the link
}

// Rule is a routing rule with our Protocol.
type Rule struct {
	V6       bool
	Priority int
	Mark     uint32     // the packet's mark; 0: any
	NotMark  bool       // the rule is for packets without Mark
	From     netip.Addr // source address; invalid: any
	To       netip.Addr // destination; invalid: any
	Table    uint32
	Suppress int // results of at most this prefix length do not count; -1: all count
}

// Setting is a value under /proc/sys. It cannot be removed.
type Setting struct {
	Key   string // as sysctl(8) prints it
	Value string
	index int // of the interface that the key names, 0: none
}

// NAT is our table of nftables for a device, see the fields of Desired. Adding
// it replaces the table as a whole.
type NAT struct {
	Table      string
	Device     string
	Addresses  []netip.Prefix // of the device, without order
	Masquerade []netip.Prefix
	Sources    []netip.Prefix
	Forwards   []Forward
	Passages   []Passage
}

// tableMain is the kernel's table main.
const tableMain = 254

func verb(remove bool, add string) string {
	if remove {
		return "del"
	}
	return add
}

func family(v6 bool) string {
	if v6 {
		return "-6"
	}
	return "-4"
}

func (a Address) command(remove bool) string {
	s := fmt.Sprintf("ip addr %s %s dev %s", verb(remove, "add"), a.Prefix, a.Device)
	if !remove {
		s += " noprefixroute"
	}
	return s
}

func (l LinkMTU) command(bool) string { return fmt.Sprintf("ip link set %s mtu %d", l.Device, l.MTU) }

func (l LinkUp) command(remove bool) string {
	if remove {
		return "ip link set " + l.Device + " down"
	}
	return "ip link set " + l.Device + " up"
}

func (r Route) command(remove bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "ip %s route %s ", family(r.Dst.Addr().Is6()), verb(remove, "replace"))
	if r.Throw {
		b.WriteString("throw ")
	}
	b.WriteString(r.Dst.String())
	if r.Gateway.IsValid() {
		fmt.Fprintf(&b, " via %s", r.Gateway)
	}
	if !r.Throw {
		fmt.Fprintf(&b, " dev %s", r.Device)
	}
	if r.Gateway.IsValid() && !remove {
		b.WriteString(" onlink")
	}
	fmt.Fprintf(&b, " table %d proto %d", r.Table, Protocol)
	return b.String()
}

func (r Rule) command(remove bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "ip %s rule %s priority %d", family(r.V6), verb(remove, "add"), r.Priority)
	if r.NotMark {
		b.WriteString(" not")
	}
	if r.Mark != 0 {
		fmt.Fprintf(&b, " fwmark %#x", r.Mark)
	}
	if r.From.IsValid() {
		fmt.Fprintf(&b, " from %s", r.From)
	}
	if r.To.IsValid() {
		fmt.Fprintf(&b, " to %s", r.To)
	}
	if r.Table == tableMain {
		b.WriteString(" lookup main")
	} else {
		fmt.Fprintf(&b, " lookup %d", r.Table)
	}
	if r.Suppress >= 0 {
		fmt.Fprintf(&b, " suppress_prefixlength %d", r.Suppress)
	}
	fmt.Fprintf(&b, " protocol %d", Protocol)
	return b.String()
}

func (s Setting) command(bool) string { return fmt.Sprintf("sysctl -w %s=%q", s.Key, s.Value) }

func (n NAT) command(remove bool) string {
	if remove {
		return "nft delete table inet " + n.Table
	}
	return fmt.Sprintf("nft add table inet %s # %s", n.Table, strings.Join(n.lines(), "; "))
}

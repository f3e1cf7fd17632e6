package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"braid/config"
	"braid/control"
	"braid/crypto"
	"braid/doctor"
	"braid/hostnet"
)

// lookAtClient looks at the uplinks, and at the server over each of them.
func (e *examiner) lookAtClient(ctx context.Context) {
	if e.client.Tunnel.Forwarding && e.status != nil {
		e.lookAtFirewalls(hostnet.Desired{Device: e.client.Tunnel.Name, Addresses: e.status.Session.Addresses})
	}
	all, err := e.host.Uplinks(func(name string) bool { return name != e.client.Tunnel.Name })
	if err != nil {
		e.skip(doctor.SubjectHost, "uplinks", err)
		return
	}
	found := slices.DeleteFunc(slices.Clone(all), func(u hostnet.Uplink) bool { return e.role(u.Name) == string(config.RoleNever) })
	for i, u := range found {
		e.facts.Uplinks = append(e.facts.Uplinks, e.describe(u, i == 0, found))
	}
	e.addMissing(all)
	servers, nameservers := e.servers(ctx)
	p := newProber(e, servers)
	var wg sync.WaitGroup
	for i := range e.facts.Uplinks {
		u := &e.facts.Uplinks[i]
		if u.Missing != "" {
			continue
		}
		wg.Go(func() { p.uplink(ctx, u) })
		wg.Go(func() { u.Names = e.askNames(ctx, u, nameservers) })
	}
	wg.Wait()
	p.finish()
	// What the connections have found out by now.
	e.routers(found)
	e.facts.Host.BlackholeActive = p.blackholed()
}

// role is the role of an uplink in effect.
func (e *examiner) role(name string) string {
	if e.status != nil {
		for _, u := range e.status.Uplinks {
			if u.Interface == name {
				return u.Role
			}
		}
	}
	return string(e.client.Uplink(name).Role)
}

func (e *examiner) describe(u hostnet.Uplink, first bool, all []hostnet.Uplink) doctor.Uplink {
	d := doctor.Uplink{
		Name: u.Name, Role: e.role(u.Name), Addresses: u.Addresses, Subnets: u.Subnets, Gateway4: u.Gateway4, Gateway6: u.Gateway6,
		MTU: u.MTU, First: first,
	}
	if !u.Usable() {
		d.Missing = "it has no address that reaches the internet"
	}
	var err error
	if d.Strict, err = e.host.ReversePathStrict(u.Name); err != nil {
		e.skip(doctor.UplinkSubject(u.Name), "reverse-path filter", err)
	}
	for _, o := range all {
		if o.Index == u.Index {
			continue
		}
		for _, n := range u.Subnets {
			if n.Addr().Is4() && slices.ContainsFunc(o.Subnets, n.Overlaps) {
				same := slices.ContainsFunc(u.Addresses, func(a netip.Addr) bool { return slices.Contains(o.Addresses, a) })
				d.Alike = append(d.Alike, doctor.Alike{Name: o.Name, Network: n, SameAddress: same && !heedsInterface(kernelRelease())})
			}
		}
	}
	if e.status != nil {
		d.Daemon = e.reported(u.Name)
	}
	return d
}

// deathsWithin is how long a death of an uplink counts.
const deathsWithin = 10 * time.Minute

// reported is what the running client says of an uplink; nil: nothing.
func (e *examiner) reported(name string) *doctor.UplinkStatus {
	i := slices.IndexFunc(e.status.Uplinks, func(u control.Uplink) bool { return u.Interface == name })
	if i < 0 {
		return nil
	}
	u := e.status.Uplinks[i]
	ms := func(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }
	d := &doctor.UplinkStatus{
		State: u.State, Use: u.Use, Reason: u.Reason, Subflows: u.Subflows, MPTCP: u.MPTCP, RTT: ms(u.RTTms), MinRTT: ms(u.MinRTTms),
		RxBps: u.RxBps, TxBps: u.TxBps, CapBytes: u.CapBytes, CapUsed: u.CapUsedBytes,
	}
	for _, ev := range e.status.Events {
		at, err := time.Parse(time.RFC3339, ev.Time)
		if err == nil && ev.Uplink == name && ev.To == control.UplinkDead && time.Since(at) < deathsWithin {
			d.RecentDeaths++
		}
	}
	return d
}

// addMissing adds the uplinks that the client or its configuration knows and that
// cannot be used.
func (e *examiner) addMissing(found []hostnet.Uplink) {
	interfaces, err := e.host.Interfaces()
	if err != nil {
		e.skip(doctor.SubjectHost, "interfaces", err)
		return
	}
	known := func(name string) bool {
		return slices.ContainsFunc(e.facts.Uplinks, func(u doctor.Uplink) bool { return u.Name == name })
	}
	why := func(name string) string {
		i := slices.IndexFunc(interfaces, func(i hostnet.Interface) bool { return i.Name == name })
		switch {
		case i < 0:
			return "there is no such interface now"
		case !interfaces[i].Up:
			return "its interface is down, or has no carrier"
		case len(interfaces[i].Addresses) == 0:
			return "it has no address"
		}
		return "it has no default route"
	}
	if e.status != nil {
		for _, u := range e.status.Uplinks {
			if u.Role != control.RoleNever && !known(u.Interface) {
				e.facts.Uplinks = append(e.facts.Uplinks, doctor.Uplink{Name: u.Interface, Role: u.Role, Missing: why(u.Interface)})
			}
		}
	}
	for _, r := range e.client.Uplinks {
		// A pattern that is for several, and finds one, has found enough.
		if r.Role == config.RoleNever || r.Interface == "*" || slices.ContainsFunc(found, func(u hostnet.Uplink) bool { return r.Matches(u.Name) }) ||
			slices.ContainsFunc(e.facts.Uplinks, func(u doctor.Uplink) bool { return r.Matches(u.Name) }) {
			continue
		}
		i := slices.IndexFunc(interfaces, func(i hostnet.Interface) bool { return r.Matches(i.Name) })
		if i < 0 {
			e.facts.Uplinks = append(e.facts.Uplinks, doctor.Uplink{Name: r.Interface, Missing: "no interface has such a name"})
		} else if name := interfaces[i].Name; !known(name) {
			e.facts.Uplinks = append(e.facts.Uplinks, doctor.Uplink{Name: name, Role: string(r.Role), Missing: why(name)})
		}
	}
}

// routers tells which uplinks with one network lead to one router: the connections
// before have made the kernel learn their hardware addresses.
func (e *examiner) routers(found []hostnet.Uplink) {
	mac := func(u hostnet.Uplink) string {
		if !u.Gateway4.Is4() {
			return ""
		}
		a, err := e.host.HardwareAddress(u.Index, u.Gateway4)
		if err != nil {
			e.skip(doctor.UplinkSubject(u.Name), "its router", err)
		}
		return a
	}
	of := make(map[string]string)
	for _, u := range found {
		of[u.Name] = mac(u)
	}
	for i := range e.facts.Uplinks {
		u := &e.facts.Uplinks[i]
		u.RouterMAC = of[u.Name]
		for k := range u.Alike {
			a := &u.Alike[k]
			a.SameRouter = u.RouterMAC != "" && u.RouterMAC == of[a.Name]
		}
	}
}

// serversMost bounds how many addresses are tried over each uplink.
const serversMost = 4

// servers are the server's addresses, and whom they were asked of; none, where no
// server has a name.
func (e *examiner) servers(ctx context.Context) (list []netip.AddrPort, nameservers []netip.Addr) {
	own := func() []netip.Addr {
		d, err := e.host.DNS(e.client.Tunnel.Name)
		if err != nil {
			e.skip(doctor.SubjectHost, "nameservers", err)
		}
		return d.Own
	}
	r := newResolver(e.client.Servers, slog.New(slog.DiscardHandler))
	if !e.root { // marks are not allowed
		r.ask = func(ctx context.Context, host string, server netip.Addr) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	known := sync.OnceValue(own)
	r.own = known
	nameservers = r.resolvers()
	list, err := r.addresses(ctx)
	if err != nil {
		e.facts.Client.NameErrors = strings.Split(err.Error(), "\n")
	}
	return list[:min(len(list), serversMost)], nameservers
}

// namePatience is how long a nameserver has for its answer.
const namePatience = 2 * time.Second

// askNames asks the nameservers for a server's name by an uplink: those of its own
// networks, and those that any uplink reaches.
func (e *examiner) askNames(ctx context.Context, u *doctor.Uplink, nameservers []netip.Addr) (out []doctor.NameTrial) {
	if !e.root || len(nameservers) == 0 {
		return nil
	}
	i := slices.IndexFunc(e.client.Servers, func(h config.HostPort) bool { _, ok := h.Addr(); return !ok })
	if i < 0 {
		return nil
	}
	on := func(u doctor.Uplink, a netip.Addr) bool {
		return slices.ContainsFunc(u.Subnets, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	var wg sync.WaitGroup
	for _, s := range nameservers {
		family := slices.ContainsFunc(u.Addresses, func(a netip.Addr) bool { return a.Is4() == s.Is4() })
		others := slices.ContainsFunc(e.facts.Uplinks, func(o doctor.Uplink) bool { return o.Name != u.Name && on(o, s) })
		if s.IsLoopback() || !family || !on(*u, s) && (others || s.IsPrivate()) {
			continue
		}
		out = append(out, doctor.NameTrial{Server: s})
	}
	for i := range out {
		t := &out[i]
		for network, ok := range map[string]*bool{"udp": &t.UDP, "tcp": &t.TCP} {
			wg.Go(func() { *ok = answersName(ctx, u.Name, t.Server, network, e.client.Servers[i].Host) })
		}
	}
	wg.Wait()
	return out
}

// answersName reports whether a nameserver answers, whatever it says.
func answersName(ctx context.Context, device string, server netip.Addr, network, host string) bool {
	ctx, cancel := context.WithTimeout(ctx, namePatience)
	defer cancel()
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		d := net.Dialer{Control: boundMark(device)}
		return d.DialContext(ctx, network, netip.AddrPortFrom(server, dnsPort).String())
	}}
	_, err := r.LookupNetIP(ctx, "ip", strings.TrimSuffix(host, ".")+".")
	var dns *net.DNSError
	return err == nil || errors.As(err, &dns) && dns.IsNotFound
}

// examineKey is what the server is asked with; an error says why it is not.
func (e *examiner) examineKey() (key crypto.PrivateKey, err error) {
	key, err = crypto.LoadKeyFile(e.client.PrivateKeyFile)
	if err != nil {
		return key, fmt.Errorf("the client's key cannot be read: %w", err)
	}
	return key, nil
}

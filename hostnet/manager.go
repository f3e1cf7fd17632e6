package hostnet

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
)

// Manager keeps the host as wanted. Its methods may be called concurrently;
// they work one after the other.
type Manager struct {
	host Host
	path string // of the state file
	log  *slog.Logger
	me   owner
	err  error // why we do not know who we are

	mu      sync.Mutex
	claimed bool     // the state below is in the file, under our name
	st      state    // what was changed and how it was before
	done    []string // commands of all changes, for reports
	told    map[string]bool
	dnsErr  error // why nameservers are not as wanted
}

// New returns a Manager for host that keeps its state in the file statePath,
// named by StatePath. Nothing is read or changed before the first Apply.
func New(host Host, statePath string, log *slog.Logger) *Manager {
	m := &Manager{host: host, path: statePath, log: log, told: make(map[string]bool)}
	m.me, m.err = self()
	return m
}

// ErrOwned is in the error of Apply, Undo and Cleanup when a living process
// owns what they would change.
var ErrOwned = errors.New("owned by a running process")

// Undo removes all that Apply made and restores all settings that still have
// the value we gave them. A later Apply starts anew.
func (m *Manager) Undo() error { return m.Apply(Desired{}) }

// Apply makes the host as wanted: it compares, adds, then deletes. It can be
// called at any time with the same or another value; what others deleted of
// ours meanwhile is made again. What a dead process left under the same state
// file is taken over, with the values it had found. On error as much as
// possible has been done; call again, or Undo.
func (m *Manager) Apply(d Desired) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	if err := d.validate(); err != nil {
		return fmt.Errorf("apply host network: %w", err)
	}
	if d.empty() && !m.claimed {
		if _, err := readState(m.path); errors.Is(err, fs.ErrNotExist) {
			return nil // nothing was ever done
		}
	}
	if err := m.claim(cmp.Or(d.Device, d.KillSwitch.Device)); err != nil {
		return fmt.Errorf("apply host network: %w", err)
	}
	before := len(m.done)
	err := m.apply(d)
	m.dnsErr = m.applyDNS(d)
	if d.empty() {
		err = errors.Join(err, m.dnsErr)
	} else if m.dnsErr != nil {
		// No reason to be without a tunnel.
		m.once("programs of this host do not ask through the tunnel for names", "error", m.dnsErr, "hint", hintOf(m.dnsErr))
	}
	if err != nil {
		return fmt.Errorf("apply host network: %w", err)
	}
	if n := len(m.done) - before; n > 0 {
		what := "host network changed"
		if d.empty() {
			what = "host network restored"
		}
		m.log.Info(what, "changes", n)
	}
	if d.empty() {
		m.claimed, m.st = false, state{}
		return removeState(m.path)
	}
	return nil
}

// claim makes the state file ours and chooses a slot, once.
func (m *Manager) claim(device string) error {
	if m.claimed {
		return nil
	}
	dir := filepath.Dir(m.path)
	unlock, err := lockState(dir)
	if err != nil {
		return err
	}
	defer unlock()

	old, err := readState(m.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		// A damaged file must not keep a router from starting.
		m.log.Warn("former network state is unreadable; settings that it held are not restored", "error", err)
	case old.Owner != m.me && old.Owner.alive(m.me):
		return fmt.Errorf("%s: %w: process %d; stop it, or give this one its own control directory", m.path, ErrOwned, old.Owner.PID)
	}
	st := state{Version: stateVersion, Owner: m.me, Namespace: m.host.Namespace(), Slot: -1}
	if old.Namespace == st.Namespace && old.Owner.Boot == m.me.Boot {
		st.Devices, st.NAT, st.Settings, st.KillSwitches, st.DNS = old.Devices, old.NAT, old.Settings, old.KillSwitches, old.DNS
		st.Slot = old.Slot
	}
	if tables, err := m.host.KillSwitches(); err == nil {
		table := killSwitchTable(device) // of one whose state is lost
		if slices.Contains(tables, table) && !slices.Contains(st.KillSwitches, table) {
			st.KillSwitches = append(st.KillSwitches, table)
		}
	}
	taken, err := m.takenSlots(append(st.names(), device))
	if err != nil {
		return err
	}
	if taken[st.Slot] {
		st.Slot = -1
	}
	for i := 0; st.Slot < 0 && i < slots; i++ {
		if !taken[i] {
			st.Slot = i
		}
	}
	if st.Slot < 0 {
		return fmt.Errorf("all %d places for tunnels in this network namespace are taken: stop another braid, or run \"braid cleanup\"", slots)
	}
	if err := st.write(m.path); err != nil {
		return err
	}
	m.st, m.claimed = st, true
	if err := m.restoreLeftDNS(); err != nil {
		m.log.Warn("what a former braid has left of DNS could not be undone", "error", err)
	}
	return nil
}

// takenSlots finds the slots that others use: those of living owners, and
// those with routes into a TUN that is none of ours. A TUN and its routes die
// with its process, so the kernel itself tells the living from the dead, even
// to a braid that has another state directory.
func (m *Manager) takenSlots(ours []string) (map[int]bool, error) {
	taken := make(map[int]bool)
	files, err := stateFiles(filepath.Dir(m.path))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if s, err := readState(f); err == nil && f != m.path && s.Namespace == m.host.Namespace() && s.Owner.alive(m.me) {
			taken[s.Slot] = true
		}
	}
	routes, err := m.host.Routes()
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		slot, uplink := slotOfTable(r.Table)
		if slot >= 0 && !uplink && !r.Throw && !slices.Contains(ours, r.Device) {
			taken[slot] = true
		}
	}
	return taken, nil
}

// apply does the work of Apply under a claim.
func (m *Manager) apply(d Desired) error {
	links, err := m.host.Links()
	if err != nil {
		return err
	}
	behind, err := m.behind(d)
	errs := []error{err, m.closeSwitch(d, behind)}
	d.Exclude = excluded(d.Exclude, behind)
	device, err := m.adopt(d.Device, links)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	// The MTU first, for the kernel allows no IPv6 below 1280.
	if mtu := m.wantedMTU(d, device); mtu != device.MTU {
		errs = append(errs, m.do(Change{Object: LinkMTU{d.Device, mtu}}))
	}
	v6 := m.hasIPv6(d)
	if d.Device != "" && v6 {
		errs = append(errs, m.quiet(d.Device))
	}
	d.Uplinks = nameUplinks(d.Uplinks, links)
	if d.Sources, err = m.forwardedSources(d, links); err != nil {
		return err
	}
	p := makePlan(d, m.st.Slot, v6)
	if err := m.sourcesOnly(&d, &p); err != nil {
		return err
	}
	m.warnRejects(p)

	early, late, err := m.settings(d, links, v6)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	wanted := slices.Concat(early, late)
	for _, s := range early {
		errs = append(errs, m.set(s))
	}
	// Deleting an address can take others with it, and with the last one the
	// routes: so look again until all is as it should be.
	const passes = 4
	for i := 0; ; i++ {
		add, remove, err := m.diff(d, device, p, links)
		if err != nil {
			errs = append(errs, err)
			break
		}
		if i == passes {
			errs = append(errs, fmt.Errorf("something else keeps changing it; still to do: %v %v", add, remove))
			break
		}
		for _, c := range add {
			errs = append(errs, m.do(c))
		}
		// Nothing is forwarded before it can be masqueraded, or after.
		if i == 0 && errors.Join(errs...) == nil {
			for _, s := range late {
				errs = append(errs, m.set(s))
			}
		}
		if i == 0 {
			errs = append(errs, m.restore(wanted, isForwarding))
		}
		for _, c := range remove {
			errs = append(errs, m.do(c))
		}
		if len(add)+len(remove) == 0 || errors.Join(errs...) != nil {
			break
		}
		if links, err = m.host.Links(); err != nil {
			errs = append(errs, err)
			break
		}
	}
	errs = append(errs, m.restore(wanted, nil), m.liftSwitches(d))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	m.warnFilters(d)
	return m.forget(d)
}

// adopt finds the device and notes how it was.
func (m *Manager) adopt(name string, links []Link) (Link, error) {
	if name == "" {
		return Link{}, nil
	}
	i := slices.IndexFunc(links, func(l Link) bool { return l.Name == name })
	if i < 0 {
		return Link{}, fmt.Errorf("device %s does not exist; the TUN must be created first", name)
	}
	l := links[i]
	known := func(s savedLink) bool { return s.Index == l.Index && s.Name == name }
	if !slices.ContainsFunc(m.st.Devices, known) {
		gone := func(s savedLink) bool { return linkOf(links, s.Index).Name != s.Name }
		m.st.Devices = append(slices.DeleteFunc(m.st.Devices, gone), savedLink{Name: name, Index: l.Index, MTU: l.MTU, Up: l.Up})
		return l, m.st.write(m.path)
	}
	return l, nil
}

// wantedMTU is the device's MTU: the one asked for, or the one it had.
func (m *Manager) wantedMTU(d Desired, device Link) int {
	if d.MTU != 0 || d.Device == "" {
		return d.MTU
	}
	i := slices.IndexFunc(m.st.Devices, func(s savedLink) bool { return s.Index == device.Index })
	return m.st.Devices[i].MTU
}

// forget drops from the state what has been undone.
func (m *Manager) forget(d Desired) error {
	n := len(m.st.Devices) + len(m.st.NAT)
	m.st.Devices = slices.DeleteFunc(m.st.Devices, func(s savedLink) bool { return s.Name != d.Device })
	m.st.NAT = slices.DeleteFunc(m.st.NAT, func(t string) bool { return !d.filters() || t != natTable(d.Device) })
	if len(m.st.Devices)+len(m.st.NAT) == n {
		return nil
	}
	return m.st.write(m.path)
}

// hasIPv6 reports whether the device can have IPv6, and says once if the
// tunnel's is left out.
func (m *Manager) hasIPv6(d Desired) bool {
	if d.Device == "" {
		return true
	}
	key := confKey("ipv6", d.Device, "disable_ipv6")
	v, err := m.host.Sysctl(key)
	if err == nil && v == "0" {
		return true
	}
	six := func(p netip.Prefix) bool { return p.Addr().Is6() }
	if slices.ContainsFunc(d.Addresses, six) || slices.ContainsFunc(d.Routes, six) {
		reason := key + " is " + v
		if err != nil {
			reason = "this kernel or an MTU below 1280 allows none"
		}
		m.once("the tunnel goes without IPv6 on this host", "device", d.Device, "reason", reason)
	}
	return false
}

// warnRejects names the routes of main that keep packets from the tunnel.
func (m *Manager) warnRejects(p plan) {
	var tunnel []Route
	for _, r := range p.routes {
		if _, uplink := slotOfTable(r.Table); !uplink && !r.Throw {
			tunnel = append(tunnel, r)
		}
	}
	if len(tunnel) == 0 {
		return
	}
	rejects, err := m.host.Rejects()
	if err != nil {
		m.log.Debug("cannot read the routes of table main", "error", err)
	}
	for _, reject := range rejects {
		for _, r := range tunnel {
			if reject.Bits() <= r.Dst.Bits() && reject.Overlaps(r.Dst) {
				m.once("a route of this host rejects packets before they reach the tunnel; delete it or make it longer than the tunnel's",
					"host_route", reject, "tunnel_route", r.Dst)
			}
		}
	}
}

// once logs a warning the first time.
func (m *Manager) once(msg string, args ...any) {
	if id := msg + fmt.Sprint(args...); !m.told[id] {
		m.told[id] = true
		m.log.Warn(msg, args...)
	}
}

// do makes one change and notes it.
func (m *Manager) do(c Change) error {
	if err := m.host.Do(c); err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	m.log.Debug("changed", "command", c.String())
	m.done = append(m.done, c.String())
	return nil
}

// nameUplinks gives the uplinks the names that their interfaces have now and
// leaves out those that are not usable, or have gone or gone down since they
// were found; the next list of uplinks tells.
func nameUplinks(uplinks []Uplink, links []Link) []Uplink {
	var out []Uplink
	for _, u := range uplinks {
		i := slices.IndexFunc(links, func(l Link) bool { return l.Index == u.Index })
		if i >= 0 && links[i].Up && u.Usable() {
			u.Name = links[i].Name
			out = append(out, u)
		}
	}
	return out
}

package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// How this host's programs learn whom to ask for names:
//
//	program ─ C library ─┬─ /etc/resolv.conf ─ nameserver, or systemd-resolved's stub
//	                     └─ nss-resolve ────── systemd-resolved
//
// So systemd-resolved is told whenever it runs (dnsresolved.go), and the file changes
// unless it names nothing but the stub. Where resolvconf makes the file, resolvconf is
// told (dnsresolvconf.go); else it is replaced (dnsfile.go).

// DNSMethod is a way in which this host's nameservers are set.
type DNSMethod string

// The methods, by the names that people see.
const (
	DNSResolved   DNSMethod = "systemd-resolved"
	DNSResolvconf DNSMethod = "resolvconf"
	DNSFile       DNSMethod = "/etc/resolv.conf"
)

// DNS is how this host finds nameservers now.
type DNS struct {
	// Methods are those that must be used, together, for all programs to ask
	// whom we want.
	Methods []DNSMethod
	// Set is what each method has from us for the device.
	Set map[DNSMethod][]netip.Addr
	// Own are the nameservers that the host would have without us, those behind its
	// own DNS server where they are known.
	Own []netip.Addr
}

// Nameservers are the nameservers of a host, set by one method for a device, in
// order of preference.
type Nameservers struct {
	Method  DNSMethod
	Device  string
	Servers []netip.Addr
}

func (n Nameservers) command(remove bool) string {
	var list []string
	for _, s := range n.Servers {
		list = append(list, s.String())
	}
	servers := strings.Join(list, " ")
	switch {
	case n.Method == DNSResolved && remove:
		return "resolvectl revert " + n.Device
	case n.Method == DNSResolved:
		return fmt.Sprintf("resolvectl dns %s %s; resolvectl domain %s ~.", n.Device, servers, n.Device)
	case n.Method == DNSResolvconf && remove:
		return "resolvconf -d " + resolvconfName(n.Device)
	case n.Method == DNSResolvconf:
		return fmt.Sprintf("resolvconf -a %s # nameserver %s", resolvconfName(n.Device), servers)
	case remove:
		return fmt.Sprintf("mv %s%s %s", resolvPath, beforeSuffix, resolvPath)
	}
	return fmt.Sprintf("mv %s %s%s # then: nameserver %s", resolvPath, resolvPath, beforeSuffix, servers)
}

// applyDNS makes the nameservers as wanted.
func (m *Manager) applyDNS(d Desired) error {
	if d.KeepNameservers {
		return nil
	}
	var wanted []DNSMethod
	var have DNS
	if len(d.Nameservers) > 0 {
		var err error
		if have, err = m.host.DNS(d.Device); err != nil {
			return fmt.Errorf("see how this host finds nameservers: %w", err)
		}
		wanted = have.Methods
	}
	var errs []error
	for _, method := range wanted {
		if slices.Equal(have.Set[method], d.Nameservers) && slices.Contains(m.st.DNS, savedDNS{method, d.Device}) {
			continue
		}
		errs = append(errs, m.setDNS(Nameservers{method, d.Device, d.Nameservers}))
	}
	for _, s := range slices.Clone(m.st.DNS) {
		if s.Device == d.Device && slices.Contains(wanted, s.Method) {
			continue
		}
		if err := m.do(Change{Remove: true, Object: Nameservers{Method: s.Method, Device: s.Device}}); err != nil {
			errs = append(errs, err)
			continue
		}
		m.st.DNS = slices.DeleteFunc(m.st.DNS, func(o savedDNS) bool { return o == s })
		errs = append(errs, m.st.write(m.path))
	}
	return errors.Join(errs...)
}

// setDNS sets nameservers and remembers that, on disk first.
func (m *Manager) setDNS(n Nameservers) error {
	if s := (savedDNS{n.Method, n.Device}); !slices.Contains(m.st.DNS, s) {
		m.st.DNS = append(m.st.DNS, s)
		if err := m.st.write(m.path); err != nil {
			return err
		}
	}
	return m.do(Change{Object: n})
}

// restoreLeftDNS puts back an /etc/resolv.conf that the state does not know: of a
// daemon that a crash of the machine has ended, or whose state is lost.
func (m *Manager) restoreLeftDNS() error {
	device, err := m.host.LeftDNS()
	left := savedDNS{DNSFile, device}
	if err != nil || device == "" || slices.Contains(m.st.DNS, left) {
		return err
	}
	files, err := stateFiles(filepath.Dir(m.path))
	if err != nil {
		return err
	}
	for _, f := range files {
		if s, err := readState(f); err == nil && s.Owner.alive(m.me) && slices.Contains(s.DNS, left) {
			return nil // it has taken that over, and will say what it wants
		}
	}
	return m.do(Change{Remove: true, Object: Nameservers{Method: DNSFile, Device: device}})
}

// DNSStatus returns how this host's nameservers are set by us now, and why they are
// not as wanted, or nil.
func (m *Manager) DNSStatus() (set []DNSMethod, failed error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.st.DNS {
		set = append(set, s.Method)
	}
	return set, m.dnsErr
}

// OwnNameservers returns the nameservers that this host would have without us, for
// what must be asked beside the tunnel. It may be none.
func (m *Manager) OwnNameservers(device string) ([]netip.Addr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	have, err := m.host.DNS(device)
	return have.Own, err
}

// DNS implements Host.
func (k *Kernel) DNS(device string) (DNS, error) {
	d := DNS{Set: make(map[DNSMethod][]netip.Addr)}
	err := k.ns.do(func() error {
		f, err := resolvConf().read()
		if err != nil {
			return err
		}
		theirs := parseResolv(f.theirs)
		own := theirs.servers
		if f.ours && f.mark.Device == device {
			d.Set[DNSFile] = parseResolv(f.content).servers
		}
		stub := len(theirs.servers) > 0 && !slices.ContainsFunc(theirs.servers, func(a netip.Addr) bool { return !isStub(a) })
		running, set := resolvedDNS(k.linkIndex(device))
		if running {
			d.Methods = append(d.Methods, DNSResolved)
			d.Set[DNSResolved] = set
		}
		switch {
		case running && stub:
		case madeByResolvconf(f):
			d.Methods = append(d.Methods, DNSResolvconf)
			d.Set[DNSResolvconf] = resolvconfDNS(device, theirs.servers)
			own = resolvconfOwn(device)
		default:
			d.Methods = append(d.Methods, DNSFile)
		}
		d.Own = beyondHost(own, resolvedUplinks, managerUplinks)
		return nil
	})
	return d, err
}

// linkIndex is the interface index of a device, 0 if there is none.
func (k *Kernel) linkIndex(device string) int {
	l, err := k.nl.LinkByName(device)
	if device == "" || err != nil {
		return 0
	}
	return l.Attrs().Index
}

// LeftDNS implements Host.
func (k *Kernel) LeftDNS() (device string, err error) {
	f, err := resolvConf().read()
	if err != nil || !f.ours || f.mark.alive() {
		return "", err
	}
	return f.mark.Device, nil
}

// doNameservers runs in the network namespace.
func (k *Kernel) doNameservers(n Nameservers, remove bool) error {
	switch n.Method {
	case DNSResolved:
		index := k.linkIndex(n.Device)
		if index == 0 && remove {
			return nil // systemd-resolved has forgotten it
		}
		return explainDNS("tell systemd-resolved", setResolvedDNS(index, n.Servers, remove))
	case DNSResolvconf:
		return explainDNS("run resolvconf", setResolvconfDNS(n.Device, n.Servers, remove))
	}
	me, err := self()
	if err != nil {
		return err
	}
	if remove {
		err = resolvConf().restore(n.Device, me)
	} else {
		err = resolvConf().set(mark{n.Device, me}, n.Servers)
	}
	return explainDNS("change "+resolvPath, err)
}

// forwarders are the loopback addresses on which forwarders of ours listen, one
// daemon each.
var forwarders = netip.MustParsePrefix("127.98.0.0/16")

// ForwarderAddresses are where a daemon's DNS forwarder may listen, so that nothing
// else is in its way: none of them is anybody's default.
func ForwarderAddresses() []netip.Addr {
	var out []netip.Addr
	for i := range slots {
		out = append(out, netip.AddrFrom4([4]byte{127, 98, byte(i), 53}))
	}
	return out
}

// managerUplinks lists the nameservers of all links where NetworkManager runs a DNS
// server of its own.
const managerUplinks = "/run/NetworkManager/no-stub-resolv.conf"

// mostOwn is how many nameservers a host asks (MAXNS, resolv.conf(5)).
const mostOwn = 3

// beyondHost are those of the nameservers that are not on this host, or where there
// are none, those that the first of the files names which names any: a DNS server of
// this host asks these, without a mark, and so by the tunnel that they may be needed
// for. Where nobody says whom it asks, it is itself asked, unless it is ours.
func beyondHost(list []netip.Addr, files ...string) []netip.Addr {
	out := elsewhere(list)
	for i := 0; len(out) == 0 && i < len(files); i++ {
		out = elsewhere(nameserversOf(files[i]))
	}
	if len(out) == 0 {
		return slices.DeleteFunc(slices.Clone(list), forwarders.Contains)
	}
	return out
}

// elsewhere are those of the nameservers that are not on this host.
func elsewhere(list []netip.Addr) (out []netip.Addr) {
	for _, a := range list {
		if a = a.Unmap(); !a.IsLoopback() && !a.IsUnspecified() && !slices.Contains(out, a) && len(out) < mostOwn {
			out = append(out, a)
		}
	}
	return out
}

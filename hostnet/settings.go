package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const (
	forward4 = "net.ipv4.ip_forward"
	forward6 = "net.ipv6.conf.all.forwarding"
)

// isForwarding is true of the settings that are set last and restored first,
// so that nothing is forwarded without being masqueraded.
func isForwarding(key string) bool { return key == forward4 || key == forward6 }

// managed is true of the settings that follow from the rest of a Desired.
func managed(key string) bool {
	if isForwarding(key) {
		return true
	}
	conf := strings.HasPrefix(key, "net.ipv4.conf.") || strings.HasPrefix(key, "net.ipv6.conf.")
	switch key[strings.LastIndexByte(key, '.')+1:] {
	case "forwarding", "accept_redirects", "rp_filter", "arp_ignore", "arp_announce", "accept_ra", "addr_gen_mode":
		return conf
	}
	return false
}

// settings works out the wanted settings. They depend on the values that the
// host had before us, never on our own, so that the answer stays the same
// when asked again.
func (m *Manager) settings(d Desired, links []Link, v6 bool) (early, late []Setting, err error) {
	m.followRenames(links)
	loose, err := m.reversePath(d, links)
	if err != nil {
		return nil, nil, err
	}
	early = append(early, loose...)
	apart, err := m.neighbours(d, links)
	if err != nil {
		return nil, nil, err
	}
	early = append(early, apart...)

	if d.Forwarding {
		late = append(late, Setting{Key: forward4, Value: "1"})
		if _, err := m.original(forward6); v6 && err == nil {
			ra, err := m.keepRA(d.Device, links)
			if err != nil {
				return nil, nil, err
			}
			early = append(early, ra...)
			late = append(late, Setting{Key: forward6, Value: "1"})
		}
	}
	var keys []string
	for key := range d.Sysctls {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		early = append(early, Setting{Key: key, Value: strings.Join(strings.Fields(d.Sysctls[key]), " ")})
	}
	return early, late, nil
}

// forwardedSources are the Sources of the families that the host forwards, by
// its own will or by ours. Connection tracking, which masquerading needs, costs
// all traffic of a host: one that is no router shall not pay for it.
func (m *Manager) forwardedSources(d Desired, links []Link) ([]netip.Prefix, error) {
	if d.Forwarding || len(d.Sources) == 0 {
		return d.Sources, nil
	}
	on := func(key string) (bool, error) {
		v, err := m.original(key)
		if missing(err) {
			return false, nil
		}
		return v == "1", err
	}
	v4, err := on(forward4)
	if err != nil {
		return nil, err
	}
	// IPv4 can be forwarded from single interfaces.
	for _, l := range links {
		if v4 || l.Name == d.Device || l.Name == "lo" {
			continue
		}
		if v4, err = on(confKey("ipv4", l.Name, "forwarding")); err != nil {
			return nil, err
		}
	}
	v6, err := on(forward6)
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, p := range d.Sources {
		if p.Addr().Is4() && v4 || p.Addr().Is6() && v6 {
			out = append(out, p)
		}
	}
	return out, nil
}

// quiet keeps the kernel from giving the device a link-local address: a TUN
// has no link, and router solicitations would be the first packets into the
// tunnel. This setting goes with the device and is not restored, for writing
// the former value makes the kernel add an address, even to a device that is
// down.
func (m *Manager) quiet(device string) error {
	s := Setting{Key: confKey("ipv6", device, "addr_gen_mode"), Value: "1"}
	now, err := m.host.Sysctl(s.Key)
	if missing(err) || err == nil && now == s.Value {
		return nil
	}
	if err != nil {
		return err
	}
	return m.do(Change{Object: s})
}

// reversePath loosens strict reverse-path filters.
//
// The filter looks up the way back to a packet's source, without our mark
// (a packet that arrives has none). For a reply to a carrier that way leads
// into the tunnel, or to the host's best uplink, not to the interface it came
// by: strict mode (1) drops it. Loose mode (2) asks only that some way exists.
// What counts is the larger of the values of "all" and the interface, so 2 on
// the interface is enough, and other interfaces keep their filter. The TUN
// needs the same: packets of excluded networks may come out of it.
func (m *Manager) reversePath(d Desired, links []Link) ([]Setting, error) {
	all, err := m.original(confKey("ipv4", "all", "rp_filter"))
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Setting
	for _, l := range links {
		uplink := slices.ContainsFunc(d.Uplinks, func(u Uplink) bool { return u.Index == l.Index })
		if !uplink && l.Name != d.Device {
			continue
		}
		key := confKey("ipv4", l.Name, "rp_filter")
		v, err := m.original(key)
		if missing(err) {
			continue // the interface has just gone
		}
		if err != nil {
			return nil, err
		}
		if max(all, v) == "1" {
			out = append(out, Setting{key, "2", l.Index})
		}
	}
	return out, nil
}

// neighbours keeps uplinks apart that have a network in common, such as a cable
// and Wi-Fi to one router.
//
// Linux answers ARP for any of its addresses on any interface, so that the
// router may send what is for one uplink by the other, where no socket that is
// bound to the first will take it. With arp_ignore 1 an interface answers for its
// own addresses alone, with arp_announce 2 it asks with one of its own, which
// teaches the router where that is. As with rp_filter the larger of the values of
// "all" and the interface counts. IPv6 does so by itself.
func (m *Manager) neighbours(d Desired, links []Link) ([]Setting, error) {
	var out []Setting
	for _, l := range links {
		if !sharesNetwork(d.Uplinks, l.Index) {
			continue
		}
		for _, s := range []struct{ name, least string }{{"arp_ignore", "1"}, {"arp_announce", "2"}} {
			key := confKey("ipv4", l.Name, s.name)
			all, err := m.original(confKey("ipv4", "all", s.name))
			v, err2 := m.original(key)
			if missing(err) || missing(err2) {
				continue
			}
			if err := errors.Join(err, err2); err != nil {
				return nil, err
			}
			if max(all, v) < s.least { // they have one digit
				out = append(out, Setting{key, s.least, l.Index})
			}
		}
	}
	return out, nil
}

// sharesNetwork reports whether the uplink with this interface index has an IPv4
// network on its link that another uplink has, too.
func sharesNetwork(uplinks []Uplink, index int) bool {
	i := slices.IndexFunc(uplinks, func(u Uplink) bool { return u.Index == index })
	return i >= 0 && slices.ContainsFunc(uplinks, func(o Uplink) bool {
		return o.Index != index && slices.ContainsFunc(o.Subnets, func(p netip.Prefix) bool {
			return p.Addr().Is4() && slices.ContainsFunc(uplinks[i].Subnets, p.Overlaps)
		})
	})
}

// keepRA keeps a host that becomes a router on its own IPv6 default route:
// an interface that forwards listens to router advertisements only if
// accept_ra is 2, and the kernel drops what it had learnt. So each interface
// that would listen as a host (1, not forwarding) gets 2; "default" is for
// those that will be plugged in.
func (m *Manager) keepRA(device string, links []Link) ([]Setting, error) {
	var out []Setting
	for _, l := range append([]Link{{Name: "default"}}, links...) {
		if l.Name == device || l.Name == "lo" {
			continue
		}
		key := confKey("ipv6", l.Name, "accept_ra")
		ra, err := m.original(key)
		forwards, err2 := m.original(confKey("ipv6", l.Name, "forwarding"))
		if missing(err) || missing(err2) {
			continue
		}
		if err := errors.Join(err, err2); err != nil {
			return nil, fmt.Errorf("read how %s uses router advertisements: %w", l.Name, err)
		}
		if ra == "1" && forwards == "0" {
			out = append(out, Setting{key, "2", l.Index})
		}
	}
	return out, nil
}

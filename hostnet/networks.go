package hostnet

import (
	"context"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	rtnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Attached lists the networks on the links of all interfaces: routes of main
// without a gateway. Link-local ones of IPv6 are left out.
func (k *Kernel) Attached() ([]Network, error) {
	return k.networks(tableMain, func(_ string, r rtnetlink.Route) bool { return !gatewayOf(r.Gw, r.Via).IsValid() })
}

// Behind lists the networks to which any table but ours has a route by an
// interface whose name matches one of the patterns (path.Match), default routes
// left out.
func (k *Kernel) Behind(patterns []string) ([]Network, error) {
	return k.networks(unix.RT_TABLE_UNSPEC, func(device string, r rtnetlink.Route) bool {
		return r.Protocol != Protocol && matchesAny(patterns, device)
	})
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { ok, err := path.Match(p, name); return ok && err == nil })
}

// networks lists the unicast routes of a table for which want is true.
func (k *Kernel) networks(table int, want func(device string, r rtnetlink.Route) bool) ([]Network, error) {
	links, err := k.Links()
	if err != nil {
		return nil, err
	}
	var out []Network
	for _, v6 := range []bool{false, true} {
		list, err := k.listRoutes(v6, rtnetlink.Route{Table: table, Type: unix.RTN_UNICAST}, rtnetlink.RT_FILTER_TABLE|rtnetlink.RT_FILTER_TYPE)
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			p, device := prefixOf(r.Dst), linkOf(links, r.LinkIndex).Name
			if device == "" || device == "lo" || !p.IsValid() || p.Bits() == 0 || within(p, linkOnly) || !want(device, r) {
				continue
			}
			if n := (Network{device, p}); !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out, nil
}

// behind are the networks that ExcludeBehind names, without those of the TUN.
// The kernel is not asked for nothing.
func (m *Manager) behind(d Desired) ([]Network, error) {
	if len(d.ExcludeBehind) == 0 {
		return nil, nil
	}
	list, err := m.host.Behind(d.ExcludeBehind)
	return slices.DeleteFunc(list, func(n Network) bool { return n.Device == d.Device || n.Device == d.KillSwitch.Device }), err
}

// excluded adds networks to a list of prefixes.
func excluded(list []netip.Prefix, networks []Network) []netip.Prefix {
	out := slices.Clone(list)
	for _, n := range networks {
		out = append(out, n.Prefix)
	}
	return out
}

// WatchNetworks calls report when what ExcludeBehind or a KillSwitch depend on
// may have changed, after it has settled: interfaces, addresses, routes that are
// not ours, and tables of nftables that were deleted or emptied, perhaps ours.
// It is for the calling thread's network namespace. It returns nil when ctx ends,
// and has then ended all its goroutines; report is not called after that.
func WatchNetworks(ctx context.Context, report func()) error {
	routes, err := subscribe()
	if err != nil {
		return fmt.Errorf("watch networks: %w", err)
	}
	sockets := []*netlink.Conn{routes}
	// Where nftables is missing nobody can flush it.
	if tables, err := netlink.Dial(unix.NETLINK_NETFILTER, nil); err == nil {
		if tables.JoinGroup(unix.NFNLGRP_NFTABLES) == nil {
			sockets = append(sockets, tables)
		} else {
			tables.Close()
		}
	}
	signal := make(chan struct{}, 1)
	ended := make(chan error, len(sockets))
	var wg sync.WaitGroup
	for _, c := range sockets {
		matters := aboutNetworks
		if c != routes {
			matters = aboutTables
		}
		wg.Go(func() { ended <- readEvents(c, matters, signal) })
	}
	err = settleSignals(ctx, signal, ended, report)
	for _, c := range sockets {
		c.Close()
	}
	wg.Wait()
	if err != nil {
		return fmt.Errorf("watch networks: %w", err)
	}
	return nil
}

// settleSignals calls report when signals have come and then none for a moment,
// or for long. It returns nil when ctx ends, or what has ended.
func settleSignals(ctx context.Context, signal <-chan struct{}, ended <-chan error, report func()) error {
	quiet := time.NewTimer(resync)
	defer quiet.Stop()
	quiet.Stop()
	var since time.Time // of the first signal; zero: there was none
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			if ctx.Err() != nil {
				return nil
			}
			return err
		case <-signal:
			if since.IsZero() {
				since = time.Now()
			}
			quiet.Reset(min(settle, max(0, settleMax-time.Since(since))))
		case <-quiet.C:
			since = time.Time{}
			report()
		}
	}
}

// aboutNetworks is false of events about routes that are ours.
func aboutNetworks(m netlink.Message) bool {
	switch m.Header.Type {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		const protocol = 5 // offset in struct rtmsg
		return len(m.Data) > protocol && m.Data[protocol] != Protocol
	}
	return true
}

// aboutTables is true of events by which rules of nftables vanish.
func aboutTables(m netlink.Message) bool {
	switch m.Header.Type {
	case unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELTABLE, unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELCHAIN,
		unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELRULE:
		return true
	}
	return false
}

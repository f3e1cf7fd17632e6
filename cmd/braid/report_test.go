package main

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"braid/config"
	"braid/control"
	"braid/hostnet"
	"braid/scheduler"
	"braid/tunnel"
	"braid/tunnel/egress"
	"braid/tunnel/wire"
)

var equatePrefixes = cmpopts.EquateComparable(netip.Prefix{})

func TestClientStatusOfUplinks(t *testing.T) {
	cfg := &config.Client{
		Tunnel:  config.ClientTunnel{Name: "braid0"},
		Uplinks: []config.UplinkRule{{Interface: "lo*", Role: config.RoleNever}, {Interface: "*", Role: config.RoleBond}},
	}
	address := []netip.Addr{netip.MustParseAddr("198.51.100.1")}
	found := []hostnet.Uplink{
		{Name: "dsl", Addresses: address}, {Name: "lte", Addresses: address}, {Name: "lora", Addresses: address}, {Name: "usb"},
		{Name: "usb2", Addresses: address},
	}
	s := tunnel.ClientStatus{
		Session: wire.SessionID{1}, Connected: true, MPTCP: true, Server: netip.MustParseAddrPort("192.0.2.1:443"),
		RTT: 31500 * time.Microsecond,
		Usage: []tunnel.UplinkUsage{
			{Uplink: "dsl", Subflows: 1, RTT: 30 * time.Millisecond, RxBytes: 1000, RxBps: 8e6},
			{Uplink: "wifi", RxBytes: 77},
		},
	}
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	s.Paths = []tunnel.PathStatus{
		{Uplink: "dsl", Present: true, State: scheduler.Up, Reason: "answers", Use: scheduler.Active, Since: at, BeatsSent: 7, BeatsLost: 1,
			RTT: scheduler.RTT{Smoothed: 29 * time.Millisecond, Min: 28 * time.Millisecond, Jitter: time.Millisecond}},
		{Uplink: "lte", Present: true, Role: scheduler.Backup, State: scheduler.Up, Use: scheduler.Standby, UseReason: "its role is backup", Since: at},
		{Uplink: "wifi", State: scheduler.Dead, Reason: "it is down", Since: at, Deaths: 2},
	}
	s.Events = []tunnel.UplinkEvent{{Time: at, Uplink: "wifi", From: scheduler.Up, To: scheduler.Dead, Reason: "it is down"}}
	since := "2026-11-21T10:00:00Z"
	want := []control.Uplink{
		{Interface: "dsl", Role: "bond", ConfiguredRole: "bond", State: "up", Use: "active", Since: since, RTTms: 29, MinRTTms: 28, JitterMs: 1,
			RxBytes: 1000, RxBps: 8e6, MPTCP: true, Subflows: 1, BeatsSent: 7, BeatsLost: 1},
		{Interface: "lte", Role: "backup", ConfiguredRole: "bond", State: "up", Reason: "its role is backup", Use: "standby", Since: since},
		{Interface: "lora", Role: "never", ConfiguredRole: "never", State: "off", Reason: "its role is never", Use: "none"},
		{Interface: "usb", Role: "bond", ConfiguredRole: "bond", State: "dead", Reason: "it has no usable address", Use: "none"},
		{Interface: "usb2", Role: "bond", ConfiguredRole: "bond", State: "dead", Reason: "it has the address of lte", Use: "none"},
		{Interface: "wifi", Role: "bond", ConfiguredRole: "bond", State: "dead", Reason: tunnel.GoneReason, Use: "none", Since: since, RxBytes: 77, Deaths: 2},
	}
	roles := func(name string) config.Role {
		if name == "lte" { // set while running
			return config.RoleBackup
		}
		return cfg.Uplink(name).Role
	}
	got := clientStatus(cfg, s, found, roles, map[string]string{"usb2": "it has the address of lte"})
	if d := cmp.Diff(want, got.Uplinks); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]control.Event{{Time: since, Uplink: "wifi", From: "up", To: "dead", Reason: "it is down"}}, got.Events); d != "" {
		t.Error(d)
	}
	if got.Verdict.Level != control.LevelWarn || got.Gain.Text == "" || got.Role != "client" || got.Session.State != "up" || got.Session.RTTms != 31.5 || !got.Session.MPTCP || got.Carriers.Bond != 1 {
		t.Errorf("session %+v, carriers %+v", got.Session, got.Carriers)
	}

	s.Connected, s.LastError, s.Usage = false, errors.New("connection refused"), nil
	got = clientStatus(cfg, s, found[:1], roles, nil)
	if got.Session.State != "down" || got.Session.Reason != "connection refused" || got.Session.MPTCP || got.Carriers.Bond != 0 {
		t.Errorf("session %+v", got.Session)
	}
}

func TestServerStatus(t *testing.T) {
	cfg := &config.Server{Tunnel: config.ServerTunnel{Name: "braid0"}}
	since := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	address := []netip.Prefix{netip.MustParsePrefix("10.77.0.2/24")}
	got := serverStatus(cfg, []string{"[::]:443"}, tunnel.ServerStatus{Rejected: 3, Peers: []tunnel.PeerStatus{
		{Peer: tunnel.Peer{Name: "home", Addresses: address}, Connected: true, MPTCP: true, Since: since, Remote: "198.51.100.1:5",
			Usage: []tunnel.UplinkUsage{{Uplink: "198.51.100.1", Subflows: 1}, {Uplink: "203.0.113.1"}}, Counters: tunnel.Counters{Spoofed: 2}},
		{Peer: tunnel.Peer{Name: "laptop"}},
	}}, []egress.Count{{Reason: egress.Loopback, Decisions: 4}})
	key := "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	want := []control.Peer{
		{Name: "home", PublicKey: key, State: "up",
			Verdict: control.Verdict{Level: "warn", About: "dead", Title: "203.0.113.1 is dead", Text: "working on 198.51.100.1 alone; 203.0.113.1 is dead"},
			Gain:    control.Gain{Text: "no gain, one uplink works"}, Remote: "198.51.100.1:5", MPTCP: true, Since: "2026-11-21T10:00:00Z", Addresses: address,
			Uplinks: []control.Uplink{
				{Interface: "198.51.100.1", State: "up", MPTCP: true, Subflows: 1}, {Interface: "203.0.113.1", State: "dead"},
			}, Packets: control.Packets{Spoofed: 2}, Carriers: control.Carriers{Bond: 1}, Streams: control.Streams{List: []control.Stream{}}},
		{Name: "laptop", PublicKey: key, State: "down",
			Verdict: control.Verdict{Level: "bad", About: "off", Title: "Not connected", Text: "not connected"},
			Gain:    control.Gain{Text: "no uplink works"}, Uplinks: []control.Uplink{}, Streams: control.Streams{List: []control.Stream{}}},
	}
	if d := cmp.Diff(want, got.Clients, equatePrefixes); d != "" {
		t.Error(d)
	}
	if got.Verdict.Level != control.LevelWarn || got.Rejected != 3 || got.Role != "server" || got.Device != "braid0" {
		t.Errorf("%+v", got)
	}
}

func TestServerDesired(t *testing.T) {
	lan := netip.MustParsePrefix("192.168.10.0/24")
	cfg := &config.Server{
		Tunnel: config.ServerTunnel{
			Name: "braid0", MTU: 1500, NAT: true,
			Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.1/24"), netip.MustParsePrefix("fd77::1/64")},
		},
		Clients: []config.ServerClient{{Routes: []netip.Prefix{lan}}, {}},
	}
	d := serverDesired(cfg)
	want := []netip.Prefix{lan, netip.MustParsePrefix("10.77.0.0/24"), netip.MustParsePrefix("fd77::/64")}
	if diff := cmp.Diff(want, d.Masquerade, equatePrefixes); diff != "" {
		t.Error(diff)
	}
	if !d.Forwarding || len(d.Routes) != 1 || d.MTU != 1500 || d.Mark != 0 {
		t.Errorf("%+v", d)
	}
	cfg.Tunnel.NAT = false
	if d := serverDesired(cfg); len(d.Masquerade) != 0 {
		t.Errorf("masquerades %v without nat", d.Masquerade)
	}
}

func TestPathsFollowTheFamily(t *testing.T) {
	v4, v6 := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1")
	both := tunnel.Uplink{Name: "both", Index: 2, Addresses: []netip.Addr{v4, v6}}
	if a, ok := addressFor(both, netip.MustParseAddr("2001:db8:9::9")); !ok || a != v6 {
		t.Errorf("address %v, %v", a, ok)
	}
	if a, ok := addressFor(both, netip.MustParseAddr("::ffff:192.0.2.1")); !ok || a != v4 {
		t.Errorf("address %v, %v", a, ok)
	}
	only4 := tunnel.Uplink{Name: "only4", Addresses: []netip.Addr{v4}}
	if a, ok := addressFor(only4, v6); ok {
		t.Errorf("address %v for another family", a)
	}
}

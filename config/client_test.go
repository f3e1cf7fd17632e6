package config

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const clientRequired = `
	server = ["vpn.example.net"]
	server_public_key = "$A"
	private_key_file = "client.key"
`

func parseClientText(t *testing.T, text string) *Client {
	t.Helper()
	c, err := ParseClient([]byte(expand(text)), "/etc/braid")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClientDefaults(t *testing.T) {
	want := &Client{
		Servers:         []HostPort{{"vpn.example.net", 443}},
		ServerPublicKey: testKeys[0].Public(),
		PrivateKeyFile:  "/etc/braid/client.key",
		Control:         "/run/braid/client.sock",
		State:           "/var/lib/braid",
		Tunnel:          ClientTunnel{Name: "braid0", Routes: prefixes("0.0.0.0/0", "::/0"), TCP: TCPStreams, Copies: 5, Masquerade: MasqueradeAuto, ServerDNS: true},
		Limits:          Limits{Streams: 4096, NewStreamsPerSecond: 500, MemoryBytes: 256 << 20, Resume: 10 * time.Minute},
	}
	for name, text := range map[string]string{
		"nothing given": clientRequired,
		"given as is": clientRequired + `
			control = "/run/braid/client.sock"
			state = "/var/lib/braid"
			rule = []
			uplink = []
			[tunnel]
			name = "braid0"
			routes = ["0.0.0.0/0", "::/0"]
			exclude = []
			exclude_interfaces = []
			kill_switch = false
			tcp = "streams"
			packets = []
			[limits]
			streams = 4096
			new_streams_per_second = 500
			memory = "256MiB"
			resume = "10m"`,
		"empty tables": clientRequired + "[tunnel]\n[limits]",
	} {
		if diff := cmp.Diff(want, parseClientText(t, text), compareAddresses); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}

func TestClientInFull(t *testing.T) {
	got := parseClientText(t, clientRequired+`
		control = "/run/braid.sock"
		state = "/srv/braid//state/"
		[tunnel]
		name = "vpn"
		routes = ["10.0.0.0/8", "fd00::/8"]
		exclude = ["10.1.0.0/16", "169.254.0.0/16", "0.0.0.0/0"]
		exclude_interfaces = ["docker*", "tailscale0"]
		kill_switch = true
		tcp = "packets"
		packets = ["10.2.0.0/16", "::/0"]
		congestion = "cubic"
		copies = 0
		forwarding = true
		masquerade = "never"
		dns = ["9.9.9.9", "2620:fe::9"]
		[limits]
		streams = 1
		new_streams_per_second = 100_000
		memory = "0.5 GiB"
		resume = "1h30m"
		[[rule]]
		match = "udp and dport 5060, 10000-20000"
		policy = "redundant"
		[[rule]]
		match = "all"
		policy = "weighted"
		[[uplink]]
		interface = "vpn"
		role = "never"
		[[uplink]]
		interface = "wlan[0-9]"
		role = "never"
		[[uplink]]
		interface = "w*"
		[[uplink]]
		interface = "ppp0"
		role = "overflow"
		cap = "50GB/month"
		[[uplink]]
		interface = "ppp1"
		role = "backup"
		cap = "1TB/month"
		metered = false
		[[uplink]]
		interface = "usb*"
		metered = true`)
	want := &Client{
		Servers:         []HostPort{{"vpn.example.net", 443}},
		ServerPublicKey: testKeys[0].Public(),
		PrivateKeyFile:  "/etc/braid/client.key",
		Control:         "/run/braid.sock",
		State:           "/srv/braid/state",
		Tunnel: ClientTunnel{
			Name: "vpn", Routes: prefixes("10.0.0.0/8", "fd00::/8"), TCP: TCPPackets,
			Exclude:           prefixes("10.1.0.0/16", "169.254.0.0/16", "0.0.0.0/0"),
			ExcludeInterfaces: []string{"docker*", "tailscale0"}, KillSwitch: true,
			Packets: prefixes("10.2.0.0/16", "::/0"), Congestion: "cubic", Copies: 0, DNS: addrs("9.9.9.9", "2620:fe::9"),
			Forwarding: true, Masquerade: MasqueradeNever,
		},
		Limits: Limits{Streams: 1, NewStreamsPerSecond: 100_000, MemoryBytes: 512 << 20, Resume: 90 * time.Minute},
		Rules: []PacketRule{
			{Match{Protocols: []uint8{17}, DstPorts: []PortRange{{5060, 5060}, {10000, 20000}}}, "redundant"},
			{Match{}, "weighted"},
		},
		Uplinks: []UplinkRule{
			{Interface: "vpn", Role: RoleNever}, {Interface: "wlan[0-9]", Role: RoleNever}, {Interface: "w*", Role: RoleBond},
			{Interface: "ppp0", Role: RoleOverflow, CapBytes: 50e9, Metered: true},
			{Interface: "ppp1", Role: RoleBackup, CapBytes: 1e12},
			{Interface: "usb*", Role: RoleBond, Metered: true},
		},
	}
	if diff := cmp.Diff(want, got, compareAddresses); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestUplink(t *testing.T) {
	never := func(name string) UplinkRule { return UplinkRule{Interface: name, Role: RoleNever} }
	rules := []UplinkRule{
		{Interface: "ppp1", Role: RoleNever},
		{Interface: "ppp*", Role: RoleBond},
		{Interface: "wwan[0-3]", Role: RoleBackup, CapBytes: 5e9},
		{Interface: `we\*ird`, Role: RoleBond},
		{Interface: "eth?", Role: RoleOverflow},
	}
	for _, test := range []struct {
		rules []UplinkRule
		name  string
		want  UplinkRule
	}{
		{nil, "ppp0", UplinkRule{Interface: "*", Role: RoleBond}},
		{nil, "braid0", never("braid0")},
		{[]UplinkRule{{Interface: "*", Role: RoleBond}}, "braid0", never("braid0")},
		{[]UplinkRule{{Interface: "*", Role: RoleBond}}, "anything", UplinkRule{Interface: "*", Role: RoleBond}},
		{rules, "ppp0", rules[1]},
		{rules, "ppp1", rules[0]},
		{rules, "ppp", rules[1]},
		{rules, "xppp0", never("xppp0")},
		{rules, "PPP0", never("PPP0")},
		{rules, "wwan3", rules[2]},
		{rules, "wwan4", never("wwan4")},
		{rules, "we*ird", rules[3]},
		{rules, "eth0", rules[4]},
		{rules, "eth10", never("eth10")},
	} {
		c := &Client{Tunnel: ClientTunnel{Name: "braid0"}, Uplinks: test.rules}
		if got := c.Uplink(test.name); got != test.want {
			t.Errorf("%s of %d rules: got %+v, want %+v", test.name, len(test.rules), got, test.want)
		}
	}
}

func TestServerAddress(t *testing.T) {
	for text, want := range map[string]string{
		"vpn.example.net":      "vpn.example.net:443",
		"VPN.Example.NET:8443": "vpn.example.net:8443",
		"vpn.example.net.":     "vpn.example.net.:443",
		"my_host":              "my_host:443",
		"xn--bcher-kva.de:1":   "xn--bcher-kva.de:1",
		"1and1.com":            "1and1.com:443",
		"10.0.0.1":             "10.0.0.1:443",
		"10.0.0.1:65535":       "10.0.0.1:65535",
		"2001:db8::1":          "[2001:db8::1]:443",
		"[2001:DB8::1]":        "[2001:db8::1]:443",
		"[2001:db8::1]:8443":   "[2001:db8::1]:8443",
		"127.0.0.1:4443":       "127.0.0.1:4443",
		"[::1]:4443":           "[::1]:4443",
	} {
		got, wrong := parseServer(text)
		if wrong != nil {
			t.Errorf("%s: %s", text, wrong.problem)
			continue
		}
		if got.String() != want {
			t.Errorf("%s: got %v, want %s", text, got, want)
		}
		addr, ok := got.Addr()
		if _, err := netip.ParseAddr(got.Host); ok != (err == nil) || ok && addr.String() != got.Host {
			t.Errorf("%s: Addr gives %v, %v", text, addr, ok)
		}
	}
}

// Whoever has only expensive uplinks need not invent a cheap one.
func TestUplinksWithoutBond(t *testing.T) {
	c := parseClientText(t, clientRequired+`
		[[uplink]]
		interface = "wwan0"
		role = "overflow"
		[[uplink]]
		interface = "*"
		role = "backup"`)
	if c.Uplink("wwan0").Role != RoleOverflow || c.Uplink("wwan1").Role != RoleBackup {
		t.Errorf("got %+v", c.Uplinks)
	}
}

func TestCap(t *testing.T) {
	for text, want := range map[string]uint64{
		"50GB/month": 50e9, "1.5TB/month": 1.5e12, "500 MB/month": 500e6, ".5MB/month": 5e5,
	} {
		if got, wrong := parseCap(text); wrong != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", text, got, wrong, want)
		}
	}
	for _, text := range []string{"", "GB/month", ".GB/month", "1.2.3GB/month", "-1GB/month", "1e3GB/month", "0x1GB/month", "99999999TB/month", "0.0000001MB/month", "50GB"} {
		if got, wrong := parseCap(text); wrong == nil {
			t.Errorf("%s: got %d", text, got)
		}
	}
}

package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"braid/crypto"
)

// compareAddresses lets cmp look at addresses as a user does.
var compareAddresses = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

func addrs(texts ...string) []netip.Addr {
	var list []netip.Addr
	for _, t := range texts {
		list = append(list, netip.MustParseAddr(t))
	}
	return list
}

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, t := range texts {
		list = append(list, netip.MustParsePrefix(t))
	}
	return list
}

func parseServerText(t *testing.T, text string) *Server {
	t.Helper()
	s, err := ParseServer([]byte(expand(text)), "/etc/braid")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var defaultServerLimits = ServerLimits{
	Limits{Streams: 16384, NewStreamsPerSecond: 500, MemoryBytes: 1 << 30, Resume: 10 * time.Minute}, 4096, true,
}

func TestServerDefaults(t *testing.T) {
	want := &Server{
		Listen:         []netip.AddrPort{netip.MustParseAddrPort("[::]:443")},
		PrivateKeyFile: "/etc/braid/server.key",
		Control:        "/run/braid/server.sock",
		Tunnel: ServerTunnel{
			Name: "braid0", Addresses: prefixes("10.77.0.1/24", "fd77:b4a1::1/64"), MTU: 1500, NAT: true, TCP: TCPStreams, Copies: 5,
		},
		Egress: Egress{Source: SourceServer},
		Limits: defaultServerLimits,
	}
	for name, text := range map[string]string{
		"nothing given": `private_key_file = "server.key"`,
		"empty tables":  "private_key_file = \"server.key\"\n[tunnel]\n[egress]\n[limits]",
		"given as is": `listen = [":443"]
			private_key_file = "./server.key"
			control = "/run/braid/server.sock"
			client = []
			[tunnel]
			name = "braid0"
			addresses = ["10.77.0.1/24", "fd77:b4a1::1/64"]
			mtu = 1500
			nat = true
			tcp = "streams"
			packets = []
			dns = []
			[egress]
			source = "server"
			allow = []
			deny = []
			[limits]
			streams_per_client = 4096
			streams = 16384
			new_streams_per_second = 500
			memory = "1GiB"
			resume = "10m"
			speedtest = true`,
	} {
		if diff := cmp.Diff(want, parseServerText(t, text), compareAddresses); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
}

func TestServerInFull(t *testing.T) {
	got := parseServerText(t, `
		listen = ["0.0.0.0:443", "[2001:db8::1]:443", ":8443", "127.0.0.1:9443", "[::1]:9443"]
		private_key_file = "/var/lib/braid/../key"
		control = "/run/braid.sock"
		tunnel = { name = "vpn", addresses = ["10.0.0.5/29"], mtu = 0x500, nat = false, tcp = "packets", packets = ["10.0.0.0/8"], congestion = "bbr", copies = 100, dns = ["9.9.9.9", "149.112.112.9", "10.0.0.5"] }
		[egress]
		source = "transparent"
		allow = ["10.0.0.6:22", "10.0.0.0/8", ":443"]
		deny = ["10.0.0.0/8:25-26", "::/0"]
		[limits]
		streams_per_client = 20
		streams = 20
		new_streams_per_second = 1
		memory = "16MiB"
		resume = "24h"
		speedtest = false
		[[client]]
		name = "Büro 1"
		public_key = "$B"
		addresses = ["10.0.0.6"]
		routes = ["192.168.0.0/16", "192.168.10.0/24", "fd00::/64", "10.0.0.8/29"]
		reach = ["b", "*"]
		[[client.forward]]
		listen = ":2222"
		[[client.forward]]
		listen = "203.0.113.10:6000-6100"
		protocol = "both"
		to = "192.168.10.5"
		source = "server"
		[[client.forward]]
		listen = "[2001:db8::1]:443"
		protocol = "udp"
		to = "[fd00::5]:80"
		[[client.forward]]
		listen = ":25"
		to = ":2525"
		[[client]]
		name = "b"
		public_key = "$A"`)
	want := &Server{
		Listen: []netip.AddrPort{
			netip.MustParseAddrPort("0.0.0.0:443"), netip.MustParseAddrPort("[2001:db8::1]:443"), netip.MustParseAddrPort("[::]:8443"),
			netip.MustParseAddrPort("127.0.0.1:9443"), netip.MustParseAddrPort("[::1]:9443"),
		},
		PrivateKeyFile: "/var/lib/key",
		Control:        "/run/braid.sock",
		Tunnel:         ServerTunnel{Name: "vpn", Addresses: prefixes("10.0.0.5/29"), MTU: 1280, TCP: TCPPackets, Packets: prefixes("10.0.0.0/8"), Congestion: "bbr", Copies: 100, DNS: addrs("9.9.9.9", "149.112.112.9", "10.0.0.5")},
		Egress: Egress{
			Source: SourceTransparent,
			Allow: []EgressRule{
				{netip.MustParsePrefix("10.0.0.6/32"), 22, 22}, {netip.MustParsePrefix("10.0.0.0/8"), 0, 0}, {netip.Prefix{}, 443, 443},
			},
			Deny: []EgressRule{{netip.MustParsePrefix("10.0.0.0/8"), 25, 26}, {netip.MustParsePrefix("::/0"), 0, 0}},
		},
		Limits: ServerLimits{Limits{Streams: 20, NewStreamsPerSecond: 1, MemoryBytes: 16 << 20, Resume: 24 * time.Hour}, 20, false},
		Clients: []ServerClient{
			{
				Name: "Büro 1", PublicKey: testKeys[1].Public(), Addresses: addrs("10.0.0.6"),
				Routes: prefixes("192.168.0.0/16", "192.168.10.0/24", "fd00::/64", "10.0.0.8/29"),
				Reach:  []string{"b", "*"},
				Forwards: []Forward{
					{First: 2222, Last: 2222, Protocol: ForwardTCP, Source: SourceTransparent},
					{Listen: netip.MustParseAddr("203.0.113.10"), First: 6000, Last: 6100, Protocol: ForwardBoth, To: netip.MustParseAddr("192.168.10.5"), Source: SourceServer},
					{Listen: netip.MustParseAddr("2001:db8::1"), First: 443, Last: 443, Protocol: ForwardUDP, To: netip.MustParseAddr("fd00::5"), Port: 80, Source: SourceTransparent},
					{First: 25, Last: 25, Protocol: ForwardTCP, Port: 2525, Source: SourceTransparent},
				},
			},
			{Name: "b", PublicKey: testKeys[0].Public(), Addresses: addrs("10.0.0.1")},
		},
	}
	if diff := cmp.Diff(want, got, compareAddresses); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got, want := got.Tunnel.Prefix(netip.MustParseAddr("10.0.0.6")), netip.MustParsePrefix("10.0.0.6/29"); got != want {
		t.Errorf("Prefix: got %v, want %v", got, want)
	}
	if p := got.Tunnel.Prefix(netip.MustParseAddr("10.9.0.6")); p.IsValid() {
		t.Errorf("Prefix of an address outside: %v", p)
	}
}

func TestAutomaticAddresses(t *testing.T) {
	for name, test := range map[string]struct {
		tunnel  string   // tunnel.addresses
		clients []string // their addresses, "" when not given
		want    string   // of all clients
	}{
		"both families": {`"10.77.0.1/24", "fd77::1/64"`, []string{"", ""}, "10.77.0.2 fd77::2, 10.77.0.3 fd77::3"},
		"one family":    {`"fd77::1/64"`, []string{"", ""}, "fd77::2, fd77::3"},
		"server in the middle": {
			`"10.0.0.2/29"`, []string{"", "", ""}, "10.0.0.1, 10.0.0.3, 10.0.0.4",
		},
		"given ones are skipped, also those that come later": {
			`"10.0.0.1/29", "fd77::1/64"`,
			[]string{"", `"10.0.0.2", "fd77::3"`, "", `"10.0.0.4"`, ""},
			"10.0.0.3 fd77::2, 10.0.0.2 fd77::3, 10.0.0.5 fd77::4, 10.0.0.4, 10.0.0.6 fd77::5",
		},
		"the last host":       {`"10.0.0.1/30"`, []string{""}, "10.0.0.2"},
		"a range of two":      {`"10.0.0.1/31", "fd77::/127"`, []string{""}, "10.0.0.0 fd77::1"},
		"past the last octet": {`"10.0.0.1/23"`, append(make([]string, 254), ""), "10.0.1.0"},
		"what braid keeps is skipped": {
			`"10.0.0.1/28", "fd77::1/124"`, make([]string, 9),
			"10.0.0.2 fd77::2, 10.0.0.3 fd77::3, 10.0.0.4 fd77::4, 10.0.0.5 fd77::5, 10.0.0.6 fd77::6, " +
				"10.0.0.7 fd77::7, 10.0.0.8 fd77::8, 10.0.0.9 fd77::9, 10.0.0.10 fd77::a",
		},
		"behind what braid keeps": {
			`"fd77::1/124"`, append([]string{`"fd77::2"`, `"fd77::3"`, `"fd77::4"`, `"fd77::5"`, `"fd77::6"`, `"fd77::7"`, `"fd77::8"`, `"fd77::9"`, `"fd77::a"`}, ""),
			"fd77::2, fd77::3, fd77::4, fd77::5, fd77::6, fd77::7, fd77::8, fd77::9, fd77::a, fd77::f",
		},
		"a small range is all the clients'": {`"10.0.0.1/29"`, make([]string, 5), "10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5, 10.0.0.6"},
		"no loopback":                       {`"0:1::1/16"`, []string{""}, "::2"},
	} {
		t.Run(name, func(t *testing.T) {
			text := "private_key_file = \"server.key\"\n[tunnel]\naddresses = [" + test.tunnel + "]\n"
			for i, given := range test.clients {
				key := crypto.PublicKey{byte(i), byte(i >> 8), 1}
				text += "[[client]]\nname = \"" + strings.Repeat("x", i%50+1) + string(rune('a'+i/50)) + "\"\npublic_key = \"" + key.String() + "\"\n"
				if given != "" {
					text += "addresses = [" + given + "]\n"
				}
			}
			var got []string
			for _, c := range parseServerText(t, text).Clients {
				var list []string
				for _, a := range c.Addresses {
					list = append(list, a.String())
				}
				got = append(got, strings.Join(list, " "))
			}
			all := strings.Join(got, ", ")
			if len(got) > 50 { // only the last is of interest
				all = got[len(got)-1]
			}
			if all != test.want {
				t.Errorf("got %s, want %s", all, test.want)
			}
		})
	}
}

func TestReserved(t *testing.T) {
	for text, want := range map[string][]netip.Addr{
		"10.77.0.1/24":    addrs("10.77.0.251", "10.77.0.252", "10.77.0.253", "10.77.0.254"),
		"10.77.0.0/24":    addrs("10.77.0.251", "10.77.0.252", "10.77.0.253", "10.77.0.254"),
		"10.0.0.20/28":    addrs("10.0.0.27", "10.0.0.28", "10.0.0.29", "10.0.0.30"),
		"10.0.0.1/29":     nil,
		"10.0.0.1/31":     nil,
		"10.0.0.1/8":      addrs("10.255.255.251", "10.255.255.252", "10.255.255.253", "10.255.255.254"),
		"fd77:b4a1::1/64": addrs("fd77:b4a1::ffff:ffff:ffff:fffb", "fd77:b4a1::ffff:ffff:ffff:fffc", "fd77:b4a1::ffff:ffff:ffff:fffd", "fd77:b4a1::ffff:ffff:ffff:fffe"),
		"fd77::b/124":     addrs("fd77::b", "fd77::c", "fd77::d", "fd77::e"),
		"fd77::1/123":     addrs("fd77::1b", "fd77::1c", "fd77::1d", "fd77::1e"),
		"fd77::1/125":     nil,
	} {
		if diff := cmp.Diff(want, Reserved(netip.MustParsePrefix(text)), compareAddresses); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", text, diff)
		}
	}
	if list := Reserved(netip.Prefix{}); list != nil {
		t.Errorf("of nothing: %v", list)
	}
}

func TestServerAtReservedAddress(t *testing.T) {
	_, err := ParseServer([]byte("private_key_file = \"server.key\"\n[tunnel]\naddresses = [\"10.0.0.254/24\"]\n"), "")
	if err == nil || !strings.Contains(err.Error(), "must not be one of the four") || !strings.Contains(err.Error(), `write "10.0.0.1/24"`) {
		t.Errorf("got %v", err)
	}
}

// What braid keeps makes a range full that has host addresses left.
func TestRangeFullButForReserved(t *testing.T) {
	text := "private_key_file = \"server.key\"\n[tunnel]\naddresses = [\"10.0.0.1/28\"]\n"
	for i := range 10 {
		text += fmt.Sprintf("[[client]]\nname = \"%d\"\npublic_key = %q\n", i, crypto.PublicKey{byte(i), 1}.String())
	}
	_, err := ParseServer([]byte(text), "")
	if err == nil || !strings.HasPrefix(err.Error(), "line 31: client[9].addresses: no address is left in the tunnel's range 10.0.0.0/28") {
		t.Errorf("got %v", err)
	}
}

// Whoever lowers only the limit of all streams need not lower that of each
// client.
func TestStreamsOfOneClient(t *testing.T) {
	got := parseServerText(t, "private_key_file = \"server.key\"\n[limits]\nstreams = 100").Limits
	want := defaultServerLimits
	want.Streams, want.StreamsPerClient = 100, 100
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Only a name that stands in the file must be one that the kernel has.
func TestCongestionAsWritten(t *testing.T) {
	for text, want := range map[string]string{"": "", "congestion = \"bbr\"": "bbr", "congestion = \"a-b_0\"": "a-b_0"} {
		s := parseServerText(t, "private_key_file = \"server.key\"\n[tunnel]\n"+text)
		c := parseClientText(t, clientRequired+"[tunnel]\n"+text)
		if s.Tunnel.Congestion != want || c.Tunnel.Congestion != want {
			t.Errorf("%q: server %q, client %q", text, s.Tunnel.Congestion, c.Tunnel.Congestion)
		}
	}
	for _, s := range []schema{serverSchema, clientSchema} {
		if def := s.find("tunnel.", "congestion").def; def != `"`+DefaultCongestion+`"` {
			t.Errorf("the schema's default is %s", def)
		}
	}
}

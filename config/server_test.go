package config

import (
	"net/netip"
	"strings"
	"testing"

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

func TestServerDefaults(t *testing.T) {
	want := &Server{
		Listen:         []netip.AddrPort{netip.MustParseAddrPort("[::]:443")},
		PrivateKeyFile: "/etc/braid/server.key",
		Control:        "/run/braid/server.sock",
		Tunnel:         ServerTunnel{Name: "braid0", Addresses: prefixes("10.77.0.1/24", "fd77:b4a1::1/64"), MTU: 1500, NAT: true},
		Egress:         Egress{Source: SourceServer},
	}
	for name, text := range map[string]string{
		"nothing given": `private_key_file = "server.key"`,
		"empty tables":  "private_key_file = \"server.key\"\n[tunnel]\n[egress]",
		"given as is": `listen = [":443"]
			private_key_file = "./server.key"
			control = "/run/braid/server.sock"
			client = []
			[tunnel]
			name = "braid0"
			addresses = ["10.77.0.1/24", "fd77:b4a1::1/64"]
			mtu = 1500
			nat = true
			dns = []
			[egress]
			source = "server"
			allow = []
			deny = []`,
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
		tunnel = { name = "vpn", addresses = ["10.0.0.5/29"], mtu = 0x500, nat = false }
		[[client]]
		name = "Büro 1"
		public_key = "$B"
		addresses = ["10.0.0.6"]
		routes = ["192.168.0.0/16", "192.168.10.0/24", "fd00::/64", "10.0.0.8/29"]
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
		Tunnel:         ServerTunnel{Name: "vpn", Addresses: prefixes("10.0.0.5/29"), MTU: 1280},
		Egress:         Egress{Source: SourceServer},
		Clients: []ServerClient{
			{
				Name: "Büro 1", PublicKey: testKeys[1].Public(), Addresses: addrs("10.0.0.6"),
				Routes: prefixes("192.168.0.0/16", "192.168.10.0/24", "fd00::/64", "10.0.0.8/29"),
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
		"no loopback":         {`"0:1::1/16"`, []string{""}, "::2"},
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

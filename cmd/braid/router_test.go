package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"braid/config"
	"braid/tunnel"
)

// What a server's configuration says of its clients as hostnet takes it.
func TestServerForwardsAndPassages(t *testing.T) {
	const clients = `
		private_key_file = "server.key"
		[tunnel]
		addresses = ["10.77.0.1/24", "fd77::1/64"]
		[egress]
		source = "SOURCE"
		allow = ["10.77.0.4:22", "192.168.10.0/25", "8.8.8.8", ":53", "0.0.0.0/0"]
		[[client]]
		name = "home"
		public_key = "7DDWnhP2F077qXqc8HlTk2jaW8IU86XxcKS6NMq/zHE="
		routes = ["192.168.10.0/24"]
		reach = ["laptop"]
		[[client.forward]]
		listen = ":2222"
		protocol = "both"
		to = ":22"
		[[client.forward]]
		listen = "203.0.113.10:6000-6001"
		to = "192.168.10.5"
		source = "server"
		[[client]]
		name = "laptop"
		public_key = "BCnBxitYuJz/7/XolP1fkrk/dCBRvuUqHMBM5MTjgnk="
		addresses = ["10.77.0.3"]
		reach = ["*"]`
	for source, allowed := range map[string][]string{"server": nil, "transparent": {"to 10.77.0.4/32 tcp 22", "to 192.168.10.0/25 tcp"}} {
		cfg, err := config.ParseServer([]byte(strings.Replace(clients, "SOURCE", source, 1)), "")
		if err != nil {
			t.Fatal(err)
		}
		d := serverDesired(cfg)
		var forwards, passages []string
		for _, f := range d.Forwards {
			text := f.String()
			if f.Masquerade {
				text += " masqueraded"
			}
			forwards = append(forwards, text)
		}
		for _, p := range d.Passages {
			passages = append(passages, p.String())
		}
		if diff := cmp.Diff([]string{
			"tcp :2222 to 10.77.0.2:22", "udp :2222 to 10.77.0.2:22", "tcp :2222 to [fd77::2]:22", "udp :2222 to [fd77::2]:22",
			"tcp 203.0.113.10:6000-6001 to 192.168.10.5 masqueraded",
		}, forwards); diff != "" {
			t.Errorf("forwards (-want +got)\n%s", diff)
		}
		if diff := cmp.Diff(append([]string{
			"from 10.77.0.2/32 to 10.77.0.3/32", "from 192.168.10.0/24 to 10.77.0.3/32", "from 10.77.0.3/32",
		}, allowed...), passages); diff != "" {
			t.Errorf("passages with the source %s (-want +got)\n%s", source, diff)
		}
		var open []string
		for _, r := range forwardedPorts(cfg) {
			open = append(open, r.String())
		}
		if diff := cmp.Diff([]string{":2222", "203.0.113.10:6000-6001"}, open); diff != "" {
			t.Errorf("open to streams (-want +got)\n%s", diff)
		}
	}
}

func TestClientSources(t *testing.T) {
	p := netip.MustParsePrefix
	s := tunnel.Settings{
		Addresses: []netip.Prefix{p("10.77.0.2/24")}, Networks: []netip.Prefix{p("192.168.10.0/24"), p("fd10::/64")},
	}
	for m, want := range map[config.Masquerade]string{
		config.MasqueradeNever: "", config.MasqueradeAlways: "10.77.0.2/32", config.MasqueradeAuto: "10.77.0.2/32 192.168.10.0/24",
	} {
		var got []string
		for _, p := range clientSources(m, s) {
			got = append(got, p.String())
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%s: %q, want %q", m, got, want)
		}
	}
}

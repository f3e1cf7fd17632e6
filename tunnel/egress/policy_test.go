package egress

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// rulesOf reads rules that are separated by spaces.
func rulesOf(t testing.TB, text string) (rules []Rule) {
	t.Helper()
	for _, one := range strings.Fields(text) {
		r, err := ParseRule(one)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, r)
	}
	return rules
}

func addrs(text string) (list []netip.Addr) {
	for _, one := range strings.Fields(text) {
		list = append(list, netip.MustParseAddr(one))
	}
	return list
}

func prefixes(text string) (list []netip.Prefix) {
	for _, one := range strings.Fields(text) {
		list = append(list, netip.MustParsePrefix(one))
	}
	return list
}

// testConfig is a server with three clients; the network of "home" lies
// within that of "office".
func testConfig(t testing.TB, allow, deny string) Config {
	return Config{
		Own:    addrs("10.77.0.1 fd77::1"),
		Ranges: prefixes("10.77.0.0/24 fd77::/64"),
		Clients: []Client{
			{"home", addrs("10.77.0.2 fd77::2"), prefixes("172.16.10.0/24 2001:db8:10::/48")},
			{"car", addrs("10.77.0.3"), nil},
			{"office", addrs("10.77.0.4"), prefixes("172.16.0.0/16")},
		},
		Allow: rulesOf(t, allow), Deny: rulesOf(t, deny),
	}
}

// testHost is the host's addresses as a kernel tells them: the loopback and
// the tunnel among them, IPv4 in either form.
var testHost = addrs("127.0.0.1 ::1 10.77.0.1 fd77::1 203.0.113.5 ::ffff:192.168.1.5 2001:db8:5::5 fe80::5%eth0 172.16.10.9")

func TestDefaults(t *testing.T) {
	p := New(testConfig(t, "", ""), testHost)
	for _, c := range []struct {
		to     string // what "home" asks for
		reason Reason
		rule   string
	}{
		{"8.8.8.8:53", Default, ""},
		{"[2001:4860:4860::8888]:53", Default, ""},
		{"192.168.1.6:80", Default, ""}, // the host's neighbour
		{"100.64.0.1:80", Default, ""},
		{"[fd12:3456::1]:80", Default, ""},

		{"10.77.0.1:53", Tunnel, "10.77.0.1"},
		{"[fd77::1]:22", Tunnel, "fd77::1"},

		{"203.0.113.5:22", Host, "203.0.113.5"},
		{"192.168.1.5:22", Host, "192.168.1.5"},
		{"[2001:db8:5::5]:22", Host, "2001:db8:5::5"},
		{"172.16.10.9:22", Host, "172.16.10.9"}, // though in the client's own network
		{"[fe80::5]:22", Host, "fe80::5"},

		{"127.0.0.1:631", Loopback, "127.0.0.0/8"},
		{"127.1.2.3:631", Loopback, "127.0.0.0/8"},
		{"[::1]:631", Loopback, "::1"},
		{"0.0.0.0:22", Unspecified, "0.0.0.0/8"},
		{"0.1.2.3:22", Unspecified, "0.0.0.0/8"},
		{"[::]:22", Unspecified, "::/128"},
		{"169.254.1.1:80", LinkLocal, "169.254.0.0/16"},
		{"[fe80::1]:80", LinkLocal, "fe80::/10"},
		{"[fe80::1%eth0]:80", LinkLocal, "fe80::/10"},
		{"169.254.169.254:80", Metadata, "169.254.169.254"},
		{"[fd00:ec2::254]:80", Metadata, "fd00:ec2::/32"},
		{"[fd20:ce::254]:80", Metadata, "fd20:ce::254"},
		{"168.63.129.16:80", Metadata, "168.63.129.16"},
		{"100.100.100.200:80", Metadata, "100.100.100.200"},
		{"224.0.0.1:80", Multicast, "224.0.0.0/4"},
		{"[ff02::1]:80", Multicast, "ff00::/8"},
		{"255.255.255.255:80", Broadcast, "255.255.255.255"},

		{"10.77.0.2:80", Default, ""}, // its own
		{"172.16.10.1:80", Default, ""},
		{"[2001:db8:10::1]:80", Default, ""},
		{"10.77.0.3:80", OtherClient, "10.77.0.0/24"},
		{"172.16.11.1:80", OtherClient, "172.16.0.0/16"},
		{"10.77.0.200:80", Unassigned, "10.77.0.0/24"},
		{"[fd77::200]:80", Unassigned, "fd77::/64"},

		// IPv4 in IPv6.
		{"[::ffff:8.8.8.8]:80", Default, ""},
		{"[::ffff:10.77.0.1]:80", Tunnel, "10.77.0.1"},
		{"[::ffff:127.9.9.9]:80", Loopback, "127.0.0.0/8"},
		{"[::ffff:203.0.113.5]:80", Host, "203.0.113.5"},
		{"[::ffff:10.77.0.3]:80", OtherClient, "10.77.0.0/24"},
		{"[::ffff:169.254.169.254%eth0]:80", Metadata, "169.254.169.254"},
		{"[64:ff9b::8.8.8.8]:80", Default, ""},
		{"[64:ff9b::203.0.113.5]:80", Host, "203.0.113.5"},
		{"[64:ff9b::169.254.169.254]:80", Metadata, "169.254.169.254"},
		{"[::ffff:0:127.9.9.9]:80", Loopback, "127.0.0.0/8"},
		{"[64:ff9b:1::8.8.8.8]:80", Translated, "64:ff9b:1::/48"},
		{"[::8.8.8.8]:80", Translated, "::/96"},
		{"[2002:808:808::1]:80", Default, ""},
		{"[2002:7f09:909::1]:80", Loopback, "127.0.0.0/8"},
		{"[2002:a9fe:a9fe::]:80", Metadata, "169.254.169.254"},
		{"[2001:0:808:808::f7f7:f7f7]:80", Default, ""},                 // by 8.8.8.8 to 8.8.8.8
		{"[2001:0:808:808::80f6:f6f6]:80", Loopback, "127.0.0.0/8"},     // by 8.8.8.8 to 127.9.9.9
		{"[2001:0:7f09:909::f7f7:f7f7]:80", Loopback, "127.0.0.0/8"},    // by 127.9.9.9
		{"[2001:0:808:808::5601:5601]:80", Metadata, "169.254.169.254"}, // 169.254.169.254
		{"[2001:0:808:808::f5b2:fffc]:80", OtherClient, "10.77.0.0/24"}, // 10.77.0.3

		{"8.8.8.8:0", Invalid, ""},
	} {
		v := p.Decide("home", netip.MustParseAddrPort(c.to))
		allowed := c.reason == Default || c.reason == Tunnel
		if v != (Verdict{allowed, c.reason, c.rule}) {
			t.Errorf("%s: %+v, want %v, %s %q", c.to, v, allowed, c.reason, c.rule)
		}
	}
	if v := p.Decide("home", netip.AddrPort{}); v != (Verdict{Reason: Invalid}) {
		t.Errorf("nothing: %+v", v)
	}
	// The longest network counts between clients, as for their packets.
	for client, want := range map[string]Reason{"home": Default, "office": OtherClient, "car": OtherClient, "": OtherClient} {
		if v := p.Decide(client, netip.MustParseAddrPort("172.16.10.1:80")); v.Reason != want {
			t.Errorf("%q: %+v, want %s", client, v, want)
		}
	}
}

func TestRules(t *testing.T) {
	for _, c := range []struct {
		allow, deny string
		to          string
		reason      Reason
		rule        string
	}{
		// Between rules: the longest prefix, the fewest ports, the deny.
		{"", "8.0.0.0/8", "8.8.8.8:53", DenyRule, "8.0.0.0/8"},
		{"8.8.0.0/16", "8.0.0.0/8", "8.8.8.8:53", AllowRule, "8.8.0.0/16"},
		{"8.0.0.0/8", "8.8.0.0/16", "8.8.8.8:53", DenyRule, "8.8.0.0/16"},
		{"8.0.0.0/8", "8.0.0.0/8", "8.8.8.8:53", DenyRule, "8.0.0.0/8"},
		{"8.0.0.0/8:53", "8.0.0.0/8", "8.8.8.8:53", AllowRule, "8.0.0.0/8:53"},
		{"8.0.0.0/8:53", "8.0.0.0/8", "8.8.8.8:54", DenyRule, "8.0.0.0/8"},
		{"8.0.0.0/8:1-100", "8.0.0.0/8:50-60", "8.8.8.8:53", DenyRule, "8.0.0.0/8:50-60"},
		{"8.0.0.0/8:50-60", "8.0.0.0/8:53-63", "8.8.8.8:53", DenyRule, "8.0.0.0/8:53-63"},
		{"8.0.0.0/8:50-60", "8.0.0.0/8:53-63", "8.8.8.8:52", AllowRule, "8.0.0.0/8:50-60"},
		{"8.8.0.0/16", "8.0.0.0/8:53", "8.8.8.8:53", AllowRule, "8.8.0.0/16"},         // prefix before ports
		{"8.8.8.8:80 8.8.0.0/16", "8.0.0.0/8", "8.8.8.8:53", AllowRule, "8.8.0.0/16"}, // on to a wider one
		{"8.8.8.8:80", "8.0.0.0/8", "8.8.8.8:53", DenyRule, "8.0.0.0/8"},

		// Ports of any address are the widest network.
		{"", ":25", "8.8.8.8:25", DenyRule, ":25"},
		{"", ":25", "[2a00::1]:25", DenyRule, ":25"},
		{"", ":25", "8.8.8.8:26", Default, ""},
		{"8.8.8.8", ":25", "8.8.8.8:25", AllowRule, "8.8.8.8"},
		{":443", "0.0.0.0/0 ::/0", "8.8.8.8:443", AllowRule, ":443"},
		{":443", "0.0.0.0/0 ::/0", "[2a00::1]:443", AllowRule, ":443"},
		{":443", "0.0.0.0/0 ::/0", "8.8.8.8:80", DenyRule, "0.0.0.0/0"},
		{"0.0.0.0/0", ":1-65535", "8.8.8.8:80", DenyRule, ":1-65535"},

		// An allow opens a default that is not longer.
		{"0.0.0.0/0 ::/0 :80", "", "127.1.1.1:80", Loopback, "127.0.0.0/8"},
		{"0.0.0.0/0 ::/0 :80", "", "169.254.169.254:80", Metadata, "169.254.169.254"},
		{"0.0.0.0/0 ::/0 :80", "", "[fd00:ec2::254]:80", Metadata, "fd00:ec2::/32"},
		{":80", "0.0.0.0/0", "127.1.1.1:80", Loopback, "127.0.0.0/8"},
		{"127.0.0.0/8:80", "", "127.1.1.1:80", AllowRule, "127.0.0.0/8:80"},
		{"127.0.0.0/8:80", "", "127.1.1.1:81", Loopback, "127.0.0.0/8"},
		{"127.0.0.0/8", "", "127.0.0.1:80", AllowRule, "127.0.0.0/8"},
		{"127.0.0.1:80", "", "127.0.0.1:80", AllowRule, "127.0.0.1:80"},
		{"169.254.0.0/16", "", "169.254.169.253:53", AllowRule, "169.254.0.0/16"},
		{"169.254.0.0/16", "", "169.254.169.254:80", Metadata, "169.254.169.254"},
		{"169.254.169.254:80", "", "169.254.169.254:80", AllowRule, "169.254.169.254:80"},
		{"203.0.113.0/24", "", "203.0.113.5:22", Host, "203.0.113.5"},
		{"203.0.113.5:22", "", "203.0.113.5:22", AllowRule, "203.0.113.5:22"},
		{"203.0.113.5:22", "", "203.0.113.5:23", Host, "203.0.113.5"},
		{"10.0.0.0/8", "", "10.77.0.3:80", OtherClient, "10.77.0.0/24"},
		{"10.77.0.0/24", "", "10.77.0.3:80", AllowRule, "10.77.0.0/24"},
		{"10.77.0.3:80", "", "10.77.0.3:80", AllowRule, "10.77.0.3:80"},
		{"172.16.0.0/12", "", "172.16.11.1:80", OtherClient, "172.16.0.0/16"},
		{"172.16.0.0/16:80", "", "172.16.11.1:80", AllowRule, "172.16.0.0/16:80"},

		// A deny shuts whatever a default leaves open.
		{"", "10.0.0.0/8", "10.77.0.1:53", DenyRule, "10.0.0.0/8"},
		{"10.77.0.1:53", "10.0.0.0/8", "10.77.0.1:53", AllowRule, "10.77.0.1:53"},
		{"", "172.16.10.0/24", "172.16.10.1:80", DenyRule, "172.16.10.0/24"}, // the client's own
		{"", "0.0.0.0/0", "127.1.1.1:80", DenyRule, "0.0.0.0/0"},
		{"", "8.8.8.8", "[::ffff:8.8.8.8]:53", DenyRule, "8.8.8.8"},

		// The whole and what it holds must both be allowed.
		{"", "8.0.0.0/8", "[64:ff9b::8.8.8.8]:53", DenyRule, "8.0.0.0/8"},
		{"64:ff9b::/96", "8.0.0.0/8", "[64:ff9b::8.8.8.8]:53", DenyRule, "8.0.0.0/8"},
		{"8.8.8.8", "64:ff9b::/96", "[64:ff9b::8.8.8.8]:53", DenyRule, "64:ff9b::/96"},
		{"64:ff9b::/96", "", "[64:ff9b::127.1.1.1]:53", Loopback, "127.0.0.0/8"},
		{"127.0.0.0/8", "", "[64:ff9b::127.1.1.1]:53", Default, ""},
		{"64:ff9b:1::/48", "", "[64:ff9b:1::8.8.8.8]:53", AllowRule, "64:ff9b:1::/48"},
	} {
		p := New(testConfig(t, c.allow, c.deny), testHost)
		v := p.Decide("home", netip.MustParseAddrPort(c.to))
		allowed := c.reason == Default || c.reason == AllowRule
		if v != (Verdict{allowed, c.reason, c.rule}) {
			t.Errorf("allow %q, deny %q, %s: %+v, want %v, %s %q", c.allow, c.deny, c.to, v, allowed, c.reason, c.rule)
		}
	}
}

// The rule that a verdict names for a default opens it when it is allowed.
func TestVerdictNamesTheMend(t *testing.T) {
	closed := New(testConfig(t, "", ""), testHost)
	for _, to := range []string{
		"203.0.113.5:22", "127.1.2.3:80", "[::]:22", "0.0.0.0:22", "169.254.169.254:80", "[fd00:ec2::23]:80", "[ff02::1]:80",
		"10.77.0.3:80", "172.16.11.1:80", "10.77.0.200:80", "[64:ff9b::127.0.0.2]:80", "[::8.8.8.8]:80",
	} {
		dest := netip.MustParseAddrPort(to)
		v := closed.Decide("home", dest)
		if v.Allowed {
			t.Fatalf("%s: %+v", to, v)
		}
		if w := New(testConfig(t, v.Rule, ""), testHost).Decide("home", dest); !w.Allowed {
			t.Errorf("%s: %+v, and with an allow of that rule %+v", to, v, w)
		}
	}
}

// Without a tunnel and clients the policy is that of a client's host.
func TestBare(t *testing.T) {
	p := New(Config{}, addrs("192.168.10.5"))
	for to, want := range map[string]Reason{"192.168.10.6:80": Default, "192.168.10.5:80": Host, "127.0.0.1:80": Loopback, "[::1]:80": Loopback} {
		if v := p.Decide("", netip.MustParseAddrPort(to)); v.Reason != want {
			t.Errorf("%s: %+v, want %s", to, v, want)
		}
	}
}

// A client's own networks open nothing that is special, whatever the
// configuration says.
func TestOwnNetworksHideNothing(t *testing.T) {
	p := New(Config{Clients: []Client{{"x", addrs("127.0.0.2"), prefixes("169.254.0.0/16 169.254.169.254/32 0.0.0.0/0")}}}, nil)
	for _, to := range []string{"127.0.0.2:80", "169.254.1.1:80", "169.254.169.254:80"} {
		if v := p.Decide("x", netip.MustParseAddrPort(to)); v.Allowed {
			t.Errorf("%s: %+v", to, v)
		}
	}
}

func TestSetHostAndCounts(t *testing.T) {
	p := New(testConfig(t, "", ""), nil)
	to := netip.MustParseAddrPort("198.51.100.7:22")
	p.Decide("home", to)
	p.SetHost(addrs("198.51.100.7"))
	p.Decide("home", to)
	p.Decide("home", to)
	p.SetHost(nil)
	p.Decide("home", to)
	for i, c := range p.Counts() {
		want := map[Reason]uint64{Default: 2, Host: 2}[c.Reason]
		if c.Decisions != want || c.Reason != reasons[i] {
			t.Errorf("%+v, want %d", c, want)
		}
	}
}

// For the race detector: each decision sees one of the host's two states.
func TestConcurrency(t *testing.T) {
	p := New(testConfig(t, ":443", ":25"), nil)
	to := netip.MustParseAddrPort("198.51.100.7:22")
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 2000 {
				if v := p.Decide("home", to); v.Reason != Default && v.Reason != Host {
					t.Errorf("%+v", v)
				}
			}
		})
	}
	for i := range 200 {
		p.SetHost([][]netip.Addr{nil, addrs("198.51.100.7")}[i%2])
		p.Counts()
	}
	wg.Wait()
	var sum uint64
	for _, c := range p.Counts() {
		sum += c.Decisions
	}
	if sum != 6000 {
		t.Errorf("%d decisions counted", sum)
	}
}

// Another configuration holds for the next decision, and what was counted stays.
func TestSet(t *testing.T) {
	host := []netip.Addr{netip.MustParseAddr("198.51.100.1")}
	p := New(Config{}, host)
	web, self := netip.MustParseAddrPort("192.0.2.1:443"), netip.MustParseAddrPort("198.51.100.1:443")
	if !p.Decide("home", web).Allowed || p.Decide("home", self).Allowed {
		t.Fatal("wrong from the beginning")
	}
	p.Set(Config{Deny: []Rule{{Network: netip.MustParsePrefix("192.0.2.0/24")}}})
	if p.Decide("home", web).Allowed || p.Decide("home", self).Allowed {
		t.Error("the new rule, or the host's address, does not count")
	}
	p.SetHost(nil)
	if p.Decide("home", web).Allowed || !p.Decide("home", self).Allowed {
		t.Error("the rule is gone, or the address is still there")
	}
	total := uint64(0)
	for _, c := range p.Counts() {
		total += c.Decisions
	}
	if total != 6 {
		t.Errorf("%d decisions counted", total)
	}
}

// A client reaches those that it may, not the other way round, and any client the
// ports that lead to another one; a deny closes both.
func TestReachAndForwards(t *testing.T) {
	c := testConfig(t, "", "10.77.0.3:25 203.0.113.5:2323")
	c.Reach = map[string][]string{"home": {"car"}, "office": {Everybody}}
	c.Forwards = []Rule{{First: 2222, Last: 2323}, {Network: netip.MustParsePrefix("192.168.1.5/32"), First: 80, Last: 80}}
	p := New(c, testHost)
	for _, test := range []struct {
		client, to string
		want       Verdict
	}{
		{"home", "10.77.0.3:22", Verdict{true, Reach, "10.77.0.0/24"}},
		{"home", "10.77.0.3:25", Verdict{false, DenyRule, "10.77.0.3:25"}},
		{"home", "10.77.0.4:22", Verdict{false, OtherClient, "10.77.0.0/24"}},
		{"home", "172.16.20.1:22", Verdict{false, OtherClient, "172.16.0.0/16"}},
		{"car", "10.77.0.2:22", Verdict{false, OtherClient, "10.77.0.0/24"}},
		{"office", "10.77.0.2:22", Verdict{true, Reach, "10.77.0.0/24"}},
		{"office", "172.16.10.1:22", Verdict{true, Reach, "172.16.10.0/24"}},
		{"office", "10.77.0.9:22", Verdict{false, Unassigned, "10.77.0.0/24"}},
		{"car", "203.0.113.5:2222", Verdict{true, Forward, "203.0.113.5"}},
		{"car", "203.0.113.5:2323", Verdict{false, DenyRule, "203.0.113.5:2323"}},
		{"car", "203.0.113.5:80", Verdict{false, Host, "203.0.113.5"}},
		{"car", "192.168.1.5:80", Verdict{true, Forward, "192.168.1.5"}},
		{"car", "127.0.0.1:2222", Verdict{false, Loopback, "127.0.0.0/8"}},
		{"car", "10.77.0.1:2222", Verdict{true, Tunnel, "10.77.0.1"}},
	} {
		if got := p.Decide(test.client, netip.MustParseAddrPort(test.to)); got != test.want {
			t.Errorf("%s to %s: %+v, want %+v", test.client, test.to, got, test.want)
		}
	}
}

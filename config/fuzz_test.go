package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"braid/crypto"
)

func FuzzServer(f *testing.F) {
	addSeeds(f, "server")
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseServer(data, "/etc/braid")
		if err != nil {
			checkErrors(t, data, err)
			return
		}
		checkServer(t, s)
		// What was found, defaults and chosen addresses too, says the same
		// again when it is written out.
		text := serverText(s)
		again, err := ParseServer([]byte(text), "/elsewhere")
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if diff := cmp.Diff(s, again, compareAddresses); diff != "" {
			t.Fatalf("(-first +again)\n%s", diff)
		}
	})
}

func FuzzClient(f *testing.F) {
	addSeeds(f, "client")
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseClient(data, "/etc/braid")
		if err != nil {
			checkErrors(t, data, err)
			return
		}
		if len(c.Servers) == 0 || c.ServerPublicKey.IsZero() || !filepath.IsAbs(c.PrivateKeyFile) || !filepath.IsAbs(c.Control) ||
			!filepath.IsAbs(c.State) || filepath.Clean(c.State) != c.State || c.State == "/" {
			t.Fatalf("incomplete: %+v", c)
		}
		checkDevice(t, c.Tunnel.Name)
		seen := map[HostPort]bool{}
		for _, h := range c.Servers {
			again, wrong := parseServer(h.String())
			if wrong != nil || again != h || seen[h] {
				t.Fatalf("server %+v: again %+v, %v", h, again, wrong)
			}
			seen[h] = true
		}
		checkNetworks(t, c.Tunnel.Routes)
		checkNetworks(t, c.Tunnel.Exclude)
		for _, p := range c.Tunnel.ExcludeInterfaces {
			if again, wrong := parsePattern(p); wrong != nil || again != p {
				t.Fatalf("pattern %q: again %q, %v", p, again, wrong)
			}
		}
		checkTCP(t, c.Tunnel.TCP, c.Tunnel.Packets, c.Tunnel.Congestion)
		checkLimits(t, c.Limits)
		checkRules(t, c.Rules)
		for _, r := range c.Uplinks {
			known := slices.Contains([]Role{RoleBond, RoleOverflow, RoleBackup, RoleNever}, r.Role)
			if r.Interface == "" || !known || r.CapBytes > 1e18 {
				t.Fatalf("rule %+v", r)
			}
		}
		if c.Uplink(c.Tunnel.Name).Role != RoleNever {
			t.Fatal("the tunnel is its own uplink")
		}
	})
}

// addSeeds starts from the example and all that is wrong in testdata.
func addSeeds(f *testing.F, kind string) {
	example, err := os.ReadFile("example/" + kind + ".toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte("private_key_file = \"\xff\"\n\xff = 1"))
	f.Add([]byte("private_key_file = \"" + strings.Repeat("0", 32) + "=\"")) // with /etc/braid/ it looks like a key
	f.Add([]byte("a.b.c = 1\n[a.b.d]\n[[a.e]]\n[[a.e.f]]\n\"\" = {'x y'.z = [[{}]]}"))
	files, err := filepath.Glob("testdata/" + kind + "_errors*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, c := range strings.Split(string(text), "=== ")[1:] {
			_, c, _ = strings.Cut(c, "\n")
			input, _, _ := strings.Cut(c, "---\n")
			f.Add([]byte(expand(strings.TrimPrefix(input, "+\n"))))
		}
	}
}

// checkErrors checks what holds for every error.
func checkErrors(t *testing.T, data []byte, err error) {
	errs, ok := err.(*Errors)
	if !ok || len(errs.List) == 0 {
		t.Fatalf("not a list of faults: %#v", err)
	}
	for _, one := range errs.List {
		switch {
		case one.Key == "" && !strings.HasPrefix(one.Problem, "not valid TOML: "):
			t.Fatalf("no key: %v", one)
		case one.Problem == "" || one.Mend == "":
			t.Fatalf("no problem or no mend: %#v", one)
		case one.Line < 0 || one.Line > strings.Count(string(data), "\n")+1:
			t.Fatalf("no such line: %v", one)
		}
		for _, r := range one.Error() + one.Hint() {
			if !strconv.IsPrint(r) {
				t.Fatalf("not a printable line: %q, %q", one.Error(), one.Hint())
			}
		}
	}
}

// checkDNS checks whom clients are to ask.
func checkDNS(t *testing.T, list []netip.Addr) {
	for i, a := range list {
		if !a.IsGlobalUnicast() || a.Zone() != "" || a.Is4In6() || slices.Contains(list[:i], a) || len(list) > dnsLimit {
			t.Fatalf("DNS servers %v", list)
		}
	}
}

// checkServer checks what a server relies on.
func checkServer(t *testing.T, s *Server) {
	if len(s.Listen) == 0 || !filepath.IsAbs(s.PrivateKeyFile) || !filepath.IsAbs(s.Control) || len(s.Control) > 107 {
		t.Fatalf("incomplete: %+v", s)
	}
	checkDevice(t, s.Tunnel.Name)
	if s.Tunnel.MTU < 1280 || s.Tunnel.MTU > 65535 {
		t.Fatalf("tunnel %+v", s.Tunnel)
	}
	checkDNS(t, s.Tunnel.DNS)
	checkTCP(t, s.Tunnel.TCP, s.Tunnel.Packets, s.Tunnel.Congestion)
	if s.Tunnel.Copies < 0 || s.Tunnel.Copies > 100 {
		t.Fatalf("copies %d", s.Tunnel.Copies)
	}
	checkLimits(t, s.Limits.Limits)
	if each := s.Limits.StreamsPerClient; each < 1 || each > s.Limits.Streams {
		t.Fatalf("limits %+v", s.Limits)
	}
	checkEgress(t, s.Egress)
	checkRules(t, s.Rules)
	if n := len(s.Tunnel.Addresses); n == 0 || n > 2 || n == 2 && s.Tunnel.Addresses[0].Addr().Is4() == s.Tunnel.Addresses[1].Addr().Is4() {
		t.Fatalf("tunnel addresses %v", s.Tunnel.Addresses)
	}
	for i, l := range s.Listen {
		if !l.IsValid() || l.Port() == 0 {
			t.Fatalf("listen %v", l)
		}
		for _, other := range s.Listen[:i] {
			if other == l {
				t.Fatalf("listen twice on %v", l)
			}
		}
	}

	taken := map[netip.Addr]bool{}
	for _, p := range s.Tunnel.Addresses {
		taken[p.Addr()] = true
	}
	names, keys := map[string]bool{}, map[crypto.PublicKey]bool{}
	var routes []netip.Prefix
	for _, c := range s.Clients {
		if c.Name == "" || names[c.Name] || c.PublicKey.IsZero() || keys[c.PublicKey] || len(c.Addresses) == 0 || len(c.Addresses) > 2 {
			t.Fatalf("client %+v", c)
		}
		names[c.Name], keys[c.PublicKey] = true, true
		for _, a := range c.Addresses {
			p := s.Tunnel.Prefix(a)
			if taken[a] || !p.IsValid() || !a.IsGlobalUnicast() || a.Zone() != "" || a.Is4In6() {
				t.Fatalf("client %s: address %v", c.Name, a)
			}
			if p.Bits() < a.BitLen()-1 && (a == p.Masked().Addr() || a.Is4() && !p.Contains(a.Next())) {
				t.Fatalf("client %s: address %v is no host's", c.Name, a)
			}
			if slices.Contains(Reserved(p.Masked()), a) {
				t.Fatalf("client %s: address %v is kept for braid", c.Name, a)
			}
			taken[a] = true
		}
		for _, r := range c.Routes {
			for _, p := range s.Tunnel.Addresses {
				if r.Overlaps(p) {
					t.Fatalf("client %s: route %v overlaps %v", c.Name, r, p)
				}
			}
		}
		routes = append(routes, c.Routes...)
		for _, f := range c.Forwards {
			if f.First == 0 || f.Last < f.First || f.Port != 0 && f.First != f.Last || len(f.Targets(c)) == 0 {
				t.Fatalf("client %s: forward %+v", c.Name, f)
			}
		}
	}
	checkNetworks(t, routes)
}

func checkTCP(t *testing.T, mode TCPMode, packets []netip.Prefix, congestion string) {
	if mode != TCPStreams && mode != TCPPackets || len(congestion) > 15 || strings.ContainsAny(congestion, " /\x00ABC") {
		t.Fatalf("tcp %q, congestion %q", mode, congestion)
	}
	checkNetworks(t, packets)
}

func checkLimits(t *testing.T, l Limits) {
	if l.Streams < 1 || l.Streams > 1<<18 || l.NewStreamsPerSecond < 1 || l.NewStreamsPerSecond > 100_000 ||
		l.MemoryBytes < 16<<20 || l.MemoryBytes > 1<<40 || l.Resume < 10*time.Second || l.Resume > 24*time.Hour {
		t.Fatalf("limits %+v", l)
	}
}

// checkEgress checks that all rules differ and none is on both sides.
func checkEgress(t *testing.T, e Egress) {
	if e.Source != SourceServer && e.Source != SourceTransparent {
		t.Fatalf("source %q", e.Source)
	}
	seen := map[EgressRule]bool{}
	for _, r := range append(slices.Clone(e.Allow), e.Deny...) {
		if again, wrong := parseEgressRule(r.String()); wrong != nil || again != r || seen[r] {
			t.Fatalf("rule %v of %+v", r, e)
		}
		seen[r] = true
	}
}

// checkRules checks that each has a policy and may be the first that matches.
func checkRules(t *testing.T, rules []PacketRule) {
	for i, r := range rules {
		if !slices.Contains(policies, r.Policy) {
			t.Fatalf("rule %+v", r)
		}
		for _, before := range rules[:i] {
			if before.Match.covers(r.Match) {
				t.Fatalf("%v hides %v", before.Match, r.Match)
			}
		}
	}
}

func checkDevice(t *testing.T, name string) {
	if name == "" || len(name) > 15 || strings.ContainsAny(name, "/ :%\t\n") || name == "all" || name == "default" || name == "." || name == ".." {
		t.Fatalf("device %q", name)
	}
}

// checkNetworks checks that all differ and have no host bits.
func checkNetworks(t *testing.T, list []netip.Prefix) {
	seen := map[netip.Prefix]bool{}
	for _, p := range list {
		if !p.IsValid() || p != p.Masked() || seen[p] || p.Addr().Is4In6() {
			t.Fatalf("network %v of %v", p, list)
		}
		seen[p] = true
	}
}

// serverText writes a configuration that says all that s says.
func serverText(s *Server) string {
	var b strings.Builder
	list := func(key string, n int, item func(int) string) {
		b.WriteString(key + " = [")
		for i := range n {
			fmt.Fprintf(&b, "%q,", item(i))
		}
		b.WriteString("]\n")
	}
	list("listen", len(s.Listen), func(i int) string { return s.Listen[i].String() })
	list("address", len(s.Address), func(i int) string { return s.Address[i].String() })
	// Paths may hold anything but a zero; \UXXXXXXXX is any character in TOML.
	// The /. is for a path that happens to look like a key.
	for key, path := range map[string]string{"private_key_file": "/." + s.PrivateKeyFile, "control": s.Control} {
		b.WriteString(key + ` = "`)
		for _, r := range path {
			fmt.Fprintf(&b, `\U%08X`, r)
		}
		b.WriteString("\"\n")
	}
	fmt.Fprintf(&b, "[tunnel]\nname = %q\nmtu = %d\nnat = %v\ncopies = %d\n", s.Tunnel.Name, s.Tunnel.MTU, s.Tunnel.NAT, s.Tunnel.Copies)
	list("addresses", len(s.Tunnel.Addresses), func(i int) string { return s.Tunnel.Addresses[i].String() })
	fmt.Fprintf(&b, "tcp = %q\n", s.Tunnel.TCP)
	list("packets", len(s.Tunnel.Packets), func(i int) string { return s.Tunnel.Packets[i].String() })
	list("dns", len(s.Tunnel.DNS), func(i int) string { return s.Tunnel.DNS[i].String() })
	if s.Tunnel.Congestion != "" {
		fmt.Fprintf(&b, "congestion = %q\n", s.Tunnel.Congestion)
	}
	fmt.Fprintf(&b, "[egress]\nsource = %q\n", s.Egress.Source)
	list("allow", len(s.Egress.Allow), func(i int) string { return s.Egress.Allow[i].String() })
	list("deny", len(s.Egress.Deny), func(i int) string { return s.Egress.Deny[i].String() })
	fmt.Fprintf(&b, "[limits]\nstreams_per_client = %d\nstreams = %d\nnew_streams_per_second = %d\n",
		s.Limits.StreamsPerClient, s.Limits.Streams, s.Limits.NewStreamsPerSecond)
	// No memory above 2^53 bytes is allowed, so its megabytes are exact to the byte.
	fmt.Fprintf(&b, "memory = \"%.6fMB\"\nresume = %q\n", float64(s.Limits.MemoryBytes)/1e6, s.Limits.Resume)
	fmt.Fprintf(&b, "speedtest = %v\n", s.Limits.Speedtest)
	for _, r := range s.Rules {
		fmt.Fprintf(&b, "[[rule]]\nmatch = %q\npolicy = %q\n", r.Match, r.Policy)
	}
	for _, c := range s.Clients {
		fmt.Fprintf(&b, "[[client]]\nname = %q\npublic_key = %q\n", c.Name, c.PublicKey)
		list("addresses", len(c.Addresses), func(i int) string { return c.Addresses[i].String() })
		list("routes", len(c.Routes), func(i int) string { return c.Routes[i].String() })
		list("reach", len(c.Reach), func(i int) string { return c.Reach[i] })
		for _, f := range c.Forwards {
			fmt.Fprintf(&b, "[[client.forward]]\nlisten = %q\nprotocol = %q\nsource = %q\n", f.listens(), f.Protocol, f.Source)
			switch {
			case f.To.IsValid() && f.Port != 0:
				fmt.Fprintf(&b, "to = %q\n", netip.AddrPortFrom(f.To, f.Port))
			case f.To.IsValid():
				fmt.Fprintf(&b, "to = %q\n", f.To)
			case f.Port != 0:
				fmt.Fprintf(&b, "to = \":%d\"\n", f.Port)
			}
		}
	}
	return b.String()
}

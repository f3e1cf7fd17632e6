package doctor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	server4 = netip.MustParseAddrPort("203.0.113.10:443")
	server6 = netip.MustParseAddrPort("[2001:db8:a000::10]:443")
)

// goodWay is a way on which all is well.
func goodWay(server netip.AddrPort, local string) Way {
	a := netip.AddrPortFrom(netip.MustParseAddr(local), 40000)
	return Way{
		Server: server, Plain: Trial{Outcome: Answered, Took: 30 * time.Millisecond}, Multipath: Trial{Outcome: Answered},
		SYN: true, Data: true, ServerData: true, Verdict: Well, OverPlain: true, PathMTU: 1500,
		Vitals: Vitals{Software: "braid 1", Seen: a, Local: a, MostStreams: 1000},
	}
}

// goodFacts are those of a host on which nothing is wrong: two uplinks in both
// families, and a client that runs.
func goodFacts() *Facts {
	uplink := func(n int, name string) Uplink {
		v4, v6 := fmt.Sprintf("10.%d.0.2", n), fmt.Sprintf("2001:db8:%d::2", n)
		return Uplink{
			Name: name, Role: "bond", Addresses: []netip.Addr{netip.MustParseAddr(v4), netip.MustParseAddr(v6)}, MTU: 1500, First: n == 1,
			Ways:   []Way{goodWay(server4, v4), goodWay(server6, v6)},
			Beats:  &Beats{Asked: 200, Answered: 200, LostIn: 1, Min: 30 * time.Millisecond, Median: 31 * time.Millisecond, Worst: 50 * time.Millisecond},
			Daemon: &UplinkStatus{State: "up", Use: "active", Subflows: 1, MPTCP: true, RTT: 31 * time.Millisecond, MinRTT: 30 * time.Millisecond},
		}
	}
	return &Facts{
		Host:    Host{Kernel: "6.18.0", Support: []Support{{ID: "mptcp-off", OK: true, Detail: "the kernel makes MPTCP sockets"}}},
		Client:  &Client{Daemon: Daemon{Running: true, Version: "braid 1", Descriptors: 524288, Needed: 20000}, SessionUp: true},
		Uplinks: []Uplink{uplink(1, "dsl"), uplink(2, "lte")},
	}
}

func summary(r Report) []string {
	list := []string{}
	for _, f := range r.Findings {
		list = append(list, f.ID+" "+f.Subject)
	}
	slices.Sort(list)
	return list
}

// each calls change for all ways.
func (f *Facts) each(change func(w *Way)) {
	for i := range f.Uplinks {
		for k := range f.Uplinks[i].Ways {
			change(&f.Uplinks[i].Ways[k])
		}
	}
}

func unreached(o Outcome) func(w *Way) {
	return func(w *Way) {
		*w = Way{Server: w.Server, Plain: Trial{Outcome: o, Text: "no"}, Multipath: Trial{Outcome: o}}
	}
}

func verdict(v Verdict) func(w *Way) {
	return func(w *Way) {
		w.Verdict, w.OverPlain, w.Text, w.Hint, w.Vitals, w.Data, w.ServerData = v, false, "text", "hint", Vitals{}, false, false
	}
}

func (u *Uplink) each(change func(w *Way)) {
	for k := range u.Ways {
		change(&u.Ways[k])
	}
}

func TestJudge(t *testing.T) {
	for name, test := range map[string]struct {
		change func(f *Facts)
		want   []string
	}{
		"good":          {func(*Facts) {}, nil},
		"nothing known": {func(f *Facts) { *f = Facts{} }, nil},
		"IPv4 alone": {func(f *Facts) {
			for i := range f.Uplinks {
				f.Uplinks[i].Ways = f.Uplinks[i].Ways[:1]
			}
		}, nil},
		"the client does not run": {func(f *Facts) {
			f.Client.Running, f.Client.SessionUp, f.Host.BlackholeArmed = false, false, true
			f.Uplinks[0].Daemon, f.Uplinks[1].Daemon = nil, nil
			f.Uplinks[1].Strict = true // braid would loosen it
		}, []string{"not-running host"}},
		"without a key": {func(f *Facts) { f.each(func(w *Way) { verdict(NotExamined)(w); w.Data = true }) }, nil},
		"no MPTCP": {func(f *Facts) {
			f.Host.Support[0].OK = false
			f.each(func(w *Way) { w.SYN = false; w.Multipath = Trial{Outcome: Failed} })
		}, []string{"mptcp-off host"}},
		"armed":           {func(f *Facts) { f.Host.BlackholeArmed = true }, []string{"mptcp-blackhole-armed host"}},
		"active":          {func(f *Facts) { f.Host.BlackholeActive = true; f.each(func(w *Way) { w.SYN = false }) }, []string{"mptcp-blackhole host"}},
		"old program":     {func(f *Facts) { f.Host.ClockBehind = 48 * time.Hour }, []string{"clock-off host"}},
		"clock":           {func(f *Facts) { f.each(func(w *Way) { w.Vitals.Skew = -2 * time.Minute }) }, []string{"clock-off host"}},
		"clock, a little": {func(f *Facts) { f.each(func(w *Way) { w.Vitals.Skew = 50 * time.Second }) }, nil},
		"others":          {func(f *Facts) { f.Host.ForeignRules, f.Host.Endpoints = []string{"5270"}, []string{"10.1.0.2"} }, []string{"foreign-rules host", "mptcp-endpoints host"}},
		"kill switch":     {func(f *Facts) { f.Host.OrphanedSwitches = []string{"braid0"} }, []string{"kill-switch host"}},
		"firewall":        {func(f *Facts) { f.Host.Firewalls = []Firewall{{"ip filter FORWARD", "all", "x"}} }, []string{"firewall host"}},
		"limits":          {func(f *Facts) { f.Client.Descriptors, f.Client.Limited = 1024, 7 }, []string{"descriptors host", "streams-limited host"}},
		"capabilities":    {func(f *Facts) { f.Client.NoPacing = "lacks" }, []string{"no-pacing host"}},
		"names":           {func(f *Facts) { f.Client.NamesFail = "read-only" }, []string{"names host"}},
		"session":         {func(f *Facts) { f.Client.SessionUp = false }, []string{"session-down host"}},
		"no uplinks":      {func(f *Facts) { f.Uplinks = nil; f.Client.SessionUp = false }, []string{"no-default-route host"}},
		"one missing":     {func(f *Facts) { f.Uplinks[1] = Uplink{Name: "lte", Role: "bond", Missing: "no route"} }, []string{"uplink-missing uplink lte"}},
		"one absent":      {func(f *Facts) { f.Uplinks[1] = Uplink{Name: "wwan*", Missing: "no such interface"} }, []string{"uplink-absent uplink wwan*"}},
		"server's name":   {func(f *Facts) { f.Client.NameErrors = []string{"no such host"}; f.each(func(w *Way) { *w = Way{} }) }, []string{"server-name server"}},
		"server down":     {func(f *Facts) { f.each(unreached(Refused)); f.Client.SessionUp = false }, []string{"server-down server"}},
		"server silent":   {func(f *Facts) { f.each(unreached(Silent)); f.Client.SessionUp = false }, []string{"server-unreachable server"}},
		"one silent":      {func(f *Facts) { f.Uplinks[1].each(unreached(Silent)); f.Uplinks[1].Daemon.State = "dead" }, []string{"uplink-unreachable uplink lte"}},
		"one address": {func(f *Facts) {
			for i := range f.Uplinks {
				unreached(Refused)(&f.Uplinks[i].Ways[1])
			}
		}, []string{"server-address server"}},
		"one family of one": {func(f *Facts) { unreached(Silent)(&f.Uplinks[1].Ways[1]) }, []string{"uplink-family uplink lte"}},
		"no family":         {func(f *Facts) { f.Uplinks[1].Ways, f.Uplinks[1].Daemon = nil, nil }, []string{"uplink-no-family uplink lte"}},
		"server's key":      {func(f *Facts) { f.each(verdict(WrongServerKey)); f.Client.SessionUp = false }, []string{"server-key server"}},
		"client's key":      {func(f *Facts) { f.each(verdict(WrongClientKey)) }, []string{"client-key server"}},
		"protocol":          {func(f *Facts) { f.each(verdict(OtherProtocol)) }, []string{"server-protocol server"}},
		"a web server":      {func(f *Facts) { f.each(verdict(NoBraid)) }, []string{"server-not-braid server"}},
		"hangs":             {func(f *Facts) { f.each(verdict(Hung)) }, []string{"server-silent server"}},
		"portal":            {func(f *Facts) { f.Uplinks[1].each(verdict(NoBraid)) }, []string{"uplink-intercepted uplink lte"}},
		"one hangs":         {func(f *Facts) { f.Uplinks[1].each(verdict(Hung)) }, []string{"uplink-silent uplink lte"}},
		"drops options": {func(f *Facts) {
			f.Uplinks[0].each(func(w *Way) { verdict(Hung)(w); w.OverPlain = true })
			f.Uplinks[1].each(func(w *Way) { w.Multipath = Trial{Outcome: Silent}; w.SYN, w.SYNDropped = false, true })
		}, []string{"uplink-mptcp-dropped uplink dsl", "uplink-mptcp-dropped uplink lte"}},
		"hole":           {func(f *Facts) { f.Uplinks[1].each(func(w *Way) { verdict(Hung)(w); w.Lost, w.Fits = 1320, 1280 }) }, []string{"uplink-mtu uplink lte"}},
		"holes":          {func(f *Facts) { f.each(func(w *Way) { verdict(Hung)(w); w.Lost, w.Fits = 1320, 1280 }) }, []string{"uplink-mtu uplink dsl", "uplink-mtu uplink lte"}},
		"stripped":       {func(f *Facts) { f.Uplinks[0].each(func(w *Way) { w.SYN, w.Data, w.ServerData = false, false, false }) }, []string{"uplink-mptcp-syn uplink dsl"}},
		"all stripped":   {func(f *Facts) { f.each(func(w *Way) { w.SYN, w.Data, w.ServerData = false, false, false }) }, []string{"server-mptcp server"}},
		"stripped later": {func(f *Facts) { f.Uplinks[0].each(func(w *Way) { w.ServerData = false }) }, []string{"uplink-mptcp-data uplink dsl"}},
		"strict":         {func(f *Facts) { f.Uplinks[1].Strict = true; f.Uplinks[1].each(unreached(Silent)) }, []string{"uplink-reverse-path uplink lte"}},
		"strict, first":  {func(f *Facts) { f.Uplinks[0].Strict = true }, nil},
		"loss":           {func(f *Facts) { f.Uplinks[1].Beats.LostOut, f.Uplinks[1].Beats.LostIn = 11, 9 }, []string{"uplink-loss uplink lte"}},
		"some loss":      {func(f *Facts) { f.Uplinks[1].Beats.LostOut, f.Uplinks[1].Beats.LostIn = 3, 2 }, nil},
		"deep queue": {func(f *Facts) {
			f.Uplinks[1].Load = &Load{Idle: 30 * time.Millisecond, Down: 100 * time.Millisecond, Up: time.Second}
		}, []string{"uplink-bufferbloat uplink lte"}},
		"usual queue": {func(f *Facts) {
			f.Uplinks[1].Load = &Load{Idle: 30 * time.Millisecond, Down: 130 * time.Millisecond, Up: 300 * time.Millisecond}
		}, nil},
		"deep now":           {func(f *Facts) { d := f.Uplinks[1].Daemon; d.RTT, d.TxBps = time.Second, 5e6 }, []string{"uplink-bufferbloat uplink lte"}},
		"alike":              {func(f *Facts) { f.Uplinks[1].Alike = []Alike{{Name: "dsl"}} }, []string{"uplink-same-network uplink lte"}},
		"one router":         {func(f *Facts) { f.Uplinks[1].Alike = []Alike{{Name: "dsl", SameRouter: true}} }, []string{"uplink-same-router uplink lte"}},
		"one address of two": {func(f *Facts) { f.Uplinks[1].Alike = []Alike{{Name: "dsl", SameAddress: true}} }, []string{"uplink-same-address uplink lte"}},
		"daemon says": {func(f *Facts) {
			f.Uplinks[0].Daemon.State = "dead"
			f.Uplinks[1].Daemon.State = "quarantined"
		}, []string{"uplink-dead uplink dsl", "uplink-quarantined uplink lte"}},
		"flaps, cap": {func(f *Facts) {
			f.Uplinks[0].Daemon.RecentDeaths = 5
			f.Uplinks[1].Daemon.CapBytes, f.Uplinks[1].Daemon.CapUsed = 10, 11
		}, []string{"uplink-cap uplink lte", "uplink-flaps uplink dsl"}},
		"no subflow": {func(f *Facts) { f.Uplinks[1].Daemon.Subflows = 0 }, []string{"uplink-no-subflow uplink lte"}},
		"nameservers": {func(f *Facts) {
			a := netip.MustParseAddr("10.2.0.1")
			f.Uplinks[0].Names = []NameTrial{{Server: a, TCP: true}}
			f.Uplinks[1].Names = []NameTrial{{Server: a}}
		}, []string{"uplink-names uplink lte", "uplink-udp uplink dsl"}},
		"version, limit": {func(f *Facts) {
			f.each(func(w *Way) { w.Vitals.Software, w.Vitals.Streams = "braid 2", 950 })
		}, []string{"server-limit server", "server-version server"}},
		"a server": {func(f *Facts) {
			f.Client, f.Uplinks = nil, nil
			f.Serving = &Serving{Daemon: Daemon{Running: true}, SubflowLimit: 8, SubflowWanted: 8, Clients: 2, Online: 1}
		}, nil},
		"a bad server": {func(f *Facts) {
			f.Client, f.Uplinks = nil, nil
			f.Serving = &Serving{
				Daemon: Daemon{Running: true, Descriptors: 10, Needed: 20}, SubflowLimit: 2, SubflowWanted: 8, TableMissing: true,
				ForwardingOff: []string{"net.ipv4.ip_forward is 0"}, NotListening: []string{":443"}, PlainClients: []string{"home"},
				LimitedClients: []string{"home"},
			}
		}, []string{"descriptors host", "forwarding-off host", "not-listening host", "plain-clients host", "streams-limited host", "subflow-limit host", "table-missing host"}},
		"a server that cannot": {func(f *Facts) {
			f.Client, f.Uplinks = nil, nil
			f.Serving = &Serving{PortTaken: []string{":443"}}
		}, []string{"not-running host", "port-taken host"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := goodFacts()
			test.change(f)
			r := Judge(*f)
			got := summary(r)
			slices.Sort(test.want)
			if !slices.Equal(got, test.want) {
				var b bytes.Buffer
				WriteText(&b, r, true)
				t.Errorf("found %q, want %q\n%s", got, test.want, b.String())
			}
			for _, found := range r.Findings {
				if !slices.ContainsFunc(catalogue, func(k Kind) bool { return k.ID == found.ID }) {
					t.Errorf("%s is not in the catalogue", found.ID)
				}
				if strings.Contains(found.Mend, "INTERFACE") || strings.Contains(found.Mend, "BYTES") {
					t.Errorf("%s: mend is %q", found.ID, found.Mend)
				}
			}
		})
	}
}

// Mends name what they are about.
func TestMends(t *testing.T) {
	f := goodFacts()
	f.Uplinks[0].Strict, f.Uplinks[0].First = true, false
	f.Uplinks[1].each(func(w *Way) { verdict(Hung)(w); w.Lost, w.Fits, w.LostInbound = 1320, 1280, true })
	f.Host.Firewalls = []Firewall{{"ip filter FORWARD", "what is forwarded", "iptables -I FORWARD"}}
	for _, found := range Judge(*f).Findings {
		want := map[string]string{
			"uplink-reverse-path": "sysctl net.ipv4.conf.dsl.rp_filter=2", "uplink-mtu": "ip link set lte mtu 1280", "firewall": "iptables -I FORWARD",
		}[found.ID]
		if want == "" || !strings.Contains(found.Mend, want) {
			t.Errorf("%s: mend %q, want %q in it", found.ID, found.Mend, want)
		}
		if found.ID == "uplink-mtu" && !strings.Contains(found.Evidence[0], "1320 bytes from the server vanish, those of 1280 come through") {
			t.Errorf("evidence %q", found.Evidence)
		}
	}
}

// All that can be found is found by some line of the table above.
func TestCatalogueIsUsed(t *testing.T) {
	source, err := os.ReadFile("doctor_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range Catalogue() {
		gathered := []string{"configuration", "kernel-too-old", "kernel-old", "mptcp-no-ipv6", "path-manager", "no-bbr", "join-refused"}
		if !slices.Contains(gathered, k.ID) && !strings.Contains(string(source), `"`+k.ID+" ") {
			t.Errorf("nothing is tested that finds %s", k.ID)
		}
	}
}

// The manual has all findings as they are.
func TestOperationsListFindings(t *testing.T) {
	manual, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, k := range Catalogue() {
		fmt.Fprintf(&want, "| `%s` | %s | %s | %s |\n", k.ID, k.Severity, k.Problem, k.Mend)
	}
	const begin = "| finding | severity | what it says | what to do |\n|---|---|---|---|\n"
	_, after, ok := strings.Cut(string(manual), begin)
	got, _, _ := strings.Cut(after, "\n\n")
	if !ok || got+"\n" != want.String() {
		t.Errorf("docs/operations.md must have, behind %q:\n%s", begin, want.String())
	}
}

func TestText(t *testing.T) {
	f := goodFacts()
	f.Uplinks[1].each(func(w *Way) { w.SYN = false })
	f.Uplinks[1].Beats.LostOut = 20
	f.Skipped = []Skipped{{SubjectHost, "kill switches", "this needs root"}}
	r := Judge(*f)
	var b bytes.Buffer
	if err := WriteText(&b, r, false); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	if !strings.HasPrefix(lines[0], "✗ error: uplink lte: MPTCP is stripped from the first packet") {
		t.Errorf("the worst is first:\n%s", b.String())
	}
	for _, want := range []string{"! warning: uplink lte: packets are lost", "    mend: ", "? host: kill switches not looked at: this needs root", "1 error, 1 warning; "} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
	b.Reset()
	if err := WriteText(&b, Judge(*goodFacts()), false); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "\n"); n != 1 || !strings.HasPrefix(b.String(), "nothing to complain of: ") {
		t.Errorf("a good host:\n%s", b.String())
	}
	coded, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(coded, &back); err != nil || !slices.Equal(summary(back), summary(r)) || bytes.Contains(coded, []byte("null")) {
		t.Errorf("%s: %v", coded, err)
	}
}

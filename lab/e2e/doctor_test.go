package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/emulator"
)

// diagnosis is what "braid doctor --json" prints, as far as tests look at it.
type diagnosis struct {
	Findings []finding `json:"findings"`
	Good     []struct {
		Checked string `json:"checked"`
	} `json:"good"`
	Skipped []struct {
		Subject string `json:"subject"`
		Check   string `json:"check"`
		Reason  string `json:"reason"`
	} `json:"skipped"`
	code int
	took time.Duration
	text string
}

type finding struct {
	ID       string   `json:"id"`
	Severity string   `json:"severity"`
	Subject  string   `json:"subject"`
	Evidence []string `json:"evidence"`
	Mend     string   `json:"mend"`
}

// diagnose runs braid doctor on a daemon's host.
func (w *world) diagnose(d *daemon.Daemon, h *lab.Host, args ...string) diagnosis {
	w.Helper()
	return w.diagnoseFile(d.ConfigFile(), h, args...)
}

func (w *world) diagnoseFile(config string, h *lab.Host, args ...string) (g diagnosis) {
	w.Helper()
	began := time.Now()
	p, err := h.Start(w.ctx, exec.Command(binary, append([]string{"doctor", "-c", config, "--json"}, args...)...))
	w.must(err)
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	if err := p.Wait(ctx); err != nil {
		g.code = 1 // what it says tells more
	}
	g.took, g.text = time.Since(began), string(p.Output())
	if err := json.Unmarshal([]byte(g.text), &g); err != nil {
		w.Fatalf("%v: %s", err, g.text)
	}
	return g
}

// complaints are findings that are no notes, as "id subject".
func (g diagnosis) complaints() []string {
	list := []string{}
	for _, f := range g.Findings {
		if f.Severity != "note" {
			list = append(list, f.ID+" "+f.Subject)
		}
	}
	slices.Sort(list)
	return list
}

// wants checks that of what is wrong exactly this is said, with evidence and a
// mend, and that the exit code tells errors.
func (w *world) wants(name string, g diagnosis, want ...string) {
	w.Helper()
	got := g.complaints()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.Errorf("%s: found %q, want %q:\n%s", name, got, want, g.text)
	}
	failed := false
	for _, f := range g.Findings {
		failed = failed || f.Severity == "error"
		if f.Severity != "note" && f.Mend == "" {
			w.Errorf("%s: %s has no mend", name, f.ID)
		}
	}
	if failed != (g.code != 0) {
		w.Errorf("%s: exit code %d", name, g.code)
	}
	w.Logf("%s: %v in %.1f s, %d good", name, got, g.took.Seconds(), len(g.Good))
}

// shape changes both directions of an uplink and returns what undoes it.
func (w *world) shape(uplink string, change func(s *emulator.Shape)) (undo func()) {
	w.Helper()
	l := w.Net.Links[uplink]
	var was [2]emulator.Shape
	for _, way := range []lab.Way{lab.AToB, lab.BToA} {
		s, err := l.Shape(way)
		w.must(err)
		was[way] = s
		change(&s)
		w.must(l.SetShape(way, s))
	}
	return func() {
		for way, s := range was {
			w.must(l.SetShape(lab.Way(way), s))
		}
	}
}

// Faults of uplinks and of the host, beside a client that runs. It goes on as it
// was: nothing changes but what the fault itself does.
func TestDoctorUplinks(t *testing.T) {
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{})
	client := w.Net.Client
	w.must(w.ServerAt(w.Client, daemon.Options{}, netip.AddrPortFrom(w.Net.ServerAddr4, daemon.Port), netip.AddrPortFrom(w.Net.ServerAddr6, daemon.Port)))
	was, session := w.snapshot(client), w.session()
	w.wants("all well", w.diagnose(w.Client, client))
	w.same(client, was)
	if now := w.session(); now != session {
		t.Errorf("the session was %s and is %s", session, now)
	}
	s, err := w.Server.Status(w.ctx)
	w.must(err)
	if s.Rejected != 0 || s.Malformed != 0 {
		t.Errorf("the server counts %d connections as refused, %d as malformed", s.Rejected, s.Malformed)
	}

	line := func(uplink string, change func(s *emulator.Shape)) fault {
		var undo func()
		return fault{func() { undo = w.shape(uplink, change) }, func() { undo() }}
	}
	setting := func(key, bad, good string) fault {
		return fault{func() { w.must(client.SetSysctl(key, bad)) }, func() { w.must(client.SetSysctl(key, good)) }}
	}
	w.with("MPTCP stripped from SYNs; 5 % loss", []fault{
		line("lte", func(s *emulator.Shape) { s.StripMPTCP = true }),
		line("dsl", func(s *emulator.Shape) { s.Loss = emulator.RandomLoss(0.05) }),
	}, "uplink-mptcp-syn uplink lte", "uplink-loss uplink dsl")
	w.with("MPTCP stripped from data; strict reverse-path filter", []fault{
		line("dsl", func(s *emulator.Shape) { s.StripMPTCPData = true }),
		setting("net/ipv4/conf/lte/rp_filter", "1", "2"),
	}, "uplink-mptcp-data uplink dsl", "uplink-reverse-path uplink lte")
	w.with("MTU 1280 black hole; armed", []fault{
		line("lte", func(s *emulator.Shape) { s.LargestPacket = 1280 }),
		setting("net.mptcp.blackhole_timeout", "3600", "0"),
	}, "uplink-mtu uplink lte", "mptcp-blackhole-armed host")
	w.with("silent uplink", []fault{line("lte", func(s *emulator.Shape) { s.BlackHole = true })}, "uplink-unreachable uplink lte")
	w.with("SYNs with MPTCP dropped", []fault{w.dropMPTCP("dsl")}, "uplink-mptcp-dropped uplink dsl")
	w.with("default route gone", []fault{{func() {
		w.run(client, "ip", "-4", "route", "del", "default", "dev", "lte")
		w.run(client, "ip", "-6", "route", "del", "default", "dev", "lte")
	}, func() { w.must(w.Net.ConfigureUplink("lte")) }}}, "uplink-missing uplink lte")
	w.with("MPTCP off", []fault{setting("net.mptcp.enabled", "0", "1")}, "mptcp-off host")
	w.run(client, "prlimit", fmt.Sprintf("--pid=%d", w.Client.PID()), "--nofile=1024:1024") // not every machine lets root raise it again
	w.with("limits too low", nil, "descriptors host")
}

// fault is something that is made wrong for a while.
type fault struct{ make, undo func() }

// with makes faults, looks, and undoes them.
func (w *world) with(name string, faults []fault, want ...string) {
	w.Helper()
	for _, f := range faults {
		f.make()
	}
	g := w.diagnose(w.Client, w.Net.Client)
	// The faults before are many, and it is right to say that uplinks died of them.
	g.Findings = slices.DeleteFunc(g.Findings, func(f finding) bool { return f.ID == "uplink-flaps" })
	w.wants(name, g, want...)
	for _, f := range faults {
		f.undo()
	}
	w.must(w.Client.WaitUp(w.patient(), 2))
}

// dropMPTCP is a firewall behind an uplink that drops what it does not know.
func (w *world) dropMPTCP(uplink string) fault {
	router := w.Net.Routers[uplink]
	return fault{
		func() {
			w.run(router, "nft", "add table inet fault; add chain inet fault f { type filter hook forward priority 0; }; add rule inet fault f tcp option mptcp exists drop")
		},
		func() { w.run(router, "nft", "delete", "table", "inet", "fault") },
	}
}

// session is the client's session.
func (w *world) session() string {
	w.Helper()
	s, err := w.Client.Status(w.ctx)
	w.must(err)
	return s.Session.ID
}

// Faults of the server and of what both ends know of each other, and the doctor on
// the server's host. No client runs but at first.
func TestDoctorServer(t *testing.T) {
	t.Parallel()
	// Streams for which the machine's limit of open files suffices.
	w := prepare(t, cellA(), daemon.Options{Home: "[limits]\nstreams = 1000\n"})
	w.must(w.Setup.Start(w.patient()))
	client, server := w.Net.Client, w.Net.Server
	was := w.snapshot(server)
	w.wants("a good server", w.diagnose(w.Server, server))
	w.same(server, was)
	w.must(server.SetSysctl("net.ipv4.ip_forward", "0"))
	w.run(server, "ip", "mptcp", "limits", "set", "subflow", "2")
	w.run(server, "nft", "delete", "table", "inet", "braid-braid0")
	w.wants("a bad server", w.diagnose(w.Server, server), "forwarding-off host", "subflow-limit host", "table-missing host")
	w.must(w.Client.Stop())

	// The kernel switches MPTCP off by itself when it takes a handshake for lost.
	w.must(client.SetSysctl("net.mptcp.blackhole_timeout", "3600"))
	drop := w.dropMPTCP("dsl")
	drop.make()
	d := net.Dialer{Timeout: patience}
	d.SetMultipathTCP(true)
	c, err := client.DialWith(w.ctx, &d, "tcp", netip.AddrPortFrom(w.Net.ServerAddr4, daemon.Port).String())
	w.must(err)
	c.Close()
	drop.undo()
	w.wants("blackhole timer active", w.diagnose(w.Client, client), "mptcp-blackhole host")
	w.must(client.SetSysctl("net.mptcp.blackhole_timeout", "0"))

	config, err := os.ReadFile(w.Client.ConfigFile())
	w.must(err)
	other := strings.TrimSpace(w.run(client, binary, "keygen", filepath.Join(t.TempDir(), "key")))
	w.must(w.Client.Rewrite(strings.Replace(string(config), w.Server.PublicKey, other, 1)))
	w.wants("wrong key of the server", w.diagnose(w.Client, client), "server-key server")
	w.must(w.Client.Rewrite(string(config)))
	serverConfig, err := os.ReadFile(w.Server.ConfigFile())
	w.must(err)
	w.must(w.Server.Rewrite(strings.Replace(string(serverConfig), w.Client.PublicKey, other, 1)))
	w.run(server, binary, "reload", "--control", filepath.Join(w.Server.RunDir(), "server.sock"))
	w.wants("unknown client", w.diagnose(w.Client, client), "client-key server")
	w.must(w.Server.Stop())

	stop := w.serveVitals(90 * time.Minute)
	w.wants("clock off", w.diagnose(w.Client, client), "clock-off host")
	stop()
	w.wants("server down", w.diagnose(w.Client, client), "server-down server")
	for name := range w.Net.Routers {
		w.run(client, "ip", "-4", "route", "del", "default", "dev", name)
		w.run(client, "ip", "-6", "route", "del", "default", "dev", name)
	}
	w.wants("no default route", w.diagnose(w.Client, client), "no-default-route host")
}

// Faults for which a network of its own is needed.
func TestDoctorQueue(t *testing.T) {
	t.Parallel()
	w := prepare(t, cellA(), daemon.Options{})
	w.must(w.Server.Start(w.patient()))
	w.shape("lte", func(s *emulator.Shape) { s.QueueTime = time.Second })
	w.wants("1 s bufferbloat", w.diagnose(w.Client, w.Net.Client, "--load"), "uplink-bufferbloat uplink lte")
	w.must(w.Server.Stop())
}

// A nameserver that answers over TCP alone, on the network of one uplink.
func TestDoctorUDP(t *testing.T) {
	t.Parallel()
	w := namesWorld(t, "")
	w.resolvConf(w.provider("dsl") + w.provider("lte"))
	config, err := os.ReadFile(w.Client.ConfigFile())
	w.must(err)
	w.must(w.Client.Rewrite(strings.Replace(string(config), fmt.Sprintf("\"%v:443\"", w.Net.ServerAddr4), `"`+serverName+`"`, 1)))
	w.must(w.Server.Start(w.patient()))
	router := w.Net.Routers["lte"]
	l, err := router.Listen(w.ctx, "tcp", netip.AddrPortFrom(w.Net.RouterAddr4("lte"), 53).String())
	w.must(err)
	started, ended := make(chan struct{}), make(chan struct{})
	s := &dns.Server{Listener: l, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(rw dns.ResponseWriter, q *dns.Msg) {
		_ = rw.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeNameError))
	})}
	go func() { defer close(ended); _ = s.ActivateAndServe() }()
	<-started
	defer func() { _ = s.Shutdown(); <-ended }()
	w.wants("by name", w.diagnose(w.Client, w.Net.Client))
	w.run(router, "nft", "add table inet fault; add chain inet fault f { type filter hook input priority 0; }; add rule inet fault f meta l4proto udp drop")
	w.wants("UDP blocked", w.diagnose(w.Client, w.Net.Client), "uplink-udp uplink lte")
}

// Two uplinks of one network, whose router is one.
func TestDoctorOneRouter(t *testing.T) {
	t.Parallel()
	w, _ := oneRouter(t)
	w.must(w.Server.Start(w.patient()))
	w.must(w.Client.Start(w.patient()))
	w.must(w.Client.WaitUp(w.patient(), 2))
	w.wants("two uplinks in one subnet", w.diagnose(w.Client, w.Net.Client), "uplink-same-router uplink fast1", "uplink-same-router uplink wlan")
	w.must(w.Stop())
}

// What is as it should be, in many ways: nothing is said that is more than a note.
func TestDoctorGood(t *testing.T) {
	t.Parallel()
	w := prepare(t, cellA(), daemon.Options{Listen: `[":443", ":8443"]`})
	client := w.Net.Client
	w.must(w.Server.Start(w.patient()))
	v4, v6 := netip.AddrPortFrom(w.Net.ServerAddr4, daemon.Port), netip.AddrPortFrom(w.Net.ServerAddr6, daemon.Port)
	configured := func(more string, servers ...netip.AddrPort) string {
		o := daemon.Options{ClientMore: more}
		w.must(w.ServerAt(w.Client, o, servers...))
		b, err := os.ReadFile(w.Client.ConfigFile())
		w.must(err)
		path := filepath.Join(filepath.Dir(w.Client.ConfigFile()), fmt.Sprintf("%x.toml", crc32.ChecksumIEEE(b)))
		w.must(os.WriteFile(path, b, 0o600))
		return path
	}
	// Those that need the same network are looked at together.
	var together sync.WaitGroup
	for name, path := range map[string]string{
		"IPv4 alone":         configured("", v4),
		"IPv6 alone":         configured("", v6),
		"two addresses":      configured("", v4, v6),
		"another port":       configured("", netip.AddrPortFrom(v4.Addr(), 8443)),
		"one uplink":         configured("[[uplink]]\ninterface = \"dsl\"\n", v4),
		"metered and backup": configured("[[uplink]]\ninterface = \"dsl\"\nmetered = true\n[[uplink]]\ninterface = \"lte\"\nrole = \"backup\"\ncap = \"10GB/month\"\n", v4),
		"one uplink absent":  configured("[[uplink]]\ninterface = \"dsl\"\n[[uplink]]\ninterface = \"wwan*\"\n", v4),
	} {
		together.Go(func() { w.wants(name, w.diagnoseFile(path, client)) })
	}
	together.Wait()

	split := configured("routes = [\"192.0.2.0/24\"]\n", v4, v6)
	w.must(w.Client.Start(w.patient()))
	w.must(w.Client.WaitUp(w.patient(), 2))
	w.wants("split tunnel", w.diagnoseFile(split, client))
	undo := w.shape("lte", func(s *emulator.Shape) { s.Delay = 150 * time.Millisecond })
	w.run(w.Net.Routers["dsl"], "ip", "link", "set", "core", "mtu", "1400")
	w.run(w.Net.Core, "ip", "link", "set", "dsl", "mtu", "1400")
	w.wants("300 ms; an MTU of 1400 on the way", w.diagnoseFile(split, client))
	undo()
	w.run(client, "ip", "-4", "addr", "flush", "dev", "lte")
	w.run(client, "ip", "link", "set", "dsl", "mtu", "1300")
	g := w.diagnoseFile(split, client)
	w.wants("an uplink of IPv6 alone, one with a small MTU", g)

	p, err := client.Start(w.ctx, exec.Command(binary, "doctor", "-c", split))
	w.must(err)
	time.Sleep(time.Second) // amid its questions
	w.must(p.Signal(os.Interrupt))
	if err := p.Wait(w.patient()); err == nil || !strings.Contains(string(p.Output()), "error: interrupted") {
		t.Errorf("interrupted: %v: %s", err, p.Output())
	}

	// As a user that may do nothing, and without a configuration.
	for _, args := range [][]string{
		{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all", binary, "doctor", "--json", "-c", split},
		{binary, "doctor", "--json"},
	} {
		p, err := client.Start(w.ctx, exec.Command(args[0], args[1:]...))
		w.must(err)
		g := diagnosis{}
		if err := p.Wait(w.patient()); err != nil {
			g.code = 1
		}
		g.text = string(p.Output())
		w.must(json.Unmarshal([]byte(g.text), &g))
		w.wants(strings.Join(args, " "), g)
		if len(g.Skipped) == 0 {
			t.Errorf("nothing was left out: %s", g.text)
		}
	}
	w.must(w.Stop())
}

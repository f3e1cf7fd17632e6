package e2e

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/topology"
)

var excludedNet = netip.MustParsePrefix("198.51.100.0/24")

// killSwitchWorld is two uplinks and a LAN, and routers that see what leaves.
func killSwitchWorld(t *testing.T, on bool) *world {
	c := topology.Fast(2)
	c.Lan = true
	o := daemon.Options{ClientMore: "exclude = [\"" + excludedNet.String() + "\"]\n"}
	if on {
		o.ClientMore += "kill_switch = true\n"
	}
	w := prepare(t, c, o)
	w.detect(excludedNet)
	return w
}

// lifeStages is what may happen to a client, from its second moment to a start that
// fails. The client runs before the first, and does not after the last.
func (w *world) lifeStages() []stage {
	c := w.Net.Client
	up := func() { w.Helper(); w.must(w.Client.WaitUp(w.patient(), 2)) }
	ip := func(args string) { w.Helper(); w.run(c, "ip", strings.Fields(args)...) }
	pause := func() { time.Sleep(300 * time.Millisecond) }
	gateway := func(name string) string { return w.Net.RouterAddr4(name).String() }
	return []stage{
		{"server unreachable", true, pause},
		{"server found", false, func() { w.must(w.Server.Start(w.patient())); up() }},
		{"uplink down and up", false, func() {
			w.must(c.SetDown("fast1"))
			w.must(w.Client.WaitUp(w.patient(), 1))
			w.must(c.SetUp("fast1"))
			w.must(w.Net.ConfigureUplink("fast1"))
			up()
		}},
		{"all uplinks down and up", false, func() {
			for _, name := range []string{"fast1", "fast2"} {
				w.must(c.SetDown(name))
			}
			pause()
			for _, name := range []string{"fast1", "fast2"} {
				w.must(c.SetUp(name))
				w.must(w.Net.ConfigureUplink(name))
			}
			up()
		}},
		{"address changed", false, func() { w.must(w.Net.ChangeAddress("fast2", 99)); pause(); up() }},
		{"default route replaced", false, func() {
			ip("route add default via " + gateway("fast2") + " metric 5")
			ip("-6 route add default via " + w.Net.RouterAddr6("fast2").String() + " metric 5")
			pause()
			ip("route del default metric 5")
			ip("-6 route del default metric 5")
		}},
		{"longer routes, as from DHCP", true, func() {
			// Without those the carriers' table main would lead elsewhere, too.
			ip("route add 192.0.2.0/24 via " + gateway("fast1"))
			ip("-6 route add 2001:db8:b000::/64 via " + w.Net.RouterAddr6("fast1").String())
			pause()
			ip("route del 192.0.2.0/24")
			ip("-6 route del 2001:db8:b000::/64")
		}},
		{"new interface", false, func() {
			w.must(w.lab.Veth(c, "new0", w.Net.Routers["fast1"], "new0"))
			w.must(w.Net.Routers["fast1"].AddAddress("new0", netip.MustParsePrefix("10.99.0.1/24")))
			w.must(c.AddAddress("new0", netip.MustParsePrefix("10.99.0.2/24")))
			w.must(c.AddRoute(lab.Route{Destination: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.99.0.1"), Interface: "new0", Metric: 7}))
			w.must(w.Client.WaitUp(w.patient(), 3))
			w.must(c.DeleteInterface("new0"))
			up()
		}},
		{"server killed and started", false, func() {
			w.must(w.Server.Kill())
			pause()
			w.must(w.Server.Start(w.patient()))
			up()
		}},
		{"client killed", true, func() { w.must(w.Client.Kill()); pause() }},
		{"client started over", true, func() { w.must(w.Client.Start(w.patient())); up() }},
		{"client killed again", true, func() { w.must(w.Client.Kill()) }},
		{"a start that fails", true, func() {
			config, err := os.ReadFile(w.Client.ConfigFile())
			w.must(err)
			w.must(w.Client.Rewrite(strings.Replace(string(config), `private_key_file = "key"`, `private_key_file = "nokey"`, 1)))
			if out, err := c.Run(w.ctx, binary, "client", "-c", w.Client.ConfigFile()); err == nil {
				w.Errorf("it did not fail:\n%s", out)
			}
			w.must(w.Client.Rewrite(string(config)))
		}},
	}
}

// With a kill switch nothing leaves beside the tunnel, whatever happens.
func TestKillSwitch(t *testing.T) {
	t.Parallel()
	w := killSwitchWorld(t, true)
	before := w.snapshot(w.Net.Client)
	w.must(w.Client.Start(w.patient())) // the server is not there
	stages := w.lifeStages()
	for i, s := range stages {
		if s.name == "server found" {
			stages[i].do = func() {
				s.do()
				w.run(w.Net.Client, "ping", "-q", "-c", "5", "-i", "0.2", w.Net.InternetAddr4.String())
				w.run(w.Net.Lan, "ping", "-q", "-c", "5", "-i", "0.2", w.Net.InternetAddr4.String())
			}
		}
		if s.name == "client killed" {
			stages[i].do = func() {
				s.do()
				// What is near, and what is excluded, is there as before.
				for _, a := range []netip.Addr{w.Net.LanAddr4, w.Net.LanAddr6, w.Net.RouterAddr4("fast1"), netip.MustParseAddr("198.51.100.5")} {
					w.run(w.Net.Client, "ping", "-q", "-c", "5", "-i", "0.2", a.String())
				}
				out, err := w.Net.Client.Run(w.ctx, binary, "status", "--control", w.Client.RunDir()+"/client.sock")
				if want := "traffic is blocked: kill switch of braid0, its client does not run; lift it with: braid kill-switch off"; err == nil || !strings.Contains(string(out), want) {
					t.Errorf("status says %v,\n%s", err, out)
				}
			}
		}
	}
	all, _ := w.through(t, stages)
	for name, n := range all {
		if n > 0 {
			t.Errorf("%s: %d packets beside the tunnel", name, n)
		}
	}
	// A clean end opens.
	w.must(w.Client.Start(w.patient()))
	w.must(w.Client.WaitUp(w.patient(), 2))
	w.must(w.Stop())
	all, _ = w.through(t, []stage{{"stopped", true, func() {}}})
	if all["stopped"] == 0 {
		t.Error("a client that was stopped still blocks, or the detector is blind")
	}
	now := w.snapshot(w.Net.Client)
	if d := difference(relevant(before), relevant(now)); d != "" {
		t.Errorf("the client is not as it was:\n%s", d)
	}
}

// relevant is a snapshot without the addresses and routes that the test itself has
// changed.
func relevant(snapshot string) string {
	var b strings.Builder
	section := ""
	for line := range strings.Lines(snapshot) {
		if strings.HasPrefix(line, "# ") {
			section = line
		}
		if !strings.Contains(section, "addr") && !strings.Contains(section, "route") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// Without a kill switch the same detectors see packets in each of those stages.
func TestKillSwitchIsNeeded(t *testing.T) {
	t.Parallel()
	w := killSwitchWorld(t, false)
	w.must(w.Client.Start(w.patient()))
	stages := w.lifeStages()
	all, routed := w.through(t, stages)
	for _, s := range stages {
		if all[s.name] == 0 {
			t.Errorf("%s: nothing was seen beside the tunnel", s.name)
		}
		if s.routed && routed[s.name] == 0 {
			t.Errorf("%s: nothing was routed beside the tunnel", s.name)
		}
	}
	w.must(w.Server.Stop())
	w.run(w.Net.Client, binary, "cleanup", "--dir", w.Client.RunDir())
}

// The first moment: from when the table is there, before the tunnel's device,
// nothing leaves, and the switch is there before the device.
func TestKillSwitchFromTheStart(t *testing.T) {
	t.Parallel()
	w := killSwitchWorld(t, true)
	began := make(chan bool, 1)
	go func() {
		for end := time.Now().Add(patience); time.Now().Before(end); {
			interfaces, err := w.Net.Client.Interfaces()
			if _, closed := w.Net.Client.Run(w.ctx, "nft", "list", "table", "inet", "braid-killswitch-braid0"); closed == nil {
				began <- true
				return
			}
			if err == nil && strings.Contains(strings.Join(interfaces, " "), "braid0") {
				t.Error("the device is there before the kill switch")
			}
		}
		began <- false
	}()
	done := make(chan error, 1)
	go func() { done <- w.Client.Start(w.patient()) }()
	if !<-began {
		t.Fatal("no kill switch")
	}
	all, _ := w.through(t, []stage{{"start", true, func() { w.must(<-done) }}})
	if n := all["start"]; n > 0 {
		t.Errorf("%d packets beside the tunnel", n)
	}
	w.must(w.Stop())
}

// One that a dead client left is lifted by hand, and not under a living one's feet.
func TestKillSwitchByHand(t *testing.T) {
	t.Parallel()
	w := killSwitchWorld(t, true)
	before := w.snapshot(w.Net.Client)
	w.must(w.Setup.Start(w.patient()))
	dir := w.Client.RunDir()
	ask := func(want string, args ...string) {
		t.Helper()
		out, err := w.Net.Client.Run(w.ctx, binary, append(args, "--dir", dir)...)
		if failed := strings.HasPrefix(want, "error"); failed != (err != nil) || !strings.Contains(string(out)+errorText(err), want) {
			t.Errorf("braid %v: %v\n%s", args, err, out)
		}
	}
	ask("kill switch of braid0: closed by its client, which runs", "kill-switch")
	ask("error: lift the kill switch of braid0: owned by a running process", "kill-switch", "off")
	out := w.run(w.Net.Client, binary, "status", "--control", dir+"/client.sock")
	if !strings.Contains(out, "kill switch: closed") || strings.Contains(out, "traffic is blocked") {
		t.Errorf("status says\n%s", out)
	}
	w.must(w.Client.Kill())
	ask("traffic is blocked: kill switch of braid0", "kill-switch")
	ask("nft delete table inet braid-killswitch-braid0", "kill-switch", "off")
	ask("no kill switch blocks", "kill-switch")
	all, _ := w.through(t, []stage{{"lifted", true, func() {}}})
	if all["lifted"] == 0 {
		t.Error("lifted, and nothing leaves")
	}
	w.run(w.Net.Client, binary, "cleanup", "--dir", dir)
	w.same(w.Net.Client, before)
	w.must(w.Server.Stop())
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Many lives, each ended another way, leave both hosts as they were to the byte.
func TestManyLivesLeaveNothing(t *testing.T) {
	t.Parallel()
	w := namesWorld(t, "kill_switch = true\n")
	w.resolvConf(w.provider("dsl"))
	client, server, names := w.snapshot(w.Net.Client), w.snapshot(w.Net.Server), w.nameservers()
	cleanup := func() {
		w.run(w.Net.Client, binary, "cleanup", "--dir", w.Client.RunDir())
		w.run(w.Net.Server, binary, "cleanup", "--dir", w.Server.RunDir())
	}
	for i := range 20 {
		w.must(w.Setup.Start(w.patient()))
		switch i % 4 {
		case 0:
			w.setBy("/etc/resolv.conf")
			w.must(w.Stop())
		case 1:
			w.must(w.Client.Kill())
			w.must(w.Server.Kill())
			cleanup()
		case 2:
			w.must(w.Server.Kill())
			w.must(w.Client.Kill())
			w.must(w.Setup.Start(w.patient()))
			w.must(w.Stop())
		case 3: // before anything is up
			w.must(w.Stop())
			w.must(w.Client.Start(w.patient()))
			w.must(w.Client.Kill())
			cleanup()
		}
		w.same(w.Net.Client, client)
		w.same(w.Net.Server, server)
		if now := w.nameservers(); now != names {
			t.Errorf("resolv.conf is not as it was:\n%s", now)
		}
		if t.Failed() {
			t.Fatalf("after life %d", i+1)
		}
	}
}

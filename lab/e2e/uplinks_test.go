package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"braid/lab/daemon"
	"braid/lab/emulator"
	"braid/lab/topology"
)

// states are those that an uplink can have.
var states = []string{"probing", "up", "late", "dead", "quarantined", "off"}

// roleOf is the configuration of one uplink; all others are bond.
func roleOf(uplink, role string, more ...string) daemon.Options {
	return daemon.Options{ClientMore: fmt.Sprintf("\n[[uplink]]\ninterface = %q\nrole = %q\n%s\n\n[[uplink]]\ninterface = \"*\"\n",
		uplink, role, strings.Join(more, "\n"))}
}

// overflowNet is DSL 20/5 Mb/s and LTE 30/10 Mb/s.
func overflowNet() topology.Config {
	return topology.Config{Uplinks: []topology.Uplink{
		topology.Line("dsl", 20*emulator.Mbps, 5*emulator.Mbps, 30*time.Millisecond),
		topology.Line("lte", 30*emulator.Mbps, 10*emulator.Mbps, 60*time.Millisecond),
	}}
}

// uplink is the status of one uplink, which must make sense.
func (w *world) uplink(name string) daemon.Uplink {
	w.Helper()
	s, err := w.Client.Status(w.ctx)
	w.must(err)
	return w.sensible(s, name)
}

func (w *world) sensible(s daemon.Status, name string) daemon.Uplink {
	w.Helper()
	i := slices.IndexFunc(s.Uplinks, func(u daemon.Uplink) bool { return u.Interface == name })
	if i < 0 {
		w.Fatalf("no %s in the status: %+v", name, s.Uplinks)
	}
	u := s.Uplinks[i]
	if !slices.Contains(states, u.State) || u.Role == "" || u.Use == "" {
		w.Fatalf("the status of %s is %+v", name, u)
	}
	if u.State != "up" && u.Reason == "" {
		w.Fatalf("%s is %s without a reason", name, u.State)
	}
	return u
}

// becomes waits until the status of an uplink is as wanted, and returns it.
func (w *world) becomes(name, what string, ok func(daemon.Uplink) bool) (u daemon.Uplink) {
	w.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		s, err := w.Client.Poll(w.ctx)
		w.must(err)
		if u = w.sensible(s, name); ok(u) {
			return u
		}
		if time.Now().After(end) {
			w.Fatalf("%s is not %s: %+v", name, what, u)
		}
	}
}

func (w *world) state(name, state string) daemon.Uplink {
	w.Helper()
	return w.becomes(name, state, func(u daemon.Uplink) bool { return u.State == state })
}

// setRole changes a role at run time.
func (w *world) setRole(uplink, role string) {
	w.Helper()
	w.run(w.Net.Core, binary, "uplink", uplink, "role", role, "--control", filepath.Join(w.Client.RunDir(), "client.sock"))
	w.becomes(uplink, "of role "+role, func(u daemon.Uplink) bool { return u.Role == role })
}

// An uplink that swallows everything without a sign is dead soon, in the status
// and in the log, with the reason; what runs goes on, and it comes back.
func TestStatesOfUplink(t *testing.T) {
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{})
	for _, name := range []string{"dsl", "lte"} {
		u := w.uplink(name)
		if u.State != "up" || u.Role != "bond" {
			t.Errorf("in the beginning %+v", u)
		}
	}
	x := w.startTransfers(60_000_000, 8_000_000)
	x.progress(500_000)
	for _, name := range []string{"lte", "dsl"} {
		w.must(w.BlackHole(true, name))
		u := w.state(name, "dead")
		x.progress(500_000)
		w.must(w.BlackHole(false, name))
		if !slices.ContainsFunc(strings.Split(w.Client.Log(), "\n"), func(line string) bool {
			return strings.Contains(line, name) && strings.Contains(line, "dead")
		}) {
			t.Errorf("%s was dead (%s), and no line of the log says so", name, u.Reason)
		}
		w.state(name, "up")
		x.progress(500_000)
		x.unfinished()
	}
	w.must(w.Net.Links["lte"].SetCarrier(false))
	w.becomes("lte", "dead or off", func(u daemon.Uplink) bool { return u.State == "dead" || u.State == "off" })
	x.progress(100_000)
	w.must(w.Net.Links["lte"].SetCarrier(true))
	w.state("lte", "up")
	x.finish()
}

// Without traffic, too, a dead uplink is found, if not so soon.
func TestStatesWhenIdle(t *testing.T) {
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{})
	w.must(w.BlackHole(true, "lte"))
	w.curl(w.Net.InternetAddr4, 1_000_000)
	w.state("lte", "dead")
	w.must(w.BlackHole(false, "lte"))
	w.state("lte", "up")
}

// A backup carries no payload until the others die, all of it then, and none
// when they are back.
func TestBackup(t *testing.T) {
	t.Parallel()
	w := begin(t, overflowNet(), roleOf("lte", "backup"))
	spare := w.uplink("lte")
	if spare.Role != "backup" {
		t.Errorf("%+v", spare)
	}
	l := w.startPaced(30 * emulator.Mbps) // more than DSL has
	l.progress(2_000_000)
	w.carriesNothing("lte", "as a backup", func() { l.progress(8_000_000) })

	w.must(w.BlackHole(true, "dsl"))
	w.state("dsl", "dead")
	l.progress(4_000_000)
	if u := w.uplink("lte"); u.Use == spare.Use {
		t.Errorf("in use, and before: %+v, %+v", u, spare)
	}
	w.must(w.BlackHole(false, "dsl"))
	w.becomes("lte", "a backup again", func(u daemon.Uplink) bool { return u.Use == spare.Use })
	w.falls("lte")
	w.carriesNothing("lte", "as a backup again", func() { l.progress(4_000_000) })
	l.finish()
}

// An overflow uplink carries nothing to speak of while the others have room,
// joins when they have none, and leaves again.
func TestOverflow(t *testing.T) {
	t.Parallel()
	w := begin(t, overflowNet(), roleOf("lte", "overflow"))
	unused := w.uplink("lte")
	if unused.Role != "overflow" {
		t.Errorf("%+v", unused)
	}
	l := w.startPaced(8 * emulator.Mbps)
	l.progress(1_000_000)
	// A busy machine makes a line that has room look full for a moment.
	best := 1.0
	for try := 0; try < 3 && best > 0.01; try++ {
		best = min(best, w.share("lte", func() { l.progress(5_000_000) }))
	}
	t.Logf("%.2f %% of a small load went by lte", 100*best)
	if best > 0.01 {
		t.Errorf("%.1f %% of a small load went by lte, want at most 1 %%", 100*best)
	}

	l.setRate(35 * emulator.Mbps)
	for end := time.Now().Add(patience); w.share("lte", func() { l.progress(2_000_000) }) < 0.25; {
		if time.Now().After(end) {
			t.Fatalf("lte does not carry a part of what is too much for dsl: %+v", w.uplink("lte"))
		}
	}
	if u := w.uplink("lte"); u.Use == unused.Use {
		t.Errorf("in use, and before: %+v, %+v", u, unused)
	}
	before := l.size()
	w.share("lte", func() { l.progress(16_000_000) })
	if l.size() < before+16_000_000 {
		t.Error("the large load does not go on")
	}

	l.setRate(8 * emulator.Mbps)
	w.falls("lte")
	w.becomes("lte", "unused again", func(u daemon.Uplink) bool { return u.Use == unused.Use })
	l.finish()
}

// Roles change while a download runs, which goes on.
func TestRoleAtRunTime(t *testing.T) {
	t.Parallel()
	w := begin(t, overflowNet(), daemon.Options{})
	l := w.startPaced(40 * emulator.Mbps)
	l.progress(2_000_000)
	if w.share("lte", func() { l.progress(8_000_000) }) == 0 {
		t.Error("lte carries nothing in role bond")
	}
	for _, role := range []string{"backup", "never"} {
		w.setRole("lte", role)
		w.falls("lte")
		w.carriesNothing("lte", "in role "+role, func() { l.progress(4_000_000) })
	}
	w.state("lte", "off")
	w.setRole("lte", "bond")
	w.state("lte", "up")
	for end := time.Now().Add(patience); w.share("lte", func() { l.progress(2_000_000) }) < 0.1; {
		if time.Now().After(end) {
			t.Fatal("lte carries nothing in role bond, after others")
		}
	}
	l.finish()
	for _, args := range [][]string{{"lte", "role", "spare"}, {"none", "role", "bond"}, {"lte", "use", "bond"}, {"lte"}} {
		command := append(append([]string{"uplink"}, args...), "--control", filepath.Join(w.Client.RunDir(), "client.sock"))
		if out, err := w.Net.Core.Run(w.ctx, binary, command...); err == nil || !strings.Contains(string(out), "error: ") {
			t.Errorf("braid uplink %v: %v: %s", args, err, out)
		}
	}
	if u := w.uplink("lte"); u.Role != "bond" {
		t.Errorf("after wrong commands %+v", u)
	}
}

// An uplink whose cap is reached carries no more than probes, and still not
// after a restart.
func TestCap(t *testing.T) {
	t.Parallel()
	// Counters are read four times a second, on a busy machine later, and what
	// is on its way then still comes: some 4 MB for each second of this uplink.
	const limit, tolerance = 20_000_000, 5_000_000
	w := begin(t, overflowNet(), roleOf("lte", "bond", `cap = "20MB/month"`))
	wire := w.carried("lte") // what was carried to connect counts, too
	l := w.startPaced(40 * emulator.Mbps)
	capped := w.becomes("lte", "told to have reached its cap", func(u daemon.Uplink) bool { return strings.Contains(u.Reason, "cap") })
	w.falls("lte")
	w.carriesNothing("lte", "beyond its cap", func() { l.progress(4_000_000) })
	now := w.carried("lte")
	t.Logf("%d bytes of a cap of %d: %+v", now.bytes, limit, capped)
	if now.bytes < limit-tolerance || now.bytes > limit+tolerance || now.bytes == wire.bytes {
		t.Errorf("lte carried %d bytes, its cap is %d", now.bytes, limit)
	}
	l.finish()

	w.must(w.Client.Stop())
	w.must(w.Client.Start(w.patient()))
	w.must(w.Client.WaitFor(w.patient(), "connected", func(s daemon.Status) bool { return s.Session.State == "up" }))
	w.becomes("lte", "known to have reached its cap", func(u daemon.Uplink) bool { return strings.Contains(u.Reason, "cap") })
	again := w.startPaced(40 * emulator.Mbps)
	again.progress(1_000_000)
	w.carriesNothing("lte", "beyond its cap after a restart", func() { again.progress(6_000_000) })
	// What else there is, it still serves for: the last way.
	w.must(w.BlackHole(true, "dsl"))
	again.progress(1_000_000)
	w.must(w.BlackHole(false, "dsl"))
	again.finish()
}

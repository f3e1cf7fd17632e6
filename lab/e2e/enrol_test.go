package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/emulator"
	"braid/lab/probe"
)

// enrolled is a braid as its commands make one: braid server init, braid invite,
// braid up.
type enrolled struct {
	*world
	dir string
}

// config is the file of a host's daemon.
func (e *enrolled) config(name string) string { return filepath.Join(e.dir, name, "braid.toml") }

// privately gives a file that braid wrote paths of this test's own: all hosts of
// the lab have one file system.
func (e *enrolled) privately(name, role string) {
	e.Helper()
	b, err := os.ReadFile(e.config(name))
	e.must(err)
	top := fmt.Sprintf("control = %q\n", e.socket(name))
	if role == "client" {
		top += fmt.Sprintf("state = %q\n", filepath.Join(e.dir, name, "state"))
	}
	e.must(os.WriteFile(e.config(name), append([]byte(top), b...), 0o600))
}

func (e *enrolled) socket(name string) string { return filepath.Join(e.dir, name, "run", "braid.sock") }

// start starts a daemon and waits until it answers.
func (e *enrolled) start(h *lab.Host, name string, args ...string) *lab.Process {
	e.Helper()
	p, err := h.Start(e.ctx, exec.Command(binary, append(args, "-c", e.config(name))...))
	e.must(err)
	e.Cleanup(func() {
		if e.Failed() {
			e.Logf("%s:\n%s", name, p.Output())
		}
	})
	e.eventually(name+" runs", func() bool { return e.status(name) != "" })
	return p
}

// status is what braid status says, "" while nobody answers.
func (e *enrolled) status(name string) string {
	out, err := exec.Command(binary, "status", "--control", e.socket(name)).Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// invite returns the token of a new client.
func (e *enrolled) invite(name string, more ...string) string {
	e.Helper()
	var said strings.Builder
	c := exec.Command(binary, append([]string{"invite", name, "-c", e.config("server")}, more...)...)
	var token strings.Builder
	c.Stdout, c.Stderr = &token, &said
	p, err := e.Net.Server.Start(e.ctx, c)
	e.must(err)
	if err := p.Wait(e.patient()); err != nil {
		e.Fatalf("invite %s: %v: %s", name, err, said.String())
	}
	return strings.TrimSpace(token.String())
}

// up makes a host a client with a token, and runs it.
func (e *enrolled) up(h *lab.Host, name, token string) *lab.Process {
	e.Helper()
	e.run(h, binary, "up", token, "--install-only", "-c", e.config(name))
	e.privately(name, "client")
	p := e.start(h, name, "up", token)
	e.eventually(name+" is connected", func() bool { return strings.HasPrefix(e.status(name), "client up") })
	return p
}

// end stops a daemon as systemd would.
func (e *enrolled) end(p *lab.Process) {
	e.Helper()
	e.must(p.Stop(patience))
	e.must(p.Wait(e.patient()))
}

// From nothing to two clients, while the first of them is busy; and the end of
// one of them.
func TestEnrolment(t *testing.T) {
	t.Parallel()
	c := fast()
	c.SecondClient = true
	e := &enrolled{prepare(t, c, daemon.Options{}), t.TempDir()}
	before := map[*lab.Host]string{}
	for _, h := range []*lab.Host{e.Net.Server, e.Net.Client, e.Net.Client2} {
		before[h] = e.snapshot(h)
	}
	out := e.run(e.Net.Server, binary, "server", "init", "-c", e.config("server"))
	if b, err := os.ReadFile(e.config("server")); err != nil || !strings.Contains(string(b), fmt.Sprintf("address = [%q", e.Net.ServerAddr4)) || strings.Contains(out, "warning") {
		t.Fatalf("%v, %s\n%s", err, out, b)
	}
	e.privately("server", "server")
	server := e.start(e.Net.Server, "server", "server")

	home := e.up(e.Net.Client, "home", e.invite("home"))
	e.curl(e.Net.InternetAddr4, 2_000_000)
	s, err := probe.ServeTCPEcho(e.Net.Internet, netip.AddrPortFrom(e.Net.InternetAddr4, 7).String())
	e.must(err)
	busy, err := probe.StartConversation(e.ctx, e.Net.Client, s.Addr, 20*emulator.Mbps)
	e.must(err)
	busily := []*probe.Conversation{busy}
	e.progressOf(busily)

	laptop := e.up(e.Net.Client2, "laptop", e.invite("laptop", "--route", "192.168.77.0/24"))
	second, err := probe.StartConversation(e.ctx, e.Net.Client2, s.Addr, 20*emulator.Mbps)
	e.must(err)
	e.progressOf(append(busily, second))
	if list := e.run(e.Net.Server, binary, "clients", "-c", e.config("server")); strings.Count(list, " up\n") != 2 || !strings.Contains(list, "192.168.77.0/24") {
		t.Errorf("the clients are\n%s", list)
	}
	if route := e.run(e.Net.Server, "ip", "-4", "route", "show", "table", "all"); !strings.Contains(route, "192.168.77.0/24 dev braid0") {
		t.Errorf("no route to the network behind the client:\n%s", route)
	}

	// That another one reaches it is no reason to wait.
	text, err := os.ReadFile(e.config("server"))
	e.must(err)
	e.must(os.WriteFile(e.config("server"), append(text, "reach = [\"home\"]\n"...), 0o600))
	began := time.Now()
	if said := e.run(e.Net.Server, binary, "revoke", "home", "-c", e.config("server")); !strings.Contains(said, `client "laptop" no longer has it in its reach`) {
		t.Errorf("revoked: %s", said)
	}
	select {
	case <-busy.Done():
		t.Logf("the connection ended %v after braid revoke was run", time.Since(began).Round(time.Millisecond))
	case <-time.After(patience):
		t.Error("the connection goes on")
	}
	if busy.Finish(patience) == nil {
		t.Error("the connection has ended as if it had been meant to")
	}
	e.eventually("the client is disconnected", func() bool { return strings.HasPrefix(e.status("home"), "client down") })
	if b, err := os.ReadFile(e.config("server")); err != nil || strings.Contains(string(b), `"home"`) || strings.Contains(e.status("server"), "home") {
		t.Errorf("%v, the server still has it:\n%s\n%s", err, b, e.status("server"))
	}
	e.eventually("it is told that it is refused", func() bool { return strings.Contains(e.status("home"), "refused this client's key") })
	e.progressOf([]*probe.Conversation{second})

	// Again, with the same key refused and another token.
	token := e.invite("home")
	e.end(home)
	if out, err := e.Net.Client.Run(e.ctx, binary, "up", token, "-c", e.config("home")); err == nil || !strings.Contains(string(out), "of another token") {
		t.Errorf("%v: %s", err, out)
	}
	e.run(e.Net.Client, binary, "up", token, "--install-only", "--force", "-c", e.config("home"))
	e.privately("home", "client")
	home = e.start(e.Net.Client, "home", "up")
	e.eventually("home is back", func() bool { return strings.HasPrefix(e.status("home"), "client up") })
	e.curl(e.Net.InternetAddr6, 2_000_000)

	if err := second.Finish(patience); err != nil {
		t.Error(err)
	}
	e.must(s.Close())
	for _, p := range []*lab.Process{home, laptop, server} {
		e.end(p)
	}
	for h, was := range before {
		e.same(h, was)
	}
}

// edit replaces a text in a daemon's configuration.
func (w *world) edit(d *daemon.Daemon, old, now string) {
	w.Helper()
	b, err := os.ReadFile(d.ConfigFile())
	w.must(err)
	if !strings.Contains(string(b), old) {
		w.Fatalf("no %q in\n%s", old, b)
	}
	w.must(d.Rewrite(strings.Replace(string(b), old, now, 1)))
}

// reload runs braid reload, and returns its output and exit code.
func (w *world) reload(d *daemon.Daemon, role string) (said string, code int) {
	w.Helper()
	out, err := w.Net.Core.Run(w.ctx, binary, "reload", "--control", filepath.Join(d.RunDir(), role+".sock"))
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.Fatal(err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return string(out), code
}

// What a reload changes holds at once, and no stream notices; what is faulty
// changes nothing, and what needs a restart is named.
func TestReload(t *testing.T) {
	needStreams(t)
	t.Parallel()
	w := begin(t, fast(), daemon.Options{Server: "# rules here\n"})
	s, err := probe.ServeTCPEcho(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 7).String())
	w.must(err)
	talk, err := probe.StartConversation(w.ctx, w.Net.Client, s.Addr, 20*emulator.Mbps)
	w.must(err)
	talks := []*probe.Conversation{talk}
	w.progressOf(talks)
	state, err := w.Client.Status(w.ctx)
	w.must(err)
	session := state.Session.ID

	// Roles, at SIGHUP.
	w.edit(w.Client, "[tunnel]\n", "[[uplink]]\ninterface = \"fast2\"\nrole = \"backup\"\n[[uplink]]\ninterface = \"*\"\n[tunnel]\n")
	w.must(w.Client.Hangup())
	w.becomes("fast2", "a backup", func(u daemon.Uplink) bool { return u.Role == "backup" && u.Use == "standby" })
	w.progressOf(talks)
	w.edit(w.Client, "role = \"backup\"\n", "")
	if said, code := w.reload(w.Client, "client"); code != 0 || said != "changed: uplink\n" {
		t.Errorf("%d, %s", code, said)
	}
	w.becomes("fast2", "of the bond", func(u daemon.Uplink) bool { return u.Role == "bond" })

	// Egress, at SIGHUP: for connections that begin.
	w.edit(w.Server, "[tunnel]\n", fmt.Sprintf("[egress]\ndeny = [\"%v/32\"]\n[tunnel]\n", w.Net.InternetAddr4))
	w.must(w.Server.Hangup())
	w.eventually("new connections are refused", func() bool {
		c, err := w.Net.Client.DialContext(w.patient(), "tcp", s.Addr.String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	w.progressOf(talks)

	// A fault, and all of them are told.
	w.edit(w.Server, "[egress]\n", "[nobody]\n[egress]\nallow = [7]\n")
	if said, code := w.reload(w.Server, "server"); code != 2 || strings.Count(said, "error: ") != 2 || !strings.Contains(said, "server.toml:") {
		t.Errorf("%d, %s", code, said)
	}
	w.refused(s.Addr)
	w.progressOf(talks)

	// Back, with something that has to wait.
	w.edit(w.Server, fmt.Sprintf("[nobody]\n[egress]\nallow = [7]\ndeny = [\"%v/32\"]\n", w.Net.InternetAddr4), "[limits]\nstreams = 5000\n")
	w.edit(w.Server, fmt.Sprintf("[\":%d\"]", daemon.Port), `[":8443"]`)
	if said, code := w.reload(w.Server, "server"); code != 0 || said != "changed: egress.deny, limits.streams; needs a restart: listen\n" {
		t.Errorf("%d, %s", code, said)
	}
	w.travels(w.Net.Client, s.Addr, "out")

	// Routes: what is excluded goes past the tunnel.
	w.edit(w.Client, "[tunnel]\n", "[tunnel]\nroutes = [\"10.0.0.0/8\"]\n")
	if said, code := w.reload(w.Client, "client"); code != 0 || said != "changed: tunnel.routes\n" {
		t.Errorf("%d, %s", code, said)
	}
	if out := w.run(w.Net.Client, "ip", "route", "get", w.Net.InternetAddr4.String()); strings.Contains(out, "braid0") {
		t.Errorf("by the tunnel: %s", out)
	}
	w.edit(w.Client, "routes = [\"10.0.0.0/8\"]\n", "")
	w.must(w.Client.Hangup())
	w.eventually("everything goes by the tunnel", func() bool {
		return strings.Contains(w.run(w.Net.Client, "ip", "route", "get", w.Net.InternetAddr4.String()), "braid0")
	})

	w.progressOf(talks)
	if err := talk.Finish(patience); err != nil {
		t.Error(err)
	}
	w.must(s.Close())
	if state, err = w.Client.Status(w.ctx); err != nil || state.Session.ID != session {
		t.Errorf("the session is another one: %v", err)
	}
}

// A client whose address is another one in the server's file learns it, in the
// session that it has.
func TestReloadMovesAClient(t *testing.T) {
	t.Parallel()
	w := begin(t, fast(), daemon.Options{})
	w.curl(w.Net.InternetAddr4, 1_000_000)
	w.edit(w.Server, daemon.Home4.String(), "10.77.0.99")
	if said, code := w.reload(w.Server, "server"); code != 0 || said != "changed: client\n" {
		t.Errorf("%d, %s", code, said)
	}
	w.eventually("the client has the address", func() bool {
		return strings.Contains(w.run(w.Net.Client, "ip", "addr", "show", "dev", "braid0"), "10.77.0.99/24")
	})
	w.must(w.Client.WaitUp(w.patient(), 2))
	w.curl(w.Net.InternetAddr4, 1_000_000)
}

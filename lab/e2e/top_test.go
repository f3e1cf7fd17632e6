package e2e

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/emulator"
	"braid/lab/probe"
	"braid/lab/topology"
)

// terminal is a terminal of 80 columns and 24 lines in a host, with a shell: that
// of tmux.
type terminal struct {
	*world
	dir    string
	socket string // of tmux
}

func (w *world) terminal(h *lab.Host) *terminal {
	w.Helper()
	t := &terminal{world: w, dir: w.TempDir()}
	t.socket = filepath.Join(t.dir, "tmux")
	environ := append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=xterm-256color")
	server := exec.Command("tmux", "-u", "-D", "-f", "/dev/null", "-S", t.socket)
	server.Env = environ
	p, err := h.Start(w.ctx, server)
	w.must(err)
	w.Cleanup(p.Kill)
	t.eventually("tmux runs", func() bool {
		_, err := os.Stat(t.socket)
		return err == nil
	})
	t.tmux("new-session", "-d", "-x", "80", "-y", "24", "-s", "top",
		"env -i PATH="+os.Getenv("PATH")+" LC_ALL=C.UTF-8 TERM=tmux-256color COLORTERM=truecolor PS1='$ ' GORACE=atexit_sleep_ms=0 sh -i")
	t.tmux("set-option", "-g", "status", "off")
	t.tmux("resize-window", "-t", "top", "-x", "80", "-y", "24") // the line of the status is free now
	return t
}

func (t *terminal) tmux(args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.ctx, "tmux", append([]string{"-u", "-S", t.socket}, args...)...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("tmux %q: %v: %s", args, err, out)
	}
	return string(out)
}

// types presses keys, as tmux names them.
func (t *terminal) types(keys ...string) {
	t.Helper()
	t.tmux(append([]string{"send-keys", "-t", "top"}, keys...)...)
}

// command types a line into the shell, without paths that are longer than it.
func (t *terminal) command(line string) {
	t.Helper()
	script := filepath.Join(t.dir, "run")
	t.must(os.WriteFile(script, []byte(line+"\n"), 0o700))
	t.types(". "+script, "Enter")
}

// shows waits until all texts are on the screen, and returns it.
func (t *terminal) shows(texts ...string) (screen string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		screen = t.tmux("capture-pane", "-p", "-t", "top")
		missing := ""
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				missing = text
			}
		}
		if missing == "" {
			return screen
		}
		if time.Now().After(end) {
			t.Fatalf("no %q on the screen:\n%s", missing, screen)
		}
	}
}

// keep writes what the screen shows into the folder that BRAID_ARTIFACTS names, as
// text and with its colours.
func (t *terminal) keep(name string) {
	t.Helper()
	dir := os.Getenv("BRAID_ARTIFACTS")
	if dir == "" {
		dir = t.ArtifactDir()
	}
	t.must(os.MkdirAll(dir, 0o755))
	t.must(os.WriteFile(filepath.Join(dir, name+".txt"), []byte(t.tmux("capture-pane", "-p", "-t", "top")), 0o644))
	t.must(os.WriteFile(filepath.Join(dir, name+".ansi"), []byte(t.tmux("capture-pane", "-e", "-p", "-t", "top")), 0o644))
}

// cleanScreen checks that a program that was drawing has left the terminal as it
// was: the shell's screen, a cursor, and the settings of the line.
func (t *terminal) cleanScreen(why string) {
	t.Helper()
	screen := t.shows("ended with 0")
	for line := range strings.Lines(screen) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "$") && line != "ended with 0" {
			t.Errorf("%s: left on the screen: %q", why, line)
		}
	}
	if got := strings.TrimSpace(t.tmux("display-message", "-p", "-t", "top", "#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{keypad_flag}")); got != "0 1 0 0" {
		t.Errorf("%s: other screen, cursor, mouse, keypad: %s, want 0 1 0 0", why, got)
	}
	var settings [2]string
	for i, name := range []string{"before", "after"} {
		b, err := os.ReadFile(filepath.Join(t.dir, name))
		t.must(err)
		settings[i] = string(b)
	}
	if settings[0] != settings[1] || settings[0] == "" {
		t.Errorf("%s: the line's settings were %q and are %q", why, settings[0], settings[1])
	}
}

// top begins braid top in the terminal's shell, in an environment, for the daemon
// of that socket. Its process number is then in the file pid.
func (t *terminal) top(environ, socket string) {
	t.Helper()
	t.command("cd " + t.dir + "; clear; stty -g >before; " + environ + " sh -c 'echo $$ >pid; exec " + binary + " top --control " + socket +
		"'; echo \"ended with $?\"; stty -g >after")
}

// long pictures have graphs of a minute; scripts/pictures.sh makes them.
func (t *terminal) lasts(d time.Duration) {
	if long() {
		time.Sleep(d)
	}
}

// A stranger at a terminal of 80 by 24 sees whether it works, which uplink is at
// fault and why, and helps himself with the keys.
func TestTop(t *testing.T) {
	needStreams(t)
	t.Parallel()
	net := cellA()
	net.Uplinks = append(net.Uplinks, topology.Line("sat", 2*emulator.Mbps, emulator.Mbps, 600*time.Millisecond))
	w := begin(t, net, roleOf("sat", "backup"))
	w.changed = true // a cable is pulled
	term := w.terminal(w.Net.Client)

	files, err := probe.ServeHTTP(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 0).String())
	w.must(err)
	defer files.Close()
	load, err := w.Net.Client.Start(w.ctx, exec.Command("curl", "-s", "-o", "/dev/null", files.URL(w.Net.InternetAddr4, 20_000_000_000)))
	w.must(err)
	defer load.Kill()
	calls, err := w.Net.Client.Start(w.ctx, exec.Command("ping", "-q", "-i", "0.05", w.Net.InternetAddr4.String()))
	w.must(err)
	defer calls.Kill()

	client, server := filepath.Join(w.Client.RunDir(), "client.sock"), filepath.Join(w.Server.RunDir(), "server.sock")
	term.top("", client)
	term.lasts(65 * time.Second)
	screen := term.shows("WORKING", "working: dsl and lte carry, sat stands by", "times dsl alone", "MPTCP yes", "up, standby", "% dsl", w.Net.InternetAddr4.String(), "sparse")
	if strings.Contains(screen, "FAULT") {
		t.Errorf("something is at fault:\n%s", screen)
	}
	term.keep("top-good")
	for _, size := range [][]string{{"50", "12", "sat stands by"}, {"120", "40", "MPTCP yes"}, {"80", "24", "EVENTS"}} {
		term.tmux("resize-window", "-t", "top", "-x", size[0], "-y", size[1])
		term.shows("WORKING", size[2], "q quit")
	}

	// A key gives sat another role, in which it is of no use.
	term.types("3", "b")
	term.shows("sat has the role bond until the daemon restarts")
	w.becomes("sat", "of the bond", func(u daemon.Uplink) bool { return u.Role == "bond" })
	term.shows("quarantined", "make nothing faster beside", "WORKING", "configured as backup")
	term.lasts(12 * time.Second)
	term.keep("top-quarantined")
	term.types("d")
	w.becomes("sat", "a backup again", func(u daemon.Uplink) bool { return u.Role == "backup" })

	w.must(w.Net.Links["lte"].SetCarrier(false))
	term.shows("FAULT", "working on dsl alone", "lte is dead: ", "dead")
	term.lasts(20 * time.Second)
	term.keep("top-dead")

	term.types("q")
	term.cleanScreen("after q")

	// Without colours, while the daemon ends and comes back, until it is told to end.
	term.top("NO_COLOR=1 TERM=vt100", client)
	term.shows("FAULT", "lte is dead: ")
	if colours := term.tmux("capture-pane", "-e", "-p", "-t", "top"); regexp.MustCompile(`\x1b\[([0-9]+;)*([349]|10)[0-8]`).MatchString(colours) {
		t.Errorf("colours: %q", colours)
	}
	w.must(w.Client.Stop())
	term.shows("NO ANSWER", "the daemon does not answer since")
	w.must(w.Client.Start(w.patient()))
	term.shows("FAULT", "working on dsl alone")
	b, err := os.ReadFile(filepath.Join(term.dir, "pid"))
	w.must(err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	w.must(err)
	w.must(syscall.Kill(pid, syscall.SIGTERM))
	term.cleanScreen("after SIGTERM")

	term.top("", server)
	term.shows("server braid0", "▸ home", "2 of 3 work")
	term.types("Enter")
	term.shows("server, client home", "FROM", "lte is dead")
	term.keep("top-server-client")
	term.types("q")
	term.cleanScreen("after a server's view")

	// Where nobody looks.
	out, err := exec.CommandContext(w.ctx, binary, "top", "--control", client).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "hint: for scripts and files: braid status") {
		t.Errorf("without a terminal: %v, %s", err, out)
	}
}

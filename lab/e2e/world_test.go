// Package e2e tests braid as its users run it: the real program, as client and
// server in network namespaces over emulated uplinks, with real clients.
//
// A test whose verdict is a rate, a delay or a loss runs alone. All others call
// t.Parallel: they run after those, three at a time in scripts/test.sh, and most of
// their time they wait. Labs share nothing: each has namespaces and folders of its
// own, and files where a test changes those of /etc or /run.
package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/topology"
)

// binary is the program under test.
var (
	binary     string
	buildFlags []string
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if err := lab.Supported(); err != nil {
			fmt.Fprintln(os.Stderr, "end-to-end tests skipped:", err)
			return 0
		}
		dir, err := os.MkdirTemp("", "braid-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o755); err != nil { // for daemons that are not root's
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		binary = filepath.Join(dir, "braid")
		if out, err := exec.Command("go", append(append([]string{"build"}, buildFlags...), "-o", binary, "braid/cmd/braid")...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build braid: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// patience bounds each wait of a test: ample on a busy machine.
const patience = 30 * time.Second

// world is a network with braid in it.
type world struct {
	*testing.T
	*daemon.Setup
	lab     *lab.Lab
	ctx     context.Context
	changed bool // the test itself changed the hosts' networks
}

// prepare builds a network and braid's configurations; nothing runs yet. At
// the test's end the daemons are stopped, and must have left nothing.
func prepare(t *testing.T, c topology.Config, o daemon.Options) *world {
	t.Helper()
	l, err := lab.New(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), lifetime())
	w := &world{T: t, lab: l, ctx: ctx}
	t.Cleanup(func() {
		if t.Failed() && w.Setup != nil {
			t.Logf("server:\n%s\nclient:\n%s", w.Server.Log(), w.Client.Log())
		}
		cancel()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	net, err := topology.Build(l, c)
	if err != nil {
		t.Fatal(err)
	}
	if o.TCP == "" {
		o.TCP = os.Getenv("BRAID_TCP")
	}
	if w.Setup, err = daemon.New(net, binary, t.TempDir(), o); err != nil {
		t.Fatal(err)
	}
	return w
}

// begin is prepare, and waits until the client uses all uplinks. At the end
// both hosts must be as before.
func begin(t *testing.T, c topology.Config, o daemon.Options) *world {
	t.Helper()
	w := prepare(t, c, o)
	before := map[*lab.Host]string{w.Net.Client: w.snapshot(w.Net.Client), w.Net.Server: w.snapshot(w.Net.Server)}
	w.must(w.Setup.Start(w.patient()))
	t.Cleanup(func() {
		if err := w.Stop(); err != nil {
			t.Error(err)
		}
		for h, was := range before {
			if !w.changed {
				w.same(h, was)
			}
		}
	})
	return w
}

// patient is a context that ends with the patience for one wait.
func (w *world) patient() context.Context {
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	w.Cleanup(cancel)
	return ctx
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// run runs a program in a host, which must succeed, and returns its output.
func (w *world) run(h *lab.Host, name string, args ...string) string {
	w.Helper()
	out, err := h.Run(w.ctx, name, args...)
	if err != nil {
		w.Fatalf("%s %s in %s: %v", name, strings.Join(args, " "), h.Name(), err)
	}
	return string(out)
}

// snapshot is all of a host's network that braid could change.
func (w *world) snapshot(h *lab.Host) string {
	w.Helper()
	var b strings.Builder
	for _, c := range []string{
		"ip -br link", "ip -br addr", "ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all",
		"nft list ruleset", "ip mptcp limits", "ip mptcp endpoint",
	} {
		f := strings.Fields(c)
		fmt.Fprintf(&b, "# %s\n%s", c, w.run(h, f[0], f[1:]...))
	}
	w.must(h.Do(func() error { return settings(&b) }))
	// A TAP device says UNKNOWN until its carrier was once off and on.
	return strings.ReplaceAll(b.String(), " UNKNOWN ", " UP      ")
}

// settings writes all that can be set below /proc/sys/net in the calling
// thread's namespace.
func settings(b *strings.Builder) error {
	return filepath.WalkDir("/proc/sys/net", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := d.Info(); err != nil || info.Mode()&0o600 != 0o600 {
			return err
		}
		switch d.Name() {
		case "stable_secret", "tcp_fastopen_key", "flush":
			return nil // reading them fails or says nothing
		}
		value, err := os.ReadFile(path)
		fmt.Fprintf(b, "%s = %s %v\n", path, strings.Join(strings.Fields(string(value)), " "), err)
		return nil
	})
}

// same checks that a host's network is as it was. Expiring things may differ
// by their timers; the lab's networks have none.
func (w *world) same(h *lab.Host, was string) {
	w.Helper()
	var now string
	for range 20 { // the kernel removes some things a moment later
		if now = w.snapshot(h); now == was {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.Errorf("%s is not as it was:\n%s", h.Name(), difference(was, now))
}

// difference lists the lines that only one of two texts has.
func difference(was, now string) string {
	count := map[string]int{}
	for line := range strings.Lines(was) {
		count[line]--
	}
	for line := range strings.Lines(now) {
		count[line]++
	}
	var b strings.Builder
	for _, text := range []string{was, now} {
		for line := range strings.Lines(text) {
			switch n := count[line]; {
			case n < 0:
				b.WriteString("- " + line)
				count[line]++
			case n > 0:
				b.WriteString("+ " + line)
				count[line]--
			}
		}
	}
	return b.String()
}

// cellA is two uplinks that a household may have, DSL and LTE.
func cellA() topology.Config { return topology.CellA() }

// fast is two uplinks without limits, for what is not about rates.
func fast() topology.Config { return topology.Fast(2) }

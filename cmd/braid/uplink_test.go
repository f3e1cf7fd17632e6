package main

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"braid/control"
)

// runningRoles is what of a client the control socket shows and changes.
type runningRoles struct {
	mu      sync.Mutex
	uplinks []control.Uplink
}

func (r *runningRoles) status() any {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &control.Client{Role: control.RoleClient, Session: control.Session{Device: "braid0"}, Uplinks: slices.Clone(r.uplinks)}
}

func (r *runningRoles) SetRole(uplink, role string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var known []string
	for i := range r.uplinks {
		u := &r.uplinks[i]
		if u.Interface == uplink {
			if u.Role = role; role == control.RoleDefault {
				u.Role = u.ConfiguredRole
			}
			return nil
		}
		known = append(known, u.Interface)
	}
	return &control.UnknownUplinkError{Uplink: uplink, Known: known}
}

// serveSocket serves the control socket until the test ends, as daemons do.
func serveSocket(t *testing.T, status func() any, change control.Changes) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.sock")
	serve, err := serveControl(path, access{}, status, change)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

func serveClient(t *testing.T, uplinks ...string) string {
	r := &runningRoles{}
	for _, u := range uplinks {
		r.uplinks = append(r.uplinks, control.Uplink{Interface: u, Role: "bond", ConfiguredRole: "bond", State: "up", Use: "active"})
	}
	return serveSocket(t, r.status, control.Changes{Roles: r})
}

// command runs a command line as a shell would.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestUplinkCommand(t *testing.T) {
	socket := serveClient(t, "dsl", "wwan0")
	told := serveSocket(t, (&runningRoles{}).status, control.Changes{})
	server := serveSocket(t, func() any { return &control.Server{Role: control.RoleServer} }, control.Changes{})
	nobody := filepath.Join(t.TempDir(), "s.sock")
	for _, test := range []struct {
		args   string
		code   int
		stdout string
		stderr string
	}{
		{"--control " + socket, exitGood, `
uplink  role  configured  state  use     this month  reason
dsl     bond  bond        up     active  –
wwan0   bond  bond        up     active  –
`, ""},
		{"wwan0 role backup --control " + socket, exitGood, "", ""},
		{"--control " + socket, exitGood, `
uplink  role    configured  state  use     this month  reason
dsl     bond    bond        up     active  –
wwan0   backup  bond        up     active  –
`, ""},
		{"wwan0 role default --control " + socket, exitGood, "", ""},
		{"--control " + socket, exitGood, `
uplink  role  configured  state  use     this month  reason
dsl     bond  bond        up     active  –
wwan0   bond  bond        up     active  –
`, ""},
		{"lte role backup --control " + socket, exitUsage, "", `
error: unknown uplink "lte"
hint: there are: dsl, wwan0
`},
		{"dsl role best --control " + socket, exitUsage, "", `
error: unknown role "best": choose one of bond, overflow, backup, never, default
hint: see: braid uplink --help
`},
		{"dsl", exitUsage, "", "\nerror: want nothing, or: NAME role ROLE\nhint: see: braid uplink --help\n"},
		{"dsl cap 5", exitUsage, "", "\nerror: want nothing, or: NAME role ROLE\nhint: see: braid uplink --help\n"},
		{"--control " + told, exitGood, "\nno uplink: no interface has a default route, or the configuration allows none\n", ""},
		{"dsl role never --control " + told, exitFailed, "", `
error: this braid does not let its uplinks be changed while it runs
hint: set the role in the client's configuration
`},
		{"--control " + server, exitFailed, "", `
error: only a server is running here, and uplinks are a client's
hint: run this on the client's host
`},
		{"dsl role never --control " + nobody, exitFailed, "", `
error: ask the daemon at ` + nobody + `: connect: no such file or directory
hint: no braid is running there: start one, or name its socket with --control
`},
	} {
		code, stdout, stderr := command(t, append([]string{"uplink"}, strings.Fields(test.args)...)...)
		got := []any{code, stdout, stderr}
		want := []any{test.code, strings.TrimPrefix(test.stdout, "\n"), strings.TrimPrefix(test.stderr, "\n")}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", test.args, d)
		}
	}
}

func TestUplinkCommandHelp(t *testing.T) {
	code, stdout, _ := command(t, "uplink", "--help")
	if code != exitGood || !strings.Contains(stdout, "until the daemon restarts") {
		t.Errorf("%d: %s", code, stdout)
	}
}

// With more than one client, that one is changed which alone has the uplink.
func TestChangeRoleAmongClients(t *testing.T) {
	sockets := []string{serveClient(t, "dsl", "wwan0"), serveClient(t, "dsl"), filepath.Join(t.TempDir(), "stale.sock")}
	if err := changeRole(t.Context(), sockets, "wwan0", "never"); err != nil {
		t.Error(err)
	}
	clients, err := runningClients(t.Context(), sockets)
	if err != nil || len(clients) != 2 || clients[0].status.Uplinks[1].Role != "never" {
		t.Errorf("%+v, %v", clients, err)
	}
	for _, name := range []string{"dsl", "lte"} {
		err := changeRole(t.Context(), sockets, name, "never")
		usage, ok := err.(*usageError)
		if !ok || !strings.Contains(usage.Hint(), sockets[0]+", "+sockets[1]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUplinkCompletion(t *testing.T) {
	socket := serveClient(t, "wwan0", "dsl")
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{""}, "dsl wwan0"},
		{[]string{"dsl", ""}, "role"},
		{[]string{"dsl", "role", ""}, "bond overflow backup never default"},
		{[]string{"dsl", "role", "bond", ""}, ""},
	} {
		code, stdout, _ := command(t, append([]string{"__complete", "uplink", "--control", socket}, test.args...)...)
		list, _, _ := strings.Cut(stdout, ":4\n") // the shell shall not offer files
		if got := strings.Join(strings.Fields(list), " "); code != exitGood || got != test.want || !strings.Contains(stdout, ":4\n") {
			t.Errorf("%q: %d, %q, want %q", test.args, code, stdout, test.want)
		}
	}
	if got := completeUplink(t.Context(), []string{filepath.Join(t.TempDir(), "none")}, nil); got != nil {
		t.Errorf("without a daemon: %q", got)
	}
}

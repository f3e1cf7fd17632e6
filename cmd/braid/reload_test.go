package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"braid/config"
	"braid/control"
	"braid/crypto"
)

// reloading is a reloader of a server.toml whose configurations go nowhere.
type reloading struct {
	*reloader[config.Server]
	path  string
	taken []*config.Server // merged
	log   bytes.Buffer
}

func newReloading(t *testing.T, text string) *reloading {
	t.Helper()
	dir := t.TempDir()
	key := crypto.GenerateKey()
	if err := crypto.WriteKeyFile(filepath.Join(dir, "k"), key); err != nil {
		t.Fatal(err)
	}
	r := &reloading{path: filepath.Join(dir, "server.toml")}
	r.write(t, text)
	file, err := config.OpenServer(r.path)
	if err != nil {
		t.Fatal(err)
	}
	how := serverReload(nil)
	now := file.Config
	how.take = func(next *config.Server, pending []string) []error {
		now = mergeServer(now, next, pending)
		r.taken = append(r.taken, now)
		return nil
	}
	r.reloader = newReloader(file, key.Public(), how, slog.New(slog.NewTextHandler(&r.log, nil)))
	t.Cleanup(r.close)
	return r
}

func (r *reloading) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(r.path, []byte("private_key_file = 'k'\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// last is what holds.
func (r *reloading) last() *config.Server { return r.taken[len(r.taken)-1] }

func TestReload(t *testing.T) {
	r := newReloading(t, "")
	client := func(name string, n byte) string {
		return "[[client]]\nname = '" + name + "'\npublic_key = '" + crypto.PublicKey{n}.String() + "'\n"
	}
	for _, step := range []struct{ text, says string }{
		{"", "nothing has changed"},
		{"# only a comment\n", "nothing has changed"},
		{client("a", 1) + client("b", 2), "changed: client"},
		{"listen = [':444']\n[limits]\nmemory = '64MiB'\n" + client("a", 1) + client("b", 2), "changed: limits.memory; needs a restart: listen"},
		{"listen = [':444']\n" + client("a", 1) + client("b", 2), "changed: limits.memory; needs a restart: listen"},
		{client("a", 1) + client("b", 2), "nothing has changed"},
		{"[tunnel]\nmtu = 1400\nnat = false\n[egress]\nsource = 'transparent'\ndeny = [':25']\n" + client("a", 1) + client("b", 2),
			"changed: tunnel.nat, egress.deny; needs a restart: tunnel.mtu, egress.source"},
		{client("a", 1) + client("b", 2), "changed: tunnel.nat, egress.deny"},
		// Others in another range have to wait, but who is gone is gone.
		{"[tunnel]\naddresses = ['10.9.0.1/24']\n" + client("b", 2) + client("c", 3), "needs a restart: tunnel.addresses, client"},
	} {
		r.write(t, step.text)
		done, err := r.Reload()
		if err != nil || done.Text() != step.says {
			t.Errorf("%q: %q, %v; want %q", step.text, done.Text(), err, step.says)
		}
	}
	if c := r.last(); len(c.Clients) != 1 || c.Clients[0].Name != "b" || c.Clients[0].Addresses[0].String() != "10.77.0.3" || c.Tunnel.Addresses[0].String() != "10.77.0.1/24" {
		t.Errorf("%+v", c)
	}
	if c := r.taken[6]; c.Tunnel.NAT || c.Tunnel.MTU != 1500 || c.Egress.Source != config.SourceServer || len(c.Egress.Deny) != 1 {
		t.Errorf("%+v", c)
	}
}

// A faulty file changes nothing, and all of its faults are told.
func TestReloadOfAFaultyFile(t *testing.T) {
	r := newReloading(t, "")
	r.write(t, "[tunnel]\nmtu = 1\nnat = 1\n[nobody]\n")
	_, err := r.Reload()
	refusal, ok := errors.AsType[*control.Refusal](err)
	if !ok || refusal.Status != 422 || len(refusal.More) != 2 || !strings.Contains(refusal.Problem, "server.toml:3") || refusal.Mend == "" {
		t.Errorf("%+v", refusal)
	}
	if n := strings.Count(r.log.String(), "level=ERROR"); n != 3 || len(r.taken) > 0 {
		t.Errorf("%d lines, %d taken:\n%s", n, len(r.taken), r.log.String())
	}
	if err := os.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reload(); err == nil || len(r.taken) > 0 {
		t.Errorf("without a file: %v", err)
	}
	r.write(t, "")
	key := filepath.Join(filepath.Dir(r.path), "k")
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reload(); err == nil || len(r.taken) > 0 {
		t.Errorf("with a key that is not one: %v", err)
	}
	// Another key in the same file.
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if err := crypto.WriteKeyFile(key, crypto.GenerateKey()); err != nil {
		t.Fatal(err)
	}
	if done, err := r.Reload(); err != nil || !slices.Equal(done.Restart, []string{"private_key_file"}) {
		t.Errorf("with another key: %+v, %v", done, err)
	}
}

// Clients are added and removed in the file and in what runs.
func TestEnroller(t *testing.T) {
	r := newReloading(t, "# mine\n[tunnel] # here\n")
	e := enroller{r.reloader}
	added, err := e.AddClient(control.ClientToAdd{File: r.path, Name: "home", PublicKey: crypto.PublicKey{1}.String()})
	if err != nil || len(added.Addresses) != 2 || added.Addresses[0].String() != "10.77.0.2" || !slices.Equal(added.Reloaded.Applied, []string{"client"}) {
		t.Fatalf("%+v, %v", added, err)
	}
	if c := r.last().Clients; len(c) != 1 || c[0].Name != "home" {
		t.Errorf("%+v", c)
	}
	text, err := os.ReadFile(r.path)
	if err != nil || !strings.HasPrefix(string(text), "private_key_file = 'k'\n# mine\n[tunnel] # here\n\n[[client]]\n") {
		t.Errorf("%v\n%s", err, text)
	}
	for what, c := range map[string]control.ClientToAdd{
		"a name twice":     {Name: "home", PublicKey: crypto.PublicKey{2}.String()},
		"a key twice":      {Name: "b", PublicKey: crypto.PublicKey{1}.String()},
		"no key":           {Name: "b", PublicKey: "x"},
		"another's file":   {Name: "b", PublicKey: crypto.PublicKey{2}.String(), File: "/etc/passwd"},
		"a route to here":  {Name: "b", PublicKey: crypto.PublicKey{2}.String(), Routes: []string{"10.77.0.0/24"}},
		"not even a route": {Name: "b", PublicKey: crypto.PublicKey{2}.String(), Routes: []string{"x"}},
	} {
		_, err := e.AddClient(c)
		if refusal, ok := errors.AsType[*control.Refusal](err); !ok || refusal.Mend == "" || refusal.Status < 400 || refusal.Status >= 500 {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := e.RemoveClient(control.ClientToRemove{Name: "nobody"}); err == nil {
		t.Error("nobody is removed")
	}
	if _, err := e.RemoveClient(control.ClientToRemove{File: r.path, Name: "home"}); err != nil || len(r.last().Clients) != 0 {
		t.Errorf("%v, %+v", err, r.last().Clients)
	}

	// One that others reach ends all the same, and they are named.
	client := func(name string, key byte, more string) string {
		return fmt.Sprintf("[[client]]\nname = %q\npublic_key = %q\n%s\n", name, crypto.PublicKey{key}, more)
	}
	r.write(t, client("home", 1, "")+client("laptop", 2, `reach = ["home"]`)+client("office", 3, `reach = ["*"]`))
	gone, err := e.RemoveClient(control.ClientToRemove{Name: "home"})
	if err != nil || !slices.Equal(gone.WasReachedBy, []string{"laptop"}) || !slices.Equal(gone.Applied, []string{"client"}) {
		t.Errorf("%+v, %v", gone, err)
	}
	if c := r.last().Clients; len(c) != 2 || len(c[0].Reach) != 0 || len(c[1].Reach) != 1 {
		t.Errorf("%+v", c)
	}
}

// SIGHUP reloads.
func TestHangup(t *testing.T) {
	r := newReloading(t, "")
	taken := make(chan *config.Server, 1)
	r.take = func(next *config.Server, _ []string) []error { taken <- next; return nil }
	r.onTerm = false // wherever the tests run
	done := make(chan error, 1)
	ctx := t.Context()
	go func() { done <- r.run(ctx) }()
	r.write(t, "[tunnel]\nnat = false\n")
	if err := unix.Kill(os.Getpid(), unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if c := <-taken; c.Tunnel.NAT {
		t.Errorf("%+v", c)
	}
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Each key of client.toml either holds at once or is named, never both or none.
func TestMergeClient(t *testing.T) {
	base := "server = ['a.example']\nserver_public_key = '" + crypto.PublicKey{1}.String() + "'\nprivate_key_file = 'k'\n"
	other := "server = ['b.example']\nserver_public_key = '" + crypto.PublicKey{2}.String() + "'\nprivate_key_file = 'l'\ncontrol = '/c'\nstate = '/s'\n" +
		"[tunnel]\nname = 'x'\nroutes = ['10.0.0.0/8']\nexclude = ['10.1.0.0/16']\ntcp = 'packets'\npackets = ['10.2.0.0/16']\ncongestion = 'cubic'\ncopies = 7\n" +
		"[limits]\nstreams = 5\nnew_streams_per_second = 6\nmemory = '32MiB'\nresume = '1m'\n[[rule]]\nmatch = 'all'\npolicy = 'ecf'\n[[uplink]]\ninterface = '*'\n"
	a, err := config.ParseClient([]byte(base), "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := config.ParseClient([]byte(other), "")
	if err != nil {
		t.Fatal(err)
	}
	m := mergeClient(a, b)
	if m.Servers[0].Host != "b.example" || len(m.Tunnel.Routes) != 1 || len(m.Tunnel.Exclude) != 1 || len(m.Tunnel.Packets) != 1 ||
		m.Tunnel.Copies != 7 || m.Limits != b.Limits || len(m.Rules) != 1 || len(m.Uplinks) != 1 {
		t.Errorf("not taken: %+v", m)
	}
	if m.ServerPublicKey != a.ServerPublicKey || m.PrivateKeyFile != "k" || m.Control != a.Control || m.State != a.State || m.Tunnel.Name != "braid0" ||
		m.Tunnel.TCP != config.TCPStreams || m.Tunnel.Congestion != "" {
		t.Errorf("taken: %+v", m)
	}
	var live, restart []string
	for _, key := range config.ClientChanges([]byte(base), []byte(other)) {
		if clientLive(key, nil) {
			live = append(live, key)
		} else {
			restart = append(restart, key)
		}
	}
	if len(live) != 11 || len(restart) != 7 {
		t.Errorf("live: %v, restart: %v", live, restart)
	}
}

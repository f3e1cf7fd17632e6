package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"braid/config"
	"braid/control"
)

func TestLookupGroup(t *testing.T) {
	for name, want := range map[string]*control.Group{"": nil, "root": {Name: "root", ID: 0}, "64301": {Name: "64301", ID: 64301}} {
		got, err := lookupGroup(name)
		if err != nil || (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%q: %+v, %v", name, got, err)
		}
	}
}

// A group that is not here is a fault of the configuration, at start and when it
// is read again.
func TestUnknownGroup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.toml")
	if err := os.WriteFile(path, []byte("private_key_file = \"k\"\ncontrol_readers = \"no-such-group\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	if code := run(t.Context(), []string{"server", "-c", path}, &out, &errOut); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{`:2: control_readers = "no-such-group": there is no such group on this host`, "hint: make it with groupadd"} {
		if !strings.Contains(errOut.String(), want) {
			t.Errorf("no %q in\n%s", want, &errOut)
		}
	}
	if _, ok := errors.AsType[*config.Errors](second(serverReload(nil).open(path))); !ok {
		t.Error("a reload takes it")
	}
	if config.ServerChanges([]byte(""), []byte("control_group = \"x\"\n"))[0] != "control_group" || serverLive("control_group", nil) {
		t.Error("it holds without a restart")
	}
}

// A daemon with two sockets is one daemon.
func TestSocketsIn(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"client.sock", "client.read.sock", "server.sock", "braid1.read.sock", "other.state"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, s := range socketsIn(dir) {
		got = append(got, filepath.Base(s))
	}
	if !slices.Equal(got, []string{"braid1.read.sock", "client.sock", "server.sock"}) {
		t.Errorf("%v", got)
	}
}

func second[T any](_ T, err error) error { return err }

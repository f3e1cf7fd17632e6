package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"braid/crypto"
)

// counters are what a daemon knows of its capped uplinks.
type counters struct {
	mu   sync.Mutex
	list map[string]cappedUplink
}

func (c *counters) set(uplink, month string, used, limit uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.list == nil {
		c.list = map[string]cappedUplink{}
	}
	c.list[uplink] = cappedUplink{capUsage{month, used}, limit}
}

func (c *counters) now() map[string]cappedUplink {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := map[string]cappedUplink{}
	for name, u := range c.list {
		list[name] = u
	}
	return list
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func openCaps(t *testing.T, dir string) *capStore {
	t.Helper()
	s, err := openCapStore(dir, "braid0", discard())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// savedCaps is what a daemon that starts now would know.
func savedCaps(t *testing.T, dir string) map[string]capUsage {
	t.Helper()
	return openCaps(t, dir).saved
}

func TestCapStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lib", "braid")
	s := openCaps(t, dir)
	if _, ok := s.usage("lte"); ok {
		t.Error("a new store knows an uplink")
	}
	var c counters
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.run(ctx, c.now) }()
		// expect lets ten seconds pass and compares the file.
		expect := func(what string, want map[string]capUsage) {
			t.Helper()
			time.Sleep(capSaveEvery)
			synctest.Wait()
			if d := cmp.Diff(want, savedCaps(t, dir)); d != "" {
				t.Errorf("%s: %s", what, d)
			}
		}
		c.set("lte", "", 0, 50e9)
		expect("nothing counted", map[string]capUsage{})
		c.set("lte", "2026-11", 0, 50e9)
		expect("a new uplink", map[string]capUsage{"lte": {"2026-11", 0}})
		c.set("lte", "2026-11", 1e6, 50e9)
		expect("1 MB", map[string]capUsage{"lte": {"2026-11", 0}})
		c.set("lte", "2026-11", 1e6+1, 50e9)
		expect("more than 1 MB", map[string]capUsage{"lte": {"2026-11", 1e6 + 1}})
		c.set("usb", "2026-11", 500, 1e6)
		c.set("lte", "2026-11", 1e6+2, 50e9)
		expect("another uplink", map[string]capUsage{"lte": {"2026-11", 1e6 + 2}, "usb": {"2026-11", 500}})
		c.set("usb", "2026-11", 1500, 1e6)
		expect("1/1000 of a small cap", map[string]capUsage{"lte": {"2026-11", 1e6 + 2}, "usb": {"2026-11", 500}})
		c.set("usb", "2026-11", 1501, 1e6)
		expect("more than that", map[string]capUsage{"lte": {"2026-11", 1e6 + 2}, "usb": {"2026-11", 1501}})
		c.set("lte", "2026-12", 3, 50e9)
		expect("the next month", map[string]capUsage{"lte": {"2026-12", 3}, "usb": {"2026-11", 1501}})
		c.set("usb", "2026-11", 1502, 1e6)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if d := cmp.Diff(map[string]capUsage{"lte": {"2026-12", 3}, "usb": {"2026-11", 1502}}, savedCaps(t, dir)); d != "" {
		t.Errorf("at the end: %s", d)
	}

	info, err := os.Stat(capPath(dir, "braid0"))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "braid0.usage.json" {
		t.Errorf("in the folder: %v, %v", entries, err)
	}

	// After a restart an uplink that is not there keeps what it used.
	s = openCaps(t, dir)
	if u, ok := s.usage("usb"); !ok || u != (capUsage{"2026-11", 1502}) {
		t.Errorf("usb: %+v, %v", u, ok)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	var only counters
	only.set("lte", "2026-12", 4, 50e9)
	if err := s.run(ended, only.now); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]capUsage{"lte": {"2026-12", 4}, "usb": {"2026-11", 1502}}, savedCaps(t, dir)); d != "" {
		t.Errorf("after a restart: %s", d)
	}
}

// A file without a change is not written again.
func TestCapStoreSparesFlash(t *testing.T) {
	dir := t.TempDir()
	s := openCaps(t, dir)
	now := map[string]cappedUplink{"lte": {capUsage{"2026-11", 7}, 50e9}}
	always := func(capUsage, cappedUplink) bool { return true }
	if err := s.saveIf(now, always); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(s.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.saveIf(now, always); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(s.path); err != nil || !os.SameFile(before, after) {
		t.Errorf("written again: %v", err)
	}
}

func TestCapStoreDamaged(t *testing.T) {
	good := `{"uplinks": {"lte": {"month": "2026-11", "bytes": 123}}}`
	damaged := []string{
		`{"uplinks": {"lte": {"month": "2026-13", "bytes": 1}}}`,
		`{"uplinks": {"lte": {"bytes": 1}}}`,
		`{"uplinks": {"lte": {"month": "2026-11", "bytes": -1}}}`,
		`{"uplinks": {"lte": {"month": "2026-11", "bytes": 1e40}}}`,
		`{"uplinks": {"": {"month": "2026-11", "bytes": 1}}}`,
		`{"uplinks": []}`, `{}`, `null`, `[]`, "\x00\x00\x00", good + "x",
		strings.Repeat(" ", maxCapFileBytes) + good,
	}
	for n := range len(good) {
		damaged = append(damaged, good[:n])
	}
	dir := t.TempDir()
	path := capPath(dir, "braid0")
	for _, text := range damaged {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		s, err := openCapStore(dir, "braid0", slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil || len(s.saved) != 0 {
			t.Fatalf("%.70q: %v, %v", text, s, err)
		}
		if kept, err := os.ReadFile(path + ".damaged"); err != nil || string(kept) != text {
			t.Errorf("%.70q: set aside %.70q, %v", text, kept, err)
		}
		if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), path) {
			t.Errorf("%.70q: the log says %q", text, log.String())
		}
		if err := s.saveIf(map[string]cappedUplink{"lte": {capUsage{"2026-11", 5}, 1e9}}, worthSaving); err != nil {
			t.Fatal(err)
		}
		if got := savedCaps(t, dir)["lte"].Bytes; got != 5 {
			t.Errorf("%.70q: and then %d are saved", text, got)
		}
	}
}

// What is not a file at all is set aside as well, and not waited for.
func TestCapStoreOfAFIFO(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(capPath(dir, "braid0"), 0o600); err != nil {
		t.Fatal(err)
	}
	if len(savedCaps(t, dir)) != 0 {
		t.Error("a FIFO says something")
	}
	if _, err := os.Lstat(capPath(dir, "braid0")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// What a crash left in the middle of a write is in nobody's way.
func TestCapStoreAfterACrash(t *testing.T) {
	dir := t.TempDir()
	s := openCaps(t, dir)
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(precious, s.path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := s.saveIf(map[string]cappedUplink{"lte": {capUsage{"2026-11", 5}, 1e9}}, worthSaving); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(precious); string(b) != "x" || savedCaps(t, dir)["lte"].Bytes != 5 {
		t.Errorf("%q, %v", b, err)
	}
}

// A disk that fails is one line in the log, and tried again.
func TestCapStoreWriteFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var log bytes.Buffer
	s, err := openCapStore(dir, "braid0", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	now := func(n uint64) map[string]cappedUplink {
		return map[string]cappedUplink{"lte": {capUsage{"2026-11", n}, 1e9}}
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	for n := range uint64(3) {
		if err := s.saveIf(now(n*1e9), worthSaving); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("saved nowhere: %v", err)
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.saveIf(now(9e9), worthSaving); err != nil || savedCaps(t, dir)["lte"].Bytes != 9e9 {
		t.Errorf("and then: %v", err)
	}
	if text := log.String(); strings.Count(text, "not saved") != 1 || strings.Count(text, "saved again") != 1 {
		t.Errorf("the log says\n%s", text)
	}

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openCapStore(filepath.Join(file, "x"), "braid0", discard()); err == nil || crypto.Hint(err) == "" {
		t.Errorf("a folder in a file: %v", err)
	}
}

func FuzzCapFile(f *testing.F) {
	for _, s := range []string{`{"uplinks": {"lte": {"month": "2026-11", "bytes": 123}}}`, `{"uplinks": {}}`, `{"uplinks": null}`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		usage, err := parseCapFile(b)
		if err != nil {
			if _, damaged := errors.AsType[*damagedError](err); !damaged {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		again, err := encodeCapFile(usage)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseCapFile(again)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(usage, got); d != "" {
			t.Fatal(d)
		}
	})
}

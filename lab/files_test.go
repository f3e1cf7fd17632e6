package lab_test

import (
	"os"
	"strings"
	"testing"
)

func TestOwnFiles(t *testing.T) {
	l := newLab(t)
	a, b := newHost(t, l, "a"), newHost(t, l, "b")
	check(t, a.OwnFiles())
	const path = "/etc/braid-lab-test"
	check(t, a.Do(func() error { return os.WriteFile(path, []byte("a's own"), 0o600) }))
	if out, err := a.Run(t.Context(), "cat", path); err != nil || string(out) != "a's own" {
		t.Errorf("a program reads %q, %v", out, err)
	}
	if out, err := a.Run(t.Context(), "getent", "passwd", "root"); err != nil || !strings.HasPrefix(string(out), "root:") {
		t.Errorf("not the machine's /etc: %q, %v", out, err)
	}
	if out, err := a.Run(t.Context(), "ls", "-A", "/run"); err != nil || len(out) > 0 {
		t.Errorf("/run has %q, %v", out, err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the machine has it, too")
		os.Remove(path)
	}
	if out, err := b.Run(t.Context(), "cat", path); err == nil {
		t.Errorf("another host has it, too: %q", out)
	}
}

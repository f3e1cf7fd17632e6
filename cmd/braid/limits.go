package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"braid/mptcp"
)

// serverSubflows is how many subflows beside the first a server's kernel
// accepts on one connection: the kernel's maximum. The default of 2 would stop
// clients at three uplinks.
const serverSubflows = 8

// limitsSuffix ends the names of the files that remember the host's own limits.
const limitsSuffix = ".mptcp.json"

func limitsPath(dir, device string) string { return filepath.Join(dir, device+limitsSuffix) }

// raiseSubflowLimit sets the host's limits of MPTCP subflows and returns what
// sets them back. They are remembered in a file first, for cleanup after a
// daemon that was killed.
func raiseSubflowLimit(pm *mptcp.PathManager, path string, log *slog.Logger) (restore func() error, err error) {
	if err := restoreLimits(pm, path); err != nil { // of one that was killed
		log.Warn("former MPTCP limits not restored", "error", err)
	}
	before, err := pm.Limits()
	if err != nil {
		return nil, err
	}
	if before.ExtraSubflows >= serverSubflows {
		return func() error { return nil }, nil
	}
	b, err := json.Marshal(before)
	if err != nil {
		return nil, fmt.Errorf("remember MPTCP limits: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("remember MPTCP limits: %w", err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return nil, fmt.Errorf("remember MPTCP limits: %w", err)
	}
	raised := before
	raised.ExtraSubflows = serverSubflows
	if err := pm.SetLimits(raised); err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return func() error { return restoreLimits(pm, path) }, nil
}

// restoreLimits sets the limits back that path remembers, unless somebody has
// changed them since.
func restoreLimits(pm *mptcp.PathManager, path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("restore MPTCP limits: %w", err)
	}
	var before mptcp.Limits
	if err := json.Unmarshal(b, &before); err != nil {
		return fmt.Errorf("restore MPTCP limits: read %s: %w", path, errors.Join(err, os.Remove(path)))
	}
	now, err := pm.Limits()
	if err == nil && now.ExtraSubflows == serverSubflows {
		now.ExtraSubflows = before.ExtraSubflows
		err = pm.SetLimits(now)
	}
	if err != nil {
		return fmt.Errorf("restore MPTCP limits: %w", err)
	}
	return os.Remove(path)
}

// limitsFiles lists what daemons remember of limits.
func limitsFiles(dir string) []string {
	list, _ := filepath.Glob(filepath.Join(dir, "*"+limitsSuffix)) // the pattern is good
	return list
}

// limitsDevice is the tunnel device of such a file.
func limitsDevice(path string) string {
	return strings.TrimSuffix(filepath.Base(path), limitsSuffix)
}

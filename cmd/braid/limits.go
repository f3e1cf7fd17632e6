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

// savedLimits is what such a file holds.
type savedLimits struct{ Ours, Before mptcp.Limits }

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
	ours := mptcp.ServerLimits
	ours.ExtraSubflows = max(ours.ExtraSubflows, before.ExtraSubflows)
	if ours == before {
		return func() error { return nil }, nil
	}
	b, err := json.Marshal(savedLimits{ours, before})
	if err != nil {
		return nil, fmt.Errorf("remember MPTCP limits: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("remember MPTCP limits: %w", err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return nil, fmt.Errorf("remember MPTCP limits: %w", err)
	}
	if err := pm.SetLimits(ours); err != nil {
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
	var saved savedLimits
	if err := json.Unmarshal(b, &saved); err != nil {
		return fmt.Errorf("restore MPTCP limits: read %s: %w", path, errors.Join(err, os.Remove(path)))
	}
	if err := pm.RestoreLimits(saved.Ours, saved.Before); err != nil {
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

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"braid/mptcp"
)

// managerSuffix ends the names of the files in which clients remember the host's own
// MPTCP path manager.
const managerSuffix = ".manager"

func managerPath(dir, device string) string { return filepath.Join(dir, device+managerSuffix) }

// rememberManager keeps in a file which path manager the host's sockets get, and
// returns what forgets it. A client makes it another one for some microseconds with
// each carrier, and may be killed within them: then the next start, or cleanup, sets
// it back.
func rememberManager(path string, log *slog.Logger) (forget func() error, err error) {
	if restored, err := restoreManager(path); err != nil {
		log.Warn("former path manager not restored", "error", err)
	} else if restored {
		log.Info("path manager restored, which a killed client had left")
	}
	value, userspace, err := mptcp.DefaultManager()
	if err != nil {
		return nil, err
	}
	if userspace { // by the host's own choice: there is nothing to set back
		return func() error { return nil }, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("remember the path manager: %w", err)
	}
	if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("remember the path manager: %w", err)
	}
	return func() error { return os.Remove(path) }, nil
}

// restoreManager sets back what path remembers, and forgets it.
func restoreManager(path string) (restored bool, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("restore the path manager: %w", err)
	}
	restored, err = mptcp.RestoreManager(strings.TrimSpace(string(b)))
	return restored, errors.Join(err, os.Remove(path))
}

// managerFiles lists what clients remember of path managers.
func managerFiles(dir string) []string {
	list, _ := filepath.Glob(filepath.Join(dir, "*"+managerSuffix)) // the pattern is good
	return list
}

// managerDevice is the tunnel device of such a file.
func managerDevice(path string) string {
	return strings.TrimSuffix(filepath.Base(path), managerSuffix)
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// capSaveEvery is how often usage is saved at most. What a crash loses of
	// it is small beside a month, and flash memory has few writes to give.
	capSaveEvery = 10 * time.Second
	// capSaveBytes is the largest change that is not worth a write, if it is
	// not a larger part of the cap than 1/capSavePart.
	capSaveBytes = 1_000_000
	capSavePart  = 1000
	// maxCapFileBytes bounds what is read: room for thousands of uplinks.
	maxCapFileBytes = 1 << 20
	capMonthLayout  = "2006-01"
)

// capUsage is what an uplink has carried of its cap in one month.
type capUsage struct {
	Month string `json:"month"` // "2026-11"
	Bytes uint64 `json:"bytes"` // both directions together
}

// counted reports whether there is a month, and so something to save.
func (u capUsage) counted() bool {
	_, err := time.Parse(capMonthLayout, u.Month)
	return err == nil
}

// cappedUplink is what a capUsage is now, and how much it may be.
type cappedUplink struct {
	capUsage
	CapBytes uint64 // a month
}

// capFile is the content of the file, by uplink.
type capFile struct {
	Uplinks map[string]capUsage `json:"uplinks"`
}

// capStore keeps the usage of capped uplinks in a file, so that it outlives the
// daemon. Uplinks that are not there now keep theirs.
type capStore struct {
	path    string
	log     *slog.Logger
	saved   map[string]capUsage // what the file says; of run alone while it runs
	failing bool                // whether the last write failed
}

// capPath is the file for the daemon with a tunnel device.
func capPath(dir, device string) string { return filepath.Join(dir, device+".usage.json") }

// openCapStore reads the file for the device in the folder dir, which it makes
// if need be. A file that is damaged is renamed to end in .damaged, and
// counting begins anew.
func openCapStore(dir, device string, log *slog.Logger) (*capStore, error) {
	fail := func(err error) (*capStore, error) {
		return nil, &hintedError{fmt.Errorf("keep usage of capped uplinks: %w", err), "set state to a folder that this user can write"}
	}
	s := &capStore{path: capPath(dir, device), log: log, saved: map[string]capUsage{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(err)
	}
	b, err := readCapFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		s.saved, err = parseCapFile(b)
	}
	if _, damaged := errors.AsType[*damagedError](err); damaged {
		aside := s.path + ".damaged"
		log.Warn("usage of capped uplinks is damaged, counting begins anew", "file", s.path, "error", err, "kept_as", aside)
		s.saved = map[string]capUsage{}
		err = os.Rename(s.path, aside)
	}
	if err != nil {
		return fail(err)
	}
	return s, nil
}

// damagedError is a file that was read and makes no sense.
type damagedError struct{ error }

func (e *damagedError) Unwrap() error { return e.error }

func readCapFile(path string) ([]byte, error) {
	// Opening a FIFO without O_NONBLOCK would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &damagedError{errors.New("it is not a regular file")}
	case info.Size() > maxCapFileBytes:
		return nil, &damagedError{fmt.Errorf("it has %d bytes, more than %d", info.Size(), maxCapFileBytes)}
	}
	return io.ReadAll(io.LimitReader(f, maxCapFileBytes))
}

// parseCapFile reads what encodeCapFile wrote. The error is a *damagedError.
func parseCapFile(b []byte) (map[string]capUsage, error) {
	var f capFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, &damagedError{err}
	}
	if f.Uplinks == nil {
		return nil, &damagedError{errors.New("it has no uplinks")}
	}
	for name, u := range f.Uplinks {
		if name == "" || !u.counted() {
			return nil, &damagedError{fmt.Errorf("uplink %q has no month: %q", name, u.Month)}
		}
	}
	return f.Uplinks, nil
}

func encodeCapFile(usage map[string]capUsage) ([]byte, error) {
	b, err := json.MarshalIndent(capFile{usage}, "", "  ")
	return append(b, '\n'), err
}

// usage returns what was saved of an uplink. It is not to be called while run
// runs.
func (s *capStore) usage(uplink string) (capUsage, bool) {
	u, ok := s.saved[uplink]
	return u, ok
}

// run saves what now returns, every ten seconds if it changed by much, and at
// the end of ctx if it changed at all. It calls now from its own goroutine, the
// last time after ctx has ended. A failure to save is logged and tried again; only the last one is returned.
func (s *capStore) run(ctx context.Context, now func() map[string]cappedUplink) error {
	if err := every(ctx, capSaveEvery, func() { s.saveIf(now(), worthSaving) }); err != nil {
		return err
	}
	return s.saveIf(now(), func(capUsage, cappedUplink) bool { return true })
}

// worthSaving reports whether a change is worth a write to flash memory.
func worthSaving(old capUsage, u cappedUplink) bool {
	change := max(old.Bytes, u.Bytes) - min(old.Bytes, u.Bytes)
	return old.Month != u.Month || change > min(u.CapBytes/capSavePart, capSaveBytes)
}

// saveIf writes the file if one of the changes is worth it.
func (s *capStore) saveIf(now map[string]cappedUplink, worth func(capUsage, cappedUplink) bool) error {
	next, needed := maps.Clone(s.saved), false
	for name, u := range now {
		if old := s.saved[name]; old != u.capUsage && u.counted() {
			next[name] = u.capUsage
			needed = needed || worth(old, u)
		}
	}
	if !needed {
		return nil
	}
	b, err := encodeCapFile(next)
	if err == nil {
		err = replaceFile(s.path, b)
	}
	if err != nil {
		err = fmt.Errorf("save usage of capped uplinks: %w", err)
		if !s.failing {
			s.log.Error("usage of capped uplinks not saved, a restart would forget it", "error", err)
		}
		s.failing = true
		return err
	}
	if s.failing {
		s.log.Info("usage of capped uplinks is saved again")
	}
	s.saved, s.failing = next, false
	return nil
}

// replaceFile gives the file at path a new content, for this user alone.
// Whenever the host dies, the old or the new content is there, whole.
func replaceFile(path string, content []byte) error {
	temp := path + ".new" // always the same: what a crash left is replaced
	if err := writeSynced(temp, content); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	// The rename itself must last too.
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func writeSynced(path string, content []byte) error {
	// One that is there may be anything, and open to others.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

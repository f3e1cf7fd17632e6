package hostnet

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
)

// Report says what Cleanup did.
type Report struct {
	Removed []string // the commands that would have done the same
	Left    []string // what was left alone, and why
}

// Cleanup undoes what dead daemons left: it applies an empty wish to every
// state file of stateDir whose owner is gone, and then removes whatever else
// carries our Protocol in our priorities and tables and belongs to nobody
// alive, kill switches included. State of a living owner is left alone and gives
// an error that is ErrOwned; the rest is cleaned all the same.
func Cleanup(host Host, stateDir string) (Report, error) {
	var report Report
	me, err := self()
	if err != nil {
		return report, err
	}
	files, err := stateFiles(stateDir)
	if err != nil {
		return report, err
	}
	var errs []error
	for _, path := range files {
		s, err := readState(path)
		switch {
		case err != nil:
			errs = append(errs, err)
		case s.Owner.alive(me):
			errs = append(errs, fmt.Errorf("%s: %w: process %d; stop it first, it cleans up by itself", path, ErrOwned, s.Owner.PID))
		case s.Owner.Boot == me.Boot && s.Namespace != host.Namespace():
			report.Left = append(report.Left, path+": of another network namespace")
		default:
			m := New(host, path, slog.New(slog.NewTextHandler(io.Discard, nil)))
			if err := m.Undo(); err != nil {
				errs = append(errs, fmt.Errorf("clean up %s: %w", path, err))
			}
			report.Removed = append(report.Removed, m.done...)
		}
	}
	if err := sweep(host, StatePath(stateDir, ""), me, &report); err != nil {
		errs = append(errs, err)
	}
	if err := sweepSwitches(host, stateDir, &report); err != nil && !errors.Is(err, ErrOwned) {
		errs = append(errs, err) // who owns a switch was told above
	}
	return report, errors.Join(errs...)
}

// sweep removes what carries our mark in the slots that nobody uses: the
// remains of a daemon whose state file was lost too.
func sweep(host Host, path string, me owner, report *Report) error {
	m := &Manager{host: host, path: path, log: slog.New(slog.NewTextHandler(io.Discard, nil)), me: me}
	unlock, err := lockState(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()
	taken, err := m.takenSlots(nil)
	if err != nil {
		return err
	}
	var errs []error
	for slot := range slots {
		m.st.Slot = slot
		add, remove, err := m.diff(Desired{}, Link{}, plan{}, nil)
		if err != nil {
			return err
		}
		if taken[slot] && len(add)+len(remove) > 0 {
			report.Left = append(report.Left, fmt.Sprintf("%d routes and rules of a tunnel that is up", len(remove)))
			continue
		}
		for _, c := range remove {
			errs = append(errs, m.do(c))
		}
	}
	errs = append(errs, m.restoreLeftDNS())
	report.Removed = append(report.Removed, m.done...)
	return errors.Join(errs...)
}

package hostnet

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ClosedSwitch is a kill switch that blocks in this network namespace.
type ClosedSwitch struct {
	Device string // of its tunnel
	// Running is whether a process keeps it; Owner is that process, or 0 where
	// it keeps its state elsewhere.
	Running bool
	Owner   int
}

// KillSwitches lists the kill switches that block. Whose process runs is told by
// the state files of stateDir; of one that no file knows, by whether the tunnel's
// device is there.
func KillSwitches(host Host, stateDir string) ([]ClosedSwitch, error) {
	tables, err := host.KillSwitches()
	if err != nil || len(tables) == 0 {
		return nil, err
	}
	me, err := self()
	if err != nil {
		return nil, err
	}
	files, err := stateFiles(stateDir)
	if err != nil {
		return nil, err
	}
	links, err := host.Links()
	if err != nil {
		return nil, err
	}
	var out []ClosedSwitch
	for _, table := range tables {
		device := strings.TrimPrefix(table, killSwitchPrefix)
		c := ClosedSwitch{Device: device, Running: slices.ContainsFunc(links, func(l Link) bool { return l.Name == device })}
		for _, f := range files {
			s, err := readState(f)
			if err != nil || !slices.Contains(s.KillSwitches, table) || s.Namespace != host.Namespace() {
				continue
			}
			if c.Running = s.Owner.alive(me); c.Running {
				c.Owner = s.Owner.PID
				break
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// LiftKillSwitches takes away the kill switches whose processes do not run, and
// nothing else that they left. Of one that runs the error is ErrOwned.
func LiftKillSwitches(host Host, stateDir string) (Report, error) {
	var report Report
	unlock, err := lockState(stateDir) // against one that starts meanwhile
	if err != nil {
		return report, err
	}
	defer unlock()
	closed, err := KillSwitches(host, stateDir)
	if err != nil {
		return report, err
	}
	var errs []error
	for _, c := range closed {
		if c.Running {
			errs = append(errs, &Error{Op: "lift the kill switch of " + c.Device, Err: ErrOwned, Mend: c.mend()})
			continue
		}
		change := Change{Remove: true, Object: KillSwitchTable{Table: killSwitchTable(c.Device)}}
		if err := host.Do(change); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", change, err))
			continue
		}
		report.Removed = append(report.Removed, change.String())
	}
	return report, errors.Join(errs...)
}

func (c ClosedSwitch) mend() string {
	process := "its client"
	if c.Owner != 0 {
		process = fmt.Sprintf("process %d", c.Owner)
	}
	return "stop " + process + ", which lifts it, or set kill_switch = false and start it again"
}

// sweepSwitches lifts what no process keeps, as the last part of Cleanup.
func sweepSwitches(host Host, stateDir string, report *Report) error {
	swept, err := LiftKillSwitches(host, stateDir)
	report.Removed = append(report.Removed, swept.Removed...)
	return err
}

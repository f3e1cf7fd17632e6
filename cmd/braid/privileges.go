package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// A daemon runs as root or as a user of its own with some capabilities. It keeps
// what is listed here, in all of its threads, and gives up the rest for good.

// kept are the capabilities of a daemon. The units in packaging/systemd give
// it the same.
var kept = []cap.Value{
	cap.NET_ADMIN,        // device, addresses, routes, rules, nftables, settings below net, marks
	cap.NET_BIND_SERVICE, // port 443
	cap.BPF, cap.PERFMON, // the pace of single subflows; it does without
}

// keptByRoot is what root keeps besides: the folders that packages make for the
// daemon are another user's, and control_group another group.
var keptByRoot = []cap.Value{cap.DAC_OVERRIDE, cap.CHOWN}

// errPrivileges says that a daemon cannot do its work as this user.
var errPrivileges = &hintedError{errors.New("not allowed to change the host's network"),
	"run braid as root, or as a service with CAP_NET_ADMIN: packaging/systemd has units"}

// dropPrivileges gives up what the daemon does not need, and fails where it has
// less than it must have.
func dropPrivileges(log *slog.Logger) error {
	have := cap.GetProc()
	if ok, err := have.GetFlag(cap.Effective, cap.NET_ADMIN); err != nil || !ok {
		return errPrivileges
	}
	keep := kept
	if os.Geteuid() == 0 {
		keep = slices.Concat(kept, keptByRoot)
	}
	want := cap.NewSet()
	for _, v := range keep {
		if ok, err := have.GetFlag(cap.Permitted, v); err != nil || !ok {
			continue
		}
		if err := want.SetFlag(cap.Permitted, true, v); err != nil {
			return fmt.Errorf("give up capabilities: %w", err)
		}
		if err := want.SetFlag(cap.Effective, true, v); err != nil {
			return fmt.Errorf("give up capabilities: %w", err)
		}
	}
	if err := limitBounds(keep); err != nil {
		return err
	}
	// A service manager's filter of system calls may keep a daemon that has no
	// more than it wants from saying so.
	if differs, err := have.Cf(want); err != nil || differs.Has(cap.Permitted) || differs.Has(cap.Effective) {
		if err := want.SetProc(); err != nil {
			return fmt.Errorf("give up capabilities: %w", err)
		}
	}
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid new privileges: %w", err)
	}
	log.Debug("capabilities", "kept", want)
	return nil
}

// limitBounds takes what is not kept out of the bounding set, where that is
// allowed.
func limitBounds(keep []cap.Value) error {
	var drop []cap.Value
	for v := cap.Value(0); v < cap.MaxBits(); v++ {
		if bound, err := cap.GetBound(v); err == nil && bound && !slices.Contains(keep, v) {
			drop = append(drop, v)
		}
	}
	if ok, err := cap.GetProc().GetFlag(cap.Effective, cap.SETPCAP); len(drop) == 0 || err != nil || !ok {
		return nil
	}
	if err := cap.DropBound(drop...); err != nil {
		return fmt.Errorf("give up capabilities: %w", err)
	}
	return nil
}

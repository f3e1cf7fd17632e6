package mptcp

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"
)

// The kernel samples the path manager's type at socket(), from a sysctl of the
// network namespace (Linux 6.16 has net.mptcp.path_manager, older ones
// net.mptcp.pm_type). So a socket of our own gets the userspace manager, and
// the rest of the host keeps what it has, by setting the sysctl for the few
// microseconds around socket(). Should the process be killed within them, new
// MPTCP sockets of the host would have no path manager until the sysctl is set
// back: whoever dials remembers DefaultManager first, for RestoreManager.

// managerSysctls in the order in which they are tried.
var managerSysctls = []struct{ path, name, userspace string }{
	{"/proc/sys/net/mptcp/path_manager", "net.mptcp.path_manager", "userspace"},
	{"/proc/sys/net/mptcp/pm_type", "net.mptcp.pm_type", "1"},
}

// managerMu lets one goroutine at a time change the sysctl. Another process
// may interfere all the same, which withUserspaceManager notices.
var managerMu sync.Mutex

// withUserspaceManager calls open, which makes one socket, while the userspace
// path manager is the default of the calling thread's namespace. What open
// returned is given to discard when another process changed the sysctl
// meanwhile, and open is called again.
func withUserspaceManager(open func() error, discard func()) (err error) {
	managerMu.Lock()
	defer managerMu.Unlock()
	// The files below /proc/sys/net are those of the thread's namespace.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	sysctl, before, err := readManager()
	if err != nil {
		return &Error{Op: "choose the userspace path manager", Err: err,
			Hint: "the kernel has no userspace path manager (Linux 5.19 or newer has), or /proc/sys is not mounted"}
	}
	for range 3 {
		if before != sysctl.userspace {
			if err := writeSysctl(sysctl.path, sysctl.userspace); err != nil {
				return &Error{Op: "choose the userspace path manager",
					Err: fmt.Errorf("%w: %w", ErrUserspaceManager, err),
					Hint: "setting " + sysctl.name + " needs CAP_NET_ADMIN and a writable /proc/sys; or set it to " +
						sysctl.userspace + " for the whole host"}
			}
		}
		openErr := open()
		during, readErr := readSysctl(sysctl.path)
		if before != sysctl.userspace {
			if err := writeSysctl(sysctl.path, before); err != nil {
				if openErr == nil {
					discard()
				}
				return &Error{Op: "restore the path manager", Err: fmt.Errorf("%w: %w", ErrUserspaceManager, err),
					Hint: "set " + sysctl.name + " back to " + before}
			}
		}
		if openErr != nil {
			return openErr
		}
		if readErr == nil && during == sysctl.userspace {
			return nil
		}
		// Another process set it back between our write and our look: the
		// socket may have either manager.
		discard()
		if before, err = readSysctl(sysctl.path); err != nil {
			return &Error{Op: "choose the userspace path manager", Err: fmt.Errorf("%w: %w", ErrUserspaceManager, err)}
		}
	}
	return &Error{Op: "choose the userspace path manager", Err: ErrUserspaceManager,
		Hint: "another program keeps changing " + sysctl.name}
}

// DefaultManager returns which path manager the namespace's sockets get, in words of
// its sysctl, and whether that is the userspace one.
func DefaultManager() (value string, userspace bool, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	sysctl, value, err := readManager()
	if err != nil {
		return "", false, &Error{Op: "read the path manager", Err: err}
	}
	return value, value == sysctl.userspace, nil
}

// RestoreManager sets the namespace's path manager to what DefaultManager returned
// earlier, if it is the userspace one now, and reports whether it was.
func RestoreManager(value string) (restored bool, err error) {
	managerMu.Lock()
	defer managerMu.Unlock()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	sysctl, now, err := readManager()
	if err == nil && now == sysctl.userspace && value != now {
		restored, err = true, writeSysctl(sysctl.path, value)
	}
	if err != nil {
		return false, &Error{Op: "restore the path manager", Err: err, Hint: "set " + sysctl.name + " to " + value}
	}
	return restored, nil
}

func readManager() (sysctl struct{ path, name, userspace string }, value string, err error) {
	for _, s := range managerSysctls {
		value, err = readSysctl(s.path)
		if err == nil {
			return s, value, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return sysctl, "", fmt.Errorf("%w: %w", ErrUserspaceManager, err)
}

func readSysctl(path string) (string, error) {
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}

// writeSysctl writes in one call, as the kernel wants it.
func writeSysctl(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

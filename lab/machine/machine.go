// Package machine boots a Debian with systemd in a host of the lab: packages and
// units are tested there as on a real machine, but for its kernel.
//
//	root (read-only) + tmpfs ─ overlay ─ systemd as process 1
//	process, mount, IPC, UTS, cgroup namespaces of its own; the lab host's network
package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "embed"

	"braid/lab"
)

//go:embed boot.sh
var bootScript string

// Machine is a booted system. Its methods are for one goroutine at a time.
type Machine struct {
	host   *lab.Host
	boot   *lab.Process
	init   int // process 1, as seen from outside
	cgroup string
}

// Boot boots the system whose files are in the folder root, which stays as it is,
// and waits until its units have started. It needs root, overlayfs, and a cgroup2
// file system.
func Boot(ctx context.Context, host *lab.Host, root string) (*Machine, error) {
	fail := func(err error) (*Machine, error) {
		return nil, fmt.Errorf("boot a machine in %s: %w", host.Name(), err)
	}
	cgroups, err := cgroup2()
	if err != nil {
		return fail(err)
	}
	m := &Machine{host: host}
	if m.cgroup, err = os.MkdirTemp(cgroups, "braid-lab-"); err != nil {
		return fail(err)
	}
	// The process is in its cgroup before it makes the namespace of it.
	enter := `echo $$ >"$1/cgroup.procs" && exec unshare --mount --pid --fork --kill-child --ipc --uts --cgroup sh -c "$2" sh "$3" "$4"`
	m.boot, err = host.Start(context.WithoutCancel(ctx), exec.Command("sh", "-c", enter, "sh", m.cgroup, bootScript, root, host.Name()))
	if err != nil {
		return fail(errors.Join(err, m.removeCgroup()))
	}
	for {
		if state := m.state(ctx); state == "running" || state == "degraded" {
			return m, nil
		}
		select {
		case <-m.boot.Done():
			return fail(errors.Join(fmt.Errorf("it ended:\n%s", m.boot.Output()), m.removeCgroup()))
		case <-ctx.Done():
			return fail(errors.Join(fmt.Errorf("%w:\n%s", ctx.Err(), m.boot.Output()), m.Close()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// state is what systemctl says of the system, "" before it answers.
func (m *Machine) state(ctx context.Context) string {
	if m.init == 0 {
		pid := strconv.Itoa(m.boot.PID())
		b, err := os.ReadFile(filepath.Join("/proc", pid, "task", pid, "children"))
		if err != nil {
			return ""
		}
		child, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			return ""
		}
		m.init = child
	}
	out, _ := m.Run(ctx, "systemctl", "is-system-running") // fails of any state but one
	return strings.TrimSpace(string(out))
}

// Run runs a program in the machine, as root, and returns what it wrote. An error
// quotes the end of that.
func (m *Machine) Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	in := []string{"--target", strconv.Itoa(m.init), "--mount", "--pid", "--ipc", "--uts", "--cgroup", "--root", "--",
		"env", "-i", "-C", "/", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", name}
	return m.host.Run(ctx, "nsenter", append(in, args...)...)
}

// Path is where a file of the machine is seen from outside, while it runs.
func (m *Machine) Path(inside string) string {
	return filepath.Join("/proc", strconv.Itoa(m.init), "root", inside)
}

// Close ends the machine as when the power goes; nothing of it stays.
func (m *Machine) Close() error {
	m.boot.Kill() // with process 1 all others end
	return m.removeCgroup()
}

// removeCgroup removes the machine's cgroups, when their processes have ended.
func (m *Machine) removeCgroup() error {
	var err error
	for range 100 {
		var dirs []string
		err = filepath.WalkDir(m.cgroup, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			err = errors.Join(err, os.Remove(dirs[i]))
		}
		if err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("remove the machine's cgroups: %w", err)
}

// cgroup2 is where this host has a cgroup2 file system.
func cgroup2() (string, error) {
	b, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return f[1], nil
		}
	}
	return "", errors.New("no cgroup2 file system is mounted")
}

package hostnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// stateSuffix ends the names of state files, which share a directory with
// other files of a daemon.
const stateSuffix = ".hostnet.json"

// StatePath is the state file of a device in a directory such as /run/braid.
// All braids of one network namespace should share one directory, for there
// they see each other.
func StatePath(dir, device string) string { return filepath.Join(dir, device+stateSuffix) }

// state is what the kernel cannot tell about our changes. It is written
// before the change that it is about.
type state struct {
	Version   int          `json:"version"`
	Owner     owner        `json:"owner"`
	Namespace string       `json:"namespace"`
	Slot      int          `json:"slot"`
	Devices   []savedLink  `json:"devices,omitempty"`
	NAT       []string     `json:"nat,omitempty"` // names of our nftables tables
	Settings  []savedValue `json:"settings,omitempty"`
	// KillSwitches are the names of our nftables tables that block.
	KillSwitches []string   `json:"kill_switches,omitempty"`
	DNS          []savedDNS `json:"dns,omitempty"`
}

const stateVersion = 1

// names are the names of the devices.
func (s state) names() []string {
	var out []string
	for _, d := range s.Devices {
		out = append(out, d.Name)
	}
	return out
}

// owner identifies a process beyond the reuse of its number.
type owner struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot, from /proc/PID/stat
	Boot  string `json:"boot"`  // the kernel's boot_id
}

// savedLink is a TUN as its creator left it.
type savedLink struct {
	Name  string `json:"name"`
	Index int    `json:"index"`
	MTU   int    `json:"mtu"`
	Up    bool   `json:"up"`
}

// savedValue is a setting before and after us, in the order of setting.
type savedValue struct {
	Key      string `json:"key"`
	Original string `json:"original"`
	Set      string `json:"set"`
	// Former is a value from us that Set is replacing: should that fail, this
	// is still there, and still ours.
	Former string `json:"former,omitempty"`
	// Index and Device are the interface that the key names, if any: an
	// interface can be renamed, or vanish and leave its name to another.
	Index  int    `json:"index,omitempty"`
	Device string `json:"device,omitempty"`
	// Of is the setting whose change made the kernel change this one too.
	Of string `json:"of,omitempty"`
	// Undoing is true of a setting that is being restored: it and those of
	// it are to become Original, whatever they are.
	Undoing bool `json:"undoing,omitempty"`
}

// savedDNS is a way in which we have set nameservers for a device. What was there
// before us, those whom it concerns keep: systemd-resolved and resolvconf what
// others told them, and dnsfile.go the file.
type savedDNS struct {
	Method DNSMethod `json:"method"`
	Device string    `json:"device"`
}

// ours reports whether a value is from us.
func (s savedValue) ours(now string) bool {
	return now == s.Set || s.Former != "" && now == s.Former
}

// self identifies this process.
func self() (owner, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return owner{}, fmt.Errorf("identify this boot: %w", err)
	}
	start, err := startTime(os.Getpid())
	if err != nil {
		return owner{}, fmt.Errorf("identify this process: %w", err)
	}
	return owner{PID: os.Getpid(), Start: start, Boot: strings.TrimSpace(string(boot))}, nil
}

// alive reports whether the process still runs, as seen by me.
func (o owner) alive(me owner) bool {
	if o.Boot != me.Boot {
		return false
	}
	start, err := startTime(o.PID)
	return err == nil && start == o.Start
}

// startTime is field 22 of /proc/PID/stat; the second field, a name in
// parentheses, may contain anything.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return 0, fmt.Errorf("read /proc/%d/stat: too short", pid)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// readState reads a state file; an error that is fs.ErrNotExist if there is
// none.
func readState(path string) (state, error) {
	var s state
	b, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return state{}, fmt.Errorf("read %s: %w; delete it if no braid runs", path, err)
	}
	if s.Version != stateVersion || s.Slot < 0 || s.Slot >= slots {
		return state{}, fmt.Errorf("read %s: version %d, slot %d: written by another braid; delete it if none runs",
			path, s.Version, s.Slot)
	}
	return s, nil
}

// write replaces the file as a whole.
func (s state) write(path string) error {
	b, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".hostnet-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// removeState removes a state file.
func removeState(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove state: %w", err)
	}
	return nil
}

// stateFiles lists the state files of a directory.
func stateFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list state: %w", err)
	}
	var out []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), stateSuffix) {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out, nil
}

// lockState keeps others from claiming and cleaning in dir until the returned
// function is called. The kernel lifts the lock of a process that dies.
func lockState(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, explain("make the state directory", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, ".hostnet.lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, explain("lock the state directory", err)
	}
	// Root cleans up behind a daemon that has a user of its own, which must be able
	// to lock again; where root is not allowed to give it away, it needs nothing.
	if info, err := os.Stat(dir); err == nil && os.Geteuid() == 0 {
		if owner, ok := info.Sys().(*syscall.Stat_t); ok {
			_ = f.Chown(int(owner.Uid), int(owner.Gid))
		}
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the state directory: %w", err)
	}
	return func() { f.Close() }, nil
}

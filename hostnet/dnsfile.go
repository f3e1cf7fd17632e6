package hostnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// /etc/resolv.conf is a file of one's own, a link to another program's, or (in a
// container, and under "ip netns exec") a mount point. What is there when we come is
// set aside beside it as it is, link, mode and owner included, by a hard link; ours
// takes its place by a rename, so that there is no moment without a file. Renaming
// back is all that it takes to undo.
//
// Whoever writes the file while ours is there, such as a DHCP client, writes what
// belongs there: that becomes what is set aside, and ours is put in place again.
// Which of the two a file is it says itself, in a line with its owner: so what a crash
// of the machine left is known for what it is without any state.

const (
	resolvPath   = "/etc/resolv.conf"
	beforeSuffix = ".before-braid"
	markPrefix   = "# braid: "
	// resolvBytes is the most that is read of a file.
	resolvBytes = 1 << 16
)

// resolvFile is such a file. The tests have others than /etc/resolv.conf.
type resolvFile struct{ path string }

func resolvConf() resolvFile { return resolvFile{resolvPath} }

// before is where it is set aside what was there. The folder of a mount point may be
// that of other network namespaces, too.
func (f resolvFile) before() string {
	var file, dir unix.Statx_t
	const what = unix.STATX_MNT_ID | unix.STATX_INO
	if unix.Statx(unix.AT_FDCWD, f.path, unix.AT_SYMLINK_NOFOLLOW, what, &file) == nil &&
		unix.Statx(unix.AT_FDCWD, filepath.Dir(f.path), 0, what, &dir) == nil && file.Mnt_id != dir.Mnt_id {
		return fmt.Sprintf("%s%s-%d", f.path, beforeSuffix, file.Ino)
	}
	return f.path + beforeSuffix
}

// mark is the line of a file of ours.
type mark struct {
	Device string `json:"device"`
	Owner  owner  `json:"owner"`
}

// alive reports whether the file's owner still runs.
func (m mark) alive() bool {
	me, err := self()
	return err == nil && m.Owner.alive(me)
}

// resolvState is what is in place of a file.
type resolvState struct {
	exists  bool   // something is there, if only a link to nowhere
	content string // "" if nothing can be read
	ours    bool
	mark    mark   // of ours
	theirs  string // what would be there without us
	target  string // of the link that theirs is; "" if it is none
}

// read looks at the file and at what was set aside.
func (f resolvFile) read() (resolvState, error) {
	var s resolvState
	_, err := os.Lstat(f.path)
	if s.exists = err == nil; err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if s.content, err = readSmall(f.path); err != nil {
		return s, err
	}
	s.mark, s.ours = parseMark(s.content)
	s.theirs = s.content
	from := f.path
	if s.ours {
		from = f.before()
		if s.theirs, err = readSmall(from); err != nil {
			return s, err
		}
	}
	if target, err := os.Readlink(from); err == nil {
		s.target = target
	}
	return s, nil
}

// readSmall reads a file; one that is not there is empty.
func readSmall(path string) (string, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, resolvBytes))
	return string(b), err
}

// parseMark finds the line that says whose the file is.
func parseMark(content string) (m mark, ours bool) {
	for line := range strings.Lines(content) {
		if rest, ok := strings.CutPrefix(line, markPrefix); ok && json.Unmarshal([]byte(rest), &m) == nil && m.Device != "" {
			return m, true
		}
	}
	return mark{}, false
}

// set puts a file of ours in place, with the nameservers and everything else that
// theirs says.
func (f resolvFile) set(m mark, servers []netip.Addr) error {
	if err := f.shared(); err != nil {
		return err
	}
	s, err := f.read()
	if err != nil {
		return err
	}
	if s.ours && s.mark.Owner != m.Owner && s.mark.Owner.alive(m.Owner) {
		return fmt.Errorf("%s: %w: process %d, for %s", f.path, ErrOwned, s.mark.Owner.PID, s.mark.Device)
	}
	if s.exists && !s.ours {
		if err := f.setAside(); err != nil {
			return err
		}
	}
	content := f.compose(m, servers, s.theirs)
	if s.content == content {
		return nil
	}
	return f.replace(content)
}

// compose is the content of ours.
func (f resolvFile) compose(m mark, servers []netip.Addr, theirs string) string {
	var b strings.Builder
	line, _ := json.Marshal(m) // of plain structs
	fmt.Fprintf(&b, "# This file is braid's, for the tunnel %s. What belongs here is in %s\n"+
		"# and comes back when braid ends. After a kill: braid cleanup\n%s%s\n", m.Device, f.before(), markPrefix, line)
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %v\n", s)
	}
	for _, line := range parseResolv(theirs).rest {
		b.WriteString(line + "\n")
	}
	return b.String()
}

// setAside keeps what is there.
func (f resolvFile) setAside() error {
	next := f.before() + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Not every file can be linked: a mount point is on another file system.
	if unix.Linkat(unix.AT_FDCWD, f.path, unix.AT_FDCWD, next, 0) != nil {
		if err := copyFile(f.path, next); err != nil {
			return err
		}
	}
	return os.Rename(next, f.before())
}

// replace gives the file another content, with the mode and the owner that it has.
// In place of a link, whose target is another program's, everybody may read it.
func (f resolvFile) replace(content string) error {
	next := f.path + ".braid-new"
	err := os.WriteFile(next, []byte(content), 0o644)
	if info, serr := os.Lstat(f.path); err == nil && serr == nil && info.Mode().IsRegular() {
		err = copyMode(f.path, next)
	} else if err == nil {
		err = os.Chmod(next, 0o644) // whatever the process's umask is
	}
	if err == nil {
		err = os.Rename(next, f.path)
	}
	if err == nil {
		return nil
	}
	os.Remove(next)
	if errors.Is(err, unix.EBUSY) { // a mount point
		return overwrite(f.path, content)
	}
	return err
}

// restore puts back what was set aside, if a file of ours is in its place: one of
// this device, and not of another living process.
func (f resolvFile) restore(device string, me owner) error {
	s, err := f.read()
	if err != nil {
		return err
	}
	if s.ours && (s.mark.Device != device || s.mark.Owner != me && s.mark.Owner.alive(me)) {
		return nil
	}
	_, err = os.Lstat(f.before())
	aside := err == nil
	switch {
	case !s.ours && s.exists: // somebody has put back theirs
		if aside {
			return os.Remove(f.before())
		}
		return nil
	case !aside && !s.exists:
		return nil
	case !aside:
		err = os.Remove(f.path) // there was none
	default:
		err = os.Rename(f.before(), f.path)
	}
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	if !aside {
		return overwrite(f.path, "")
	}
	content, err := os.ReadFile(f.before())
	if err == nil {
		err = overwrite(f.path, string(content))
	}
	if err == nil {
		err = os.Remove(f.before())
	}
	return err
}

// shared refuses a file that is not this network namespace's alone: in one that has
// none of its own it is the machine's. Where the machine is, its first processes say:
// init, which not everybody may look at, and the kernel's own.
func (f resolvFile) shared() error {
	ours, err := os.Stat(threadNamespace)
	here, err2 := os.Stat(f.path)
	if err != nil || err2 != nil {
		return nil
	}
	for _, first := range []string{"/proc/1", "/proc/2"} {
		if name, err := os.ReadFile(first + "/comm"); first == "/proc/2" && (err != nil || strings.TrimSpace(string(name)) != "kthreadd") {
			continue // in a container it is anybody
		}
		its, err := os.Stat(first + "/ns/net")
		there, err2 := os.Stat(first + "/root" + f.path)
		if err == nil && err2 == nil && !os.SameFile(ours, its) && os.SameFile(here, there) {
			return &Error{Op: "use " + f.path, Err: errors.New("it is the file of another network namespace, too"),
				Mend: "give this network namespace one of its own: /etc/netns/NAME/resolv.conf"}
		}
	}
	return nil
}

// resolvText is what matters to us of a resolv.conf(5).
type resolvText struct {
	servers []netip.Addr
	rest    []string // other settings
}

func parseResolv(content string) (t resolvText) {
	for line := range strings.Lines(content) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(fields[1]); err == nil && !slices.Contains(t.servers, a) {
				t.servers = append(t.servers, a)
			}
		case "search", "domain", "options", "sortlist":
			t.rest = append(t.rest, strings.Join(fields, " "))
		}
	}
	return t
}

// nameserversOf reads them from a file, which may be missing.
func nameserversOf(path string) []netip.Addr {
	content, err := readSmall(path)
	if err != nil {
		return nil
	}
	return parseResolv(content).servers
}

// copyFile copies content, mode and owner.
func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		return err
	}
	return copyMode(from, to)
}

// copyMode gives a file the mode and the owner of another.
func copyMode(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	return errors.Join(os.Chmod(to, info.Mode().Perm()), os.Chown(to, int(st.Uid), int(st.Gid)))
}

// overwrite changes a file that cannot be replaced.
func overwrite(path, content string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(content)
	return errors.Join(err, file.Close())
}

// explainDNS gives an error its hint.
func explainDNS(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EROFS):
		return &Error{op, err, "install systemd-resolved, or let this host ask a DNS server of its own that asks braid's forwarder (docs/guide-router.md), or switch this off: tunnel.dns = []"}
	case deniedByPolkit(err):
		return &Error{op, err, "systemd-resolved asks polkit who may tell it: install polkit (polkitd), and braid's package, which has the rule"}
	case errors.Is(err, unix.EPERM):
		return &Error{op, err, "the file may be immutable (lsattr); or switch this off: tunnel.dns = []"}
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Op: op, Err: err}
}

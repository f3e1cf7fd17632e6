package hostnet

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const dhcp = "# by a DHCP client\nsearch home.test\nnameserver 192.0.2.1\noptions timeout:1\n"

// etc is a folder with a resolv.conf in it.
type etc struct {
	*testing.T
	file resolvFile
	me   owner
}

func newEtc(t *testing.T) etc {
	t.Helper()
	me, err := self()
	if err != nil {
		t.Fatal(err)
	}
	return etc{t, resolvFile{filepath.Join(t.TempDir(), "resolv.conf")}, me}
}

func (e etc) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// theirs writes a file in one step, as others do.
func (e etc) theirs(content string) {
	e.Helper()
	e.must(os.WriteFile(e.file.path+".theirs", []byte(content), 0o640))
	e.must(os.Chmod(e.file.path+".theirs", 0o640))
	e.must(os.Chown(e.file.path+".theirs", 1, 2))
	e.must(os.Rename(e.file.path+".theirs", e.file.path))
}

func (e etc) set(servers ...string) {
	e.Helper()
	e.must(e.file.set(mark{"braid0", e.me}, addresses(servers...)))
	content, err := os.ReadFile(e.file.path)
	e.must(err)
	if got := parseResolv(string(content)).servers; !slices.Equal(got, addresses(servers...)) {
		e.Errorf("the file names %v", got)
	}
}

func (e etc) restore() {
	e.Helper()
	e.must(e.file.restore("braid0", e.me))
}

// has checks what is in place, and that nothing else is left.
func (e etc) has(want string) {
	e.Helper()
	content, err := os.ReadFile(e.file.path)
	if want == "" && errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	e.must(err)
	if string(content) != want {
		e.Errorf("the file is\n%swant\n%s", content, want)
	}
	if left, _ := filepath.Glob(e.file.path + ".*"); len(left) > 0 {
		e.Errorf("left: %v", left)
	}
}

func TestResolvFile(t *testing.T) {
	e := newEtc(t)
	e.theirs(dhcp)
	e.set("127.98.0.53")
	content, err := os.ReadFile(e.file.path)
	e.must(err)
	for _, line := range []string{"search home.test\n", "options timeout:1\n"} {
		if !strings.Contains(string(content), line) {
			t.Errorf("no line %q in\n%s", line, content)
		}
	}
	st, err := os.Stat(e.file.path)
	e.must(err)
	before := inode(t, e.file.before())
	if st.Mode() != 0o640 || owners(t, e.file.path) != [2]uint32{1, 2} {
		t.Errorf("mode %v, owner %v", st.Mode(), owners(t, e.file.path))
	}
	e.set("127.98.1.53", "9.9.9.9") // once more
	e.restore()
	e.has(dhcp)
	if inode(t, e.file.path) != before || owners(t, e.file.path) != [2]uint32{1, 2} {
		t.Error("it is not the same file")
	}
	e.restore() // undoing nothing
	e.has(dhcp)
}

// Others write the file while ours is there: what they wrote last comes back.
func TestResolvFileOfOthers(t *testing.T) {
	const newer = "nameserver 192.0.2.2\n"
	for name, write := range map[string]func(etc){
		"in one step": func(e etc) { e.theirs(newer) },
		"in place":    func(e etc) { e.must(os.WriteFile(e.file.path, []byte(newer), 0)) },
	} {
		for _, again := range []bool{true, false} {
			e := newEtc(t)
			e.theirs(dhcp)
			e.set("127.98.0.53")
			write(e)
			s, err := e.file.read()
			if err != nil || s.ours || s.theirs != newer {
				t.Errorf("%s: %+v, %v", name, s, err)
			}
			if again {
				e.set("127.98.0.53")
			}
			e.restore()
			e.has(newer)
		}
	}

	// Taken away, and there never was one.
	e := newEtc(t)
	e.theirs(dhcp)
	e.set("127.98.0.53")
	e.must(os.Remove(e.file.path))
	e.set("127.98.0.53")
	e.restore()
	e.has(dhcp)
	e = newEtc(t)
	e.set("127.98.0.53")
	e.restore()
	e.has("")
	if _, err := os.Lstat(e.file.path); err == nil {
		t.Error("there is a file where there was none")
	}
}

// A link comes back as a link, also one to nowhere, and what it points to is
// nobody's but its maker's.
func TestResolvLink(t *testing.T) {
	for name, exists := range map[string]bool{"link": true, "link to nowhere": false} {
		e := newEtc(t)
		target := filepath.Join(filepath.Dir(e.file.path), "run.conf")
		if exists {
			e.must(os.WriteFile(target, []byte(dhcp), 0o600))
			e.must(os.Chown(target, 1, 2))
		}
		e.must(os.Symlink("run.conf", e.file.path))
		e.set("127.98.0.53")
		if s, err := e.file.read(); err != nil || !s.ours || s.target != "run.conf" || exists && s.theirs != dhcp {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		if info, err := os.Lstat(e.file.path); err != nil || info.Mode() != 0o644 || owners(t, e.file.path) != [2]uint32{} {
			t.Errorf("%s: mode %v, owner %v", name, info.Mode(), owners(t, e.file.path))
		}
		if content, _ := os.ReadFile(target); exists && string(content) != dhcp {
			t.Errorf("%s: the target is now\n%s", name, content)
		}
		e.must(os.WriteFile(target, []byte("nameserver 192.0.2.3\n"), 0o644)) // its maker goes on
		e.restore()
		if got, err := os.Readlink(e.file.path); err != nil || got != "run.conf" {
			t.Errorf("%s: now it is %q, %v", name, got, err)
		}
		e.has("nameserver 192.0.2.3\n")
	}
}

// A mount point, as in a container, cannot be replaced.
func TestResolvMountPoint(t *testing.T) {
	e := newEtc(t)
	real := filepath.Join(t.TempDir(), "resolv.conf")
	e.must(os.WriteFile(real, []byte(dhcp), 0o640))
	e.must(os.WriteFile(e.file.path, nil, 0o644))
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread, and its mounts, end here
		for _, err := range []error{
			unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""),
			unix.Mount(real, e.file.path, "", unix.MS_BIND, ""),
		} {
			if err != nil {
				t.Error(err)
				return
			}
		}
		e.set("127.98.0.53")
		e.set("127.98.1.53")
		e.restore()
		e.has(dhcp)
		e.set("127.98.0.53")
		e.must(os.WriteFile(e.file.path, []byte("nameserver 192.0.2.2\n"), 0))
		e.set("127.98.0.53")
		e.restore()
		e.has("nameserver 192.0.2.2\n")
	}()
	<-done
}

// Of a dead process anybody may take it over or put it back, of a living one nobody.
func TestResolvFileOwners(t *testing.T) {
	e := newEtc(t)
	e.theirs(dhcp)
	sleep := exec.Command("sleep", "60")
	e.must(sleep.Start())
	start, err := startTime(sleep.Process.Pid)
	e.must(err)
	living := owner{sleep.Process.Pid, start, e.me.Boot}
	e.must(e.file.set(mark{"braid1", living}, addresses("127.98.0.53")))
	if err := e.file.set(mark{"braid0", e.me}, addresses("127.98.1.53")); !errors.Is(err, ErrOwned) {
		t.Errorf("taken from a living process: %v", err)
	}
	e.must(e.file.restore("braid1", e.me))
	if s, err := e.file.read(); err != nil || !s.ours || s.mark != (mark{"braid1", living}) {
		t.Errorf("%+v, %v", s, err)
	}
	e.must(sleep.Process.Kill())
	_ = sleep.Wait()
	e.must(e.file.restore("braid0", e.me)) // another device's
	e.set("127.98.1.53")
	e.restore()
	e.has(dhcp)
	e.must(e.file.set(mark{"braid1", living}, addresses("127.98.0.53")))
	e.must(e.file.restore("braid1", e.me))
	e.has(dhcp)
}

// A network namespace without a file of its own must not change the machine's.
func TestResolvFileOfTheMachine(t *testing.T) {
	s := newSpace(t)
	s.do(func() {
		before, err := os.ReadFile(resolvPath)
		if err != nil {
			t.Skip("this machine has none")
		}
		me, err := self()
		if err != nil {
			t.Error(err)
			return
		}
		if err := resolvConf().shared(); err == nil {
			t.Error("no error") // and the file is not touched, in case
			return
		}
		if err := resolvConf().set(mark{"braid0", me}, addresses("127.98.0.53")); err == nil {
			t.Error("it was set")
		}
		if after, _ := os.ReadFile(resolvPath); string(after) != string(before) {
			t.Error("it was changed")
		}
	})
}

// Whatever the file holds, what we write names our servers and no others, and
// what was there comes back.
func FuzzResolvFile(f *testing.F) {
	f.Add(dhcp)
	f.Add("nameserver\tfe80::1%eth0\n;nameserver 9.9.9.9\nsearch a b  c\nnameserver 1.2.3.4 # two")
	f.Add(markPrefix + "{}\n")
	dir := stateDirOfFuzz(f)
	f.Fuzz(func(t *testing.T, content string) {
		e := newEtc(t)
		e.file.path = filepath.Join(dir, "resolv.conf")
		e.theirs(content)
		s, err := e.file.read()
		e.must(err)
		if s.ours {
			return
		}
		e.set("127.98.0.53")
		e.restore()
		e.has(content)
	})
}

func stateDirOfFuzz(f *testing.F) string {
	dir, err := os.MkdirTemp("/dev/shm", "hostnet-fuzz-")
	if err != nil {
		return f.TempDir()
	}
	f.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestWatchFile(t *testing.T) {
	e := newEtc(t)
	e.theirs(dhcp)
	ctx, cancel := context.WithCancel(context.Background())
	changes, ended := make(chan struct{}, 100), make(chan error, 1)
	go func() { ended <- watchFile(ctx, e.file.path, func() { changes <- struct{}{} }) }()
	heard := func(what string, write func()) {
		t.Helper()
		// The watch may not have begun: say it again.
		for end := time.Now().Add(patience); ; {
			write()
			select {
			case <-changes:
				return
			case <-time.After(2 * time.Second):
			}
			if time.Now().After(end) {
				t.Fatalf("%s: not heard of", what)
			}
		}
	}
	heard("replaced", func() { e.theirs(dhcp) })
	heard("written", func() { e.must(os.WriteFile(e.file.path, []byte(dhcp), 0)) })
	heard("replaced again", func() { e.theirs(dhcp) })
	for quiet := false; !quiet; { // what was said more than once
		select {
		case <-changes:
		case <-time.After(2 * time.Second):
			quiet = true
		}
	}
	e.must(os.WriteFile(e.file.path+".other", nil, 0o644))
	select {
	case <-changes:
		t.Error("heard of another file")
	case <-time.After(500 * time.Millisecond):
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestParseResolv(t *testing.T) {
	got := parseResolv("nameserver 192.0.2.1\nnameserver 192.0.2.1\nnameserver x\n nameserver fe80::1%eth0\ndomain home.test\nsortlist 10.0.0.0\n# nameserver 1.1.1.1\n")
	want := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1%eth0")}
	if !slices.Equal(got.servers, want) || !slices.Equal(got.rest, []string{"domain home.test", "sortlist 10.0.0.0"}) {
		t.Errorf("%+v", got)
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func owners(t *testing.T, path string) [2]uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return [2]uint32{st.Uid, st.Gid}
}

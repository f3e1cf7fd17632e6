package control

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Groups and a user that no host has.
const (
	changersGID = 64_301
	readersGID  = 64_302
	somebodyUID = 64_303
)

// as runs f in a thread that has become another user's, with these groups.
func as(t *testing.T, groups []uint32, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		done <- func() error {
			if err := becomes(groups); err != nil {
				return err
			}
			f()
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// becomes changes the calling thread alone.
func becomes(groups []uint32) error {
	if _, _, errno := syscall.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0); errno != 0 {
		return errno
	}
	for _, call := range [][4]uintptr{
		{unix.SYS_SETRESGID, somebodyUID, somebodyUID, somebodyUID},
		{unix.SYS_SETRESUID, somebodyUID, somebodyUID, somebodyUID},
	} {
		if _, _, errno := syscall.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
			return errno
		}
	}
	return nil
}

// openDir is a folder that everybody may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// serveAll serves with both sockets until the test ends, as a daemon does.
func serveAll(t *testing.T, dir string, change Changes) (path string) {
	t.Helper()
	path = filepath.Join(dir, "client.sock")
	l, err := ListenGroup(path, Group{"changers", changersGID})
	if err != nil {
		t.Fatal(err)
	}
	r, err := ListenGroup(ReadSocket(path), Group{"readers", readersGID})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	status := func() any { return sampleClient }
	go func() { done <- Serve(ctx, l, status, change) }()
	go func() { done <- ServeReaders(ctx, r, status, path, "changers") }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, <-done); err != nil {
			t.Error(err)
		}
	})
	return path
}

// Who may open which of the two sockets.
func TestSocketsOfGroups(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	path := serveAll(t, openDir(t), Changes{})
	for socket, gid := range map[string]uint32{path: changersGID, ReadSocket(path): readersGID} {
		info, err := os.Stat(socket)
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Sys().(*syscall.Stat_t); info.Mode().Perm() != 0o660 || s.Gid != gid || s.Uid != 0 {
			t.Errorf("%s: %v of %d:%d", socket, info.Mode(), s.Uid, s.Gid)
		}
	}
	for _, test := range []struct {
		groups []uint32
		want   string // the socket that answers; "" none
	}{
		{nil, ""}, {[]uint32{changersGID}, path}, {[]uint32{readersGID}, ReadSocket(path)},
		{[]uint32{readersGID, changersGID}, path}, {[]uint32{1234}, ""},
	} {
		as(t, test.groups, func() {
			c, err := dial(context.Background(), path)
			if test.want == "" {
				if !errors.Is(err, fs.ErrPermission) || !strings.Contains(mend(err), "control_readers") {
					t.Errorf("%v: %v, %v", test.groups, c, err)
				}
				return
			}
			if err != nil {
				t.Errorf("%v: %v", test.groups, err)
				return
			}
			defer c.Close()
			if got := c.RemoteAddr().String(); got != test.want {
				t.Errorf("%v: asks %s", test.groups, got)
			}
		})
	}
}

// A process that is not the group's cannot give it a socket, says why, and leaves
// none behind.
func TestListenForAnotherGroup(t *testing.T) {
	dir := openDir(t)
	if err := os.Chown(dir, somebodyUID, -1); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "client.sock")
	var own, other error
	as(t, []uint32{readersGID}, func() {
		var l net.Listener
		if l, own = ListenGroup(path, Group{"readers", readersGID}); own == nil {
			own = l.Close()
		}
		_, other = ListenGroup(path, Group{"changers", changersGID})
	})
	if own != nil {
		t.Error(own)
	}
	e, ok := errors.AsType[*Error](other)
	if !ok || !errors.Is(e, fs.ErrPermission) || !strings.Contains(e.Hint(), "SupplementaryGroups=changers") {
		t.Errorf("%v", other)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a socket is left: %v", err)
	}
}

// On the socket for readers there is all that is told, and no change.
func TestReadersChangeNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	r := newRoles("lte")
	path := serveAll(t, openDir(t), Changes{Roles: r})
	readers := ReadSocket(path)
	if _, err := Fetch(t.Context(), readers); err != nil {
		t.Error(err)
	}
	_, reload := Reload(t.Context(), readers)
	_, add := AddClient(t.Context(), readers, ClientToAdd{Name: "x"})
	_, remove := RemoveClient(t.Context(), readers, ClientToRemove{Name: "x"})
	for _, err := range []error{SetRole(t.Context(), readers, "lte", RoleBackup), reload, add, remove} {
		got, ok := errors.AsType[*Refusal](err)
		if !ok || got.Status != http.StatusForbidden || !got.Reader || got.Hint() != "run it as root, or as a member of the group changers: changes are made on "+path {
			t.Errorf("%v: %+v", err, got)
		}
	}
	if r.of("lte") != RoleDefault {
		t.Errorf("the role is %s", r.of("lte"))
	}
	if err := SetRole(t.Context(), path, "lte", RoleBackup); err != nil {
		t.Error(err)
	}
}

// No method but GET reaches what is behind the refusal.
func TestReadOnlyMethods(t *testing.T) {
	h := readOnly(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet {
			t.Errorf("%s came through", req.Method)
		}
	}), "")
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "CONNECT", "OPTIONS", "get", "X"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, statusPath, nil))
		if want := method == http.MethodGet; want != (w.Code == http.StatusOK) {
			t.Errorf("%s: %d", method, w.Code)
		}
		checkAnswer(t, w)
	}
}

func TestReadSocket(t *testing.T) {
	// Package config reckons with paths that are longer by ".read".
	for path, want := range map[string]string{
		"/run/braid/client.sock": "/run/braid/client.read.sock", "/run/x": "/run/x.read", "/a/.sock": "/a/.read.sock",
	} {
		if got := ReadSocket(path); got != want {
			t.Errorf("%s: %s", path, got)
		}
	}
}

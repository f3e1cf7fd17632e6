package crypto

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

func TestKeyFileRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.key")
	key := GenerateKey()
	// Whatever the umask, the mode is right.
	old := unix.Umask(0o777)
	err := WriteKeyFile(path, key)
	unix.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode %v, error %v", info.Mode(), err)
	}
	got, err := LoadKeyFile(path)
	if err != nil || !got.Equal(key) {
		t.Fatalf("loaded another key: %v", err)
	}
	if text, _ := os.ReadFile(path); string(text) != key.Reveal()+"\n" {
		t.Errorf("the file does not hold one line with the key")
	}
	onlyFile(t, path)
}

func TestWriteKeyFileNeverReplaces(t *testing.T) {
	dir := t.TempDir()
	file, link, loop := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "dir")
	if err := errors.Join(os.WriteFile(file, []byte("precious"), 0o600), os.Symlink("nowhere", link), os.Mkdir(loop, 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, loop} {
		err := WriteKeyFile(path, GenerateKey())
		if !errors.Is(err, fs.ErrExist) || Hint(err) == "" || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
		// The same when it appears between the question and the rename.
		temp := filepath.Join(dir, "temp")
		_ = os.WriteFile(temp, nil, 0o600)
		if err := renameNew(temp, path); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: rename: %v", path, err)
		}
		_ = os.Remove(temp)
	}
	if text, _ := os.ReadFile(file); string(text) != "precious" {
		t.Errorf("the file was changed to %q", text)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 {
		t.Errorf("left behind: %v", entries)
	}
}

// Of many at once exactly one writes, and the file holds its key.
func TestWriteKeyFileRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	var wins atomic.Int32
	var winner atomic.Pointer[PrivateKey]
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			key := GenerateKey()
			if WriteKeyFile(path, key) == nil {
				wins.Add(1)
				winner.Store(&key)
			}
		})
	}
	wg.Wait()
	got, err := LoadKeyFile(path)
	if wins.Load() != 1 || err != nil || !got.Equal(*winner.Load()) {
		t.Errorf("%d wrote, load: %v", wins.Load(), err)
	}
	onlyFile(t, path)
}

func TestWriteKeyFileErrors(t *testing.T) {
	dir := t.TempDir()
	if err := WriteKeyFile(filepath.Join(dir, "no", "key"), GenerateKey()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
	if err := WriteKeyFile(filepath.Join(dir, "key"), PrivateKey{}); err == nil {
		t.Error("no key was written")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestLoadKeyFileModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a key")
	if err := os.WriteFile(path, []byte(GenerateKey().Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode := fs.FileMode(0o400); mode <= 0o777; mode++ {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadKeyFile(path)
		if mode&0o077 == 0 {
			if err != nil && !errors.Is(err, fs.ErrPermission) { // not root: 0300 and the like
				t.Errorf("%04o: %v", mode, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%04o is accepted", mode)
		}
	}
	_ = os.Chmod(path, 0o640)
	_, err := LoadKeyFile(path)
	if want := "key file " + path + ": its mode 0640 lets others than the owner use it"; err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if want := "chmod 600 '" + path + "'"; Hint(err) != want {
		t.Errorf("got  %s\nwant %s", Hint(err), want)
	}
}

func TestLoadKeyFileContent(t *testing.T) {
	key := GenerateKey()
	text := key.Reveal()
	tests := map[string]struct {
		content string
		want    string // "" when it loads
	}{
		"plain":          {text, ""},
		"newline":        {text + "\n", ""},
		"CRLF":           {text + "\r\n", ""},
		"white space":    {text + " \t\n\n", ""},
		"empty":          {"", "it has 0 characters"},
		"blank before":   {" " + text, "it has 45 characters"},
		"two lines":      {text + "\n" + text + "\n", "it has 89 characters"},
		"large":          {strings.Repeat("x", 300), "it is larger than 256 bytes"},
		"large blanks":   {text + strings.Repeat("\n", 300), "it is larger than 256 bytes"},
		"PEM":            {"-----BEGIN PRIVATE KEY-----\n", "it is a PEM file"},
		"zero":           {strings.Repeat("A", 43) + "=\n", "all its bytes are zero"},
		"not base64":     {"*" + text[1:], "it is not standard base64"},
		"binary rubbish": {string([]byte{0, 1, 2, 255}), "it has 4 characters"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := LoadKeyFile(path)
			if test.want == "" {
				if err != nil || !got.Equal(key) {
					t.Errorf("does not load: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) || Hint(err) == "" {
				t.Fatalf("got %v, want …%s…", err, test.want)
			}
			if strings.Contains(err.Error(), text[5:15]) {
				t.Errorf("echoes the key: %v", err)
			}
		})
	}
}

func TestLoadKeyFileKinds(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadKeyFile(dir); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("directory: %v", err)
	}
	missing := filepath.Join(dir, "missing")
	if _, err := LoadKeyFile(missing); !errors.Is(err, fs.ErrNotExist) || Hint(err) != "make a key with: braid keygen "+missing {
		t.Errorf("missing: %v, hint %s", err, Hint(err))
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeyFile(fifo); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("FIFO: %v", err)
	}
	if _, err := LoadKeyFile("/dev/zero"); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("device: %v", err)
	}
	// Credentials of service managers are often links.
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(WriteKeyFile(file, GenerateKey()), os.Symlink("file", link)); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeyFile(link); err != nil {
		t.Errorf("link: %v", err)
	}
}

func TestShellWord(t *testing.T) {
	for path, want := range map[string]string{
		"/etc/braid/server.key": "/etc/braid/server.key",
		"":                      "''",
		"a b":                   "'a b'",
		"it's":                  `'it'\''s'`,
		"$(reboot)":             "'$(reboot)'",
	} {
		if got := shellWord(path); got != want {
			t.Errorf("%q: got %s, want %s", path, got, want)
		}
	}
}

// onlyFile checks that nothing but path is in its directory.
func onlyFile(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 || entries[0].Name() != filepath.Base(path) {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

// A package gives keys to root, and lets the service's own group read them.
func TestKeyFileOfService(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.key")
	if err := WriteKeyFile(path, GenerateKey()); err != nil {
		t.Fatal(err)
	}
	const service = 4242
	for _, c := range []struct {
		uid, gid int
		mode     fs.FileMode
		good     bool
	}{
		{0, service, 0o640, true},
		{0, service, 0o440, true},
		{0, service, 0o644, false},
		{0, service, 0o660, false},
		{0, service, 0o650, false},
		{0, 0, 0o640, false},
		{service, service, 0o640, false},
	} {
		if err := errors.Join(os.Chown(path, c.uid, c.gid), os.Chmod(path, c.mode)); err != nil {
			t.Fatalf("this test needs root: %v", err)
		}
		if _, err := LoadKeyFile(path); (err == nil) != c.good {
			t.Errorf("%d:%d %04o: %v", c.uid, c.gid, c.mode, err)
		}
	}
}

package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"braid/crypto"
)

func TestExamples(t *testing.T) {
	s, err := LoadServer("example/server.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Clients) != 2 || len(s.Clients[0].Addresses) != 2 || len(s.Clients[0].Routes) != 1 {
		t.Errorf("server: got %+v", s)
	}
	c, err := LoadClient("example/client.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Uplinks) != 3 || c.Uplink("docker0").Role != RoleNever || c.Uplink("ppp0").Role != RoleBond || c.Uplink("wwan0").CapBytes != 50e9 {
		t.Errorf("client: got %+v", c)
	}
}

func TestKeyFilePath(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "server.toml")
	t.Chdir(dir)
	for given, want := range map[string]string{
		"server.key":         filepath.Join(dir, "server.key"),
		"./keys/server.key":  filepath.Join(dir, "keys/server.key"),
		"../server.key":      filepath.Join(filepath.Dir(dir), "server.key"),
		"/etc/braid/k":       "/etc/braid/k",
		"/etc/braid/../k":    "/etc/k",
		"a key with spaces…": filepath.Join(dir, "a key with spaces…"),
	} {
		if err := os.WriteFile(file, []byte(`private_key_file = "`+given+`"`), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{file, "server.toml", "./server.toml"} {
			s, err := LoadServer(path)
			if err != nil {
				t.Fatal(err)
			}
			if s.PrivateKeyFile != want {
				t.Errorf("%s in %s: got %s, want %s", given, path, s.PrivateKeyFile, want)
			}
		}
	}
	s, err := ParseServer([]byte(`private_key_file = "server.key"`), "")
	if err != nil || s.PrivateKeyFile != "server.key" {
		t.Errorf("without a folder: got %+v, %v", s, err)
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "absent"): ": no such file or directory",
		dir:                          ": it is a directory",
		fifo:                         ": it is not a regular file",
		write("large", strings.Repeat("#", fileLimitBytes+1)):   ": it is larger than 16 MiB and so no configuration",
		filepath.Join(write("file", ""), "below"):               ": not a directory",
		filepath.Join(dir, strings.Repeat("long", 100)+".toml"): ": file name too long",
	} {
		_, err := LoadServer(path)
		_, err2 := LoadClient(path)
		file, ok := errors.AsType[*FileError](err)
		if !ok || err.Error() != "configuration "+path+want || err2.Error() != err.Error() {
			t.Errorf("got %v and %v, want …%s", err, err2, want)
		}
		if ok && crypto.Hint(err) != file.Mend {
			t.Errorf("%s: hint %q, mend %q", path, crypto.Hint(err), file.Mend)
		}
	}
	if _, err := LoadServer(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) || crypto.Hint(err) == "" {
		t.Errorf("absent: got %v, hint %q", err, crypto.Hint(err))
	}

	path := write("server.toml", "control = \"x\"\n")
	_, err := LoadServer(path)
	want := path + ": private_key_file: missing, it must be set; add private_key_file = \"server.key\", a file made with: braid keygen FILE\n" +
		path + ":1: control = \"x\": must be an absolute path; such as \"/run/braid/braid.sock\""
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if err.(*Errors).List[0].Hint() == "" {
		t.Error("no hint")
	}
}

// Nothing that may be a private key is repeated in a message.
func TestKeysAreNotRepeated(t *testing.T) {
	secret := testKeys[0].Reveal()
	for _, text := range []string{
		`private_key_file = "$S"`,
		`private_key = "$S"`,
		"[[client]]\npublic_key = \" $S\"",
		"[[client]]\npublic_key = \"$S\"\n[[client]]\npublic_key = \"$S\"",
	} {
		_, err := ParseServer([]byte(expand(text)), "")
		_, err2 := ParseClient([]byte(expand(text)), "")
		if all := errors.Join(err, err2).Error(); strings.Contains(all, secret[2:20]) {
			t.Errorf("%s: %s", text, all)
		}
	}
}

//go:build packages

package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The packages that no machine here installs have what they should have, and
// nothing of the others.
func TestContentsOfOthers(t *testing.T) {
	all := os.Getenv("BRAID_OTHERS")
	for _, test := range []struct {
		kind      string
		list      string // a shell command: the files of $1
		has, lack []string
	}{
		{"rpm", `rpm -qlp "$1"`,
			[]string{"/usr/lib/systemd/system/braid-client@.service", "/usr/lib/sysusers.d/braid.conf", "/usr/share/licenses/braid/LICENSE", "/usr/share/polkit-1/rules.d/braid.rules", "/usr/share/doc/braid/guide-laptop.md", "/usr/share/zsh/site-functions/_braid"},
			[]string{"/etc/init.d"}},
		{"apk", `tar -tzf "$1" | sed 's|^|/|'`,
			[]string{"/etc/init.d/braid-server", "/etc/init.d/braid-client", "/.post-upgrade", "/.pre-deinstall", "/usr/share/man/man1/braid-uplink.1.gz"},
			[]string{"systemd", "NetworkManager"}},
		{"ipk", `tar -xzOf "$1" ./data.tar.gz | tar -tz | sed 's|^\.||'`,
			[]string{"/etc/init.d/braid", "/usr/share/braid/client.toml", "/usr/share/braid/LICENSE"},
			[]string{"systemd", "/usr/share/man"}},
	} {
		t.Run(test.kind, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(all, "*."+test.kind))
			if err != nil || len(files) != 1 {
				t.Fatalf("packages: %v, %v", files, err)
			}
			out, err := exec.Command("sh", "-c", test.list, "sh", files[0]).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			lines := "\n" + string(out)
			for _, path := range append(test.has, "/usr/bin/braid") {
				if !strings.Contains(lines, "\n"+path+"\n") {
					t.Errorf("it has no %s:\n%s", path, out)
				}
			}
			for _, word := range test.lack {
				if strings.Contains(lines, word) {
					t.Errorf("it has %s:\n%s", word, out)
				}
			}
		})
	}
}

// The same source makes the same packages.
func TestPackagesAreReproducible(t *testing.T) {
	path := packages[1]
	again := filepath.Join(os.Getenv("BRAID_OTHERS"), filepath.Base(path))
	a, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(again)
	if err != nil {
		t.Fatal(err)
	}
	if string(a) != string(b) {
		t.Errorf("%s and %s differ", path, again)
	}
}

// Package packaging has no code: its files become packages (scripts/package.sh),
// and its tests look at those files by themselves. scripts/test-packages.sh tests
// what becomes of them.
package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// worstExposure is what systemd's own judge may find at most, in tenths.
const worstExposure = "20"

func TestUnitsAreConfined(t *testing.T) {
	for _, unit := range []string{"braid-server.service", "braid-client.service"} {
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+worstExposure,
			filepath.Join("systemd", unit)).CombinedOutput()
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		t.Log(lines[len(lines)-1])
		if err != nil {
			t.Errorf("%v:\n%s", err, out)
		}
	}
}

// The two units differ in nothing but the role.
func TestUnitsAreAlike(t *testing.T) {
	server, client := read(t, "systemd/braid-server.service"), read(t, "systemd/braid-client.service")
	if strings.ReplaceAll(server, "server", "client") != strings.ReplaceAll(client, "server", "client") {
		t.Error("they differ in more than the role")
	}
}

// The scripts are sh's: of the shells that will run them.
func TestScriptsParse(t *testing.T) {
	for pattern, shell := range map[string][]string{
		"scripts/*.sh": {"dash"}, "openwrt/*": {"busybox", "ash"}, "openrc/*": {"busybox", "ash"},
	} {
		list, err := filepath.Glob(pattern)
		if err != nil || len(list) == 0 {
			t.Fatalf("%s: %v, %v", pattern, list, err)
		}
		for _, script := range list {
			args := append(shell[1:], "-n", script)
			if out, err := exec.Command(shell[0], args...).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", script, err, out)
			}
		}
	}
}

// OpenWrt's init script asks procd for the roles that are configured, and for no
// others. procd and rc.common are not here: this shows what the script asks of
// them, not what they make of it.
func TestOpenWrtAsks(t *testing.T) {
	for _, roles := range [][]string{nil, {"client"}, {"server", "client"}} {
		dir := t.TempDir()
		for _, role := range roles {
			if err := os.WriteFile(filepath.Join(dir, role+".toml"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		script := strings.ReplaceAll(read(t, "openwrt/braid.init"), "/etc/braid/", dir+"/")
		stub := "mkdir() { :; }\nprocd_open_instance() { echo open $1; }\nprocd_set_param() { echo $@; }\nprocd_close_instance() { echo close; }\n"
		out, err := exec.Command("busybox", "ash", "-ec", stub+script+"\nstart_service\n").CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, role := range []string{"server", "client"} {
			asked := strings.Contains(string(out), "open "+role+"\ncommand /usr/bin/braid "+role+"\n")
			configured := strings.Contains(strings.Join(roles, " "), role)
			if asked != configured {
				t.Errorf("configured %v, asked for:\n%s", roles, out)
			}
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

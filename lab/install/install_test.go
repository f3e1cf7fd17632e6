//go:build packages

// Package install tests the packages: real ones, installed, run, upgraded and
// removed on a Debian with systemd in the lab. scripts/test-packages.sh runs it.
package install

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/machine"
	"braid/lab/topology"
)

// What scripts/test-packages.sh has made: a Debian's files, and two packages, of
// which the second is newer.
var (
	root     = os.Getenv("BRAID_ROOT")
	packages = []string{os.Getenv("BRAID_DEB"), os.Getenv("BRAID_DEB_NEWER")}
)

// patience bounds each wait of a test: ample on a busy machine.
const patience = time.Minute

// real is a host with a system of its own.
type real struct {
	*testing.T
	system *machine.Machine
	host   *lab.Host
	role   string
	before string // its network
	files  string
}

func boot(t *testing.T, h *lab.Host, role string) *real {
	t.Helper()
	ctx, end := context.WithTimeout(t.Context(), patience)
	defer end()
	r := &real{T: t, host: h, role: role}
	var err error
	if r.system, err = machine.Boot(ctx, h, root); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := r.system.Run(context.Background(), "journalctl", "--no-pager", "-o", "cat", "-u", "braid-"+role, "-u", "systemd-networkd", "-u", "NetworkManager")
			t.Logf("%s:\n%s", role, out)
		}
		if err := r.system.Close(); err != nil {
			t.Error(err)
		}
	})
	r.before, r.files = r.network(), r.list()
	return r
}

// do runs a program in the machine, which must succeed.
func (r *real) do(name string, args ...string) string {
	r.Helper()
	ctx, end := context.WithTimeout(r.Context(), patience)
	defer end()
	out, err := r.system.Run(ctx, name, args...)
	if err != nil {
		r.Fatalf("%s: %v", r.role, err)
	}
	return strings.TrimSpace(string(out))
}

// unit is a property of the daemon's unit.
func (r *real) unit(property string) string {
	r.Helper()
	return r.do("systemctl", "show", "--value", "-p", property, "braid-"+r.role)
}

// write writes a file of the machine, as its administrator would.
func (r *real) write(path, text string) {
	r.Helper()
	if err := os.MkdirAll(filepath.Dir(r.system.Path(path)), 0o755); err != nil {
		r.Fatal(err)
	}
	if err := os.WriteFile(r.system.Path(path), []byte(text), 0o600); err != nil {
		r.Fatal(err)
	}
}

// put copies a package into the machine and installs it.
func (r *real) install(deb string) {
	r.Helper()
	b, err := os.ReadFile(deb)
	if err != nil {
		r.Fatal(err)
	}
	r.write("/tmp/braid.deb", string(b))
	r.do("dpkg", "-i", "/tmp/braid.deb")
}

// list is what there is in the machine's file system, but for what dpkg and
// systemd note of whatever happens, and accounts' former versions.
func (r *real) list() string {
	r.Helper()
	return r.do("sh", "-c", `find / -xdev \( -path /var/lib/dpkg -o -path /var/log -o -path /var/cache -o -path /var/lib/systemd \
-o -path /var/lib/NetworkManager -o -path /etc/resolv.conf -o -path '/var/tmp/systemd-private-*' -o -path '/etc/*-' -o -path /etc/.pwd.lock \) -prune -o -printf '%M %u:%g %p\n' | sort -k 3; cat /etc/passwd /etc/group`)
}

// network is what braid could change of the host's.
func (r *real) network() string {
	r.Helper()
	var b strings.Builder
	for _, c := range []string{"ip -br link", "ip -br addr", "ip -4 rule", "ip -6 rule", "ip -4 route show table all",
		"ip -6 route show table all", "nft list ruleset", "ip mptcp limits", "ip mptcp endpoint", "sysctl -e net.ipv4.ip_forward net.ipv6.conf.all.forwarding net.mptcp"} {
		f := strings.Fields(c)
		out, err := r.host.Run(r.Context(), f[0], f[1:]...)
		if err != nil {
			r.Fatal(err)
		}
		fmt.Fprintf(&b, "# %s\n%s", c, out)
	}
	return strings.ReplaceAll(b.String(), " UNKNOWN ", " UP      ")
}

// await waits for something of a machine.
func (r *real) await(what string, ok func() bool) {
	r.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("%s: not within %v: %s", r.role, patience, what)
		}
	}
}

// up waits until the client's session is up on both uplinks.
func up(client *real) {
	client.Helper()
	client.await("session on both uplinks", func() bool {
		out, err := client.system.Run(client.Context(), "braid", "status", "--json")
		var s daemon.Status
		return err == nil && json.Unmarshal(out, &s) == nil && s.Session.State == "up" && s.Up() == 2
	})
}

func TestLifeOfPackage(t *testing.T) {
	l, err := lab.New(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	net, err := topology.Build(l, topology.CellA())
	if err != nil {
		t.Fatal(err)
	}
	server, client := boot(t, net.Server, "server"), boot(t, net.Client, "client")
	both := []*real{server, client}

	// Installed, and nothing runs before it is configured.
	for _, r := range both {
		r.install(packages[0])
		if s := r.do("systemctl", "show", "--value", "-p", "ActiveState", "braid-server", "braid-client"); s != "inactive\n\ninactive" {
			t.Errorf("%s: installed units are %q", r.role, s)
		}
		r.do("systemctl", "start", "braid-"+r.role)
		if s := r.unit("ConditionResult") + " " + r.unit("ActiveState"); s != "no inactive" {
			t.Errorf("%s: without configuration its unit is %q", r.role, s)
		}
		r.do("man", "-w", "braid-"+r.role)
		if out := r.do("sh", "-c", "systemd-analyze verify --recursive-errors=no /usr/lib/systemd/system/braid-*.service 2>&1"); out != "" {
			t.Errorf("%s: systemd says of the units: %s", r.role, out)
		}
	}

	// Configured as root, and run as braid.
	serverKey, clientKey := server.do("braid", "keygen", "/etc/braid/server.key"), client.do("braid", "keygen", "/etc/braid/client.key")
	server.write("/etc/braid/server.toml", fmt.Sprintf("private_key_file = \"server.key\"\n[[client]]\nname = \"home\"\npublic_key = %q\n", clientKey))
	clientConfig := fmt.Sprintf("server = [\"%v\"]\nserver_public_key = %q\nprivate_key_file = \"client.key\"\n", net.ServerAddr4, serverKey)
	client.write("/etc/braid/client.toml", clientConfig)
	for _, r := range both {
		r.do("systemctl", "start", "braid-"+r.role)
		if s := r.unit("ActiveState"); s != "active" {
			t.Fatalf("%s is %s", r.role, s)
		}
		if user := r.do("ps", "-o", "user=", "-p", r.unit("MainPID")); user != "braid" {
			t.Errorf("%s runs as %s", r.role, user)
		}
	}
	up(client)
	aGroupReads(client, clientConfig)

	// Root invites, though the server cannot write what it has to read again.
	pid := server.unit("MainPID")
	if said := server.do("braid", "invite", "phone"); !strings.Contains(said, "\nbraid1:") {
		t.Errorf("invited: %q", said)
	}
	if list := server.do("braid", "clients"); !strings.Contains(list, "phone") {
		t.Errorf("clients: %s", list)
	}
	server.do("braid", "revoke", "phone")
	server.do("systemctl", "reload", "braid-server")
	if list := server.do("braid", "clients"); strings.Contains(list, "phone") || !strings.Contains(list, "home") {
		t.Errorf("clients: %s", list)
	}
	if now := server.unit("MainPID"); now != pid || server.unit("ActiveState") != "active" {
		t.Errorf("the server was process %s, and is %s", pid, now)
	}

	// 10 MiB from a server that can resume.
	dir := t.TempDir()
	content := strings.Repeat("0123456789abcdef", 10<<16)
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Internet.Listen(t.Context(), "tcp", netip.AddrPortFrom(net.InternetAddr4, 80).String())
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.FileServer(http.Dir(dir))}
	t.Cleanup(func() { web.Close() })
	go web.Serve(listener)
	url := fmt.Sprintf("http://%v/file", net.InternetAddr4)
	// fetch resumes what ends before its end.
	fetch := func(file, limit string) error {
		_, err := net.Client.Run(t.Context(), "timeout", "90", "sh", "-c",
			`until curl -sS --fail --limit-rate "$1" --speed-limit 1 --speed-time 5 -C - -o "$2" "$3"; do sleep 0.2; done`, "sh", limit, file, url)
		return err
	}
	same := func(file string) {
		t.Helper()
		if b, err := os.ReadFile(file); err != nil || string(b) != content {
			t.Errorf("%d bytes arrived, not the file's %d: %v", len(b), len(content), err)
		}
	}
	if err := fetch(filepath.Join(dir, "first"), "1G"); err != nil {
		t.Fatal(err)
	}
	same(filepath.Join(dir, "first"))

	watchdog(client)
	up(client)
	networkd(client)
	networkManager(client)

	// Upgraded under load: streams end, and what resumes is through.
	for _, r := range []*real{server, client} {
		file := filepath.Join(dir, "while-"+r.role)
		done := make(chan error, 1)
		go func() { done <- fetch(file, "2M") }()
		r.await("some of the file", func() bool { info, err := os.Stat(file); return err == nil && info.Size() > 1<<20 })
		pid, began := r.unit("MainPID"), time.Now()
		r.install(packages[1])
		if now := r.unit("MainPID"); now == pid || now == "0" || r.unit("ActiveState") != "active" {
			t.Errorf("%s was process %s and is %s", r.role, pid, now)
		}
		up(client)
		t.Logf("%s: %v from the upgrade's begin until both uplinks are in use", r.role, time.Since(began).Round(100*time.Millisecond))
		if err := <-done; err != nil {
			t.Errorf("%s: the transfer: %v", r.role, err)
		}
		same(file)
	}

	// Removed: the network is as it was. Purged: so is everything.
	for _, r := range []*real{client, server} {
		r.do("dpkg", "-r", "braid")
		now := r.network()
		for end := time.Now().Add(5 * time.Second); now != r.before && time.Now().Before(end); now = r.network() {
			time.Sleep(100 * time.Millisecond) // the kernel removes some things a moment later
		}
		if now != r.before {
			t.Errorf("%s: the network is not as it was:\n%s", r.role, difference(r.before, now))
		}
		r.do("test", "-e", "/etc/braid/"+r.role+".key")
		r.do("test", "!", "-e", "/run/braid")
		r.do("dpkg", "--purge", "braid")
		if now := r.list(); now != r.files {
			t.Errorf("%s: files differ:\n%s", r.role, difference(r.files, now))
		}
		if s := r.do("systemctl", "list-units", "--no-legend", "braid*"); s != "" {
			t.Errorf("%s: units left: %s", r.role, s)
		}
	}
}

// watchdog: a daemon that says that it lives stays, one that does not is started again.
func watchdog(r *real) {
	r.write("/run/systemd/system/braid-client.service.d/watchdog.conf", "[Service]\nWatchdogSec=3\nTimeoutAbortSec=1\n")
	r.do("systemctl", "daemon-reload")
	r.do("systemctl", "restart", "braid-client")
	pid := r.unit("MainPID")
	time.Sleep(8 * time.Second)
	if now := r.unit("MainPID"); now != pid {
		r.Errorf("process %s lived and was replaced by %s", pid, now)
	}
	r.do("kill", "-STOP", pid)
	r.await("another process", func() bool {
		now := r.unit("MainPID")
		return now != pid && now != "0" && r.unit("ActiveState") == "active"
	})
	r.do("rm", "-r", "/run/systemd/system/braid-client.service.d")
	r.do("systemctl", "daemon-reload")
}

// ours is what a manager of networks might take for a remnant.
func (r *real) ours() string {
	r.Helper()
	return r.do("sh", "-c", "ip -4 rule; ip -6 rule; ip -br addr show dev braid0; ip -4 route show table all proto 98; ip -6 route show table all proto 98")
}

// networkd: it starts and starts again, and takes nothing of braid's away.
func networkd(r *real) {
	before := r.ours()
	// An administrator's wish that would take the device, if braid's did not come first.
	r.write("/run/systemd/network/50-all.network", "[Match]\nName=braid*\n[Network]\nAddress=10.99.0.1/24\n")
	r.do("chmod", "-R", "a+rX", "/run/systemd/network")
	r.do("systemctl", "start", "systemd-networkd")
	r.do("networkctl", "reload")
	r.do("systemctl", "restart", "systemd-networkd")
	r.await("networkd has looked at braid0", func() bool {
		out, err := r.system.Run(r.Context(), "networkctl", "list", "braid0", "--no-legend")
		return err == nil && strings.Contains(string(out), "unmanaged")
	})
	if now := r.ours(); now != before {
		r.Errorf("of braid there was\n%s\nand is beside networkd\n%s", before, now)
	}
	r.do("systemctl", "stop", "systemd-networkd")
}

// networkManager: the same, and endpoints of its making do no harm.
func networkManager(r *real) {
	before := r.ours()
	r.do("systemctl", "start", "NetworkManager")
	r.await("NetworkManager has looked at braid0", func() bool {
		out, err := r.system.Run(r.Context(), "nmcli", "-g", "GENERAL.STATE", "device", "show", "braid0")
		return err == nil && strings.Contains(string(out), "unmanaged")
	})
	if now := r.ours(); now != before {
		r.Errorf("of braid there was\n%s\nand is beside NetworkManager\n%s", before, now)
	}
	r.do("systemctl", "stop", "NetworkManager")
}

// difference lists the lines that only one of two sorted texts has.
func difference(was, now string) string {
	var b strings.Builder
	for _, way := range []struct{ sign, in, notIn string }{{"- ", was, now}, {"+ ", now, was}} {
		other := map[string]bool{}
		for line := range strings.Lines(way.notIn) {
			other[line] = true
		}
		for line := range strings.Lines(way.in) {
			if !other[line] {
				b.WriteString(way.sign + line)
			}
		}
	}
	return b.String()
}

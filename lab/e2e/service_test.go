package e2e

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/probe"
)

// unitSetting is what a packaged unit says of a setting.
func unitSetting(t *testing.T, role, key string) string {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "packaging", "systemd", "braid-"+role+".service"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if value, ok := strings.CutPrefix(s.Text(), key+"="); ok {
			return value
		}
	}
	t.Fatalf("the unit of the %s does not say %s", role, key)
	return ""
}

// serviceUser stands for the user that packages make.
const serviceUser = 64_242

// asService starts a daemon as its unit does: as a user of its own, with the
// unit's capabilities and no others, no new ones ever, settings read-only but for
// the network's, and a TUN device that everybody may open, as udev makes it.
func asService(t *testing.T, role string) []string {
	t.Helper()
	if a, b := unitSetting(t, role, "AmbientCapabilities"), unitSetting(t, role, "CapabilityBoundingSet"); a != b {
		t.Fatalf("ambient %q, bound %q", a, b)
	}
	caps := "-all"
	for _, c := range strings.Fields(unitSetting(t, role, "AmbientCapabilities")) {
		caps += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // the daemons' files are beside it
		t.Fatal(err)
	}
	tun := filepath.Join(dir, "tun")
	script := fmt.Sprintf(`set -e
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount --bind /proc/sys/net /proc/sys/net
mount -o remount,bind,rw /proc/sys/net
[ -e %[1]s ] || mknod -m 666 %[1]s c 10 200
mount --bind %[1]s /dev/net/tun
exec setpriv --reuid %[2]d --regid %[2]d --clear-groups --no-new-privs --inh-caps=%[3]s --ambient-caps=%[3]s --bounding-set=%[3]s -- "$@"`,
		tun, serviceUser, caps)
	return []string{"unshare", "--mount", "sh", "-c", script, "sh"}
}

// beginService is begin with daemons that run as their units say.
func beginService(t *testing.T, o daemon.Options) *world {
	t.Helper()
	o.User, o.Through = serviceUser, func(role string) []string { return asService(t, role) }
	return begin(t, cellA(), o)
}

// privileges are the capabilities of a process, and whether it can gain others.
func (w *world) privileges(pid int) map[string]string {
	w.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	w.must(err)
	m := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			m[key] = strings.TrimSpace(value)
		}
	}
	return m
}

// With no more than the units give them, the daemons do all that they do as root.
func TestDaemonsAsServices(t *testing.T) {
	needStreams(t)
	t.Parallel()
	w := beginService(t, daemon.Options{})
	for _, d := range []*daemon.Daemon{w.Client, w.Server} {
		p := w.privileges(d.PID())
		if user := strings.Fields(p["Uid"]); !slices.Equal(user, slices.Repeat([]string{strconv.Itoa(serviceUser)}, 4)) {
			t.Errorf("it runs as %v", user)
		}
		if p["CapEff"] != p["CapBnd"] || p["CapPrm"] != p["CapBnd"] || p["NoNewPrivs"] != "1" {
			t.Errorf("privileges: %v", p)
		}
	}
	w.curl(w.Net.InternetAddr4, 5_000_000)
	w.curl(w.Net.InternetAddr6, 5_000_000)
	// Packets, and the pace of streams beside them, which takes CAP_BPF.
	w.run(w.Net.Client, "ping", "-q", "-c", "3", "-i", "0.1", w.Net.InternetAddr4.String())
	s, err := probe.ServeEcho(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 7).String())
	w.must(err)
	defer s.Close()
	x := w.startTransfers(1<<30, 0)
	x.progress(8 << 20)
	e, err := probe.StartEcho(w.Net.Client, s.Addr, 20*time.Millisecond, 160)
	w.must(err)
	for end := time.Now().Add(patience); w.bounded() == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no connection is bounded during a call")
		}
	}
	if r := e.Stop(time.Second); r.Lost() > r.Sent/10 {
		t.Errorf("%d of %d are lost", r.Lost(), r.Sent)
	}
	// After a kill the next start cleans up, as this user, too.
	w.must(w.Client.Kill())
	w.must(w.Server.Kill())
	w.must(w.Setup.Start(w.patient()))
	w.curl(w.Net.InternetAddr4, 1_000_000)
	for _, d := range []*daemon.Daemon{w.Client, w.Server} {
		for line := range strings.Lines(d.Log()) {
			if strings.Contains(line, "not permitted") || strings.Contains(line, "denied") || strings.Contains(line, "read-only") {
				t.Error(line)
			}
		}
	}
}

// The same with packets alone.
func TestDaemonsAsServicesInPackets(t *testing.T) {
	t.Parallel()
	w := beginService(t, daemon.Options{TCP: "packets"})
	w.curl(w.Net.InternetAddr4, 5_000_000)
	w.run(w.Net.Client, "ping", "-q", "-c", "3", "-i", "0.1", w.Net.InternetAddr6.String())
}

// Without CAP_BPF streams are not bounded, which the log says once.
func TestServiceWithoutBPF(t *testing.T) {
	needStreams(t)
	t.Parallel()
	without := func(role string) []string {
		c := asService(t, role)
		for i := range c {
			c[i] = strings.NewReplacer(",+bpf", "", ",+perfmon", "").Replace(c[i])
		}
		return c
	}
	w := begin(t, cellA(), daemon.Options{User: serviceUser, Through: without})
	s, err := probe.ServeEcho(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 7).String())
	w.must(err)
	defer s.Close()
	x := w.startTransfers(1<<30, 0)
	x.progress(8 << 20)
	e, err := probe.StartEcho(w.Net.Client, s.Addr, 20*time.Millisecond, 160)
	w.must(err)
	w.awaitLog(w.Server, "streams do not make room")
	x.progress(8 << 20)
	e.Stop(time.Second)
	if n := strings.Count(w.Server.Log(), "streams do not make room"); n != 1 {
		t.Errorf("it was said %d times", n)
	}
}

// A daemon of root's keeps what it needs, and nothing else.
func TestRootGivesUpCapabilities(t *testing.T) {
	t.Parallel()
	w := begin(t, fast(), daemon.Options{})
	for _, d := range []*daemon.Daemon{w.Client, w.Server} {
		p := w.privileges(d.PID())
		kept, err := strconv.ParseUint(p["CapEff"], 16, 64)
		w.must(err)
		// CHOWN, DAC_OVERRIDE, NET_BIND_SERVICE, NET_ADMIN, PERFMON, BPF (linux/capability.h).
		const want = 1<<0 | 1<<1 | 1<<10 | 1<<12 | 1<<38 | 1<<39
		if kept != want || p["CapPrm"] != p["CapEff"] || p["CapBnd"] != p["CapEff"] || p["NoNewPrivs"] != "1" {
			t.Errorf("privileges: %v", p)
		}
	}
	w.curl(w.Net.InternetAddr4, 1_000_000)
}

// NetworkManager gives interfaces MPTCP endpoints: braid neither needs them nor
// touches them.
func TestEndpointsOfOthers(t *testing.T) {
	t.Parallel()
	w := prepare(t, cellA(), daemon.Options{})
	for id, uplink := range []string{"dsl", "lte"} {
		addr := strings.Fields(w.run(w.Net.Client, "ip", "-4", "-br", "addr", "show", "dev", uplink))[2]
		addr, _, _ = strings.Cut(addr, "/")
		w.run(w.Net.Client, "ip", "mptcp", "endpoint", "add", addr, "dev", uplink, "id", strconv.Itoa(id+1), "subflow")
	}
	w.run(w.Net.Client, "ip", "mptcp", "limits", "set", "subflow", "2", "add_addr_accepted", "1")
	w.run(w.Net.Server, "ip", "mptcp", "endpoint", "add", w.Net.ServerAddr4.String(), "id", "7", "signal")
	was := map[*lab.Host]string{w.Net.Client: w.snapshot(w.Net.Client), w.Net.Server: w.snapshot(w.Net.Server)}
	endpoints := func() string {
		return w.run(w.Net.Client, "ip", "mptcp", "endpoint") + w.run(w.Net.Server, "ip", "mptcp", "endpoint")
	}
	before := endpoints()
	w.must(w.Setup.Start(w.patient()))
	w.curl(w.Net.InternetAddr4, 5_000_000)
	if now := endpoints(); now != before {
		t.Errorf("endpoints of others were\n%sand are\n%s", before, now)
	}
	w.must(w.Stop())
	for h, s := range was {
		w.same(h, s)
	}
}

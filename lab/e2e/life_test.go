package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/probe"
)

// load is a download that runs beside a test.
type load struct {
	w      *world
	file   string
	bytes  int64
	server *probe.HTTPServer
	done   chan error
}

// startLoad downloads n bytes with curl, in the background.
func (w *world) startLoad(n int64) *load {
	w.Helper()
	s, err := probe.ServeHTTP(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 0).String())
	w.must(err)
	l := &load{w: w, file: filepath.Join(w.TempDir(), "load"), bytes: n, server: s, done: make(chan error, 1)}
	go func() {
		_, err := w.Net.Client.Run(w.ctx, "curl", "-sS", "--fail", "--max-time", "120", "-o", l.file, s.URL(w.Net.InternetAddr4, n))
		l.done <- err
	}()
	return l
}

// size is how much has arrived.
func (l *load) size() int64 {
	info, err := os.Stat(l.file)
	if err != nil {
		return 0
	}
	return info.Size()
}

// progress waits for more to arrive.
func (l *load) progress(bytes int64) {
	l.w.Helper()
	for from, end := l.size(), time.Now().Add(patience); l.size() < from+bytes; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			l.w.Fatalf("the download stands at %d bytes", l.size())
		}
	}
}

// finish waits for the end and verifies all bytes.
func (l *load) finish() {
	l.w.Helper()
	l.w.must(<-l.done)
	l.w.verify(l.file, l.bytes)
	l.w.must(l.server.Close())
}

// tunDevice is what must not change while the tunnel is away.
func (w *world) tunDevice(h *lab.Host) string {
	w.Helper()
	var keep []string
	for line := range strings.Lines(w.run(h, "ip", "addr", "show", "dev", "braid0")) {
		if f := strings.Fields(line); strings.HasPrefix(f[0], "inet") || strings.Contains(line, "braid0:") {
			keep = append(keep, strings.TrimSpace(line))
		}
	}
	return strings.Join(keep, "\n") + "\n" + w.run(h, "ip", "route", "get", "8.8.8.8")
}

// A server that restarts under load: the client's device and addresses stay,
// a download in packets goes on, and the tunnel is back within two seconds.
// Streams end with the server: TestRestartResetsStreams.
func TestServerRestartUnderLoad(t *testing.T) {
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{TCP: "packets"})
	l := w.startLoad(60_000_000)
	l.progress(1_000_000)
	device := w.tunDevice(w.Net.Client)
	best := time.Hour
	for range 3 {
		w.must(w.Server.Kill())
		time.Sleep(time.Second)
		if now := w.tunDevice(w.Net.Client); now != device {
			t.Fatalf("the device changed from\n%s to\n%s", device, now)
		}
		w.must(w.Server.Start(w.patient()))
		began := time.Now()
		w.run(w.Net.Client, "sh", "-c", "until ping -q -c 1 -W 0.2 "+daemon.Server4.String()+"; do :; done")
		took := time.Since(began)
		best = min(best, took)
		t.Logf("the tunnel was back %v after the server", took.Round(time.Millisecond))
		w.must(w.Client.WaitUp(w.patient(), 2))
		l.progress(1_000_000)
	}
	if best > 2*time.Second {
		t.Errorf("the tunnel was never back within 2 s, at best %v", best)
	}
	if now := w.tunDevice(w.Net.Client); now != device {
		t.Errorf("the device changed from\n%s to\n%s", device, now)
	}
	l.finish()
}

// An uplink is unplugged and plugged in again, and another one: the download
// goes on over what there is.
func TestUplinkRemovedAndAdded(t *testing.T) {
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{})
	l := w.startLoad(80_000_000)
	l.progress(1_000_000)
	for _, name := range []string{"dsl", "lte"} {
		w.must(w.Net.Links[name].SetCarrier(false))
		w.must(w.Client.WaitFor(w.patient(), name+" dead", func(s daemon.Status) bool {
			for _, u := range s.Uplinks {
				if u.Interface == name && u.State != "dead" {
					return false
				}
			}
			return s.Up() == 1
		}))
		l.progress(1_000_000)
		w.must(w.Net.Links[name].SetCarrier(true))
		w.must(w.Client.WaitUp(w.patient(), 2))
		l.progress(1_000_000)
	}
	l.finish()
}

// An uplink's interface vanishes, as when a modem is pulled out, and comes back
// under another index.
func TestUplinkInterfaceRecreated(t *testing.T) {
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{})
	l := w.startLoad(40_000_000)
	l.progress(1_000_000)
	w.changed = true
	w.must(w.Net.RemoveUplink("lte"))
	w.must(w.Client.WaitUp(w.patient(), 1))
	l.progress(1_000_000)
	w.must(w.Net.RestoreUplink("lte"))
	w.must(w.Client.WaitUp(w.patient(), 2))
	l.finish()
}

// An uplink changes its address, as mobile networks do.
func TestUplinkAddressChanges(t *testing.T) {
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{})
	l := w.startLoad(40_000_000)
	l.progress(1_000_000)
	w.changed = true
	w.must(w.Net.ChangeAddress("lte", 99))
	l.progress(1_000_000)
	w.must(w.Client.WaitUp(w.patient(), 2))
	l.finish()
}

// An uplink swallows everything without a sign. The kernel's own timers see to
// it, slowly; nothing is lost.
func TestUplinkBlackHole(t *testing.T) {
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{})
	l := w.startLoad(60_000_000)
	l.progress(1_000_000)
	w.must(w.Net.Links["dsl"].SetBlackHole(true))
	l.progress(2_000_000)
	w.must(w.Net.Links["dsl"].SetBlackHole(false))
	l.finish()
}

// All uplinks go for a while: the session and what runs inside outlive it.
func TestAllUplinksGone(t *testing.T) {
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{})
	l := w.startLoad(40_000_000)
	l.progress(1_000_000)
	before, err := w.Client.Status(w.ctx)
	w.must(err)
	for _, link := range w.Net.Links {
		w.must(link.SetCarrier(false))
	}
	time.Sleep(3 * time.Second)
	for _, link := range w.Net.Links {
		w.must(link.SetCarrier(true))
	}
	w.must(w.Client.WaitUp(w.patient(), 2))
	l.finish()
	after, err := w.Client.Status(w.ctx)
	w.must(err)
	if before.Session.ID != after.Session.ID {
		t.Errorf("session %s became %s", before.Session.ID, after.Session.ID)
	}
}

// Whether a connection is MPTCP is known on both sides; without it braid goes on
// over one uplink.
func TestServerWithoutMPTCP(t *testing.T) {
	t.Parallel()
	w := prepare(t, fast(), daemon.Options{})
	w.must(w.Server.Start(w.patient()))
	// The first router strips MPTCP's option, as some middleboxes do.
	for _, r := range w.Net.Routers {
		w.run(r, "nft", "add", "table", "inet", "strip")
		w.run(r, "nft", "add", "chain", "inet", "strip", "forward", "{ type filter hook forward priority 0; }")
		w.run(r, "nft", "add", "rule", "inet", "strip", "forward", "reset tcp option 30")
	}
	w.must(w.Client.Start(w.patient()))
	w.must(w.Client.WaitUp(w.patient(), 1))
	s, err := w.Client.Status(w.ctx)
	w.must(err)
	if s.Session.MPTCP || s.Up() != 1 {
		t.Errorf("status %+v", s)
	}
	if !strings.Contains(w.Client.Log(), "plain TCP") {
		t.Errorf("not said in the log:\n%s", w.Client.Log())
	}
	w.run(w.Net.Client, "ping", "-q", "-c", "1", w.Net.InternetAddr4.String())
	w.must(w.Stop())
}

// begin checks that daemons that are stopped leave nothing. This one kills them.
func TestCleanupAfterKill(t *testing.T) {
	t.Parallel()
	w := prepare(t, fast(), daemon.Options{})
	client, server := w.snapshot(w.Net.Client), w.snapshot(w.Net.Server)
	w.must(w.Setup.Start(w.patient()))

	// Nobody cleans up under a running daemon's feet.
	if out, err := w.Net.Client.Run(w.ctx, binary, "cleanup", "--dir", w.Client.RunDir()); err == nil {
		t.Errorf("cleanup beside a running client:\n%s", out)
	}
	w.run(w.Net.Client, "ping", "-q", "-c", "1", w.Net.InternetAddr4.String())

	// As a client leaves it that is killed while it makes a carrier.
	const manager, userspace = "net.mptcp.pm_type", "1"
	killClient := func() {
		t.Helper()
		w.must(w.Client.Kill())
		w.must(w.Net.Client.SetSysctl(manager, userspace))
	}
	killClient()
	w.must(w.Server.Kill())
	w.run(w.Net.Client, binary, "cleanup", "--dir", w.Client.RunDir())
	w.run(w.Net.Server, binary, "cleanup", "--dir", w.Server.RunDir())
	w.same(w.Net.Client, client)
	w.same(w.Net.Server, server)

	// And a new one starts over what was left by a killed one.
	w.must(w.Setup.Start(w.patient()))
	killClient()
	w.must(w.Client.Start(w.patient()))
	w.must(w.Client.WaitUp(w.patient(), 2))
	w.run(w.Net.Client, "ping", "-q", "-c", "1", w.Net.InternetAddr4.String())
	w.must(w.Stop())
	w.same(w.Net.Client, client)
	w.same(w.Net.Server, server)
}

// Uplinks that the configuration does not name, or names never, are not used.
func TestUplinkPatterns(t *testing.T) {
	t.Parallel()
	for name, rules := range map[string]string{
		"pattern": "[[uplink]]\ninterface = \"d*\"\n",
		"never":   "[[uplink]]\ninterface = \"lte\"\nrole = \"never\"\n[[uplink]]\ninterface = \"*\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := prepare(t, cellA(), daemon.Options{ClientMore: rules})
			w.must(w.Server.Start(w.patient()))
			w.must(w.Client.Start(w.patient()))
			w.must(w.Client.WaitUp(w.patient(), 1))
			s, err := w.Client.Status(w.ctx)
			w.must(err)
			for _, u := range s.Uplinks {
				if want := map[string]string{"dsl": "up", "lte": "off"}[u.Interface]; u.State != want {
					t.Errorf("%s is %s, want %s", u.Interface, u.State, want)
				}
			}
			before, err := w.Net.Client.Counters("lte")
			w.must(err)
			w.curl(w.Net.InternetAddr4, 5_000_000)
			after, err := w.Net.Client.Counters("lte")
			w.must(err)
			if n := after.RxBytes - before.RxBytes; n > 10_000 {
				t.Errorf("lte carried %d bytes", n)
			}
			w.must(w.Stop())
		})
	}
}

package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/probe"
)

func TestPing(t *testing.T) {
	w := begin(t, cellA(), daemon.Options{})
	targets := []struct {
		what string
		at   netip.Addr
	}{
		{"server's tunnel address", daemon.Server4}, {"server's tunnel address", daemon.Server6},
		{"internet", w.Net.InternetAddr4}, {"internet", w.Net.InternetAddr6},
	}
	for _, target := range targets {
		for _, size := range []int{1, 56, 1400, 1452, 1472, 1473, 8000, 65_000} {
			interval := "0.1"
			if size > 8000 {
				interval = "0.6" // the idle bond takes half a second; ping waits no longer than twice the round trip
			}
			out := w.run(w.Net.Client, "ping", "-q", "-c", "3", "-i", interval, "-W", "5", "-s", strconv.Itoa(size), target.at.String())
			if !strings.Contains(out, " 0% packet loss") {
				t.Errorf("ping %s (%v) with %d bytes:\n%s", target.what, target.at, size, out)
			}
		}
	}
	// The server reaches the client, too.
	w.run(w.Net.Server, "ping", "-q", "-c", "1", daemon.Home4.String())
	w.run(w.Net.Server, "ping", "-q", "-c", "1", daemon.Home6.String())
}

// An uplink with a small MTU must not show inside: full packets pass, with the
// don't-fragment bit, and so does bulk.
func TestFullMTUOverSmallUplink(t *testing.T) {
	t.Parallel()
	c := cellA()
	for i := range c.Uplinks {
		c.Uplinks[i].MTU = 1428
	}
	w := begin(t, c, daemon.Options{})
	w.run(w.Net.Client, "ping", "-c", "2", "-i", "0.2", "-M", "do", "-s", "1472", w.Net.InternetAddr4.String())
	w.run(w.Net.Client, "ping", "-c", "2", "-i", "0.2", "-M", "do", "-s", "1452", w.Net.InternetAddr6.String())
	w.curl(w.Net.InternetAddr4, 10_000_000)
	w.curl(w.Net.InternetAddr6, 10_000_000)
}

// curl downloads n bytes from the internet host and verifies them.
func (w *world) curl(from netip.Addr, n int64) {
	w.Helper()
	s, err := probe.ServeHTTP(w.Net.Internet, netip.AddrPortFrom(from, 0).String())
	w.must(err)
	defer s.Close()
	file := filepath.Join(w.TempDir(), "file")
	w.run(w.Net.Client, "curl", "-sS", "--fail", "--max-time", "120", "-o", file, s.URL(from, n))
	w.verify(file, n)
}

func (w *world) verify(file string, n int64) {
	w.Helper()
	b, err := os.ReadFile(file)
	w.must(err)
	sum := sha256.Sum256(b)
	if got := hex.EncodeToString(sum[:]); int64(len(b)) != n || got != probe.SHA256(n) {
		w.Errorf("%d bytes arrived with sum %s, want %d with %s", len(b), got, n, probe.SHA256(n))
	}
}

func TestDownloadOverBothUplinks(t *testing.T) {
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{})
	w.curl(w.Net.InternetAddr4, 40_000_000)
	w.curl(w.Net.InternetAddr6, 20_000_000)
	w.must(w.Client.WaitFor(w.patient(), "counting all bytes, on both uplinks", func(s daemon.Status) bool {
		var sum uint64
		both := len(s.Uplinks) == 2
		for _, u := range s.Uplinks {
			sum += u.RxBytes
			both = both && u.RxBytes > 2_000_000
		}
		return both && sum > 60_000_000
	}))
}

func TestIperf3(t *testing.T) {
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{})
	_, err := w.Net.Internet.Start(w.ctx, exec.Command("iperf3", "-s"))
	w.must(err)
	for _, args := range [][]string{{}, {"-R"}, {"-P", "4"}, {"-R", "-P", "4"}, {"-u", "-b", "5M"}, {"-6", "-R"}} {
		at := w.Net.InternetAddr4
		if len(args) > 0 && args[0] == "-6" {
			at = w.Net.InternetAddr6
		}
		var r struct {
			Error string `json:"error"`
			End   struct {
				Received struct {
					Bytes int64 `json:"bytes"`
				} `json:"sum_received"`
				Sum struct {
					Bytes int64 `json:"bytes"`
				} `json:"sum"`
			} `json:"end"`
		}
		for range 20 { // until the server listens, and has done with the test before
			out, err := w.Net.Client.Run(w.ctx, "iperf3", append([]string{"-J", "-t", "3", "-c", at.String()}, args...)...)
			r.Error = ""
			if jsonErr := json.Unmarshal(out, &r); err == nil && jsonErr == nil && r.Error == "" {
				break
			}
			time.Sleep(200 * time.Millisecond)
		}
		if r.End.Received.Bytes+r.End.Sum.Bytes < 1_000_000 {
			t.Errorf("iperf3 %v: %d bytes, %s", args, r.End.Received.Bytes, r.Error)
		}
	}
}

func TestSSH(t *testing.T) {
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{})
	s, err := probe.StartSSHD(w.ctx, w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 22), w.TempDir())
	w.must(err)
	p, err := w.Net.Client.Start(w.ctx, s.Command(w.Net.InternetAddr4, "for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done"))
	w.must(err)
	w.must(p.Wait(w.patient()))
	if out := string(p.Output()); !strings.Contains(out, "line 5") {
		t.Errorf("ssh printed %q", out)
	}
}

func TestDNS(t *testing.T) {
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{})
	answer := netip.MustParseAddr("198.51.100.77")
	s, err := probe.ServeDNS(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 53).String(), map[string][]netip.Addr{"braid.test": {answer}})
	w.must(err)
	defer s.Close()
	for range 10 {
		out := w.run(w.Net.Client, "dig", "+short", "+tries=1", "@"+w.Net.InternetAddr4.String(), "braid.test", "A")
		if strings.TrimSpace(out) != answer.String() {
			t.Fatalf("dig printed %q", out)
		}
	}
}

func TestTwoClients(t *testing.T) {
	t.Parallel()
	c := fast()
	c.SecondClient = true
	w := begin(t, c, daemon.Options{})
	w.must(w.Client2.Start(w.patient()))
	w.must(w.Client2.WaitUp(w.patient(), 1))

	s, err := probe.ServeHTTP(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 0).String())
	w.must(err)
	defer s.Close()
	const n = 100_000_000
	dir := w.TempDir()
	results := make(chan error, 2)
	for _, h := range []*lab.Host{w.Net.Client, w.Net.Client2} {
		go func() {
			_, err := h.Run(w.ctx, "curl", "-sS", "--fail", "-o", filepath.Join(dir, h.Name()), s.URL(w.Net.InternetAddr4, n))
			results <- err
		}()
	}
	for range 2 {
		w.must(<-results)
	}
	w.verify(filepath.Join(dir, "client"), n)
	w.verify(filepath.Join(dir, "client2"), n)

	// Clients do not reach each other.
	if out, err := w.Net.Client.Run(w.ctx, "ping", "-c", "1", "-W", "1", daemon.Laptop4.String()); err == nil {
		t.Errorf("one client reached the other:\n%s", out)
	}
	st, err := w.Server.Status(w.ctx)
	w.must(err)
	if st.Clients[0].Packets["isolated"] == 0 {
		t.Errorf("not counted: %+v", st.Clients[0].Packets)
	}
}

// A network behind the client reaches the internet, and is reached from the
// server.
func TestNetworkBehindClient(t *testing.T) {
	t.Parallel()
	c := fast()
	c.Lan = true
	w := begin(t, c, daemon.Options{})
	for _, at := range []netip.Addr{w.Net.InternetAddr4, w.Net.InternetAddr6} {
		w.run(w.Net.Lan, "ping", "-q", "-c", "2", "-i", "0.2", at.String())
	}
	for _, at := range []netip.Addr{w.Net.LanAddr4, w.Net.LanAddr6} {
		w.run(w.Net.Server, "ping", "-q", "-c", "2", "-i", "0.2", at.String())
	}
	s, err := probe.ServeHTTP(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 0).String())
	w.must(err)
	defer s.Close()
	const n = 100_000_000
	file := filepath.Join(w.TempDir(), "file")
	w.run(w.Net.Lan, "curl", "-sS", "--fail", "-o", file, s.URL(w.Net.InternetAddr4, n))
	w.verify(file, n)
}

// A partial tunnel takes its routes only, and not what is excluded of them.
func TestPartialTunnel(t *testing.T) {
	t.Parallel()
	w := begin(t, fast(), daemon.Options{ClientMore: `routes = ["192.0.2.0/24", "2001:db8:b000::/64"]` + "\n" + `exclude = ["192.0.2.128/25"]`})
	w.run(w.Net.Client, "ping", "-q", "-c", "1", w.Net.InternetAddr4.String())
	w.run(w.Net.Client, "ping", "-q", "-c", "1", w.Net.InternetAddr6.String())
	for to, device := range map[string]string{"192.0.2.2": "braid0", "192.0.2.200": "fast1", "8.8.8.8": "fast1", "10.77.0.9": "braid0"} {
		if out := w.run(w.Net.Client, "ip", "route", "get", to); !strings.Contains(out, "dev "+device+" ") {
			t.Errorf("the way to %s is not by %s: %s", to, device, out)
		}
	}
}

// The host's own networks stay reachable beside a full tunnel.
func TestOwnNetworkStaysReachable(t *testing.T) {
	t.Parallel()
	w := begin(t, fast(), daemon.Options{})
	out := w.run(w.Net.Client, "ip", "route", "get", "10.1.0.1")
	if !strings.Contains(out, "dev fast1 ") {
		t.Errorf("the way to the first router: %s", out)
	}
	w.run(w.Net.Client, "ping", "-q", "-c", "1", "10.1.0.1")
	if out := w.run(w.Net.Client, "ip", "route", "get", "8.8.8.8"); !strings.Contains(out, "dev braid0") {
		t.Errorf("the way to the world: %s", out)
	}
}

// A packet whose source is not the client's is dropped at the server and
// counted, and the client goes on.
func TestForeignSource(t *testing.T) {
	t.Parallel()
	w := begin(t, fast(), daemon.Options{})
	w.run(w.Net.Client, "ip", "addr", "add", "10.99.0.1/32", "dev", "lo")
	if out, err := w.Net.Client.Run(w.ctx, "ping", "-c", "2", "-i", "0.1", "-W", "1", "-I", "10.99.0.1", w.Net.InternetAddr4.String()); err == nil {
		t.Errorf("a foreign source got through:\n%s", out)
	}
	w.run(w.Net.Client, "ip", "addr", "del", "10.99.0.1/32", "dev", "lo")
	st, err := w.Server.Status(w.ctx)
	w.must(err)
	if st.Clients[0].Packets["spoofed"] < 2 {
		t.Errorf("not counted: %+v", st.Clients[0].Packets)
	}
	w.run(w.Net.Client, "ping", "-q", "-c", "1", w.Net.InternetAddr4.String())
}

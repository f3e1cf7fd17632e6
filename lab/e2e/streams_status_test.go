package e2e

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"braid/lab"
	"braid/lab/daemon"
)

// The status of a download over two uplinks, for people and for programs, at
// both ends.
func TestStatusOfStream(t *testing.T) {
	needStreams(t)
	w := begin(t, cellA(), daemon.Options{})
	l := w.startLoad(30_000_000)
	to := l.server.Addr
	l.progress(15_000_000) // the second uplink joins what is large

	check := func(what string, s *streamRow, rate float64) {
		t.Helper()
		if s == nil {
			t.Fatalf("%s: the stream is not listed", what)
		}
		sum := 0.0
		for _, u := range s.Uplinks {
			sum += u.SharePct
			if u.Interface == "" || u.SharePct < 1 {
				t.Errorf("%s: %+v has no part in it", what, u)
			}
		}
		if len(s.Uplinks) != 2 || math.Abs(sum-100) > 0.5 {
			t.Errorf("%s: shares of %+v", what, s.Uplinks)
		}
		if s.State != "open" || s.AgeS <= 0 || s.AgeS > patience.Seconds() || rate < 1e6 || s.Source.Addr() != daemon.Home4 {
			t.Errorf("%s: %+v", what, s)
		}
	}
	own, _, _ := w.streams(w.Client)
	text := w.statusText(w.Client)
	_, clients, _ := w.streams(w.Server)
	serverText := w.statusText(w.Server)
	l.progress(1) // it has run all the while
	here, there := own.find(to), clients["home"].find(to)
	check("client", here, here.RxBps)
	check("server", there, there.TxBps)
	if here.Direction != "out" || there.Direction != "in" || here.RxBytes < 5_000_000 || there.TxBytes < here.RxBytes {
		t.Errorf("client %+v, server %+v", here, there)
	}
	line := func(text string) string {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(strings.TrimSpace(line), to.String()) {
				return line
			}
		}
		return ""
	}
	for what, texts := range map[string][]string{
		line(text):       {"Mb/s", "% dsl", "% lte"},
		line(serverText): {"Mb/s", "% "},
	} {
		for _, want := range texts {
			if !strings.Contains(what, want) {
				t.Errorf("no %q in %q of\n%s%s", want, what, text, serverText)
			}
		}
	}
	t.Logf("\n%s\n%s", text, serverText)
	l.finish()
}

// peakMemory is the most memory that a daemon has had, bytes.
func (w *world) peakMemory(d *daemon.Daemon) int64 {
	w.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID()))
	w.must(err)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[0] == "VmHWM:" {
			kB, err := strconv.ParseInt(f[1], 10, 64)
			w.must(err)
			return kB << 10
		}
	}
	w.Fatal("no VmHWM")
	return 0
}

// flood begins connections from a host, and waits for none. They are given up
// when the test ends.
func (w *world) flood(from *lab.Host, to netip.AddrPort, n int) {
	w.Helper()
	var fds []int
	w.Cleanup(func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	})
	w.must(from.Do(func() error {
		for range n {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			fds = append(fds, fd)
			if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); !errors.Is(err, unix.EINPROGRESS) {
				return err
			}
		}
		return nil
	}))
}

// A host behind the client asks for thousands of connections to somebody who
// says nothing, and asks again as TCP does. What that costs is bounded, and
// others get through: at once, when carriers were made for those that came first.
func TestSYNFlood(t *testing.T) {
	needStreams(t)
	c := fast()
	c.Lan = true
	w := begin(t, c, daemon.Options{})
	echo := w.echoAt(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 0))
	defer w.drop("tcp dport 4000")()
	connect := func() time.Duration {
		t.Helper()
		began := time.Now()
		conn, err := w.Net.Client.DialContext(w.patient(), "tcp", echo.String())
		w.must(err)
		defer conn.Close()
		took := time.Since(began)
		w.must(conn.SetDeadline(time.Now().Add(patience)))
		w.must(exchange(conn, 100_000))
		t.Logf("connected after %v, exchanged after %v", took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		return took
	}
	connect()
	before := map[*daemon.Daemon]int64{w.Client: w.peakMemory(w.Client), w.Server: w.peakMemory(w.Server)}
	w.flood(w.Net.Lan, netip.AddrPortFrom(w.Net.InternetAddr4, 4000), 5000)
	var took []time.Duration
	for range 4 {
		took = append(took, connect())
		time.Sleep(300 * time.Millisecond)
	}
	if slices.Min(took) > time.Second {
		t.Errorf("another host's connections took %v beside the flood", took)
	}
	own, _, _ := w.streams(w.Client)
	_, clients, _ := w.streams(w.Server)
	for _, d := range []struct {
		*daemon.Daemon
		what    string
		streams streamCounts
	}{{w.Client, "client", own}, {w.Server, "server", clients["home"]}} {
		peak := w.peakMemory(d.Daemon)
		t.Logf("%s: %d streams, %d MiB at most, %d before", d.what, d.streams.ListTotal, peak>>20, before[d.Daemon]>>20)
		if d.streams.ListTotal > 1500 { // 1024 for each source
			t.Errorf("%s: %d connections are waited for", d.what, d.streams.ListTotal)
		}
		if peak > 256<<20 && len(buildFlags) == 0 {
			t.Errorf("%s: took %d MiB", d.what, peak>>20)
		}
	}
}

// What the uplinks delivered at most is about what they can, never more, at both
// ends.
func TestStatusOfDelivery(t *testing.T) {
	t.Parallel()
	w := begin(t, cellA(), daemon.Options{})
	x := w.startTransfers(60_000_000, 8_000_000)
	x.finish()
	can := map[string][2]float64{"dsl": {50e6, 10e6}, "lte": {30e6, 10e6}} // down and up
	check := func(where string, list []daemon.Uplink, flip bool) {
		t.Helper()
		if len(list) != len(can) {
			t.Errorf("%s: %+v", where, list)
		}
		for _, u := range list {
			down, up := u.DeliverRxBps, u.DeliverTxBps
			if flip {
				down, up = up, down
			}
			t.Logf("%s: %s at most %.1f Mb/s down, %.1f up, jitter %.1f ms", where, u.Interface, down/1e6, up/1e6, u.JitterMs)
			c := can[u.Interface]
			if down < c[0]/4 || down > 1.1*c[0] || up < c[1]/4 || up > 1.1*c[1] {
				t.Errorf("%s: of %s is said %+v", where, u.Interface, u)
			}
			if !flip && u.JitterMs <= 0 {
				t.Errorf("%s: no jitter of %s", where, u.Interface)
			}
		}
	}
	own, err := w.Client.Status(w.ctx)
	w.must(err)
	check("client", own.Uplinks, false)
	there, err := w.Server.Status(w.ctx)
	w.must(err)
	check("server", there.Clients[0].Uplinks, true)
	if text := w.statusText(w.Client); !strings.Contains(text, "  at most ") {
		t.Errorf("not told:\n%s", text)
	}
}

package e2e

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/daemon"
)

// speedtest is what "braid speedtest --json" prints, as far as it matters here.
type speedtest struct {
	Uplinks []struct {
		Interface string    `json:"interface"`
		LeftOut   string    `json:"left_out"`
		IdleMs    float64   `json:"idle_ms"`
		Down      *speedWay `json:"down"`
		Up        *speedWay `json:"up"`
	} `json:"uplinks"`
	Bond *struct {
		Down *speedWay `json:"down"`
		Up   *speedWay `json:"up"`
	} `json:"bond"`
}

type speedWay struct {
	Bps           float64 `json:"bps"`
	Line          float64 `json:"line_bps"`
	LoadedMs      float64 `json:"loaded_ms"`
	LoadedWorstMs float64 `json:"loaded_worst_ms"`
	Parts         []struct {
		Bps float64 `json:"bps"`
	} `json:"parts"`
	Problem string `json:"problem"`
}

// speedtestCommand is the command line, with what is the same in all of them.
func (w *world) speedtestCommand(args ...string) []string {
	return append([]string{"speedtest", "--control", filepath.Join(w.Client.RunDir(), "client.sock")}, args...)
}

func (w *world) speedtest(args ...string) (s speedtest) {
	w.Helper()
	out := w.run(w.Net.Client, binary, w.speedtestCommand(append(args, "--json")...)...)
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		w.Fatalf("%v in %s", err, out)
	}
	return s
}

// speedShare of a line's rate is payload: segments of 1500 bytes have 72 of headers.
const speedShare = 1428.0 / 1500

// about checks a measurement against a rate of the emulator, in Mb/s. A machine that
// has much else to do gets less through.
func (w *world) about(what string, way *speedWay, rate float64) {
	w.Helper()
	if way == nil || way.Problem != "" {
		w.Errorf("%s: %+v", what, way)
		return
	}
	payload, line := way.Bps/1e6/(rate*speedShare), way.Line/1e6/rate
	w.Logf("%s: %.1f Mb/s, %.1f %% of what %.0f Mb/s carry; with headers %.1f %%; loaded %.0f / %.0f ms",
		what, way.Bps/1e6, 100*payload, rate, 100*line, way.LoadedMs, way.LoadedWorstMs)
	if payload < 0.85 || payload > 1.05 || line < 0.85 || line > 1.05 {
		w.Errorf("%s: %+v, want about %.1f Mb/s", what, way, rate*speedShare)
	}
}

// A speed test tells what the emulator carries, of each uplink and together; leaves a
// metered uplink alone unless told; runs once at a time, and ends when interrupted.
func TestSpeedtest(t *testing.T) {
	needStreams(t)
	w := begin(t, cellA(), daemon.Options{
		ClientMore: "\n[[uplink]]\ninterface = \"lte\"\nmetered = true\n\n[[uplink]]\ninterface = \"*\"\n",
	})
	metered := w.carried("lte").bytes
	first, err := w.Net.Client.Start(w.ctx, exec.Command(binary, w.speedtestCommand("--time", "2s")...))
	w.must(err)
	w.eventually("the first runs", func() bool {
		s, err := w.Client.Status(w.ctx)
		return err == nil && s.Uplinks[0].RxBps > 5e6
	})
	if out, err := w.Net.Client.Run(w.ctx, binary, w.speedtestCommand()...); err == nil || !strings.Contains(string(out), "running already") {
		t.Errorf("a second one: %v\n%s", err, out)
	}
	w.must(first.Wait(w.ctx))
	text := string(first.Output())
	t.Logf("without --metered:\n%s", text)
	if n := w.carried("lte").bytes - metered; n > 500_000 || !strings.Contains(text, "lte: not measured, for each byte costs") {
		t.Errorf("%d bytes went over the metered uplink", n)
	}

	s := w.speedtest("--metered", "--time", "3s")
	if len(s.Uplinks) != 2 || s.Bond == nil {
		t.Fatalf("%+v", s)
	}
	for i, line := range []struct{ down, up, rtt float64 }{{50, 10, 30}, {30, 10, 60}} {
		u := s.Uplinks[i]
		w.about(u.Interface+" down", u.Down, line.down)
		w.about(u.Interface+" up", u.Up, line.up)
		if u.IdleMs < line.rtt || u.IdleMs > 2*line.rtt || u.Down.LoadedWorstMs < u.IdleMs || u.Down.LoadedMs < line.rtt || u.Up.LoadedMs < line.rtt {
			t.Errorf("%s: round trips idle %.1f ms, down %+v, up %+v", u.Interface, u.IdleMs, u.Down, u.Up)
		}
	}
	w.about("bond down", s.Bond.Down, 80)
	w.about("bond up", s.Bond.Up, 20)
	if len(s.Bond.Down.Parts) != 2 || len(s.Bond.Up.Parts) != 2 {
		t.Errorf("parts %+v, %+v", s.Bond.Down, s.Bond.Up)
	}

	w.interrupted()
}

// interrupted begins a speed test and interrupts it, which ends it at once.
func (w *world) interrupted() {
	w.Helper()
	p, err := w.Net.Client.Start(w.ctx, exec.Command(binary, w.speedtestCommand("--time", "30s")...))
	w.must(err)
	w.eventually("it runs", func() bool {
		s, err := w.Client.Status(w.ctx)
		return err == nil && s.Uplinks[0].RxBps > 10e6
	})
	w.must(p.Signal(syscall.SIGINT))
	if err := p.Wait(w.ctx); err == nil || !strings.Contains(string(p.Output()), "interrupted") {
		w.Errorf("interrupted: %v\n%s", err, p.Output())
	}
	// What the server has sent by then still comes.
	w.eventually("nothing is sent any more", func() bool {
		n, err := w.Net.Links["dsl"].Counters(lab.BToA)
		w.must(err)
		time.Sleep(500 * time.Millisecond)
		later, err := w.Net.Links["dsl"].Counters(lab.BToA)
		w.must(err)
		return later.Bytes-n.Bytes < 100_000
	})
}

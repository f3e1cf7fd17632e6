package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"braid/lab/daemon"
	"braid/lab/emulator"
	"braid/lab/probe"
	"braid/lab/topology"
)

// The environment chooses what TestFlaps does:
//
//	BRAID_FLAPS=5m    how long; 40 s otherwise, 30 minutes with BRAID_LONG=1
//	BRAID_SEED=N      the same events as in the run that printed this seed
//
// A long one needs a longer go test -timeout, too.

// flapsAfter is ample for what follows the events of TestFlaps.
const flapsAfter = 8 * time.Minute

func flapsFor(t *testing.T) time.Duration {
	t.Helper()
	if text := os.Getenv("BRAID_FLAPS"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d < time.Second {
			t.Fatalf("BRAID_FLAPS=%s: want a duration such as 5m", text)
		}
		return d
	}
	if long() {
		return 30 * time.Minute
	}
	return 40 * time.Second
}

func flapsSeed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("BRAID_SEED")
	if text == "" {
		return uint64(time.Now().UnixNano())
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("BRAID_SEED=%s: want a number", text)
	}
	return seed
}

// Black holes, loose plugs, bursts of loss, changes of rate, address and
// interface on three uplinks, at random: no connection inside ends, no byte is
// wrong, nothing stays behind, and another program's MPTCP connection over two of
// these uplinks is as it was.
func TestFlaps(t *testing.T) {
	needStreams(t)
	t.Parallel()
	length, seed := flapsFor(t), flapsSeed(t)
	t.Logf("to see this again: BRAID_SEED=%d BRAID_FLAPS=%v", seed, length)
	c := topology.Config{Seed: seed, Uplinks: []topology.Uplink{
		topology.Line("dsl", 30*emulator.Mbps, 10*emulator.Mbps, 30*time.Millisecond),
		topology.Line("lte", 20*emulator.Mbps, 10*emulator.Mbps, 60*time.Millisecond),
		topology.Line("wwan", 10*emulator.Mbps, 5*emulator.Mbps, 100*time.Millisecond),
	}}
	// The other program's way is beside the tunnel.
	w := prepare(t, c, daemon.Options{ClientMore: `routes = ["192.0.2.0/24", "2001:db8:b000::/64"]` + "\n"})
	ctx, cancel := context.WithTimeout(context.Background(), length+flapsAfter)
	t.Cleanup(cancel)
	w.ctx = ctx
	kinds := map[string][]string{"dsl": gentleFlaps, "lte": gentleFlaps, "wwan": allFlaps}
	shapes := make(map[string]topology.Uplink)
	for _, u := range c.Uplinks {
		shapes[u.Name] = u
	}
	other := w.startOther("dsl", "lte")

	w.must(w.Setup.Start(w.patient()))
	before := w.idleBaseline(len(c.Uplinks))
	traffic := w.startFlapTraffic()
	plan, done := planFlaps(seed, length, kinds), 0
	t.Cleanup(func() {
		if t.Failed() {
			for _, s := range plan[:done] {
				t.Log(s)
			}
		}
	})
	for began := time.Now(); done < len(plan); done++ {
		time.Sleep(time.Until(began.Add(plan[done].at)))
		traffic.check()
		if err := flap(w.Net, plan[done], shapes); err != nil {
			t.Fatalf("%v: %v", plan[done], err)
		}
	}
	traffic.finish()
	other.check("at the end of the events")
	// An uplink that flapped may be waited for longer each time.
	waiting, enough := context.WithTimeout(w.ctx, 3*time.Minute)
	defer enough()
	w.must(w.Client.WaitUp(waiting, len(c.Uplinks)))
	w.leftNothing(before, len(c.Uplinks))
	other.finish()
}

// flapTraffic is what runs beside the events: transfers one after another, a
// conversation of some rate, and a thin one as of ssh.
type flapTraffic struct {
	w     *world
	files *probe.HTTPServer
	echo  *probe.TCPEchoServer
	talk  *probe.Conversation
	stop  chan struct{}
	all   sync.WaitGroup

	bytes  atomic.Int64 // verified, of the transfers
	number atomic.Int64 // of transfers

	mu   sync.Mutex // guards what follows
	errs []error
	thin thinResult
}

// What the transfers bring at once, each way.
const (
	flapDownload = 4_000_000
	flapUpload   = 1_000_000
)

func (w *world) startFlapTraffic() *flapTraffic {
	w.Helper()
	x := &flapTraffic{w: w, stop: make(chan struct{})}
	var err error
	x.files, err = probe.ServeHTTP(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 0).String())
	w.must(err)
	x.echo, err = probe.ServeTCPEcho(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 7).String())
	w.must(err)
	x.talk, err = probe.StartConversation(w.ctx, w.Net.Client, x.echo.Addr, 300*emulator.Kbps)
	w.must(err)
	x.repeat("download", flapDownload, func(n int64) (probe.Transfer, error) {
		return probe.Download(w.ctx, w.Net.Client, x.files.URL(w.Net.InternetAddr4, n), nil)
	})
	x.repeat("upload", flapUpload, func(n int64) (probe.Transfer, error) {
		return probe.Upload(w.ctx, w.Net.Client, x.files.URL(w.Net.InternetAddr4, 0), n)
	})
	x.all.Go(func() {
		thin, err := thinPings(w, x.echo.Addr, x.stop)
		x.mu.Lock()
		x.thin = thin
		x.mu.Unlock()
		x.note("thin connection", err)
	})
	return x
}

func (x *flapTraffic) note(what string, err error) {
	if err != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.errs = append(x.errs, fmt.Errorf("%s: %w", what, err))
	}
}

// check ends the test when something has failed already.
func (x *flapTraffic) check() {
	x.w.Helper()
	select {
	case <-x.talk.Done():
		x.note("conversation", x.talk.Finish(patience))
	default:
	}
	x.report()
}

// report fails with all that failed.
func (x *flapTraffic) report() {
	x.w.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, err := range x.errs {
		x.w.Error(err)
	}
	if len(x.errs) > 0 {
		x.w.FailNow()
	}
}

// repeat makes verified transfers until the traffic stops, or one fails.
func (x *flapTraffic) repeat(what string, n int64, transfer func(int64) (probe.Transfer, error)) {
	want := probe.SHA256(n)
	x.all.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-x.stop:
				return
			default:
			}
			got, err := transfer(n)
			if err == nil && (got.Bytes != n || got.SHA256 != want) {
				err = fmt.Errorf("%d bytes arrived with sum %s, want %d with %s", got.Bytes, got.SHA256, n, want)
			}
			if err != nil {
				x.note(fmt.Sprintf("%s %d", what, i), err)
				return
			}
			x.bytes.Add(n)
			x.number.Add(1)
		}
	})
}

// finish ends the traffic; all that is under way must still arrive.
func (x *flapTraffic) finish() {
	x.w.Helper()
	close(x.stop)
	x.note("conversation", x.talk.Finish(patience))
	x.all.Wait()
	x.report()
	x.w.Logf("%d transfers, %d bytes of them and %d of the conversation verified; thin connection: %v",
		x.number.Load(), x.bytes.Load(), x.talk.Verified(), x.thin)
	x.w.must(errors.Join(x.files.Close(), x.echo.Close()))
}

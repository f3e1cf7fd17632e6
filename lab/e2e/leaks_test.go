package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"braid/lab"
	"braid/lab/daemon"
)

// holdings is what a daemon holds.
type holdings struct {
	descriptors int
	sockets     int // established TCP connections of braid's port, each subflow one
	carriers    daemon.Carriers
	rss         int64 // bytes
	goroutines  int   // 0: not counted
}

func (h holdings) String() string {
	return fmt.Sprintf("%d descriptors, %d sockets, %d bond carriers (%d idle), %d path carriers, %d MiB, %d goroutines",
		h.descriptors, h.sockets, h.carriers.Bond, h.carriers.Idle, h.carriers.Path, h.rss>>20, h.goroutines)
}

// both are the client's and the server's, in this order.
type both [2]holdings

func (w *world) both() (b both) {
	w.Helper()
	for i, d := range []struct {
		*daemon.Daemon
		host *lab.Host
	}{{w.Client, w.Net.Client}, {w.Server, w.Net.Server}} {
		h := &b[i]
		fds, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(d.PID()), "fd"))
		w.must(err)
		h.descriptors = len(fds)
		filter := fmt.Sprintf("( sport = :%d or dport = :%d )", daemon.Port, daemon.Port)
		h.sockets = strings.Count(w.run(d.host, "ss", "-Htn", "state", "established", filter), "\n")
		s, err := d.Status(w.ctx)
		w.must(err)
		if h.carriers = s.Carriers; len(s.Clients) > 0 {
			h.carriers = s.Clients[0].Carriers
		}
		h.rss = w.memory(d.Daemon)
	}
	return b
}

// memory is what a daemon has resident, bytes.
func (w *world) memory(d *daemon.Daemon) int64 {
	w.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID()))
	w.must(err)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[0] == "VmRSS:" {
			kB, err := strconv.ParseInt(f[1], 10, 64)
			w.must(err)
			return kB << 10
		}
	}
	w.Fatal("no VmRSS")
	return 0
}

// quitBoth ends both daemons and returns the stacks of their goroutines.
func (w *world) quitBoth() (stacks [2][]string) {
	w.Helper()
	for i, d := range []*daemon.Daemon{w.Client, w.Server} {
		var err error
		stacks[i], err = d.Quit()
		w.must(err)
	}
	return stacks
}

// idleBaseline is what the daemons hold after some traffic, when all is quiet.
// It ends them to count their goroutines, and starts them again.
func (w *world) idleBaseline(uplinks int) both {
	w.Helper()
	warm := func() {
		w.Helper()
		w.must(w.Client.WaitUp(w.patient(), uplinks))
		w.startTransfers(4_000_000, 1_000_000).finish()
		time.Sleep(2 * time.Second)
	}
	warm()
	stacks := w.quitBoth()
	w.must(w.Setup.Start(w.patient()))
	warm()
	b := w.both()
	b[0].goroutines, b[1].goroutines = len(stacks[0]), len(stacks[1])
	w.Logf("before: client %v; server %v", b[0], b[1])
	return b
}

// What a daemon may hold more than before: a pool keeps carriers for the next
// burst, and the runtime memory that it does not need.
const (
	spareCarriers   = 8
	spareMemory     = 96 << 20
	spareGoroutines = 16
	// Of each carrier that there is more.
	carrierGoroutines = 8
	// leftPatience is ample for a pool to shrink and for the kernels to give up
	// subflows whose path is gone.
	leftPatience = 2 * time.Minute
)

// excess tells what is more than before by more than it may be; "" if nothing.
func (h holdings) excess(before holdings, uplinks int) string {
	carriers := before.carriers.Bond + before.carriers.Path + spareCarriers
	for _, x := range []struct {
		what    string
		is, may int
	}{
		{"carriers", h.carriers.Bond + h.carriers.Path, carriers},
		// Each carrier is a connection with its subflows, and two may be about to come or go.
		{"descriptors", h.descriptors, before.descriptors + 4*spareCarriers},
		{"sockets", h.sockets, (h.carriers.Bond+2)*uplinks + h.carriers.Path},
	} {
		if x.is > x.may {
			return fmt.Sprintf("%d %s, more than %d", x.is, x.what, x.may)
		}
	}
	return ""
}

// leftNothing checks, when all is quiet, that the daemons hold no more than
// before, and ends them.
func (w *world) leftNothing(before both, uplinks int) {
	w.Helper()
	names := [2]string{"client", "server"}
	now := w.both()
	for end := time.Now().Add(leftPatience); ; now = w.both() {
		wrong := ""
		for i := range now {
			if x := now[i].excess(before[i], uplinks); x != "" {
				wrong = names[i] + " has " + x
			}
		}
		if wrong == "" {
			break
		}
		if time.Now().After(end) {
			w.Fatalf("%s\nbefore: client %v; server %v\nnow: client %v; server %v", wrong, before[0], before[1], now[0], now[1])
		}
		time.Sleep(500 * time.Millisecond)
	}
	stacks := w.quitBoth()
	now[0].goroutines, now[1].goroutines = len(stacks[0]), len(stacks[1])
	w.Logf("after: client %v; server %v", now[0], now[1])
	for i := range now {
		more := max(0, now[i].carriers.Bond+now[i].carriers.Path-before[i].carriers.Bond-before[i].carriers.Path)
		if may := before[i].goroutines + spareGoroutines + more*carrierGoroutines; now[i].goroutines > may {
			w.Errorf("%s has %d goroutines, more than %d:\n%s", names[i], now[i].goroutines, may, strings.Join(stacks[i], "\n\n"))
		}
		if may := before[i].rss + spareMemory; now[i].rss > may && len(buildFlags) == 0 {
			w.Errorf("%s has %d MiB, more than %d", names[i], now[i].rss>>20, may>>20)
		}
	}
}

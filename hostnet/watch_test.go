package hostnet

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// watched is a host whose uplinks a test changes, and what follow reports of
// it, with the time since its start.
type watched struct {
	signal chan struct{}

	mu      sync.Mutex // guards what follows
	now     inventory
	err     error
	looks   int
	reports []watchReport
}

func (w *watched) look() (inventory, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	return w.now, w.err
}

func (w *watched) set(inv inventory, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now, w.err = inv, err
}

type watchReport struct {
	at      time.Duration
	uplinks []Uplink
}

func follows(t *testing.T, w *watched, f func()) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		w.signal = make(chan struct{}, 1)
		done := make(chan error)
		go func() {
			done <- follow(ctx, w.signal, w.look, nil, func(u []Uplink) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.reports = append(w.reports, watchReport{time.Since(start), u})
			})
		}()
		synctest.Wait()
		f()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (w *watched) change(inv inventory) {
	w.set(inv, nil)
	w.event()
}

func (w *watched) event() {
	select {
	case w.signal <- struct{}{}:
	default:
	}
	synctest.Wait()
}

func (w *watched) check(t *testing.T, want ...watchReport) {
	t.Helper()
	synctest.Wait()
	if len(w.reports) != len(want) {
		t.Fatalf("%d reports, want %d: %+v", len(w.reports), len(want), w.reports)
	}
	for i, r := range w.reports {
		if r.at != want[i].at || len(r.uplinks) != len(want[i].uplinks) {
			t.Errorf("report %d: %+v, want %+v", i, r, want[i])
		}
	}
	w.reports = nil
}

func oneUplink() inventory {
	return inventory{
		links:     []foundLink{link(2, "dsl")},
		addresses: []foundAddress{at(2, "192.0.2.7", 0)},
		routes:    []foundRoute{via(2, "0.0.0.0/0", "192.0.2.1")},
	}
}

func TestWatchSettles(t *testing.T) {
	var w watched
	none, some := []Uplink(nil), make([]Uplink, 1)
	follows(t, &w, func() {
		w.check(t, watchReport{0, none})
		// The interface comes up in stages.
		inv := oneUplink()
		w.change(inventory{links: inv.links})
		time.Sleep(150 * time.Millisecond)
		w.change(inventory{links: inv.links, routes: inv.routes})
		time.Sleep(150 * time.Millisecond)
		w.change(inv)
		time.Sleep(10 * time.Second)
		w.check(t, watchReport{500 * time.Millisecond, some})
		// Nothing that matters changes.
		w.change(inv)
		time.Sleep(10 * time.Second)
		w.check(t)
	})
}

func TestWatchReportsLossAtOnce(t *testing.T) {
	losses := map[string]func(*inventory){
		"link":    func(i *inventory) { i.links = nil },
		"down":    func(i *inventory) { i.links = []foundLink{{Link: Link{Name: "dsl", Index: 2}}} },
		"renewed": func(i *inventory) { *i = inventory{links: []foundLink{link(3, "dsl")}} },
		"address": func(i *inventory) { i.addresses = nil },
		"route":   func(i *inventory) { i.routes = nil },
		"gateway": func(i *inventory) { i.routes = []foundRoute{via(2, "0.0.0.0/0", "192.0.2.99")} },
	}
	for name, lose := range losses {
		t.Run(name, func(t *testing.T) {
			w := watched{now: oneUplink()}
			follows(t, &w, func() {
				w.reports = nil
				time.Sleep(time.Second)
				inv := oneUplink()
				lose(&inv)
				w.change(inv)
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if len(w.reports) != 1 || w.reports[0].at != time.Second {
					t.Errorf("reports: %+v", w.reports)
				}
			})
		})
	}
}

// A storm of events neither hides what is new for ever nor keeps a processor
// busy.
func TestWatchInAStorm(t *testing.T) {
	var w watched
	follows(t, &w, func() {
		for range 3000 {
			w.change(oneUplink())
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if len(w.reports) != 2 || w.reports[1].at > settleMax+breath {
			t.Errorf("reports: %+v", w.reports)
		}
		if w.looks > 200 {
			t.Errorf("%d looks in 3 s", w.looks)
		}
	})
}

// What the kernel does not tell is found all the same, and a failed look is
// repeated.
func TestWatchLooksAgain(t *testing.T) {
	w := watched{now: oneUplink()}
	follows(t, &w, func() {
		w.set(inventory{}, nil)
		time.Sleep(resync + time.Second)
		w.check(t, watchReport{0, make([]Uplink, 1)}, watchReport{resync, nil})
		w.set(oneUplink(), errors.New("no memory"))
		w.event()
		time.Sleep(5 * time.Second)
		w.set(oneUplink(), nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(w.reports) != 1 || len(w.reports[0].uplinks) != 1 {
			t.Errorf("reports: %+v", w.reports)
		}
	})
}

func TestWatchFailsAtOnce(t *testing.T) {
	w := watched{err: errors.New("no netlink")}
	err := follow(t.Context(), nil, w.look, nil, nil)
	if !errors.Is(err, w.err) {
		t.Error(err)
	}
}

func TestHasLost(t *testing.T) {
	old := Uplink{Name: "dsl", Index: 2, MTU: 1500, Default4: true, Addresses: addresses("192.0.2.7")}
	more := old
	more.Addresses = addresses("192.0.2.6", "192.0.2.7")
	more.Default6, more.Gateway6, more.MTU = true, netip.MustParseAddr("fe80::1"), 1400
	if hasLost([]Uplink{old}, []Uplink{{Name: "lte", Index: 3}, more}) {
		t.Error("more is a loss")
	}
	if !hasLost([]Uplink{more}, []Uplink{old}) {
		t.Error("less is no loss")
	}
}

package tunnel

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"braid/scheduler"
)

// used is what the carrier of packets may use: names, "-" behind a backup's.
func (c *testClient) used() string {
	c.mu.Lock()
	car := c.current
	c.mu.Unlock()
	if car == nil {
		return "no carrier"
	}
	f := car.conn.(*fakeConn)
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for _, u := range f.uplinks {
		name := u.Name
		if u.Backup {
			name += "-"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func (c *testClient) path(name string) PathStatus {
	for _, p := range c.Status().Paths {
		if p.Uplink == name {
			return p
		}
	}
	return PathStatus{}
}

func (c *testClient) state(name string) scheduler.State { return c.path(name).State }

// bothUp is a client whose uplinks both answer.
func (w *world) bothUp() *testClient {
	w.t.Helper()
	c := w.home()
	w.await("both up", func() bool { return c.state("dsl") == scheduler.Up && c.state("lte") == scheduler.Up })
	return c
}

// chat is a little traffic, until it is stopped.
func (w *world) chat(c *testClient) (stop func()) {
	done := make(chan struct{})
	w.running.Go(func() {
		for {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-done:
				return
			}
			c.stir()
		}
	})
	return sync.OnceFunc(func() { close(done) })
}

func TestPathsAreWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.bothUp()
		peer := w.server.Status().Peers[0]
		if len(peer.Paths) != 2 {
			t.Errorf("the server has %d path carriers", len(peer.Paths))
		}
		w.await("the server has been told", func() bool {
			said := w.server.Status().Peers[0].Uplinks
			return len(said) == 2 && said[0].Name == "dsl" && said[0].State == uint8(scheduler.Up) && said[1].Use == uint8(scheduler.Active)
		})
		w.await("the trains have come", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return len(c.usage.guesses) == 2
		})
		// Without traffic there are few beats.
		time.Sleep(10 * time.Minute)
		before := c.path("dsl").BeatsSent
		time.Sleep(10 * time.Minute)
		if n := c.path("dsl").BeatsSent - before; n < 4 || n > 6 {
			t.Errorf("%d beats in ten idle minutes", n)
		}
	})
}

func TestBlackHoleOfOneUplink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.bothUp()
		stop := w.chat(c)
		defer stop()
		time.Sleep(time.Second)
		w.net.setHole("dsl", true)
		began := time.Now()
		w.within(400*time.Millisecond, "it is dead", func() bool { return c.used() == "lte" })
		t.Logf("dead after %v: %s", time.Since(began), c.path("dsl").Reason)
		w.await("the server has been told", func() bool {
			return w.server.Status().Peers[0].Uplinks[0].State == uint8(scheduler.Dead)
		})
		time.Sleep(5 * time.Second)
		if c.used() != "lte" {
			t.Errorf("uses %q while dsl is a black hole", c.used())
		}
		epoch := c.paths.paths[0].epoch
		w.net.setHole("dsl", false)
		w.within(2*time.Second, "it is back", func() bool { return c.used() == "dsl lte" })
		stop()
		if epoch == 0 {
			t.Error("its subflows are those from before")
		}
		if p := c.path("dsl"); p.Deaths != 1 || p.State != scheduler.Up {
			t.Errorf("%+v", p)
		}
		events := c.Status().Events
		last := events[len(events)-1]
		if last.Uplink != "dsl" || last.To != scheduler.Up {
			t.Errorf("last event %+v", last)
		}
	})
}

// While no uplink works nothing is taken away, and the first that returns gets
// new subflows.
func TestBlackHoleOfAllUplinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.bothUp()
		stop := w.chat(c)
		defer stop()
		time.Sleep(time.Second)
		w.net.setHole("dsl", true)
		w.net.setHole("lte", true)
		w.within(time.Second, "both are dead", func() bool {
			return c.state("dsl") == scheduler.Dead && c.state("lte") == scheduler.Dead
		})
		if used := c.used(); used == "" {
			t.Error("the last uplink was taken away, too")
		}
		epoch := func() uint32 {
			c.paths.mu.Lock()
			defer c.paths.mu.Unlock()
			return c.paths.paths[1].epoch
		}
		before := epoch()
		time.Sleep(3 * time.Second)
		w.net.setHole("lte", false)
		w.within(200*time.Millisecond, "one is back", func() bool { return c.used() == "lte" })
		// It answers no steadier than before, and so it may go again.
		w.net.setHole("lte", true)
		w.within(5*time.Second, "it is known to be dead", func() bool { return c.state("lte") == scheduler.Dead })
		time.Sleep(3 * time.Second)
		w.net.setHole("dsl", false)
		w.within(200*time.Millisecond, "the other is back", func() bool { return c.used() == "dsl" })
		w.net.setHole("lte", false)
		w.within(5*time.Second, "both are back", func() bool { return c.used() == "dsl lte" })
		if epoch() == before {
			t.Error("its subflows are those from before")
		}
	})
}

func TestBackupStandsBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.home()
		backup := uplinkB
		backup.Role = scheduler.Backup
		c.SetUplinks([]Uplink{uplinkA, backup})
		w.await("it stands by", func() bool { return c.used() == "dsl lte-" })
		stop := w.chat(c)
		defer stop()
		time.Sleep(2 * time.Second)
		w.net.setHole("dsl", true)
		w.within(400*time.Millisecond, "it is used", func() bool { return c.used() == "lte" })
		w.net.setHole("dsl", false)
		w.within(2*time.Second, "it stands by again", func() bool { return c.used() == "dsl lte-" })
	})
}

// After a sleep all uplinks are asked at once, also where nothing moves: those that
// do not answer any more are left, and those that were dead are tried again.
func TestAllUplinksAreAskedAfterSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.bothUp()
		time.Sleep(20 * time.Minute) // until nothing is asked but every two minutes
		asked := c.path("dsl").BeatsSent
		w.await("it was asked just now", func() bool { return c.path("dsl").BeatsSent > asked })
		time.Sleep(10 * time.Second)
		w.net.setHole("dsl", true)
		time.Sleep(time.Second)
		if c.state("dsl") != scheduler.Up || c.state("lte") != scheduler.Up {
			t.Fatalf("before it sleeps: %v, %v", c.state("dsl"), c.state("lte"))
		}
		before := c.path("lte").BeatsSent
		c.Woke()
		w.within(50*time.Millisecond, "the other is asked", func() bool { return c.path("lte").BeatsSent > before })
		w.within(1500*time.Millisecond, "the one that fell silent is left", func() bool { return c.state("dsl") == scheduler.Dead && c.used() == "lte" })
		time.Sleep(10 * time.Minute) // until it is dialled seldom
		if n := c.path("lte").Deaths; n != 0 || c.state("lte") != scheduler.Up {
			t.Errorf("lte died %d times", n)
		}
		w.net.setHole("dsl", false)
		c.Woke()
		w.within(2*time.Second, "it is back", func() bool { return c.state("dsl") == scheduler.Up })
	})
}

// An uplink that gets other addresses is the same uplink: its carrier is dialled
// anew, and until that tells more it is used.
func TestOtherAddressIsNoDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.bothUp()
		stop := w.chat(c)
		defer stop()
		w.net.setDelay(2 * time.Second)
		moved := uplinkB
		for i := range 5 {
			time.Sleep(time.Second)
			w.net.setHole("lte", true) // the last two beats have no answer yet
			time.Sleep(105 * time.Millisecond)
			w.net.setHole("lte", false)
			moved.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, byte(10 + i)})}
			c.SetUplinks([]Uplink{uplinkA, moved})
			time.Sleep(10 * time.Millisecond)
			w.within(4*time.Second, "it answers", func() bool { return c.state("lte") == scheduler.Up && c.path("lte").Connected })
		}
		if p := c.path("lte"); p.Deaths != 0 || c.used() != "dsl lte" {
			t.Errorf("%+v, used %s", p, c.used())
		}
		w.net.setHole("lte", true) // and where the new one leads nowhere, it is left
		moved.Addresses = uplinkB.Addresses
		c.SetUplinks([]Uplink{uplinkA, moved})
		w.await("it is left", func() bool { return c.state("lte") == scheduler.Dead && c.used() == "dsl" })
	})
}

// A server that ends its carriers says nothing about the uplinks.
func TestServerThatHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.bothUp()
		time.Sleep(10 * time.Second)
		w.net.cut()
		w.await("connected again", func() bool { return c.Status().Connected && len(w.server.Status().Peers[0].Paths) == 2 })
		time.Sleep(10 * time.Second)
		for _, p := range c.Status().Paths {
			if p.Deaths != 0 || p.State != scheduler.Up {
				t.Errorf("%+v", p)
			}
		}
	})
}

func TestCapDemotes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.home()
		c.CapUsed = func(name string) scheduler.CapRecord {
			return scheduler.CapRecord{Month: time.Now().Local().Format("2006-01"), Bytes: 500}
		}
		capped := uplinkB
		capped.CapBytes = 1000
		c.SetUplinks([]Uplink{uplinkA, capped})
		w.await("both are used", func() bool { return c.used() == "dsl lte" })
		if used := c.Caps()["lte"].UsedBytes; used != 500 {
			t.Errorf("%d bytes are used, want those from before", used)
		}
		w.await("it is known what the uplinks carry", func() bool { return len(c.Status().Usage) == 2 })
		spend := func(wire uint64) { // and the ticker finds it
			c.mu.Lock()
			defer c.mu.Unlock()
			c.usage.uplinks["lte"].WireBytes += wire
		}
		spend(410)
		w.await("near its cap it is for overflow", func() bool { return c.used() == "dsl lte-" && c.path("lte").Role == scheduler.Overflow })
		spend(100)
		w.await("over its cap it is a backup", func() bool { return c.path("lte").Role == scheduler.Backup })
		if c.used() != "dsl lte-" {
			t.Errorf("uses %q", c.used())
		}
	})
}

// An uplink with which nothing is faster stands by, is tried again, and is the
// way when there is no other.
func TestQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.bothUp()
		w.await("it is known what the uplinks carry", func() bool { return len(c.Status().Usage) == 2 })
		carries := func(name string, rate scheduler.BitRate) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.usage.uplinks[name].rx.Add(time.Now(), rate, time.Second, true)
		}
		carries("dsl", 50e6)
		c.mu.Lock() // thin upward, which says nothing of what it can bring down
		c.usage.uplinks["dsl"].tx.Add(time.Now(), 50e6, time.Second, true)
		c.usage.uplinks["lte"].tx.Add(time.Now(), 1e6, time.Second, true)
		c.mu.Unlock()
		time.Sleep(time.Minute)
		if c.used() != "dsl lte" || c.state("lte") != scheduler.Up {
			t.Errorf("uses %q, and what lte may bring down is not known", c.used())
		}
		carries("lte", 1e6)
		w.within(10*time.Second, "it stands by", func() bool { return c.used() == "dsl lte-" })
		if p := c.path("lte"); p.State != scheduler.Quarantined || !strings.HasPrefix(p.Reason, "1.0 Mb/s in ") {
			t.Errorf("%v, %q", p.State, p.Reason)
		}
		w.await("the server has been told", func() bool {
			return w.server.Status().Peers[0].Uplinks[1].State == uint8(scheduler.Quarantined)
		})
		w.within(2*time.Minute, "it is tried again", func() bool { return c.used() == "dsl lte" && c.state("lte") == scheduler.Up })
		carries("lte", 1e6)
		w.within(10*time.Second, "it stands by again", func() bool { return c.used() == "dsl lte-" })
		w.net.setHole("dsl", true)
		stop := w.chat(c)
		defer stop()
		w.within(time.Second, "it is used", func() bool { return c.used() == "lte" })
		w.net.setHole("dsl", false)
		w.within(20*time.Second, "it stands by beside the other", func() bool { return c.used() == "dsl lte-" })
	})
}

// Path carriers that never say whose they are, are bounded like the others.
func TestNamelessPathCarriersAreBounded(t *testing.T) {
	s := newSession(Peer{})
	for i := range pathsMost {
		if !s.beginPath() {
			t.Fatalf("the %dth was refused", i+1)
		}
	}
	if s.beginPath() {
		t.Errorf("more than %d", pathsMost)
	}
	s.leavePath(&sessionPath{})
	if !s.beginPath() {
		t.Error("one left, and no other may come")
	}
}

// The numbers of states, roles and uses are on the wire (docs/protocol.md,
// section 9): they may not change with the order of the scheduler's constants.
func TestNumbersOnTheWire(t *testing.T) {
	for want, got := range []scheduler.State{scheduler.Probing, scheduler.Up, scheduler.Late, scheduler.Dead, scheduler.Quarantined, scheduler.Off} {
		if int(got) != want {
			t.Errorf("state %v is %d, want %d", got, got, want)
		}
	}
	for want, got := range []scheduler.Role{scheduler.Bond, scheduler.Overflow, scheduler.Backup, scheduler.Never} {
		if int(got) != want {
			t.Errorf("role %v is %d, want %d", got, got, want)
		}
	}
	for want, got := range []scheduler.Use{scheduler.None, scheduler.Standby, scheduler.Active} {
		if int(got) != want {
			t.Errorf("use %v is %d, want %d", got, got, want)
		}
	}
}

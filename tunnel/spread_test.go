package tunnel

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func uplinksNamed(names string) (list []Uplink) {
	for _, n := range strings.Fields(names) {
		list = append(list, Uplink{Name: n})
	}
	return list
}

func namesOf(list []Uplink) string {
	var names []string
	for _, u := range list {
		names = append(names, u.Name)
	}
	return strings.Join(names, " ")
}

// The order of uplinks follows their round trips, but not every whim of them.
func TestPreferred(t *testing.T) {
	type step struct {
		uplinks string         // as the owner prefers them
		rtt     map[string]int // milliseconds; below 0: it was that, and there is no subflow
		want    string
	}
	tests := []struct {
		name  string
		steps []step
	}{
		{"nothing is known", []step{
			{"a b c", nil, "a b c"}, {"a b c", nil, "a b c"},
		}},
		{"the quickest first", []step{
			{"a b c", map[string]int{"a": 60, "b": 20, "c": 40}, "b c a"},
		}},
		{"a difference below a step changes nothing", []step{
			{"a b", map[string]int{"a": 24, "b": 20}, "a b"},
			{"a b", map[string]int{"a": 25, "b": 20}, "b a"},
			{"a b", map[string]int{"a": 16, "b": 20}, "b a"},
			{"a b", map[string]int{"a": 15, "b": 20}, "a b"},
		}},
		{"many small differences add up", []step{
			{"a b c", map[string]int{"a": 18, "b": 14, "c": 10}, "c a b"},
			{"a b c", map[string]int{"a": 18, "b": 14, "c": 10}, "c a b"},
		}},
		{"one without a subflow is last", []step{
			{"a b c", map[string]int{"b": 300, "c": 20}, "c b a"},
			{"a b c", map[string]int{"a": 10, "b": 300, "c": -5}, "a b c"},
		}},
		{"one that dies goes behind, and comes back", []step{
			{"a b", map[string]int{"a": 10, "b": 30}, "a b"},
			{"a b", map[string]int{"b": 30}, "b a"},
			{"a b", map[string]int{"a": 10, "b": 30}, "a b"},
		}},
		{"a new one goes behind", []step{
			{"b", map[string]int{"b": 30}, "b"},
			{"a b", map[string]int{"b": 30}, "b a"},
		}},
		{"a new one goes behind before anything is known", []step{
			{"b", nil, "b"}, {"b a", nil, "b a"},
		}},
		{"nor does what was known of it change that", []step{
			{"a b", map[string]int{"a": 20, "b": 20}, "a b"},
			{"b", map[string]int{"a": 20, "b": 20}, "b"},
			{"b a", map[string]int{"a": 20, "b": 20}, "b a"},
		}},
		{"none, and some again", []step{
			{"a b", map[string]int{"a": 50, "b": 20}, "b a"}, {"", nil, ""}, {"a b", nil, "a b"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := NewClient(ClientConfig{})
			for i, x := range tt.steps {
				c.SetUplinks(uplinksNamed(x.uplinks))
				c.usage.uplinks = map[string]*UplinkUsage{}
				for name, ms := range x.rtt {
					c.usage.uplinks[name] = &UplinkUsage{Subflows: 1, RTT: time.Duration(max(ms, -ms)) * time.Millisecond}
					if ms < 0 {
						c.usage.uplinks[name].Subflows = 0
					}
				}
				if got := namesOf(c.preferred()); got != x.want {
					t.Fatalf("step %d: %q, want %q", i, got, x.want)
				}
				if got := namesOf(c.uplinks); got != x.uplinks {
					t.Fatalf("step %d: the owner's order became %q", i, got)
				}
			}
		})
	}
}

func (c *fakeConn) backups() []bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []bool
	for _, u := range c.uplinks {
		list = append(list, u.Backup)
	}
	return list
}

// A link is thin at first, wide while much moves, and thin again when it is
// quiet; its subflows follow.
func TestThinLink(t *testing.T) {
	c := NewClient(ClientConfig{Log: slog.New(slog.DiscardHandler)})
	c.SetUplinks(uplinksNamed("a b c"))
	conn := &fakeConn{}
	var wg sync.WaitGroup
	k := &link{conn: conn, wg: &wg}
	k.widen = func(k *link) { wg.Go(func() { _ = c.joinLink(k) }) }
	want := func(when string, thin bool) {
		t.Helper()
		wg.Wait()
		if k.growth.thin() != thin || !slices.Equal(conn.backups(), []bool{false, thin, thin}) {
			t.Errorf("%s: thin is %v, backups are %v", when, k.growth.thin(), conn.backups())
		}
	}
	_ = c.joinLink(k)
	want("new", true)
	tick := func() {
		if k.tick() {
			_ = c.joinLink(k)
		}
	}
	for range 100 { // a person types
		k.countOut(quietBytes)
		tick()
	}
	want("in use by a person", true)
	k.countOut(thinBytes)
	want("a page's object", true)
	k.countOut(1)
	want("much in one go", false)
	for range 10 {
		k.countOut(quietBytes + 1)
		tick()
		for range quietTicks - 1 {
			tick()
		}
	}
	want("short pauses", false)
	tick()
	want("quiet", true)
	for range thinBytes / (quietBytes + 1) {
		k.countOut(quietBytes + 1)
		tick()
	}
	want("a slow download's beginning", true)
	k.countOut(quietBytes + 1)
	want("it goes on", false)
}

func TestJoinWithoutUplinks(t *testing.T) {
	c := NewClient(ClientConfig{Log: slog.New(slog.DiscardHandler)})
	conn := &fakeConn{}
	if c.joinThin(conn); len(conn.uplinks) != 0 {
		t.Errorf("%v", conn.uplinks)
	}
}

// Joins that succeed late, while a link is in use already, leave it as wide as
// it is by then.
func TestSettleLeavesLinksWide(t *testing.T) {
	f := newFakeStreams(swallow)
	streamsTest(t, f, func(w *world, c *testClient) {
		time.Sleep(time.Second)
		w.net.mu.Lock()
		w.net.notYet = int(settleFor/settleEvery) / 2
		w.net.mu.Unlock()
		var writers sync.WaitGroup
		var stop atomic.Bool
		for range 2 * spareLinks {
			conn := f.open(w)
			writers.Go(func() {
				b := make([]byte, 16<<10)
				for !stop.Load() {
					if _, err := conn.Write(b); err != nil {
						t.Errorf("write: %v", err)
						return
					}
					time.Sleep(5 * time.Millisecond)
				}
				conn.Close()
			})
		}
		for range 4 {
			time.Sleep(settleFor / 2)
			synctest.Wait()
			for _, k := range c.streams().allLinks() {
				thin, backups := k.growth.thin(), k.conn.(*fakeConn).backups()
				if len(backups) == 2 && backups[1] != thin {
					t.Errorf("carrier %d: thin is %v, backups are %v", k.number, thin, backups)
				}
			}
		}
		wide := 0
		for _, k := range c.streams().allLinks() {
			if !k.growth.thin() {
				wide++
			}
		}
		if wide != 2*spareLinks {
			t.Errorf("%d wide links for %d busy streams", wide, 2*spareLinks)
		}
		stop.Store(true)
		writers.Wait()
	})
}

// A link that becomes wide while its second uplink is still joining gets it as
// soon as that is through, not with the next look at all links.
func TestWidenedBeforeItsJoin(t *testing.T) {
	c := NewClient(ClientConfig{Log: slog.New(slog.DiscardHandler)})
	c.SetUplinks(uplinksNamed("a b"))
	conn := &fakeConn{notYet: 5}
	var wg sync.WaitGroup
	k := &link{conn: conn, wg: &wg}
	k.widen = func(k *link) { wg.Go(func() { _ = c.joinLink(k) }) }
	l := &lane{links: map[*link]struct{}{k: {}}}
	k.countOut(thinBytes + 1)
	wg.Wait()
	for range 4 {
		k.countOut(quietBytes + 1)
		c.thinOut(l)
	}
	if conn.backups() != nil {
		t.Fatal("joined too early")
	}
	k.countOut(quietBytes + 1)
	c.thinOut(l)
	if want := []bool{false, false}; !slices.Equal(conn.backups(), want) {
		t.Errorf("backups are %v, want %v", conn.backups(), want)
	}
	conn.notYet = 1 << 30
	level := k.growth.level.Load()
	for range 10 * lackingMost { // what never comes is not asked for at every tick
		k.lacking.CompareAndSwap(0, 1)
		k.countOut(quietBytes + 1)
		c.thinOut(l)
	}
	wg.Wait()
	levels := int(k.growth.level.Load() - level)
	if tries := 1<<30 - conn.notYet; tries > lackingMost*(levels+1) {
		t.Errorf("%d tries", tries)
	}
}

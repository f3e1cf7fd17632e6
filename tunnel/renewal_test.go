package tunnel

import (
	"testing"
	"time"

	"braid/scheduler"
)

// A stream that outlives its carrier's keys moves without a pause.
func TestOldCarrierIsReplaced(t *testing.T) {
	f := newFakeStreams(echo)
	streamsTest(t, f, func(w *world, c *testClient) {
		conn := f.open(w)
		before := c.Status().Streams.List[0].Carrier
		time.Sleep(linkMaxAge + time.Minute)
		s := c.Status().Streams
		if s.List[0].Carrier == before || s.List[0].State != StreamOpen || s.Failed != 0 {
			t.Errorf("after an hour: %+v, it was carrier %d", s.List[0], before)
		}
		exchange(w, conn, 1000, nil)
	})
}

// What lived through many losses of uplinks may have subflows at the peer that
// lead nowhere, and is replaced by both who open streams on it.
func TestScarredCarriersAreReplaced(t *testing.T) {
	f := newFakeStreams(echo)
	streamsTest(t, f, func(w *world, c *testClient) {
		conn := f.open(w)
		time.Sleep(time.Second)
		var before []*link
		before = append(before, c.streams().allLinks()...)
		stream := c.Status().Streams.List[0].Carrier
		stop := w.chat(c)
		defer stop()
		for range linkMaxScars + 1 {
			w.net.setHole("dsl", true)
			w.within(2*time.Second, "it is dead", func() bool { return c.state("dsl") == scheduler.Dead })
			w.net.setHole("dsl", false)
			w.within(time.Minute, "it is back", func() bool { return c.state("dsl") == scheduler.Up })
		}
		time.Sleep(10 * time.Second)
		if s := c.Status().Streams; s.List[0].Carrier == stream || s.List[0].State != StreamOpen || s.Failed != 0 {
			t.Errorf("%+v, it was carrier %d", s.List[0], stream)
		}
		for _, k := range before {
			if !k.dead.Load() {
				t.Errorf("carrier %d is still there", k.number)
			}
		}
		exchange(w, conn, 1000, nil)
	})
}

package tunnel

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"braid/tunnel/wire"
)

// speedPlan is one of the world's two uplinks.
func speedPlan() SpeedPlan {
	return SpeedPlan{Alone: []string{"dsl", "lte"}, Bond: []string{"dsl", "lte"}, For: 2 * time.Second}
}

func newSpeedStreams() *fakeStreams {
	f := newFakeStreams(echo)
	f.limits.Speedtest = true
	return f
}

// testBandwidth is what the connections of these tests carry, bytes a second: those
// of the harness are without bounds, and time stands still while bytes move.
const testBandwidth = 2 << 20

// pacedConn takes its time for what it writes.
type pacedConn struct {
	net.Conn
	pace int // bytes a second
}

func paced(c net.Conn, pace int) net.Conn {
	if pace == 0 {
		return c
	}
	return pacedConn{c, pace}
}

func (c pacedConn) Write(b []byte) (done int, err error) {
	for done < len(b) && err == nil {
		n := min(len(b)-done, 4<<10)
		time.Sleep(time.Duration(n) * time.Second / time.Duration(c.pace))
		n, err = c.Conn.Write(b[done : done+n])
		done += n
	}
	return done, err
}

func (n *fakeNetwork) setPace(bytesPerSecond int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pace = bytesPerSecond
}

func TestSpeedtest(t *testing.T) {
	streamsTest(t, newSpeedStreams(), func(w *world, c *testClient) {
		w.net.setPace(testBandwidth)
		links := c.streams().linkCount()
		var steps []SpeedStep
		began := time.Now()
		res, err := c.Speedtest(w.ctx, speedPlan(), func(s SpeedStep) {
			steps = append(steps, s)
			if s.Done > s.For || s.Number > s.Of || s.Of != 6 {
				t.Errorf("step %+v", s)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 6*2*time.Second || took > 6*6*time.Second {
			t.Errorf("took %v", took)
		}
		if len(res.Alone) != 2 || res.Bond == nil || res.Alone[0].Uplink != "dsl" || res.Alone[1].Uplink != "lte" || res.Calls {
			t.Fatalf("result %+v", res)
		}
		if last := steps[len(steps)-1]; last.Number != 6 || last.Uplink != "" || last.Phase != SpeedUp {
			t.Errorf("last step %+v", last)
		}
		for _, l := range append(res.Alone, *res.Bond) {
			for _, way := range []SpeedWay{l.Down, l.Up} {
				if way.Problem != "" || way.Bytes == 0 || way.Rate < 0.8*8*testBandwidth || way.Rate > 1.1*8*testBandwidth || way.Line < way.Rate {
					t.Errorf("%q: %+v", l.Uplink, way)
				}
			}
		}
		for _, name := range speedPlan().Alone {
			if l := res.Idle[name]; l.Beats < 20 || l.Worst < l.P50 {
				t.Errorf("%s idle: %+v", name, l)
			}
			if l := res.Bond.Up.Loaded[name]; l.Beats < 15 {
				t.Errorf("%s loaded: %+v", name, l)
			}
		}
		w.await("the links are as before", func() bool { return c.streams().linkCount() == links })
		if s := c.Status().Streams; s.Failed != 0 || s.Malformed != 0 || s.Reverse != spareReverseLinks {
			t.Errorf("status %+v", s)
		}
	})
}

// A second test is refused, and the first goes on; when it is given up nothing of it
// stays, and another one may begin.
func TestSpeedtestOneAtATime(t *testing.T) {
	streamsTest(t, newSpeedStreams(), func(w *world, c *testClient) {
		w.net.setPace(testBandwidth)
		links := c.streams().linkCount()
		ctx, cancel := context.WithCancel(w.ctx)
		first := make(chan error)
		go func() {
			_, err := c.Speedtest(ctx, speedPlan(), func(SpeedStep) {})
			first <- err
		}()
		for _, after := range []time.Duration{time.Second, 3 * time.Second} { // while idle, and while bytes move
			time.Sleep(after)
			if _, err := c.Speedtest(w.ctx, speedPlan(), func(SpeedStep) {}); !errors.Is(err, ErrSpeedtestRuns) {
				t.Errorf("beside another: %v", err)
			}
		}
		cancel()
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("given up: %v", err)
		}
		w.await("the links are as before", func() bool { return c.streams().linkCount() == links })
		plan := SpeedPlan{Alone: []string{"lte"}, For: time.Second}
		if res, err := c.Speedtest(w.ctx, plan, func(SpeedStep) {}); err != nil || res.Bond != nil || res.Alone[0].Down.Rate == 0 {
			t.Errorf("afterwards: %+v, %v", res, err)
		}
	})
}

func TestSpeedtestRefused(t *testing.T) {
	f := newSpeedStreams()
	f.limits.Speedtest = false
	streamsTest(t, f, func(w *world, c *testClient) {
		none := func(SpeedStep) {}
		_, err := c.Speedtest(w.ctx, speedPlan(), none)
		if refused, ok := errors.AsType[*SpeedRefusedError](err); !ok || !strings.Contains(refused.Reason, "limits.speedtest") {
			t.Errorf("forbidden: %v", err)
		}
		l := f.limits
		l.Speedtest = true
		w.server.SetLimits(l) // as a configuration that is read again does
		if _, err = c.Speedtest(w.ctx, SpeedPlan{Alone: []string{"eth9"}, For: time.Second}, none); err != nil {
			t.Errorf("an uplink that is not there: %v", err)
		}
		c.speed.offered.Store(false) // an older server
		if _, err := c.Speedtest(w.ctx, speedPlan(), none); !errors.Is(err, ErrNoSpeedtest) {
			t.Errorf("an older server: %v", err)
		}
		w.net.setDown(true)
		w.net.cut()
		w.await("not connected", func() bool { return !c.Status().Connected })
		if _, err := c.Speedtest(w.ctx, speedPlan(), none); !errors.Is(err, ErrNotConnected) {
			t.Errorf("without a connection: %v", err)
		}
	})
}

// An uplink that dies in its measurement has a problem; the others have figures.
func TestSpeedtestOfUplinkThatDies(t *testing.T) {
	streamsTest(t, newSpeedStreams(), func(w *world, c *testClient) {
		w.net.setPace(testBandwidth)
		res, err := c.Speedtest(w.ctx, SpeedPlan{Alone: []string{"lte", "dsl"}, For: 2 * time.Second}, func(s SpeedStep) {
			if s.Uplink == "lte" && s.Phase == SpeedDown && s.Done > 300*time.Millisecond {
				w.net.cut()
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if lte := res.Alone[0]; lte.Down.Problem == "" {
			t.Errorf("%+v", lte)
		}
		if dsl := res.Alone[1]; dsl.Down.Problem != "" || dsl.Down.Rate == 0 || dsl.Up.Rate == 0 {
			t.Errorf("%+v", dsl)
		}
	})
}

// What a test's frames must not do ends the carrier, and the rest goes on.
func TestSpeedtestRules(t *testing.T) {
	for what, frames := range map[string][]byte{
		"data, when the server sends": append(wire.Test{For: time.Second}.Append(nil), wire.AppendData(nil, []byte{1})...),
		"data after the end":          append(append(wire.Test{Up: true, For: time.Second}.Append(nil), wire.AppendFin(nil)...), wire.AppendData(nil, []byte{1})...),
		"a second test":               append(wire.Test{For: time.Second}.Append(nil), wire.Test{For: time.Second}.Append(nil)...),
		"a tally":                     append(wire.Test{Up: true, For: time.Second}.Append(nil), wire.Tally{}.Append(nil)...),
		"a test of no time":           {byte(wire.TypeTest), 0, 0, 5, 0, 0, 0, 0, 0},
	} {
		t.Run(what, func(t *testing.T) {
			streamsTest(t, newSpeedStreams(), func(w *world, c *testClient) {
				w.net.setPace(testBandwidth)
				k, err := c.dialTrial(w.ctx, c.streams(), []string{"dsl"})
				if err != nil {
					t.Fatal(err)
				}
				if err := k.WriteFrames(frames); err != nil {
					t.Fatal(err)
				}
				for err == nil {
					_, _, err = k.ReadFrame()
				}
				k.Close()
				w.await("it is known for what", func() bool { return w.server.Status().Peers[0].Counters.Malformed == 1 })
				if !c.Status().Connected {
					t.Error("the session has gone with it")
				}
			})
		})
	}
}

func TestTestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTestGate()
		for range testsAtOnce {
			if why := g.enter(); why != "" {
				t.Errorf("refused: %s", why)
			}
		}
		if g.enter() == "" {
			t.Error("more at once than may be")
		}
		for range testsAtOnce {
			g.leave()
		}
		n := testsAtOnce
		for ; n < 1000 && g.enter() == ""; n++ {
			g.leave()
		}
		if n != testsBurst {
			t.Errorf("%d in a row", n)
		}
		time.Sleep(testEvery)
		if why := g.enter(); why != "" {
			t.Errorf("after a pause: %s", why)
		}
	})
}

func TestBeatLog(t *testing.T) {
	var b beatLog
	now := time.Now()
	at := func(s int) time.Time { return now.Add(time.Duration(s) * time.Second) }
	b.add("dsl", at(0), time.Millisecond) // nobody watches
	if b.watches("dsl") || len(b.since(at(0), at(9))) != 0 {
		t.Error("kept without being asked")
	}
	b.watch([]string{"dsl", "lte"})
	for i, took := range []time.Duration{9, 30, 10, 20, 500} {
		b.add("dsl", at(i), took*time.Millisecond)
		b.add("wlan0", at(i), took)
	}
	got := b.since(at(1), at(4))
	if len(got) != 1 || got["dsl"] != (SpeedLatency{20 * time.Millisecond, 30 * time.Millisecond, 3}) {
		t.Errorf("%+v", got)
	}
	b.watch(nil)
	if b.watches("lte") {
		t.Error("watched for ever")
	}
}

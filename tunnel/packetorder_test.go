package tunnel

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"braid/scheduler/policy"
	"braid/tunnel/wire"
)

// marks are of the packets that a host got.
type marks struct {
	mu   sync.Mutex
	list []int
}

func (m *marks) add(p []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.list = append(m.list, markOf(p))
}

func (m *marks) all() []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.list)
}

// receiver is a lane with two paths that notes what the host gets.
func receiver(t *testing.T) (got *marks, l *packetLane, a, b *packetPath) {
	t.Helper()
	got = new(marks)
	l = newPacketLane(wire.SessionID{1}, PacketPolicies{}, got.add)
	say := func([]byte) error { return nil }
	a, b = l.newPath(false, say), l.newPath(false, say)
	a.attach(time.Now(), true, false)
	b.attach(time.Now(), true, false)
	a.tellRTT(30 * time.Millisecond)
	b.tellRTT(60 * time.Millisecond)
	return got, l, a, b
}

// framesOf takes all that a path has to send; the frames are copies.
func framesOf(p *packetPath) (list [][]byte) {
	for p.backlog() {
		frames, _ := p.take(time.Now(), nil)
		for _, f := range frames {
			list = append(list, slices.Clone(f))
		}
		p.wrote()
	}
	return list
}

func give(t *testing.T, p *packetPath, frames [][]byte) {
	t.Helper()
	for _, f := range frames {
		if err := p.receive(time.Now(), f[wire.HeaderLen:]); err != nil {
			t.Fatal(err)
		}
	}
}

// A flow that takes two paths comes out in order, and others are not held up.
func TestSpreadFlowIsOrdered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sender, a, b := ruled(t, map[string]string{"192.0.2.0/24": "roundrobin"})
		defer sender.close()
		got, l, x, y := receiver(t)
		defer l.close()
		const n = 200
		for i := range n {
			sender.push(time.Now(), []*parcel{newParcel(thick("10.77.0.2", "192.0.2.1", i))})
			onA, onB := framesOf(a), framesOf(b)
			if len(onA)+len(onB) != 1 {
				t.Fatalf("%d and %d frames", len(onA), len(onB))
			}
			time.AfterFunc(10*time.Millisecond, func() { give(t, x, onA) })
			time.AfterFunc(25*time.Millisecond, func() { give(t, y, onB) })
			time.Sleep(time.Millisecond)
		}
		sender.push(time.Now(), []*parcel{newParcel(thick("10.77.0.2", "198.51.100.7", 1000))})
		give(t, x, framesOf(a))
		synctest.Wait()
		if !slices.Contains(got.all(), 1000) {
			t.Error("another flow waits")
		}
		time.Sleep(time.Second)
		if all := slices.DeleteFunc(got.all(), func(i int) bool { return i == 1000 }); len(all) != n || !slices.IsSorted(all) {
			t.Errorf("%d of %d, %v", len(all), n, all)
		}
		if s := l.status().Order; s.Held != 0 || s.Disordered < n/4 || s.Passed != 0 {
			t.Errorf("%+v", s)
		}
		l.order.mu.Lock()
		defer l.order.mu.Unlock()
		if !l.order.due.IsZero() {
			t.Error("the timer runs for nothing")
		}
	})
}

// What does not come at all is waited for only as long as the paths say.
func TestLostPacketsAreNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, l, x, _ := receiver(t)
		defer l.close()
		for i := range 10 {
			if i != 5 {
				give(t, x, [][]byte{ordered(uint64(i), 1, uint64(i), i)})
			}
		}
		if !slices.Equal(got.all(), []int{0, 1, 2, 3, 4}) {
			t.Errorf("at once %v", got.all())
		}
		time.Sleep(70 * time.Millisecond)
		synctest.Wait()
		if !slices.Equal(got.all(), []int{0, 1, 2, 3, 4, 6, 7, 8, 9}) {
			t.Errorf("after 70 ms %v", got.all())
		}
		give(t, x, [][]byte{ordered(5, 1, 5, 5)}) // after all
		if len(got.all()) != 10 {
			t.Errorf("in the end %v", got.all())
		}
	})
}

// ordered is a frame of a packet with a place in a flow.
func ordered(number uint64, flow uint32, place uint64, mark int) []byte {
	h := wire.PacketHead{Number: number, Bulk: true, Flow: flow, Place: place}
	f := append(make([]byte, wire.HeaderLen+h.Len()), thick("198.51.100.7", "10.77.0.2", mark)...)
	wire.PutPacketHead(f, &h)
	return f
}

// Whatever a peer says of flows and places, all is delivered once, and little is
// held.
func TestHostileOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, l, x, y := receiver(t)
		defer l.close()
		r := rand.New(rand.NewPCG(1, 2))
		const n = 20_000
		for i := range n {
			place := r.Uint64N(5000)
			if r.IntN(10) == 0 {
				place = r.Uint64N(wire.MaxNumber)
			}
			p := []*packetPath{x, y}[r.IntN(2)]
			give(t, p, [][]byte{ordered(uint64(i), 1+r.Uint32N(100), place, i)})
			if flows, bytes := heldBy(l.order); flows > orderFlows || bytes > orderBytes {
				t.Fatalf("%d flows and %d bytes are held", flows, bytes)
			}
			if i%100 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		all := got.all()
		slices.Sort(all)
		if held := l.status().Order.Held; held != 0 || len(all)+int(dropped(l)) != n || len(slices.Compact(slices.Clone(all))) != len(all) {
			t.Errorf("%d packets of %d, %d held", len(all), n, held)
		}
	})
}

func heldBy(o *packetOrder) (flows, bytes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.flows {
		bytes += f.buf.Bytes()
	}
	return len(o.flows), bytes
}

// dropped are those that said to have a place that another had, and waited.
func dropped(l *packetLane) (n uint64) {
	for _, f := range l.order.flows {
		n += f.buf.Counters().Duplicate
	}
	return n
}

// A super-packet of a spread flow is cut before its parts take paths, and comes
// whole.
func TestSpreadSuperPackets(t *testing.T) {
	for _, name := range []string{"roundrobin", "redundant"} {
		synctest.Test(t, func(t *testing.T) {
			sender, a, b := ruled(t, map[string]string{"198.51.100.0/24": name})
			defer sender.close()
			bytes := 0
			l := newPacketLane(wire.SessionID{1}, PacketPolicies{}, func(p []byte) { bytes += len(p) - wire.VnetLen - 28 })
			defer l.close()
			x := l.newPath(false, func([]byte) error { return nil })
			x.attach(time.Now(), true, false)
			a.rate.bits, a.rate.seen, a.rate.full = 1e6, 1e6, time.Now()
			sender.push(time.Now(), []*parcel{newParcel(udpSuper(50, 1200))})
			onA, onB := framesOf(a), framesOf(b)
			if len(onA) < 4 || len(onB) < 4 {
				t.Errorf("%s: %d and %d frames", name, len(onA), len(onB))
			}
			give(t, x, onA)
			give(t, x, onB)
			time.Sleep(time.Second)
			if bytes != 50*1200 {
				t.Errorf("%s: %d bytes", name, bytes)
			}
		})
	}
}

// A flow that takes both paths loses nothing when one swallows everything.
func TestSpreadFlowOverBlackHole(t *testing.T) {
	for _, name := range []string{"roundrobin", "ecf"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.stop()
			w.policies.Rules = policy.NewRules([]policy.Rule{{Policy: slices.Index(policy.Names(), name)}})
			w.server.sessions()[0].policies = w.policies
			c := w.bothUp()
			up, down := w.collect(w.serverTUN), w.collect(c.tun)
			const n = 1000
			for i := range n {
				w.bothSend(c, i)
				time.Sleep(5 * time.Millisecond) // a megabit per second: bulk
				switch i {
				case 200:
					w.net.setHole("lte", true)
				case 600:
					w.net.setHole("lte", false)
				}
			}
			time.Sleep(time.Second)
			w.once(up(), n)
			w.once(down(), n)
			if s := c.Status(); c.path("lte").Deaths != 1 || s.Packets.Order.Held != 0 {
				t.Errorf("%s: %+v, %+v", name, c.path("lte"), s.Packets)
			}
		})
	}
}

package tunnel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"braid/scheduler"
	"braid/scheduler/queue"
	"braid/tunnel/wire"
)

// numbered is a packet that says who it is.
func numbered(src, dst string, n int) []byte {
	return packet(src, dst, append(binary.BigEndian.AppendUint32(nil, uint32(n)), 0)...) // not refusedByKernel
}

// thick is numbered, and too long to have copies at once.
func thick(src, dst string, n int) []byte {
	return packet(src, dst, append(binary.BigEndian.AppendUint32(make([]byte, 500), uint32(n)), 0)...)
}

// bothSend has the client's host and one behind the server send thick packets.
func (w *world) bothSend(c *testClient, i int) {
	c.tun.toBraid <- thick("10.77.0.2", "198.51.100.7", i)
	w.serverTUN.toBraid <- thick("198.51.100.7", "10.77.0.2", i)
}

func markOf(p []byte) int { return int(binary.BigEndian.Uint32(p[len(p)-5:])) }

// collect counts, by their numbers, the packets that the host behind d gets,
// until it is stopped.
func (w *world) collect(d *chanDevice) (stop func() map[int]int) {
	got := map[int]int{}
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for {
			select {
			case p := <-d.fromBraid:
				got[markOf(p)]++
			case <-done:
				return
			}
		}
	}()
	return func() map[int]int { close(done); <-over; return got }
}

// once checks that each of n packets came exactly once.
func (w *world) once(got map[int]int, n int) {
	w.t.Helper()
	for i := range n {
		if got[i] != 1 {
			w.t.Errorf("packet %d came %d times", i, got[i])
		}
	}
}

// Without a word about it packets use the path carriers, and not the bond.
func TestPacketsUsePaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.bothUp()
		up, down := w.collect(w.serverTUN), w.collect(c.tun)
		for i := range 100 {
			w.bothSend(c, i)
			time.Sleep(20 * time.Millisecond)
		}
		w.once(up(), 100)
		w.once(down(), 100)
		if n := c.packetCarrier().packets.count.txPackets.Load(); n != 0 {
			t.Errorf("%d packets on the bond", n)
		}
		st, peer := c.Status(), w.server.Status().Peers[0]
		if st.Packets.Sparse.Packets != 100 || peer.Packets.Sparse.Packets != 100 {
			t.Errorf("client %+v, server %+v", st.Packets, peer.Packets)
		}
		var tx, rx uint64
		for _, p := range st.Paths {
			tx, rx = tx+p.Packets.TxPackets, rx+p.Packets.RxPackets
		}
		if tx != 100 || rx != 100 {
			t.Errorf("paths sent %d and received %d", tx, rx)
		}
		if len(peer.Paths) != 2 || peer.Paths[0].RxPackets+peer.Paths[1].RxPackets != 100 {
			t.Errorf("server's paths %+v", peer.Paths)
		}
		// All has arrived, and nobody says so for ever.
		time.Sleep(time.Second)
		w.await("nothing is kept", func() bool { return idleLane(c.packetLane()) && idleLane(w.server.sessions()[0].packetLane()) })
	})
}

func idleLane(l *packetLane) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.paths {
		if !p.kept.idle() {
			return false
		}
	}
	return true
}

// A path that swallows everything loses nothing: what it had is sent again on the
// other when it is known to be dead, once.
func TestPathDeathResends(t *testing.T) {
	for _, victim := range []string{"dsl", "lte"} {
		t.Run(victim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.stop()
				c := w.bothUp()
				up, down := w.collect(w.serverTUN), w.collect(c.tun)
				const n = 400
				for i := range n {
					w.bothSend(c, i)
					time.Sleep(20 * time.Millisecond)
					switch i {
					case 100:
						w.net.setHole(victim, true)
					case 300:
						w.net.setHole(victim, false)
					}
				}
				time.Sleep(time.Second)
				w.once(up(), n)
				w.once(down(), n)
				if c.path(victim).Deaths != 1 {
					t.Errorf("%+v", c.path(victim))
				}
			})
		})
	}
}

// A call does not wait until a silent path is known to be dead.
func TestSilenceOfACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.bothUp()
		silence := func(d *chanDevice) *atomic.Int64 {
			var longest atomic.Int64
			w.running.Go(func() {
				for last := time.Now(); ; last = time.Now() {
					select {
					case <-d.fromBraid:
						longest.Store(max(longest.Load(), int64(time.Since(last))))
					case <-w.ctx.Done():
						return
					}
				}
			})
			return &longest
		}
		up, down := silence(w.serverTUN), silence(c.tun)
		victim := "dsl"
		for i := range 300 {
			w.bothSend(c, i)
			time.Sleep(20 * time.Millisecond)
			if i == 100 {
				if c.path("lte").Packets.TxPackets > c.path("dsl").Packets.TxPackets {
					victim = "lte"
				}
				w.net.setHole(victim, true)
			}
		}
		w.net.setHole(victim, false)
		for _, longest := range []*atomic.Int64{up, down} {
			if d := time.Duration(longest.Load()); c.path(victim).Deaths != 1 || d > 150*time.Millisecond {
				t.Errorf("silence of %v; %+v", d, c.path(victim))
			}
		}
	})
}

// A carrier that breaks under packets loses none either.
func TestBrokenPathResends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.bothUp()
		up, down := w.collect(w.serverTUN), w.collect(c.tun)
		const n = 200
		for i := range n {
			w.bothSend(c, i)
			if i%40 == 20 {
				w.net.mu.Lock()
				for _, p := range w.net.paths {
					if p.uplink == []string{"dsl", "lte"}[i/40%2] {
						p.Close()
					}
				}
				w.net.mu.Unlock()
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		w.once(up(), n)
		w.once(down(), n)
	})
}

// While no path works packets wait, and those that are too old do not come.
func TestPacketsWaitForAPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.bothUp()
		up := w.collect(w.serverTUN)
		stop := w.chat(c)
		defer stop()
		time.Sleep(time.Second)
		w.net.setHole("dsl", true)
		w.net.setHole("lte", true)
		w.net.blackHole() // the bond, too
		w.within(time.Second, "both are dead", func() bool {
			return c.state("dsl") == scheduler.Dead && c.state("lte") == scheduler.Dead
		})
		const n = 300
		for i := range n {
			c.tun.toBraid <- thick("10.77.0.2", "198.51.100.7", i)
			time.Sleep(10 * time.Millisecond)
		}
		w.net.setHole("lte", false)
		time.Sleep(2 * time.Second)
		got := up()
		for i := range n {
			if got[i] > 1 || i < 150 && got[i] > 0 || i > 250 && got[i] != 1 {
				t.Errorf("packet %d of the last three seconds came %d times", i, got[i])
			}
		}
		if s := c.Status().Packets; s.Sparse.TooOld < 150 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// What is kept and what waits is bounded, however much the host sends.
func TestPacketMemoryIsBounded(t *testing.T) {
	l := newPacketLane(wire.SessionID{1}, PacketPolicies{}, nil)
	p := l.newPath(false, nil)
	p.attach(time.Now(), true, false)
	now := time.Now()
	var frames [][]byte
	for range 2000 { // 130 MB, of which the writer takes some and the peer has none
		l.push(now, []*parcel{newParcel(packet("10.77.0.2", "198.51.100.7", make([]byte, 65_000)...))})
		now = now.Add(time.Millisecond)
		frames, _ = p.take(now, frames[:0])
		p.wrote()
	}
	if p.kept.bytes > keptBytes || p.q.Bytes() > queueLimitBytes {
		t.Errorf("%d bytes kept, %d waiting", p.kept.bytes, p.q.Bytes())
	}
	p.use(now, false, false, false)
	if n := l.waiting.Bytes(); n > queueLimitBytes {
		t.Errorf("%d bytes wait without a path", n)
	}
	for range 2000 {
		l.push(now, []*parcel{newParcel(packet("10.77.0.2", "198.51.100.7", make([]byte, 65_000)...))})
	}
	if n := l.waiting.Bytes(); n > queueLimitBytes {
		t.Errorf("%d bytes wait without a path", n)
	}
	if s := l.status(); s.Bulk.Overflowed == 0 {
		t.Errorf("%+v", s)
	}
	if l.tidy(now.Add(time.Second)); l.waiting.Len() == 0 {
		t.Error("what waits is dropped after a second")
	}
	if l.tidy(now.Add(time.Minute)); l.waiting.Len() > 0 {
		t.Error("what waits is kept for a minute")
	}
	l.close()
	if l.waiting.Len() > 0 || len(l.paths) > 0 {
		t.Error("something is left")
	}
}

// The writer may be writing what the peer has already acknowledged, and what has
// gone to another path: neither changes under it.
func TestParcelsAreNotReusedWhileWritten(t *testing.T) {
	l := newPacketLane(wire.SessionID{1}, PacketPolicies{}, nil)
	p, other := l.newPath(false, nil), l.newPath(false, nil)
	now := time.Now()
	p.attach(now, true, false)
	l.push(now, []*parcel{newParcel(numbered("10.77.0.2", "198.51.100.7", 7))})
	frames, _ := p.take(now, nil)
	was := bytes.Clone(frames[0])
	if err := p.arrived(wire.Arrived{Packets: 1}.Append(nil)[wire.HeaderLen:]); err != nil {
		t.Fatal(err)
	}
	l.push(now, []*parcel{newParcel(numbered("10.77.0.2", "198.51.100.7", 8))})
	if !bytes.Equal(frames[0], was) {
		t.Error("a buffer was used again while it was written")
	}
	p.wrote()
	frames, _ = p.take(now, frames[:0])
	was = bytes.Clone(frames[0])
	other.attach(now, true, false)
	p.use(now, false, false, false)
	again, _ := other.take(now, nil)
	if len(again) != 1 || !samePacket(t, again[0], was) {
		t.Fatalf("%d frames on the other path", len(again))
	}
	if &again[0][0] == &frames[0][0] {
		t.Error("two writers share a buffer")
	}
	p.wrote()
	if !p.kept.idle() || p.kept.released != 2 {
		t.Errorf("%+v", p.kept)
	}
}

// A peer cannot say that it has what was not sent, nor take back its word.
func TestArrivedIsChecked(t *testing.T) {
	l := newPacketLane(wire.SessionID{1}, PacketPolicies{}, nil)
	p := l.newPath(false, nil)
	now := time.Now()
	p.attach(now, true, false)
	say := func(n uint64) error { return p.arrived(wire.Arrived{Packets: n}.Append(nil)[wire.HeaderLen:]) }
	if err := say(1); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("of none one has arrived: %v", err)
	}
	for range 3 {
		l.push(now, []*parcel{newParcel(packet("10.77.0.2", "198.51.100.7"))})
	}
	p.take(now, nil)
	p.wrote()
	for _, x := range []struct {
		packets uint64
		ok      bool
	}{{2, true}, {2, true}, {1, false}, {4, false}, {1 << 63, false}, {3, true}} {
		if err := say(x.packets); (err == nil) != x.ok || err != nil && !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%d: %v", x.packets, err)
		}
	}
}

// A super-packet is cut for a slow path, and what was sent goes whole to another.
func TestSuperPacketsAreCut(t *testing.T) {
	l := newPacketLane(wire.SessionID{1}, PacketPolicies{}, nil)
	p, other := l.newPath(false, nil), l.newPath(false, nil)
	now := time.Now()
	p.attach(now, true, false)
	p.rate.bits, p.rate.seen, p.rate.full = 10e6, 10e6, now
	l.push(now, []*parcel{newParcel(udpSuper(20, 1200))})
	frames, _ := p.take(now, nil)
	total := 0
	check := func(frames [][]byte) {
		for _, f := range frames {
			h, err := wire.PacketHead{}, error(nil)
			var payload []byte
			if h, payload, err = wire.ParsePacket(f[wire.HeaderLen:]); err != nil {
				t.Fatalf("packet %d: %v", h.Number, err)
			}
			total += len(payload) - wire.VnetLen - 28
		}
	}
	check(frames)
	if len(frames) == 0 || total >= 20*1200 {
		t.Fatalf("%d bytes in %d frames at once", total, len(frames))
	}
	was := bytes.Clone(frames[0])
	p.wrote()
	other.attach(now, true, false)
	other.rate.bits, other.rate.seen, other.rate.full = 1e6, 1e6, now
	p.use(now, false, false, false)
	total = 0
	again, _ := other.take(now, nil)
	if !samePacket(t, again[0], was) {
		t.Error("the first part is another on the other path")
	}
	for len(again) > 0 {
		check(again)
		other.wrote()
		again, _ = other.take(now, again[:0])
	}
	if total != 20*1200 {
		t.Errorf("%d bytes in all", total)
	}
}

// samePacket reports whether b is a sent again, by its number and to the byte.
func samePacket(t *testing.T, a, b []byte) bool {
	t.Helper()
	h1, p1, err1 := wire.ParsePacket(a[wire.HeaderLen:])
	h2, p2, err2 := wire.ParsePacket(b[wire.HeaderLen:])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return h1.Number == h2.Number && bytes.Equal(p1, p2)
}

// udpSuper is a super-packet of UDP.
func udpSuper(segments, size int) []byte {
	p := packet("10.77.0.2", "198.51.100.7", make([]byte, 8+segments*size)...)
	p[0], p[1] = 1, 5 // NEEDS_CSUM, UDP_L4
	le := binary.LittleEndian
	le.PutUint16(p[2:], 28)
	le.PutUint16(p[4:], uint16(size))
	le.PutUint16(p[6:], 20)
	le.PutUint16(p[8:], 6)
	p[wire.VnetLen+9] = 17
	binary.BigEndian.PutUint16(p[wire.VnetLen+24:], uint16(8+segments*size))
	return p
}

// The numbers of classes are on the wire (docs/protocol.md, section 6).
func TestClassesOnTheWire(t *testing.T) {
	if queue.Sparse != 0 || queue.Bulk != 1 {
		t.Errorf("sparse is %d, bulk is %d", queue.Sparse, queue.Bulk)
	}
}

// An older word on the uplinks that comes late by one carrier is not heeded.
func TestUplinksInOrder(t *testing.T) {
	s := newSession(Peer{})
	up := func(n uint32, state uint8) wire.Uplinks {
		return wire.Uplinks{Number: n, List: []wire.UplinkState{{Name: "dsl", State: state}}}
	}
	s.tell(up(2, 3))
	s.tell(up(1, 1))
	if s.said[0].State != 3 {
		t.Error("an older word is heeded")
	}
	s.tell(up(3, 1))
	if s.said[0].State != 1 {
		t.Error("a newer word is not heeded")
	}
}

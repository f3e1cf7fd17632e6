package terminate

import (
	"io"
	"testing"
	"time"

	"braid/tunnel/wire"
)

// known passes one data packet of an open connection.
func known(tb testing.TB, size int) func() {
	f := newFixture()
	f.send(tcpPacket{src: app, dst: web, flags: flagSYN})
	e := f.last()
	f.table.open(e, false, f.now)
	f.table.end(e, nil)
	f.write = func([]byte) error { return nil }
	out := tcpPacket{src: app, dst: web, flags: flagACK, data: make([]byte, size), partial: true}.bytes()
	orig := append([]byte(nil), out[:64]...)
	return func() {
		if !f.Packet(out, f.now) {
			tb.Fatal("not taken")
		}
		copy(out, orig)
	}
}

// dialled passes one data packet each way of a connection that Dial opened.
func dialled(tb testing.TB, size int) func() {
	f := newFixture()
	e := f.dial(tb, peer, service)
	f.handshake(e)
	f.table.connected(e, f.now)
	f.write = func([]byte) error { return nil }
	var packets, origs [2][]byte
	for i, k := range []endpoints{e.key, e.local} {
		packets[i] = tcpPacket{src: k.source().String(), dst: k.destination().String(), flags: flagACK, data: make([]byte, size), partial: true}.bytes()
		origs[i] = append([]byte(nil), packets[i][:64]...)
	}
	return func() {
		for i, p := range packets {
			if !f.Packet(p, f.now) {
				tb.Fatal("not taken")
			}
			copy(p, origs[i])
		}
	}
}

// others passes what is not TCP, beside a dial: ICMP errors about something
// else, and UDP.
func others(tb testing.TB) func() {
	f := newFixture()
	f.dial(tb, peer, service)
	x := icmpAbout(peer, "192.168.9.9:80", 1, icmpUnreachable, 1)
	big := icmpAbout(peer, "192.168.9.9:80", 1, icmpUnreachable, icmpTooBig)
	udp := tcpPacket{src: app, dst: web}.bytes()
	udp[wire.VnetLen+9] = 17
	return func() {
		if f.Packet(x, f.now) || f.Packet(big, f.now) || f.Packet(udp, f.now) {
			tb.Fatal("taken")
		}
	}
}

func TestPacketDoesNotAllocate(t *testing.T) {
	for name, f := range map[string]func(){"accepted": known(t, 1400), "dialled": dialled(t, 1400), "others": others(t)} {
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkPacket(b *testing.B) {
	for name, f := range map[string]func(){"accepted": known(b, 1400), "dialled, both ways": dialled(b, 1400), "others": others(b)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}

// BenchmarkLoop is one way through a program's socket, the TUN, the listener
// and its socket, and what the kernel does for it.
func BenchmarkLoop(b *testing.B) {
	const size = 1 << 20
	done := make(chan struct{}, 1)
	newHost(b, serve(b, func(c *Conn) {
		io.Copy(io.Discard, c)
		c.Close()
		done <- struct{}{}
	}), nil)
	c := dial(b, dest4)
	c.SetDeadline(time.Time{})
	buf := make([]byte, size)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	c.Close()
	<-done
}

package terminate

import (
	"io"
	"testing"
	"time"
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

func TestPacketDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(200, known(t, 1400)); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPacket(b *testing.B) {
	f := known(b, 1400)
	b.ReportAllocs()
	for b.Loop() {
		f()
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

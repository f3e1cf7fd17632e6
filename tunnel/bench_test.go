package tunnel

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"braid/tunnel/wire"
)

// The benchmarks measure braid's own share of a packet's way, per batch of
// what one read of the TUN brings: everything but the kernel. Nothing of ours
// allocates; TestFastPathDoesNotAllocate holds it to that. crypto/tls does:
// 24 bytes for each read of its connection, which fetches up to 45 KB.

// sourceDevice hands out the same packets for ever and swallows what it gets.
type sourceDevice struct {
	packets [][]byte
	taken   int
}

func (d *sourceDevice) ReadBatch(buf []byte, headroom int, sizes []int) (int, error) {
	off := 0
	for i, p := range d.packets {
		sizes[i] = copy(buf[off+headroom:], p)
		off += headroom + len(p)
	}
	return len(d.packets), nil
}

func (d *sourceDevice) Write(p []byte) error { d.taken += len(p); return nil }
func (d *sourceDevice) Close() error         { return nil }

func (d *sourceDevice) bytes() (n int64) {
	for _, p := range d.packets {
		n += int64(len(p))
	}
	return n
}

// superPackets are what a bulk TCP flow looks like at a TUN, smallPackets a
// crowd of thin ones.
func superPackets() [][]byte {
	p := packet("198.51.100.7", "10.77.0.2", make([]byte, 65_000)...)
	return [][]byte{p, p}
}

func smallPackets() [][]byte {
	var list [][]byte
	for range 64 {
		list = append(list, packet("198.51.100.7", "10.77.0.2", make([]byte, 1200)...))
	}
	return list
}

// mixedPackets are of 16 flows, in turns.
func mixedPackets() [][]byte {
	var list [][]byte
	for i := range 64 {
		list = append(list, packet(fmt.Sprintf("198.51.100.%d", i%16), "10.77.0.2", make([]byte, 200)...))
	}
	return list
}

var loads = []struct {
	name string
	make func() [][]byte
}{{"super", superPackets}, {"small", smallPackets}, {"mixed", mixedPackets}}

// tlsPair returns both ends of an authenticated connection whose transport is
// memory.
func tlsPair(tb testing.TB) (client, server *secured) {
	tb.Helper()
	a, b := bufferedPipe()
	return securePair(tb, &fakeConn{Conn: a}, &fakeConn{Conn: b})
}

// discardConn swallows what is written.
type discardConn struct{ net.Conn }

func (discardConn) Write(b []byte) (int, error) { return len(b), nil }

// laneOf returns a lane with one path, on a carrier that is nobody's.
func laneOf(c *carrier, deliver func([]byte)) *packetLane {
	l := newPacketLane(wire.SessionID{1}, PacketPolicies{}, deliver)
	c.packets = l.newPath(false, func([]byte) error { return nil })
	c.packets.attach(time.Now(), true, false)
	return l
}

// outboundPath returns one turn of TUN → batch → lane → TLS → connection, and
// the peer's word that all has arrived.
func outboundPath(tb testing.TB, d *sourceDevice) func() {
	client, _ := tlsPair(tb)
	client.cork.Conn = discardConn{client.cork.Conn}
	c := newCarrier(client, nil)
	l := laneOf(c, nil)
	b := newBatch()
	var stats counters
	send := sending(tb, c.packets, func(frames [][]byte) error { return c.writeFrames(nil, frames) })
	keep := func(p []byte, _ netip.Addr) { b.keep(p) }
	return func() {
		if err := b.read(d); err != nil {
			tb.Fatal(err)
		}
		b.each(notTaken, keep)
		b.flush(l, &stats)
		send()
	}
}

func written([][]byte) error { return nil }

// sending returns what a path's writer does until the lane has no more for it,
// and then takes the peer's word that all has arrived.
func sending(tb testing.TB, p *packetPath, write func(frames [][]byte) error) func() {
	var frames [][]byte
	var arrived wire.Arrived
	word := make([]byte, 0, 64)
	return func() {
		for p.backlog() {
			frames, _ = p.take(time.Now(), frames[:0])
			if err := write(frames); err != nil {
				tb.Fatal(err)
			}
			p.wrote()
			arrived.Packets += uint64(len(frames))
		}
		word = arrived.Append(word[:0])
		if err := p.arrived(word[wire.HeaderLen:]); err != nil {
			tb.Fatal(err)
		}
	}
}

// serverOutbound is outboundPath on a server, up to the writer: the session is
// looked up.
func serverOutbound(tb testing.TB, d *sourceDevice) func() {
	s := NewServer(ServerConfig{Device: d, Log: slog.New(slog.DiscardHandler), Peers: []Peer{
		{Name: "home", Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/24")}},
	}})
	client, _ := tlsPair(tb)
	c := newCarrier(client, nil)
	s.sessions()[0].packets = laneOf(c, nil)
	b := newBatch()
	send := sending(tb, c.packets, written)
	return func() {
		if err := b.read(d); err != nil {
			tb.Fatal(err)
		}
		s.dispatch(b)
		send()
	}
}

// twoPaths is the lane alone, with two paths of which one takes most.
func twoPaths(tb testing.TB, d *sourceDevice) func() {
	l := newPacketLane(wire.SessionID{1}, PacketPolicies{}, nil)
	tb.Cleanup(l.close)
	var send [2]func()
	for i := range send {
		p := l.newPath(false, func([]byte) error { return nil })
		p.attach(time.Now(), true, false)
		p.tellRTT(time.Duration(1+i) * 30 * time.Millisecond)
		send[i] = sending(tb, p, written)
	}
	b := newBatch()
	var stats counters
	keep := func(p []byte, _ netip.Addr) { b.keep(p) }
	return func() {
		if err := b.read(d); err != nil {
			tb.Fatal(err)
		}
		b.each(notTaken, keep)
		b.flush(l, &stats)
		for _, send := range send {
			send()
		}
	}
}

// replayConn reads what was recorded, again and again. TLS records cannot be
// replayed, so inboundPath feeds it as fast as it is read.
type replayConn struct {
	net.Conn
	pending []byte
	refill  func()
}

func (r *replayConn) Read(b []byte) (int, error) {
	if len(r.pending) == 0 {
		r.refill()
	}
	n := copy(b, r.pending)
	r.pending = r.pending[n:]
	return n, nil
}

// captureConn keeps what is written.
type captureConn struct {
	net.Conn
	buf []byte
}

func (c *captureConn) Write(b []byte) (int, error) {
	c.buf = append(c.buf, b...)
	return len(b), nil
}

// inboundPath returns one turn of connection → TLS → frames → checks → TUN.
// Encrypting what is then decrypted is part of the time, not of the path.
func inboundPath(tb testing.TB, d *sourceDevice) func() {
	client, server := tlsPair(tb)
	s := NewServer(ServerConfig{Device: d, Log: slog.New(slog.DiscardHandler), Peers: []Peer{
		{Name: "home", Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.7/24")}},
	}})
	recv := newCarrier(server, nil)
	laneOf(recv, s.sessions()[0].deliver)
	var f []byte
	number := uint64(0)
	capture := &captureConn{Conn: client.cork.Conn}
	client.cork.Conn = capture
	c := newCarrier(client, nil)
	r := &replayConn{Conn: server.cork.Conn}
	r.refill = func() {
		capture.buf = capture.buf[:0]
		f = f[:0]
		for _, p := range d.packets {
			start := len(f)
			f = append(append(f, make([]byte, wire.HeaderLen+wire.PacketHeadLen)...), p...)
			wire.PutPacketHead(f[start:], &wire.PacketHead{Number: number})
			number++
		}
		if err := c.write(f); err != nil {
			tb.Fatal(err)
		}
		r.pending = capture.buf
	}
	server.cork.Conn = r
	in := newFrameReader(server.tls)
	return func() {
		for range d.packets {
			_, payload, err := in.next()
			if err == nil {
				err = recv.packets.receive(time.Now(), payload)
			}
			if err != nil && err != io.EOF {
				tb.Fatal(err)
			}
		}
	}
}

var paths = []struct {
	name string
	make func(testing.TB, *sourceDevice) func()
}{{"outbound", outboundPath}, {"dispatch", serverOutbound}, {"twoPaths", twoPaths}, {"inbound", inboundPath}}

func BenchmarkFastPath(b *testing.B) {
	for _, p := range paths {
		for _, l := range loads {
			b.Run(p.name+"/"+l.name, func(b *testing.B) {
				d := &sourceDevice{packets: l.make()}
				turn := p.make(b, d)
				turn()
				b.SetBytes(d.bytes())
				b.ReportAllocs()
				for b.Loop() {
					turn()
				}
			})
		}
	}
}

func TestFastPathDoesNotAllocate(t *testing.T) {
	for _, p := range paths {
		for _, l := range loads {
			t.Run(p.name+"/"+l.name, func(t *testing.T) {
				d := &sourceDevice{packets: l.make()}
				turn := p.make(t, d)
				for range 10 {
					turn()
				}
				// Below one per batch: pools may be emptied by a collection.
				limit := 1.0
				if p.name == "inbound" {
					limit += float64((d.bytes() + 16<<10 - 1) / (16 << 10)) // a read for each record at worst
				}
				if n := testing.AllocsPerRun(500, turn); n >= limit && !raceEnabled { // then pools forget at random
					t.Errorf("%v allocations per batch of %d packets", n, len(d.packets))
				}
			})
		}
	}
}

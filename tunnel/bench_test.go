package tunnel

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"

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

var loads = []struct {
	name string
	make func() [][]byte
}{{"super", superPackets}, {"small", smallPackets}}

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

// outboundPath returns one turn of TUN → batch → outbox → TLS → connection.
func outboundPath(tb testing.TB, d *sourceDevice) func() {
	client, _ := tlsPair(tb)
	client.cork.Conn = discardConn{client.cork.Conn}
	c := newCarrier(client, nil)
	out := newOutbox(outboxLimitBytes)
	b := newBatch()
	var stats counters
	var taken []byte
	push := func(f []byte, packets, bytes int) {
		stats.txPackets.Add(uint64(packets))
		stats.txBytes.Add(uint64(bytes))
		out.push(f)
	}
	return func() {
		if err := b.read(d); err != nil {
			tb.Fatal(err)
		}
		b.each(notTaken, push)
		taken = out.take(taken)
		for rest := taken; len(rest) > 0; {
			n := wholeFrames(rest, writePieceBytes)
			if err := c.write(rest[:n]); err != nil {
				tb.Fatal(err)
			}
			rest = rest[n:]
		}
	}
}

// serverOutbound is outboundPath on a server: the session is looked up.
func serverOutbound(tb testing.TB, d *sourceDevice) func() {
	s := NewServer(ServerConfig{Device: d, Log: slog.New(slog.DiscardHandler), Peers: []Peer{
		{Name: "home", Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/24")}},
	}})
	b := newBatch()
	var taken []byte
	return func() {
		if err := b.read(d); err != nil {
			tb.Fatal(err)
		}
		s.dispatch(b)
		taken = s.order[0].out.take(taken)
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
	var f []byte
	for _, p := range d.packets {
		h := make([]byte, wire.HeaderLen)
		wire.PutHeader(h, wire.TypePacket, len(p))
		f = append(append(f, h...), p...)
	}
	capture := &captureConn{Conn: client.cork.Conn}
	client.cork.Conn = capture
	c := newCarrier(client, nil)
	r := &replayConn{Conn: server.cork.Conn}
	r.refill = func() {
		capture.buf = capture.buf[:0]
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
				err = s.inbound(s.order[0], payload)
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
}{{"outbound", outboundPath}, {"dispatch", serverOutbound}, {"inbound", inboundPath}}

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
					limit += float64(d.bytes() / (16 << 10)) // a read for each record at worst
				}
				if n := testing.AllocsPerRun(500, turn); n >= limit {
					t.Errorf("%v allocations per batch of %d packets", n, len(d.packets))
				}
			})
		}
	}
}

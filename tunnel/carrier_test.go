package tunnel

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"testing/iotest"
	"time"

	"braid/tunnel/wire"
)

func TestKeepalive(t *testing.T) {
	type tick struct {
		now, received time.Duration
		sent          uint64
		want          keepaliveAction
	}
	s := time.Second
	tests := []struct {
		name  string
		ticks []tick
	}{
		{"idle", []tick{
			{10 * s, 0, 0, keepaliveNothing}, {119 * s, 0, 0, keepaliveNothing}, {120 * s, 0, 0, keepalivePing},
			{121 * s, 120 * s, 0, keepaliveNothing}, {240 * s, 120 * s, 0, keepalivePing},
		}},
		{"busy peer needs no ping", []tick{
			{30 * s, 29 * s, 1, keepaliveNothing}, {31 * s, 30 * s, 2, keepaliveNothing},
		}},
		{"sent and no answer", []tick{
			{4 * s, 0, 1, keepaliveNothing}, {5 * s, 0, 2, keepalivePing}, {6 * s, 0, 3, keepaliveNothing},
			{19 * s, 0, 4, keepaliveNothing}, {20 * s, 0, 5, keepaliveDead},
		}},
		{"late answer saves", []tick{
			{5 * s, 0, 2, keepalivePing}, {19 * s, 18 * s, 3, keepaliveNothing}, {24 * s, 18 * s, 4, keepalivePing},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var k keepalive
			for i, x := range tt.ticks {
				if got := k.step(x.now, x.received, x.sent); got != x.want {
					t.Fatalf("tick %d: %d, want %d", i, got, x.want)
				}
			}
		})
	}
}

func TestFrameReader(t *testing.T) {
	var all []byte
	var want [][]byte
	for i := range 200 {
		n := wire.PacketHeadLen + wire.VnetLen + 20 + i*329
		f := make([]byte, wire.HeaderLen+n)
		wire.PutHeader(f, wire.TypePacket, n)
		f[len(f)-1] = byte(i)
		want = append(want, f[wire.HeaderLen:])
		all = append(all, f...)
	}
	readers := map[string]io.Reader{
		"whole": bytes.NewReader(all), "halves": iotest.HalfReader(bytes.NewReader(all)),
		"data with EOF": iotest.DataErrReader(bytes.NewReader(all)),
		"bytes":         iotest.OneByteReader(bytes.NewReader(all[:100_000])),
	}
	for name, r := range readers {
		t.Run(name, func(t *testing.T) {
			in := newFrameReader(r)
			for i, w := range want {
				typ, p, err := in.next()
				if errors.Is(err, io.ErrUnexpectedEOF) && name == "bytes" {
					return
				}
				if err != nil || typ != wire.TypePacket || !bytes.Equal(p, w) {
					t.Fatalf("frame %d: %v, %d bytes, %v", i, typ, len(p), err)
				}
			}
			if _, _, err := in.next(); err != io.EOF {
				t.Fatalf("behind the last frame: %v", err)
			}
		})
	}
}

func TestFrameReaderCut(t *testing.T) {
	f := wire.AppendPing(nil, wire.Ping{})
	for n := 1; n < len(f); n++ {
		if _, _, err := newFrameReader(bytes.NewReader(f[:n])).next(); err != io.ErrUnexpectedEOF {
			t.Errorf("cut after %d: %v", n, err)
		}
	}
}

// writeCounter is a connection that only counts.
type writeCounter struct {
	net.Conn
	writes int
	buf    bytes.Buffer
}

func (w *writeCounter) Write(b []byte) (int, error) {
	w.writes++
	return w.buf.Write(b)
}

func TestCork(t *testing.T) {
	var w writeCounter
	c := newCorkConn(&w)
	c.Write([]byte("a"))
	c.cork()
	c.Write([]byte("b"))
	c.Write([]byte("c"))
	if w.buf.String() != "a" {
		t.Errorf("corked, and yet %q was written", w.buf.String())
	}
	if err := c.uncork(); err != nil || w.buf.String() != "abc" || w.writes != 2 {
		t.Errorf("%q in %d writes, %v", w.buf.String(), w.writes, err)
	}
	if err := c.uncork(); err != nil || w.writes != 2 {
		t.Errorf("nothing to write was written, %v", err)
	}
}

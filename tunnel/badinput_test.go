package tunnel

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"braid/tunnel/wire"
)

// raw opens a TLS connection as the first client and says hello.
func (w *world) raw(hello []byte) *tls.Conn {
	w.t.Helper()
	conn, err := w.net.Dial(w.ctx, serverAddr, uplinkA, ForPackets)
	if err != nil {
		w.t.Fatal(err)
	}
	c := tls.Client(conn, w.clientTLS(w.keys[0], w.serverKey.Public()))
	if _, err := c.Write(hello); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// frameOf makes a Packet frame.
func frameOf(number uint64, packet []byte) []byte {
	f := append(make([]byte, wire.HeaderLen+wire.PacketHeadLen), packet...)
	wire.PutPacketHead(f, &wire.PacketHead{Number: number})
	return f
}

func TestBadInputEndsTheCarrierOnly(t *testing.T) {
	hello := wire.Hello{Kind: wire.KindPackets, Software: "test"}.Append(nil)
	otherVersion := append([]byte(nil), hello...)
	otherVersion[wire.HeaderLen] = 9
	tests := []struct {
		name          string
		hello, after  []byte
		inHandshake   bool
		wantAnswer    wire.Type
		wantServerLog string
	}{
		{name: "unknown type", hello: hello, after: []byte{0x77, 0, 0, 1, 0}, wantAnswer: wire.TypeClose, wantServerLog: "unknown type 0x77"},
		{name: "oversized", hello: hello, after: []byte{byte(wire.TypePacket), 0xff, 0xff, 0xff}, wantAnswer: wire.TypeClose, wantServerLog: "16777215 bytes"},
		{name: "second hello", hello: hello, after: hello, wantAnswer: wire.TypeClose, wantServerLog: "frame order"},
		{name: "not IP", hello: hello, after: append([]byte{byte(wire.TypePacket), 0, 0, 39}, make([]byte, 39)...), wantAnswer: wire.TypeClose, wantServerLog: "malformed"},
		{name: "lying virtio header", hello: hello, after: func() []byte {
			p := packet("10.77.0.2", "10.77.0.1")
			p[0], p[6] = 1, 200 // checksum far behind the packet
			return frameOf(0, p)
		}(), wantAnswer: wire.TypeClose, wantServerLog: "malformed"},
		{name: "unknown version", hello: otherVersion, inHandshake: true, wantAnswer: wire.TypeRefuse, wantServerLog: "version 9"},
		{name: "no hello", hello: []byte{0x04, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0}, inHandshake: true, wantServerLog: "frame order"},
		{name: "noise", hello: []byte("GET / HTTP/1.1\r\n\r\n"), inHandshake: true, wantServerLog: "unknown type 0x47"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.stop()
				c := w.raw(tt.hello)
				defer c.Close()
				in := newFrameReader(c)
				if !tt.inHandshake {
					if typ, _, err := in.next(); err != nil || typ != wire.TypeWelcome {
						t.Fatalf("answer to hello: %v, %v", typ, err)
					}
					if _, err := c.Write(tt.after); err != nil {
						t.Fatal(err)
					}
				}
				typ, _, err := in.next()
				if tt.wantAnswer != 0 && (err != nil || typ != tt.wantAnswer) {
					t.Errorf("answer %v, %v; want %v", typ, err, tt.wantAnswer)
				}
				if tt.wantAnswer == 0 && err == nil {
					t.Errorf("answer %v to a peer that said nothing right", typ)
				}
				c.Close()
				st := func() uint64 {
					s := w.server.Status()
					return s.Malformed + s.Peers[0].Counters.Malformed
				}
				w.await("counted", func() bool { return st() == 1 || tt.name == "unknown version" })
				w.await("logged", func() bool { return strings.Contains(w.log.String(), tt.wantServerLog) })
				if n := strings.Count(w.log.String(), "level=WARN"); n != 1 {
					t.Errorf("%d warnings, want 1:\n%s", n, w.log.String())
				}
				// Everybody else goes on.
				good := w.home()
				good.tun.toBraid <- packet("10.77.0.2", "198.51.100.7")
				w.receive(w.serverTUN)
			})
		})
	}
}

func TestMalformedPacketFromServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		c := w.home()
		bad := newParcel(make([]byte, 30))
		ses := w.server.sessions()[0]
		ses.mu.Lock()
		p := ses.current.packets
		ses.mu.Unlock()
		p.lane.mu.Lock()
		p.queueLocked(time.Now(), bad)
		p.wake()
		p.lane.mu.Unlock()
		w.await("client left it", func() bool { return c.Status().Counters.Malformed == 1 })
		w.await("and came back", func() bool { return c.Status().Connected })
	})
}

// Strangers cost bounded memory: beyond maxHandshakes they are turned away,
// and one address beyond its share.
func TestHandshakesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		for i := range maxHandshakes + 10 {
			from := uplinkA
			from.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, byte(i / handshakesPerAddress)})}
			if i >= maxHandshakes+5 {
				from = uplinkA // its first: the place of strangers is full
			}
			conn, err := w.net.Dial(w.ctx, serverAddr, from, ForPackets)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		synctest.Wait()
		if n := w.server.Status().Rejected; n != 10 {
			t.Errorf("%d turned away, want 10", n)
		}
		// The silent ones are gone after the timeout, and others get in.
		time.Sleep(handshakeTimeout + time.Second)
		w.home()
		before := w.server.Status().Rejected
		for range handshakesPerAddress + 3 {
			conn, err := w.net.Dial(w.ctx, serverAddr, uplinkB, ForPackets)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		synctest.Wait()
		if n := w.server.Status().Rejected - before; n != 3 {
			t.Errorf("%d of one address turned away, want 3", n)
		}
	})
}

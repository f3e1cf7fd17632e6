package tunnel

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"braid/tunnel/wire"
)

// linkOverTCP returns a link and its peer's end.
func linkOverTCP(t *testing.T) (k *link, peer *secured) {
	t.Helper()
	a, b := tcpPair(t)
	peer, s := securePair(t, a, b)
	var wg sync.WaitGroup
	k = newLink(newCarrier(s, newFrameReader(s.tls)), 1, &wg, func(*link) {})
	t.Cleanup(func() { k.Close(); peer.conn.Close(); wg.Wait() })
	return k, peer
}

// drainUntil drains until something has come.
func drainUntil(k *link) error {
	for k.bytes.Load() == 0 {
		if err := k.drain(); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

func TestDrainAnswers(t *testing.T) {
	k, peer := linkOverTCP(t)
	const asked = 5
	if _, err := peer.tls.Write(pings(asked)); err != nil {
		t.Fatal(err)
	}
	if err := drainUntil(k); err != nil {
		t.Fatal(err)
	}
	in := newFrameReader(peer.tls)
	for i := range asked {
		typ, b, err := in.next()
		p, perr := wire.ParsePing(b)
		if err != nil || perr != nil || typ != wire.TypePong || p.Stamp != uint64(i) {
			t.Fatalf("answer %d: %v, %+v, %v, %v", i, typ, p, err, perr)
		}
	}
}

// A peer that never stops talking does not hold up whoever drains its link.
func TestDrainEnds(t *testing.T) {
	k, peer := linkOverTCP(t)
	go func() {
		for b := pings(10 * drainFrames); ; {
			if _, err := peer.tls.Write(b); err != nil {
				return
			}
		}
	}()
	if err := drainUntil(k); err == nil {
		t.Error("the link is fit for a stream")
	}
	if n, most := k.bytes.Load(), uint64(len(pings(drainFrames))); n > most {
		t.Errorf("%d bytes were read at once, at most %d are to be", n, most)
	}
}

func TestDrainKnowsWhatIsWrong(t *testing.T) {
	tests := []struct {
		name string
		say  []byte
		is   func(error) bool
	}{
		{"data without a stream", wire.AppendData(nil, []byte("x")), func(err error) bool { return errors.Is(err, wire.ErrMalformed) }},
		{"goodbye", wire.AppendClose(nil, wire.CloseShutdown, "done"), func(err error) bool {
			var closed *errClosedByPeer
			return errors.As(err, &closed)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k, peer := linkOverTCP(t)
			if _, err := peer.tls.Write(tt.say); err != nil {
				t.Fatal(err)
			}
			if err := drainUntil(k); !tt.is(err) {
				t.Errorf("drained: %v", err)
			}
		})
	}
}

// partConn keeps the end of the next write back.
type partConn struct {
	tcpConn
	keep int // bytes
	kept []byte
}

func (c *partConn) Write(b []byte) (int, error) {
	n := len(b) - c.keep
	c.kept, c.keep = append(c.kept, b[n:]...), 0
	if _, err := c.tcpConn.Write(b[:n]); err != nil {
		return 0, err
	}
	return len(b), nil
}

// What comes with Welcome may end in the middle of the next record. A reader
// that counted its records from there would wait for what never comes.
func TestRecordThatBeginsBehindWelcome(t *testing.T) {
	for _, kept := range []int{1, 20, 40} {
		a, b := tcpPair(t)
		far := &partConn{tcpConn: b}
		client, server := securePair(t, a, far)
		open := wire.Open{Source: netip.MustParseAddrPort("10.77.0.2:1"), Destination: netip.MustParseAddrPort("10.77.0.1:2")}
		said := make(chan error, 1)
		go func() {
			in, h, err := server.awaitHello()
			if err != nil {
				said <- err
				return
			}
			far.keep = kept
			server.cork.cork()
			_, err = server.welcome(in, h, wire.Welcome{
				Session: h.Session, MTU: 1500, Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/24")},
			})
			if err == nil {
				_, err = server.tls.Write(open.Append(nil))
			}
			said <- errors.Join(err, server.cork.uncork())
		}()
		car, _, err := client.tryGreet(wire.Hello{Kind: wire.KindReverse, Session: wire.SessionID{1}})
		if err := errors.Join(err, <-said); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		k := newLink(car, 1, &wg, func(*link) {})
		if _, _, err := k.in.tryNext(); err != errWouldBlock {
			t.Fatalf("before all of the record is there: %v", err)
		}
		if left := k.cork.rest.left; left != kept {
			t.Errorf("the record lacks %d bytes, and the reader waits for %d", kept, left)
		}
		if _, err := b.Write(far.kept); err != nil {
			t.Fatal(err)
		}
		if typ, _, err := k.ReadFrame(); err != nil || typ != wire.TypeOpen {
			t.Fatalf("%v, %v", typ, err)
		}
		// Nor does it wait too long for the next ones.
		for _, say := range [][]byte{pings(1), wire.AppendReset(nil, wire.ResetUnknown, "x")} {
			if _, err := server.tls.Write(say); err != nil {
				t.Fatal(err)
			}
		}
		if typ, _, err := k.ReadFrame(); err != nil || typ != wire.TypeReset {
			t.Fatalf("%v, %v", typ, err)
		}
		k.Close()
		wg.Wait()
	}
}

// An idle link that the peer has not asked for longer than it would leave it is
// closed, and no other.
func TestForgottenLink(t *testing.T) {
	for _, test := range []struct {
		silent time.Duration
		gone   bool
	}{{0, false}, {2 * askIdle, false}, {unasked + time.Second, true}} {
		k, _ := linkOverTCP(t)
		l := testLane(true, testLimits, new(atomic.Int64))
		if !l.pool.add(k) {
			t.Fatal("not taken")
		}
		k.heard.Store(int64(time.Since(k.start) - test.silent))
		l.stepIdle()
		if gone := l.pool.counts().idle == 0; gone != test.gone || k.dead.Load() != test.gone {
			t.Errorf("silent for %v: gone %v, closed %v", test.silent, gone, k.dead.Load())
		}
		l.close()
	}
}

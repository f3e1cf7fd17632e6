package tunnel

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"braid/crypto"
	"braid/tunnel/wire"
)

// hello connects with the first client's key and stops behind Welcome: what
// the peer does from there on is the test's.
func (w *world) hello(kind wire.Kind, session wire.SessionID) (*carrier, wire.Welcome) {
	w.t.Helper()
	conn, err := w.net.Dial(w.ctx, serverAddr, uplinkA, ForPackets)
	if err != nil {
		w.t.Fatal(err)
	}
	key := w.keys[0]
	cfg := w.clientTLS(key, w.serverKey.Public())
	s, err := secure(w.ctx, conn, func(c *corkConn) *tls.Conn { return tls.Client(c, cfg) }, crypto.RoleClient, key.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	car, welcome, err := s.greet(wire.Hello{Kind: kind, Session: session, Features: wire.FeatureStreams, Software: "test"}, key.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	return car, welcome
}

// alive reads what has come to a carrier, and reports whether more may come.
func (c *carrier) alive() bool {
	c.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	defer c.conn.SetReadDeadline(time.Time{})
	for {
		if _, err := c.conn.Read(make([]byte, 1<<10)); err != nil {
			return errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
}

// pings is n pings in frames.
func pings(n int) (b []byte) {
	for i := range n {
		b = wire.AppendPing(b, wire.Ping{Stamp: uint64(i)})
	}
	return b
}

// tcpConn is an end of a connection over the loopback: unlike a pipe it can be
// polled.
type tcpConn struct{ *net.TCPConn }

func (tcpConn) SetSendRoom(uint64) error                        { return nil }
func (tcpConn) SetNotSentLowat(int) error                       { return nil }
func (tcpConn) Heard() (time.Duration, error)                   { return time.Hour, nil }
func (tcpConn) MPTCP() bool                                     { return true }
func (tcpConn) SetUplinks([]Uplink) error                       { return nil }
func (tcpConn) AppendSubflows(dst []Subflow) ([]Subflow, error) { return dst, nil }
func (tcpConn) SetPurpose(Purpose) error                        { return nil }
func (tcpConn) Renew()                                          {}
func (tcpConn) Progress() uint64                                { return 0 }
func (tcpConn) RaiseReceiveBuffer()                             {}
func (c tcpConn) Abort() error                                  { return c.Close() }

func tcpPair(tb testing.TB) (a, b tcpConn) {
	tb.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { near.Close(); far.Close() })
	return tcpConn{near.(*net.TCPConn)}, tcpConn{far.(*net.TCPConn)}
}

// securePair authenticates the two ends of a connection to each other.
func securePair(tb testing.TB, a, b Conn) (client, server *secured) {
	tb.Helper()
	ck, sk := crypto.GenerateKey(), crypto.GenerateKey()
	st, err := crypto.ServerTLS(sk, func(crypto.PublicKey) error { return nil })
	if err != nil {
		tb.Fatal(err)
	}
	ct, err := crypto.ClientTLS(ck, sk.Public())
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		var err error
		server, err = secure(tb.Context(), b, func(c *corkConn) *tls.Conn { return tls.Server(c, st) }, crypto.RoleServer, sk.Public())
		done <- err
	}()
	if client, err = secure(tb.Context(), a, func(c *corkConn) *tls.Conn { return tls.Client(c, ct) }, crypto.RoleClient, ck.Public()); err != nil {
		tb.Fatal(err)
	}
	if err := <-done; err != nil {
		tb.Fatal(err)
	}
	return client, server
}

package mptcp

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Megabytes are under way on a connection, over two subflows or as plain TCP. After
// Abort the peer has none of them, and knows.
func TestAbort(t *testing.T) {
	for _, test := range []struct {
		name string
		o    Options
	}{{"MPTCP", Options{}}, {"TCP", Options{PlainTCP: true}}} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t)
			ln := mustOn(l.server, func() (*Listener, error) {
				return Listen(context.Background(), netip.MustParseAddrPort("[::]:0"), Options{})
			})
			defer ln.Close()
			test.o.Local, test.o.Mark, test.o.UserspacePathManager = clientA4, testMark, !test.o.PlainTCP
			conn := l.dial(netip.AddrPortFrom(service4, addrPortOf(ln).Port()), test.o)
			peer, err := ln.AcceptConn()
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
			if conn.MPTCP() {
				if _, err := conn.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				b := make([]byte, 1)
				if _, err := peer.Read(b); err != nil {
					t.Fatal(err)
				}
				if _, err := peer.Write(b); err != nil {
					t.Fatal(err)
				}
				if _, err := conn.Read(b); err != nil {
					t.Fatal(err)
				}
				pm := l.pathManager(l.client)
				if err := pm.CreateSubflow(mustToken(t, conn), SubflowSpec{ID: 1, Local: netip.AddrPortFrom(clientB4, 0), Remote: conn.RemoteAddrPort()}); err != nil {
					t.Fatal(err)
				}
				awaitSubflows(t, conn, clientA4, clientB4)
			}
			conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
			for err == nil {
				_, err = conn.Write(make([]byte, 1<<16))
			}
			if err := conn.Abort(); err != nil {
				t.Fatal(err)
			}
			peer.SetReadDeadline(time.Now().Add(patience))
			for {
				_, err := peer.Read(make([]byte, 1<<16))
				if errors.Is(err, unix.ECONNRESET) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

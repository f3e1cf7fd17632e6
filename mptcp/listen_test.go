package mptcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
)

func TestListenerCloseEndsAccept(t *testing.T) {
	l := newLab(t)
	ln := mustOn(l.server, func() (*Listener, error) {
		return Listen(context.Background(), netip.MustParseAddrPort("[::]:0"), Options{})
	})
	ended := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if c != nil {
			t.Error("Accept returned both")
		}
		ended <- err
	}()
	ln.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
}

// A restarted server gets its port back, though connections of the last run
// linger in TIME_WAIT.
func TestListenAgain(t *testing.T) {
	l := newLab(t)
	first := mustOn(l.server, func() (*Listener, error) {
		return Listen(context.Background(), netip.MustParseAddrPort("[::]:0"), Options{})
	})
	conn := l.dial(netip.AddrPortFrom(service4, addrPortOf(first).Port()), Options{})
	server, err := first.AcceptConn()
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	conn.Close()
	at := addrPortOf(first)
	first.Close()
	second := mustOn(l.server, func() (*Listener, error) { return Listen(context.Background(), at, Options{}) })
	if got := addrPortOf(second); got != at {
		t.Errorf("%v, want %v", got, at)
	}
	second.Close()
}

// What the listener was given reaches subflows that join later, on the server.
func TestListenerOptionsReachJoins(t *testing.T) {
	l := newLab(t)
	spm := l.pathManager(l.server)
	if _, err := spm.SwapLimits(ServerLimits); err != nil {
		t.Fatal(err)
	}
	e := l.serve(Options{ReceiveBufferBytes: 8 << 20, CongestionControl: "reno"})
	conn := l.bonded(e, clientA4, service4)
	server := e.next(t)
	bond := NewBond(conn, l.pathManager(l.client))
	if _, err := bond.Sync([]Path{{Name: "a", Local: clientA4}, {Name: "b", Local: clientB4}}); err != nil {
		t.Fatal(err)
	}
	awaitSubflows(t, conn, clientA4, clientB4)
	exchange(t, conn, 1<<20)
	if got, err := server.ReceiveBuffer(); err != nil || got != 16<<20 {
		t.Errorf("receive buffer %d, %v", got, err)
	}
	subs := established(t, server)
	if len(subs) != 2 {
		t.Fatalf("the server has %d subflows", len(subs))
	}
}

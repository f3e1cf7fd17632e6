package mptcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestEvents(t *testing.T) {
	l := newLab(t)
	clientEvents, serverEvents := openEvents(t, l.client), openEvents(t, l.server)
	e := l.serve(Options{})
	conn := l.bonded(e, clientA4, service4)
	local, remote := conn.LocalAddrPort(), conn.RemoteAddrPort()
	token, serverToken := mustToken(t, conn), mustToken(t, e.next(t))

	ev := awaitEvent(t, serverEvents, func(ev Event) bool { return ev.Kind == EventListenerCreated })
	if ev.Local.Port() != e.port() {
		t.Errorf("%+v", ev)
	}
	for _, kind := range []EventKind{EventCreated, EventEstablished} {
		ev := awaitEvent(t, clientEvents, func(ev Event) bool { return ev.Kind == kind })
		if ev.Token != token || ev.Local != local || ev.Remote != remote || ev.ServerSide {
			t.Errorf("client, %v: %+v", kind, ev)
		}
		ev = awaitEvent(t, serverEvents, func(ev Event) bool { return ev.Kind == kind })
		if ev.Token != serverToken || ev.Local != remote || ev.Remote != local || !ev.ServerSide {
			t.Errorf("server, %v: %+v", kind, ev)
		}
	}
	pm := l.pathManager(l.client)
	err := pm.CreateSubflow(token, SubflowSpec{ID: 5, Local: netip.AddrPortFrom(clientB4, 0), Remote: remote, Backup: true})
	if err != nil {
		t.Fatal(err)
	}
	ev = awaitEvent(t, clientEvents, func(ev Event) bool { return ev.Kind == EventSubflowEstablished })
	if ev.Token != token || ev.Local.Addr() != clientB4 || ev.Remote != remote || ev.LocalID != 5 || ev.Backup || ev.Err != 0 {
		t.Errorf("%+v", ev)
	}
	joined := ev
	ev = awaitEvent(t, serverEvents, func(ev Event) bool { return ev.Kind == EventSubflowEstablished })
	if ev.Token != serverToken || ev.Remote != joined.Local || ev.Local != remote || ev.RemoteID != 5 || !ev.Backup {
		t.Errorf("%+v", ev)
	}
	if err := pm.SetBackup(token, joined.Local, joined.Remote, false); err != nil {
		t.Fatal(err)
	}
	ev = awaitEvent(t, serverEvents, func(ev Event) bool { return ev.Kind == EventSubflowPriority })
	if ev.Token != serverToken || ev.Remote != joined.Local || ev.Backup {
		t.Errorf("%+v", ev)
	}
	if err := pm.RemoveAddress(token, 5); err != nil {
		t.Fatal(err)
	}
	ev = awaitEvent(t, serverEvents, func(ev Event) bool { return ev.Kind == EventRemoved })
	if ev.Token != serverToken || ev.RemoteID != 5 {
		t.Errorf("%+v", ev)
	}
	if err := pm.DestroySubflow(token, joined.Local, joined.Remote); err != nil && !gone(err) {
		t.Fatal(err)
	}
	ev = awaitEvent(t, clientEvents, func(ev Event) bool { return ev.Kind == EventSubflowClosed })
	if ev.Token != token || ev.Local != joined.Local {
		t.Errorf("%+v", ev)
	}
	conn.Close()
	awaitEvent(t, clientEvents, func(ev Event) bool { return ev.Kind == EventClosed && ev.Token == token })
	awaitEvent(t, serverEvents, func(ev Event) bool { return ev.Kind == EventClosed && ev.Token == serverToken })
	if n := clientEvents.Malformed() + serverEvents.Malformed(); n != 0 {
		t.Errorf("%d messages were not understood", n)
	}
}

func openEvents(t *testing.T, h *host) *EventStream {
	t.Helper()
	s := mustOn(h, OpenEvents)
	t.Cleanup(func() { s.Close() })
	return s
}

// awaitEvent passes over events until one is wanted.
func awaitEvent(t *testing.T, s *EventStream, wanted func(Event) bool) Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		ev, err := s.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if wanted(ev) {
			return ev
		}
	}
}

func TestEventStreamEnds(t *testing.T) {
	l := newLab(t)
	s := openEvents(t, l.client)
	for range 2 { // one context's end does not harm the next
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(20*time.Millisecond, cancel)
		if _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	}
	e := l.serve(Options{})
	l.dial(netip.AddrPortFrom(service4, e.port()), Options{})
	awaitEvent(t, s, func(ev Event) bool { return ev.Kind == EventCreated })

	ended := make(chan error)
	go func() {
		for {
			if _, err := s.Next(context.Background()); err != nil {
				ended <- err
				return
			}
		}
	}()
	time.Sleep(20 * time.Millisecond)
	s.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	if err := l.client.run(func() error { return Events(ctx, func(Event) {}) }); !errors.Is(err, context.Canceled) {
		t.Errorf("Events: %v", err)
	}
}

// A reader that falls behind is told so and goes on.
func TestEventsLost(t *testing.T) {
	l := newLab(t)
	s := openEvents(t, l.client)
	if err := s.conn.SetReadBuffer(1); err != nil {
		t.Fatal(err)
	}
	e := l.serve(Options{})
	for range 20 {
		l.dial(netip.AddrPortFrom(service4, e.port()), Options{}).Close()
	}
	awaitEvent(t, s, func(ev Event) bool { return ev.Kind == EventLost })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	for {
		if _, err := s.Next(ctx); err != nil {
			break
		}
	}
	conn := l.dial(netip.AddrPortFrom(service4, e.port()), Options{})
	local := conn.LocalAddrPort()
	awaitEvent(t, s, func(ev Event) bool { return ev.Kind == EventCreated && ev.Local == local })
}

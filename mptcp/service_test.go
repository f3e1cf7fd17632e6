package mptcp

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// An echo service in the server's namespace sends back what it gets, until the
// client is done.
type echo struct {
	*Listener
	accepted chan *Conn
}

// serve listens on every address and accepts in the background. With accept
// queue full of what a test does not look at, connections are served all the
// same.
func (l *lab) serve(o Options) *echo {
	l.t.Helper()
	return l.serveOn(netip.MustParseAddrPort("[::]:0"), o)
}

func (l *lab) serveOn(at netip.AddrPort, o Options) *echo {
	l.t.Helper()
	ln := mustOn(l.server, func() (*Listener, error) { return Listen(context.Background(), at, o) })
	e := &echo{Listener: ln, accepted: make(chan *Conn, 64)}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var open []*Conn
	wg.Go(func() {
		for {
			c, err := ln.AcceptConn()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			select {
			case e.accepted <- c:
			default:
			}
			wg.Go(func() {
				defer c.Close()
				io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
			})
		}
	})
	l.t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return e
}

func (e *echo) port() uint16 { return addrPortOf(e.Listener).Port() }

func addrPortOf(l *Listener) netip.AddrPort { return netip.MustParseAddrPort(l.Addr().String()) }

// next is the server's end of the connection that came next.
func (e *echo) next(t *testing.T) *Conn {
	t.Helper()
	select {
	case c := <-e.accepted:
		return c
	case <-time.After(patience):
		t.Fatal("no connection accepted")
		return nil
	}
}

func (l *lab) dial(remote netip.AddrPort, o Options) *Conn {
	l.t.Helper()
	c := mustOn(l.client, func() (*Conn, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return Dial(ctx, remote, o)
	})
	l.t.Cleanup(func() { c.Close() })
	return c
}

// bonded is a connection as the daemon makes it: no device, a source address
// and a mark, and some data exchanged so that joins are accepted.
func (l *lab) bonded(e *echo, local, remote netip.Addr) *Conn {
	l.t.Helper()
	c := l.dial(netip.AddrPortFrom(remote, e.port()), Options{
		Mark: testMark, Local: local, ReceiveBufferBytes: 4 << 20, UserspacePathManager: true})
	exchange(l.t, c, 1)
	return c
}

// pathManager is one of the client's namespace.
func (l *lab) pathManager(h *host) *PathManager {
	l.t.Helper()
	pm := mustOn(h, OpenPathManager)
	l.t.Cleanup(func() { pm.Close() })
	return pm
}

// exchange sends so many bytes and checks that they come back.
func exchange(t *testing.T, c *Conn, size int) {
	t.Helper()
	payload := make([]byte, size)
	rand.Read(payload)
	c.SetDeadline(time.Now().Add(patience))
	defer c.SetDeadline(time.Time{})
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(payload)
		sent <- err
	}()
	back := make([]byte, size)
	n, err := io.ReadFull(c, back)
	if err != nil {
		subs, _ := c.Subflows()
		t.Fatalf("%d of %d bytes came back: %v; write: %v; subflows: %+v", n, size, err, <-sent, subs)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(payload, back) {
		t.Fatal("other bytes came back")
	}
}

// live are the local addresses of the established subflows.
func established(t *testing.T, c *Conn) []Subflow {
	t.Helper()
	all, err := c.Subflows()
	if err != nil {
		t.Fatal(err)
	}
	var out []Subflow
	for _, s := range all {
		if s.TCP.State == StateEstablished {
			out = append(out, s)
		}
	}
	return out
}

// awaitSubflows waits until the established subflows come from exactly these
// addresses.
func awaitSubflows(t *testing.T, c *Conn, locals ...netip.Addr) []Subflow {
	t.Helper()
	var got []Subflow
	eventually(t, func() (string, bool) {
		got = established(t, c)
		have := map[netip.Addr]int{}
		for _, s := range got {
			have[s.Local.Addr()]++
		}
		for _, a := range locals {
			have[a]--
		}
		state := "subflows from"
		for _, s := range got {
			state += " " + s.Local.String()
		}
		for _, n := range have {
			if n != 0 {
				return state, false
			}
		}
		return state, true
	})
	return got
}

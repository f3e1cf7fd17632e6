package e2e

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"braid/lab/daemon"
	"braid/lab/probe"
)

// When one of the daemons restarts, what ran through it cannot go on: both ends
// see that at once, rather than wait for an answer for ever, and new connections
// work.
func TestRestartResetsStreams(t *testing.T) {
	needStreams(t)
	t.Parallel()
	w := begin(t, fast(), daemon.Options{})
	s, err := probe.ServeTCPEcho(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 7).String())
	w.must(err)
	defer s.Close()
	for _, restart := range []struct {
		what string
		d    *daemon.Daemon
		stop func() error
	}{
		{"server stopped", w.Server, w.Server.Stop}, {"server killed", w.Server, w.Server.Kill},
		{"client stopped", w.Client, w.Client.Stop}, {"client killed", w.Client, w.Client.Kill},
	} {
		c := w.dial(s.Addr)
		_, err := c.Write([]byte("x"))
		w.must(err)
		_, err = io.ReadFull(c, make([]byte, 1))
		w.must(err)
		w.must(restart.stop())
		w.must(restart.d.Start(w.patient()))
		w.must(w.Client.WaitUp(w.patient(), 2))
		began := time.Now()
		if restart.d == w.Client {
			// A client that was killed knows of nothing until a packet comes. With
			// one that was stopped the write finds the connection reset already,
			// and the kernel says so only once.
			_, err = c.Write([]byte("x"))
		}
		if err == nil {
			err = ended(c)
		}
		took := time.Since(began)
		t.Logf("%s: %v, %v after the tunnel was back", restart.what, err, took.Round(time.Millisecond))
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: the program saw %v, want a reset", restart.what, err)
		}
		if took > 3*time.Second {
			t.Errorf("%s: the program saw the end only after %v", restart.what, took)
		}
		for end := time.Now().Add(patience); s.Open() > 0; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: the other end's connection is still open", restart.what)
			}
		}
	}
}

// ended waits for a connection to end and returns with what error.
func ended(c net.Conn) error {
	b := make([]byte, 1)
	for {
		if _, err := c.Read(b); err != nil {
			return err
		}
	}
}

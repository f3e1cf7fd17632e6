package probe_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"braid/lab/emulator"
	"braid/lab/probe"
)

func TestConversation(t *testing.T) {
	client, server, link := connect(t, emulator.Shape{Rate: 50 * emulator.Mbps, Delay: 5 * ms})
	s, err := probe.ServeTCPEcho(server, netip.AddrPortFrom(serverAddr, 7).String())
	check(t, err)
	paced, err := probe.StartConversation(t.Context(), client, s.Addr, emulator.Mbps)
	check(t, err)
	fast, err := probe.StartConversation(t.Context(), client, s.Addr, 0)
	check(t, err)
	time.Sleep(500 * ms)
	if n := s.Open(); n != 2 {
		t.Errorf("%d connections are open", n)
	}
	check(t, fast.Finish(5*time.Second))
	check(t, paced.Finish(5*time.Second))
	// 1 Mb/s for half a second and more is 62,500 bytes; the other took what it got.
	if n := paced.Verified(); n < 10_000 || n > 2_000_000 || fast.Verified() < n {
		t.Errorf("%d bytes with a rate, %d without", n, fast.Verified())
	}

	// A connection that stands is told from one that goes on.
	stuck, err := probe.StartConversation(t.Context(), client, s.Addr, emulator.Mbps)
	check(t, err)
	check(t, link.SetBlackHole(true))
	if err := stuck.Finish(300 * ms); err == nil || !strings.Contains(err.Error(), "stood") {
		t.Errorf("a conversation in a black hole: %v", err)
	}
	check(t, link.SetBlackHole(false))
	check(t, s.Close())
}

// What comes back wrong, or not at all, is found.
func TestConversationFindsFaults(t *testing.T) {
	client, server, _ := connect(t, emulator.Shape{})
	for _, test := range []struct {
		name, want string
		serve      func(net.Conn)
	}{
		{"a wrong byte", "byte 70000 is", func(c net.Conn) {
			b := make([]byte, 80_000)
			_, _ = io.ReadFull(c, b)
			b[70_000] ^= 1
			_, _ = c.Write(b)
			_, _ = io.Copy(io.Discard, c)
		}},
		{"an early end", "came back of", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }},
		{"a reset", "connection reset", func(c net.Conn) {
			_, _ = io.ReadFull(c, make([]byte, 1000))
			c.(*net.TCPConn).SetLinger(0)
		}},
	} {
		l, err := server.Listen(context.Background(), "tcp", ":7")
		check(t, err)
		go func() {
			if c, err := l.Accept(); err == nil {
				test.serve(c)
				c.Close()
			}
		}()
		c, err := probe.StartConversation(t.Context(), client, netip.AddrPortFrom(serverAddr, 7), 10*emulator.Mbps)
		check(t, err)
		time.Sleep(200 * ms)
		if err := c.Finish(5 * time.Second); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
		check(t, l.Close())
	}
}

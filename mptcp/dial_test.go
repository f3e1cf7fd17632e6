package mptcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDialListenFamilies(t *testing.T) {
	l := newLab(t)
	for _, c := range []struct {
		name, listen string
		remote       netip.Addr
	}{
		{"dual-stack listener, v4", "[::]:0", service4},
		{"dual-stack listener, v6", "[::]:0", service6},
		{"v4 listener on all", "0.0.0.0:0", service4},
		{"v4 listener on one", "10.1.0.2:0", serverA4},
		{"v6 listener on one", "[fd00:1::2]:0", serverA6},
		{"v4-mapped remote", "[::]:0", netip.AddrFrom16(service4.As16())},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := l.serveOn(netip.MustParseAddrPort(c.listen), Options{})
			conn := l.dial(netip.AddrPortFrom(c.remote, e.port()), Options{})
			exchange(t, conn, 100_000)
			if !conn.MPTCP() {
				t.Error("the client's end is not MPTCP")
			}
			server := e.next(t)
			if !server.MPTCP() {
				t.Error("the server's end is not MPTCP")
			}
			if want := netip.AddrPortFrom(c.remote.Unmap(), e.port()); conn.RemoteAddrPort() != want {
				t.Errorf("remote %v, want %v", conn.RemoteAddrPort(), want)
			}
			if server.RemoteAddrPort() != conn.LocalAddrPort() || server.LocalAddrPort() != conn.RemoteAddrPort() {
				t.Errorf("client %v → %v, server %v → %v", conn.LocalAddrPort(), conn.RemoteAddrPort(),
					server.LocalAddrPort(), server.RemoteAddrPort())
			}
			if _, err := conn.Token(); err != nil {
				t.Error(err)
			}
			conn.Close()
			if conn.MPTCP() {
				t.Error("MPTCP after Close")
			}
		})
	}
}

func TestV4ListenerRefusesV6(t *testing.T) {
	l := newLab(t)
	e := l.serveOn(netip.MustParseAddrPort("0.0.0.0:0"), Options{})
	_, err := on(l.client, func() (*Conn, error) {
		return Dial(context.Background(), netip.AddrPortFrom(serverA6, e.port()), Options{})
	})
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatalf("got %v", err)
	}
}

func TestConnIsATCPConn(t *testing.T) {
	l := newLab(t)
	e := l.serve(Options{})
	conn := l.dial(netip.AddrPortFrom(service4, e.port()), Options{})
	var _ net.Conn = conn
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		t.Fatalf("read past the deadline: %v", err)
	}
	conn.SetReadDeadline(time.Time{})
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 2)
	if n, err := conn.Read(b); n != 1 || err != nil {
		t.Fatalf("half-closed read: %d, %v", n, err)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func TestPlainPeers(t *testing.T) {
	l := newLab(t)
	t.Run("server is TCP", func(t *testing.T) {
		e := l.serve(Options{PlainTCP: true})
		conn := l.dial(netip.AddrPortFrom(service4, e.port()), Options{})
		exchange(t, conn, 10_000)
		assertPlain(t, conn)
		assertPlain(t, e.next(t))
	})
	t.Run("client is TCP", func(t *testing.T) {
		e := l.serve(Options{})
		for _, remote := range []netip.Addr{service4, service6} {
			conn := l.dial(netip.AddrPortFrom(remote, e.port()), Options{PlainTCP: true})
			exchange(t, conn, 10_000)
			assertPlain(t, conn)
			assertPlain(t, e.next(t))
		}
	})
}

func assertPlain(t *testing.T, c *Conn) {
	t.Helper()
	if c.MPTCP() {
		t.Error("a plain connection says it is MPTCP")
	}
	if _, err := c.Token(); !errors.Is(err, ErrFallback) {
		t.Errorf("token: %v", err)
	}
	if _, err := c.Subflows(); !errors.Is(err, ErrFallback) {
		t.Errorf("subflows: %v", err)
	}
	info, err := c.TCPInfo()
	if err != nil || info.State != StateEstablished || info.BytesReceived < 10_000 {
		t.Errorf("TCP info: %v, %v, %d received", err, info.State, info.BytesReceived)
	}
}

func TestDialRefused(t *testing.T) {
	l := newLab(t)
	for _, plain := range []bool{false, true} {
		for _, remote := range []netip.Addr{service4, service6} {
			_, err := on(l.client, func() (*Conn, error) {
				return Dial(context.Background(), netip.AddrPortFrom(remote, 9), Options{PlainTCP: plain})
			})
			if !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("plain %v, %v: %v", plain, remote, err)
			}
		}
	}
	_, err := on(l.client, func() (*Conn, error) {
		return Dial(context.Background(), netip.MustParseAddrPort("192.0.2.1:9"), Options{})
	})
	if !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("without a route: %v", err)
	}
	for _, nowhere := range []netip.AddrPort{{}, netip.AddrPortFrom(netip.Addr{}, 9)} {
		if _, err := Dial(context.Background(), nowhere, Options{}); !errors.Is(err, unix.EDESTADDRREQ) {
			t.Errorf("no address: %v", err)
		}
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	l := newLab(t)
	nobody := netip.MustParseAddr("10.1.0.77")
	l.client.blackhole("a0", nobody)
	start := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := on(l.client, func() (*Conn, error) { return Dial(ctx, netip.AddrPortFrom(nobody, 9), Options{}) })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err = on(l.client, func() (*Conn, error) {
		return Dial(ctx, netip.AddrPortFrom(nobody, 9), Options{PlainTCP: true})
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("timed out: %v", err)
	}
	_, err = on(l.client, func() (*Conn, error) { return Dial(ctx, netip.AddrPortFrom(nobody, 9), Options{}) })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ended before: %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestMPTCPSwitchedOff(t *testing.T) {
	l := newLab(t)
	l.client.sysctl("net/mptcp/enabled", "0")
	for _, userspace := range []bool{false, true} {
		_, err := on(l.client, func() (*Conn, error) {
			return Dial(context.Background(), netip.AddrPortFrom(service4, 9), Options{UserspacePathManager: userspace})
		})
		var e *Error
		if !errors.Is(err, ErrUnsupported) || !errors.As(err, &e) || e.Hint == "" {
			t.Errorf("userspace manager %v: %v", userspace, err)
		}
	}
	if v := l.client.readSysctl("net/mptcp/pm_type"); v != "0" {
		t.Errorf("pm_type is %s afterwards", v)
	}
	_, err := on(l.client, func() (*Listener, error) {
		return Listen(context.Background(), netip.MustParseAddrPort("[::]:0"), Options{})
	})
	if !errors.Is(err, ErrUnsupported) {
		t.Errorf("listen: %v", err)
	}
}

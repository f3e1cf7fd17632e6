package mptcp

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func sockopt(t *testing.T, c *Conn, level, name int) int {
	t.Helper()
	var v int
	var err error
	if cerr := c.raw.Control(func(fd uintptr) { v, err = unix.GetsockoptInt(int(fd), level, name) }); cerr != nil {
		t.Fatal(cerr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestDialOptions(t *testing.T) {
	l := newLab(t)
	e := l.serve(Options{ReceiveBufferBytes: 8 << 20, CongestionControl: "reno"})
	conn := l.dial(netip.AddrPortFrom(service4, e.port()), Options{
		Mark: testMark, Local: clientA4, ReceiveBufferBytes: 6 << 20, SendBufferBytes: 5 << 20,
		CongestionControl: "reno", NotSentLowatBytes: 128 << 10,
	})
	exchange(t, conn, 1000)
	if !conn.MPTCP() {
		t.Error("not MPTCP")
	}
	if got := conn.LocalAddrPort().Addr(); got != clientA4 {
		t.Errorf("local %v", got)
	}
	if got := sockopt(t, conn, unix.SOL_SOCKET, unix.SO_MARK); got != testMark {
		t.Errorf("mark %#x", got)
	}
	if got, err := conn.ReceiveBuffer(); err != nil || got != 12<<20 {
		t.Errorf("receive buffer %d, %v", got, err)
	}
	if got := sockopt(t, conn, unix.SOL_SOCKET, unix.SO_SNDBUF); got != 10<<20 {
		t.Errorf("send buffer %d", got)
	}
	if got, err := conn.CongestionControl(); err != nil || got != "reno" {
		t.Errorf("congestion control %q, %v", got, err)
	}
	if got := sockopt(t, conn, unix.IPPROTO_TCP, unix.TCP_NODELAY); got != 1 {
		t.Error("TCP_NODELAY is off")
	}
	if got := sockopt(t, conn, unix.SOL_SOCKET, unix.SO_KEEPALIVE); got != 1 {
		t.Error("keep-alive is off")
	}
	if got := sockopt(t, conn, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT); got != 128<<10 {
		t.Errorf("TCP_NOTSENT_LOWAT %d", got)
	}
	if err := conn.SetReceiveBuffer(16 << 20); err != nil {
		t.Error(err)
	}
	if got, err := conn.ReceiveBuffer(); err != nil || got != 32<<20 {
		t.Errorf("receive buffer %d, %v after setting it", got, err)
	}
	server := e.next(t)
	if got, err := server.ReceiveBuffer(); err != nil || got != 16<<20 {
		t.Errorf("the accepted connection's receive buffer is %d, %v", got, err)
	}
	if got, err := server.CongestionControl(); err != nil || got != "reno" {
		t.Errorf("the accepted connection's congestion control is %q, %v", got, err)
	}
}

// The source address and the mark choose the table, whichever uplink the main
// table prefers.
func TestLocalAddressChoosesThePath(t *testing.T) {
	l := newLab(t)
	e := l.serve(Options{})
	for _, c := range []struct {
		local, remote netip.Addr
		link, other   string
	}{
		{clientA4, service4, "a0", "b0"}, {clientB4, service4, "b0", "a0"},
		{clientA6, service6, "a0", "b0"}, {clientB6, service6, "b0", "a0"},
	} {
		before, otherBefore := l.client.sent(c.link), l.client.sent(c.other)
		conn := l.dial(netip.AddrPortFrom(c.remote, e.port()), Options{Mark: testMark, Local: c.local})
		exchange(t, conn, 200_000)
		if moved := l.client.sent(c.link) - before; moved < 200_000 {
			t.Errorf("from %v: %d bytes left by %s", c.local, moved, c.link)
		}
		if moved := l.client.sent(c.other) - otherBefore; moved > 10_000 {
			t.Errorf("from %v: %d bytes left by %s", c.local, moved, c.other)
		}
	}
}

func TestDeviceChoosesThePath(t *testing.T) {
	l := newLab(t)
	e := l.serve(Options{})
	for _, plain := range []bool{false, true} {
		before := l.client.sent("a0")
		conn := l.dial(netip.AddrPortFrom(serverA4, e.port()), Options{Device: "a0", PlainTCP: plain})
		exchange(t, conn, 200_000)
		if moved := l.client.sent("a0") - before; moved < 200_000 {
			t.Errorf("plain %v: %d bytes left by a0", plain, moved)
		}
		if got := conn.bound(); got != l.client.index("a0") {
			t.Errorf("plain %v: bound to %d", plain, got)
		}
	}
}

func TestOptionErrors(t *testing.T) {
	l := newLab(t)
	for _, c := range []struct {
		o    Options
		want error
	}{
		{Options{CongestionControl: "no-such"}, unix.ENOENT},
		{Options{Device: "no-such"}, unix.ENODEV},
		{Options{Local: netip.MustParseAddr("192.0.2.7")}, unix.EADDRNOTAVAIL},
	} {
		for _, c.o.PlainTCP = range []bool{false, true} {
			_, err := on(l.client, func() (*Conn, error) {
				return Dial(context.Background(), netip.AddrPortFrom(serverA4, 9), c.o)
			})
			var e *Error
			if !errors.As(err, &e) || !errors.Is(err, c.want) {
				t.Errorf("%+v: %v", c.o, err)
			}
		}
	}
	_, err := on(l.client, func() (*Conn, error) {
		return Dial(context.Background(), netip.AddrPortFrom(service4, 9), Options{Local: clientA6})
	})
	if err == nil {
		t.Error("an IPv6 source for an IPv4 peer")
	}
	_, err = on(l.client, func() (*Listener, error) {
		return Listen(context.Background(), netip.MustParseAddrPort("192.0.2.7:0"), Options{})
	})
	if !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("listen on an address that is not ours: %v", err)
	}
}

// bbr is taken where the process may.
func TestDefaultCongestionControl(t *testing.T) {
	l := newLab(t)
	e := l.serve(Options{})
	conn := l.dial(netip.AddrPortFrom(service4, e.port()), Options{})
	got, err := conn.CongestionControl()
	if err != nil {
		t.Fatal(err)
	}
	want := "bbr"
	if !offersBBR(l.client) {
		want = l.client.readSysctl("net/ipv4/tcp_congestion_control")
	}
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func offersBBR(h *host) bool {
	_, err := on(h, func() (int, error) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return 0, err
		}
		defer unix.Close(fd)
		return 0, unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr")
	})
	return err == nil
}

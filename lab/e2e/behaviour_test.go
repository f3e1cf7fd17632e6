package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"braid/lab/daemon"
	"braid/lab/probe"
)

// What programs see of TCP is as without a tunnel.
func TestTCPAsWithoutTunnel(t *testing.T) {
	w := begin(t, cellA(), daemon.Options{})
	for _, test := range []struct {
		name string
		run  func(*world)
	}{
		{"client ends first", clientEndsFirst}, {"server ends first", serverEndsFirst},
		{"server resets", serverResets}, {"client resets", clientResets},
		{"closed port", closedPort}, {"unreachable", unreachable}, {"silence", silence}, {"happy eyeballs", happyEyeballs},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(w.in(t)) })
	}
}

// dial connects from the client's host; the connection has a deadline.
func (w *world) dial(to netip.AddrPort) *net.TCPConn {
	w.Helper()
	c, err := w.Net.Client.DialContext(w.patient(), "tcp", to.String())
	w.must(err)
	w.Cleanup(func() { c.Close() })
	w.must(c.SetDeadline(time.Now().Add(patience)))
	return c.(*net.TCPConn)
}

// The client sends and ends its half; the server answers after that.
func clientEndsFirst(w *world) {
	c := w.dial(w.listen(w.Net.Internet, w.Net.InternetAddr4, func(c *net.TCPConn) {
		question, err := io.ReadAll(c)
		if err != nil {
			return
		}
		time.Sleep(200 * time.Millisecond)
		fmt.Fprintf(c, "%d bytes\n", len(question))
		_, _ = io.Copy(c, probe.Content(1_000_000))
	}))
	_, err := io.Copy(c, probe.Content(300_000))
	w.must(err)
	w.must(c.CloseWrite())
	answer, err := io.ReadAll(c)
	w.must(err)
	content, err := io.ReadAll(probe.Content(1_000_000))
	w.must(err)
	if string(answer) != "300000 bytes\n"+string(content) {
		w.Errorf("the answer has %d bytes: %.40q", len(answer), answer)
	}
}

// The server ends its half at once and takes what the client sends after that.
func serverEndsFirst(w *world) {
	took := make(chan int64, 1)
	c := w.dial(w.listen(w.Net.Internet, w.Net.InternetAddr4, func(c *net.TCPConn) {
		c.CloseWrite()
		n, _ := io.Copy(io.Discard, c)
		took <- n
	}))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		w.Fatalf("read %d bytes, %v, want the end", n, err)
	}
	time.Sleep(200 * time.Millisecond)
	_, err := io.Copy(c, probe.Content(300_000))
	w.must(err)
	w.must(c.CloseWrite())
	select {
	case n := <-took:
		if n != 300_000 {
			w.Errorf("%d bytes arrived after the server's end", n)
		}
	case <-time.After(patience):
		w.Error("the client's end did not arrive")
	}
}

func serverResets(w *world) {
	c := w.dial(w.listen(w.Net.Internet, w.Net.InternetAddr4, func(c *net.TCPConn) {
		_, _ = c.Read(make([]byte, 1))
		c.SetLinger(0)
	}))
	_, err := c.Write([]byte("x"))
	w.must(err)
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		w.Errorf("read %d bytes, %v, want a reset", n, err)
	}
}

func clientResets(w *world) {
	saw := make(chan error, 1)
	c := w.dial(w.listen(w.Net.Internet, w.Net.InternetAddr4, func(c *net.TCPConn) {
		_, _ = c.Write([]byte("x"))
		_, err := io.Copy(io.Discard, c)
		saw <- err
	}))
	_, err := io.ReadFull(c, make([]byte, 1))
	w.must(err)
	w.must(c.SetLinger(0))
	w.must(c.Close())
	select {
	case err := <-saw:
		if !errors.Is(err, syscall.ECONNRESET) {
			w.Errorf("the server saw %v, want a reset", err)
		}
	case <-time.After(patience):
		w.Error("the reset did not arrive")
	}
}

// refusedWithin is ample for a round trip, of some 30 ms, and short of a second SYN.
const refusedWithin = 900 * time.Millisecond

func closedPort(w *world) {
	for _, at := range []netip.Addr{w.Net.InternetAddr4, w.Net.InternetAddr6, daemon.Server4, daemon.Server6} {
		w.fails(netip.AddrPortFrom(at, 9), syscall.ECONNREFUSED)
	}
}

// A network that the server's router does not know, and one that the server
// itself does not. (That of IPv6 is not the router's: where the answer comes while
// connect() has not yet returned, as over a cable without delay, Linux heeds it
// only when it sends the SYN again.)
func unreachable(w *world) {
	w.run(w.Net.Server, "ip", "route", "add", "unreachable", "2001:db8:dead::/48")
	defer w.run(w.Net.Server, "ip", "route", "del", "unreachable", "2001:db8:dead::/48")
	for _, at := range []string{"198.18.0.1", "2001:db8:dead::1"} {
		w.fails(netip.AddrPortFrom(netip.MustParseAddr(at), 80), syscall.ENETUNREACH, syscall.EHOSTUNREACH)
	}
}

// fails checks that connecting from the client's host fails soon, with one of
// the errors. It tries again on a machine that was busy.
func (w *world) fails(to netip.AddrPort, want ...error) {
	w.Helper()
	best := time.Hour
	for try := 0; try < 3 && best > refusedWithin; try++ {
		began := time.Now()
		c, err := w.Net.Client.DialContext(w.patient(), "tcp", to.String())
		best = min(best, time.Since(began))
		if err == nil {
			c.Close()
			w.Fatalf("connected to %v", to)
		}
		matches := false
		for _, e := range want {
			matches = matches || errors.Is(err, e)
		}
		if !matches {
			w.Fatalf("connecting to %v failed with %v, want %v", to, err, want)
		}
	}
	w.Logf("%v failed after %v", to, best.Round(100*time.Microsecond))
	if best > refusedWithin {
		w.Errorf("connecting to %v failed only after %v", to, best)
	}
}

// drop makes the internet host silent about what a rule of nftables matches,
// until the returned function is called.
func (w *world) drop(rule string) (end func()) {
	w.Helper()
	w.run(w.Net.Internet, "nft", "add table inet silence; add chain inet silence input { type filter hook input priority 0; }; add rule inet silence input "+rule+" drop")
	return func() { w.run(w.Net.Internet, "nft", "delete", "table", "inet", "silence") }
}

// A host that does not answer keeps a program waiting, as long as it wants to,
// and is connected when it comes back.
func silence(w *world) {
	at := w.listen(w.Net.Internet, w.Net.InternetAddr4, func(c *net.TCPConn) { _, _ = c.Write([]byte("late")) })
	speak := w.drop("tcp dport " + strconv.Itoa(int(at.Port())))
	type outcome struct {
		conn net.Conn
		err  error
	}
	done := make(chan outcome, 1)
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	go func() {
		c, err := w.Net.Client.DialContext(ctx, "tcp", at.String())
		done <- outcome{c, err}
	}()
	select {
	case o := <-done:
		w.Fatalf("a silent host was answered for: %v, %v", o.conn, o.err)
	case <-time.After(3500 * time.Millisecond):
	}
	speak()
	o := <-done
	w.must(o.err)
	defer o.conn.Close()
	w.must(o.conn.SetDeadline(time.Now().Add(patience)))
	b, err := io.ReadAll(o.conn)
	w.must(err)
	if string(b) != "late" {
		w.Errorf("read %q", b)
	}
}

// A name with a broken IPv6 address: curl takes the IPv4 one without delay.
func happyEyeballs(w *world) {
	s, err := probe.ServeHTTP(w.Net.Internet, netip.AddrPortFrom(w.Net.InternetAddr4, 0).String())
	w.must(err)
	defer s.Close()
	for _, broken := range []struct {
		what string
		at   netip.Addr
		drop bool
	}{
		{"refused", w.Net.InternetAddr6, false},
		{"silent", w.Net.InternetAddr6, true},
		{"unreachable", netip.MustParseAddr("2001:db8:dead::1"), false},
	} {
		if broken.drop {
			defer w.drop("meta nfproto ipv6 tcp dport " + strconv.Itoa(int(s.Addr.Port())))()
		}
		out := w.run(w.Net.Client, "curl", "-sS", "--fail", "--max-time", "20", "-o", "/dev/null", "-w", "%{remote_ip} %{time_total}",
			"--resolve", fmt.Sprintf("braid.test:%d:[%v],%v", s.Addr.Port(), broken.at, w.Net.InternetAddr4),
			fmt.Sprintf("http://braid.test:%d/1000", s.Addr.Port()))
		ip, text, _ := strings.Cut(out, " ")
		seconds, err := strconv.ParseFloat(text, 64)
		w.must(err)
		w.Logf("IPv6 %s: IPv4 after %.3f s", broken.what, seconds)
		if ip != w.Net.InternetAddr4.String() || seconds > 2 {
			w.Errorf("IPv6 %s: curl connected to %s and took %.3f s", broken.what, ip, seconds)
		}
	}
}

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/daemon"
	"braid/lab/emulator"
	"braid/lab/probe"
	"braid/lab/topology"
)

// Programs on both sides write a hundred bytes at a time, as fast as they can,
// over two healthy paths of very different length. Plain MPTCP can then stand for
// ever, with its receive buffer full of what is out of order.
func TestTinyWrites(t *testing.T) {
	t.Parallel()
	const transfer, write = 2_000_000, 100
	c := topology.Config{Uplinks: []topology.Uplink{
		topology.Line("short", 50*emulator.Mbps, 50*emulator.Mbps, 20*time.Millisecond),
		topology.Line("long", 50*emulator.Mbps, 50*emulator.Mbps, 200*time.Millisecond),
	}}
	w := begin(t, c, daemon.Options{})
	at := w.listen(w.Net.Internet, w.Net.InternetAddr4, func(c *net.TCPConn) {
		tinyExchange(c, transfer, write)
	})
	runs := count(t, "BRAID_TINY_RUNS", 5, 50)
	var longest time.Duration
	for i := range runs {
		conn, err := w.Net.Client.DialContext(w.ctx, "tcp", at.String())
		w.must(err)
		began := time.Now()
		w.must(conn.SetDeadline(began.Add(patience)))
		if err := tinyExchange(conn.(*net.TCPConn), transfer, write); err != nil {
			t.Fatalf("run %d, after %v: %v", i+1, time.Since(began), err)
		}
		longest = max(longest, time.Since(began))
		conn.Close()
	}
	t.Logf("%d runs, the longest took %v", runs, longest.Round(time.Millisecond))
}

// tinyExchange writes n bytes of content in small pieces, ends its half, and
// verifies the same from the other side meanwhile.
func tinyExchange(c *net.TCPConn, n int64, piece int) error {
	sent := make(chan error, 1)
	go func() {
		// Only io.Writer, for content would write large blocks.
		_, err := io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{probe.Content(n)}, make([]byte, piece))
		if err == nil {
			err = c.CloseWrite()
		}
		sent <- err
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		return fmt.Errorf("after %d bytes: %w", len(got), err)
	}
	want, err := io.ReadAll(probe.Content(n))
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%d bytes arrived, not those %d that were sent", len(got), n)
	}
	return <-sent
}

// listen serves connections at an address of a host, on a port of the kernel's
// choice, until the test ends. The server closes each when its function returns.
func (w *world) listen(h *lab.Host, addr netip.Addr, serve func(*net.TCPConn)) netip.AddrPort {
	w.Helper()
	l, err := h.Listen(w.ctx, "tcp", netip.AddrPortFrom(addr, 0).String())
	w.must(err)
	w.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

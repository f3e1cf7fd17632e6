package topology_test

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"braid/lab"
	"braid/lab/emulator"
	"braid/lab/probe"
	"braid/lab/topology"
)

// TestKernelMPTCP downloads over both uplinks of cell A with nothing but the
// kernel: what braid's streams are measured against, and proof that the two
// uplinks add up.
func TestKernelMPTCP(t *testing.T) {
	n := build(t, topology.CellA())
	if v, err := n.Server.Sysctl("net.mptcp.enabled"); err != nil || v != "1" {
		t.Skipf("no MPTCP in this kernel: enabled is %q (%v)", v, err)
	}
	const length = 5 * time.Second
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(n.AddSourceRules())
	for _, args := range [][]string{
		{"mptcp", "limits", "set", "subflow", "4"},
		{"mptcp", "endpoint", "add", n.ClientAddr4("lte").String(), "dev", "lte", "subflow"},
	} {
		_, err := n.Client.Run(t.Context(), "ip", args...)
		check(err)
	}
	_, err := n.Server.Run(t.Context(), "ip", "mptcp", "limits", "set", "subflow", "4")
	check(err)

	var listen net.ListenConfig
	listen.SetMultipathTCP(true)
	var listener net.Listener
	check(n.Server.Do(func() (err error) {
		listener, err = listen.Listen(t.Context(), "tcp", netip.AddrPortFrom(n.ServerAddr4, 0).String())
		return err
	}))
	defer listener.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		if conn, err := listener.Accept(); err == nil {
			// Not until the client has closed: an MPTCP peer may notice that only
			// after a minute.
			_ = conn.SetDeadline(time.Now().Add(length))
			_, _ = io.Copy(conn, probe.Content(1<<40))
			conn.Close()
		}
	}()

	var dial net.Dialer
	dial.SetMultipathTCP(true)
	conn, err := n.Client.DialWith(t.Context(), &dial, "tcp", listener.Addr().String())
	check(err)
	// Two unequal paths can fill a small buffer with what is out of order.
	check(conn.(*net.TCPConn).SetReadBuffer(8 << 20))
	check(conn.SetDeadline(time.Now().Add(length)))
	before := bytesDown(t, n)
	m := probe.NewMeter()
	_, _ = io.Copy(m, conn) // until the deadline
	m.Stop()
	carried := emulator.BitRate(float64(bytesDown(t, n)-before) * 8 / m.Elapsed().Seconds())
	conn.Close()
	<-served
	t.Logf("payload %v, on the links %v", m.MeanRate(), carried)
	// The best uplink alone has at most 48.3 of payload. The mean includes slow
	// start; parts of it can be faster than the links, when what waited for its
	// turn in the receive buffer comes out.
	if rate := m.MeanRate(); rate < 55*emulator.Mbps || rate > 77*emulator.Mbps {
		t.Errorf("two uplinks of 50 and 30 Mb/s carry %v of payload, want 55 to 77 Mb/s", rate)
	}
	if carried > 80*emulator.Mbps {
		t.Errorf("two uplinks of 50 and 30 Mb/s carry %v", carried)
	}
}

// bytesDown is how much has come down the emulated links.
func bytesDown(t *testing.T, n *topology.Net) (bytes uint64) {
	t.Helper()
	for _, link := range n.Links {
		c, err := link.Counters(lab.BToA)
		if err != nil {
			t.Fatal(err)
		}
		bytes += c.Bytes
	}
	return bytes
}

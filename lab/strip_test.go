package lab_test

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"

	"braid/lab"
	"braid/lab/probe"
)

// Over a link that strips MPTCP a connection is plain TCP, whole and right.
func TestLinkStripsMPTCP(t *testing.T) {
	p := newPair(t, lab.LinkConfig{})
	if v, err := p.b.Sysctl("net.mptcp.enabled"); err != nil || v != "1" {
		t.Skipf("no MPTCP in this kernel: enabled is %q (%v)", v, err)
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(true)
	var listener net.Listener
	check(t, p.b.Do(func() (err error) {
		listener, err = lc.Listen(t.Context(), "tcp", netip.AddrPortFrom(p.bAddr, 0).String())
		return err
	}))
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, probe.Content(1_000_000))
			c.Close()
		}
	}()
	want, err := io.ReadAll(probe.Content(1_000_000))
	check(t, err)
	for _, strip := range []bool{false, true, false} {
		check(t, p.link.SetStripMPTCP(strip))
		var d net.Dialer
		d.SetMultipathTCP(true)
		c, err := p.a.DialWith(t.Context(), &d, "tcp", listener.Addr().String())
		check(t, err)
		if multipath, err := c.(*net.TCPConn).MultipathTCP(); err != nil || multipath == strip {
			t.Errorf("strip %v: multipath %v, %v", strip, multipath, err)
		}
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("strip %v: %d bytes, %v", strip, len(got), err)
		}
		c.Close()
	}
}

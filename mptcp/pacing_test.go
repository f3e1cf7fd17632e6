package mptcp

import (
	"io"
	"net/netip"
	"testing"
	"time"
)

// A bound holds for one subflow, and ends when it is taken away.
func TestSubflowPacing(t *testing.T) {
	p, err := NewSubflowPacing()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := Listen(t.Context(), netip.MustParseAddrPort(address), Options{})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		var server *Conn
		go func() {
			defer close(done)
			var err error
			if server, err = l.AcceptConn(); err != nil {
				return
			}
			for b := make([]byte, 64<<10); ; {
				if _, err := server.Write(b); err != nil {
					return
				}
			}
		}()
		c, err := Dial(t.Context(), netip.MustParseAddrPort(l.Addr().String()), Options{})
		if err != nil {
			t.Fatal(err)
		}
		seconds := func(bytes int64) float64 {
			began := time.Now()
			if _, err := io.CopyN(io.Discard, c, bytes); err != nil {
				t.Fatal(err)
			}
			return time.Since(began).Seconds()
		}
		seconds(1 << 20) // the subflow is there
		flow := PacedFlow{Local: c.RemoteAddrPort(), Remote: c.LocalAddrPort(), Rate: 10e6}
		if err := p.Set([]PacedFlow{flow, {Local: flow.Remote, Remote: flow.Local, Rate: 1}}); err != nil {
			t.Fatal(err)
		}
		seconds(20 << 20) // what was under way
		if took := seconds(10 << 20); took < 0.9 {
			t.Errorf("%s: 10 MB took %.2f s at 10 MB/s", address, took)
		}
		flow.Rate = 0
		if err := p.Set([]PacedFlow{flow}); err != nil {
			t.Fatal(err)
		}
		seconds(10 << 20)
		if took := seconds(100 << 20); took > 8 {
			t.Errorf("%s: 100 MB took %.2f s without a bound", address, took)
		}
		c.Close()
		<-done
		server.Close()
		l.Close()
	}
	var none PacedFlow
	none.Remote = netip.MustParseAddrPort("192.0.2.1:1")
	if err := p.Set([]PacedFlow{none}); err != nil {
		t.Errorf("a flow that is not there: %v", err)
	}
}

package terminate

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	var key [32]byte
	key[0] = byte(seed)
	rand.NewChaCha8(key).Read(b)
	return b
}

// Several megabytes both ways at once, closed half by half, over IPv4 and
// IPv6: what arrives is what was sent, and from whom it should be.
func TestBothWays(t *testing.T) {
	const size = 6 << 20
	up, down := random(size, 1), random(size, 2)
	got := make(chan []byte, 1)
	h := newHost(t, serve(t, func(c *Conn) {
		sent := make(chan struct{})
		go func() {
			c.Write(down)
			c.CloseWrite()
			close(sent)
		}()
		b, err := io.ReadAll(c)
		if err != nil {
			t.Error(err)
		}
		<-sent
		c.Close()
		got <- b
	}), nil)
	for _, dest := range []string{dest4, dest6} {
		c := dial(t, dest)
		if c.RemoteAddr().String() != dest {
			t.Errorf("connected to %v", c.RemoteAddr())
		}
		go func() {
			c.Write(up)
			c.CloseWrite()
		}()
		b, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(b, down) {
			t.Errorf("%s: %d bytes came down, %v", dest, len(b), err)
		}
		if b := receive(t, got); !bytes.Equal(b, up) {
			t.Errorf("%s: %d bytes came up", dest, len(b))
		}
		c.Close()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.table.stats; s.Accepted != 2 || s.Pending != 0 || s.Connections != 0 || s.WriteErrors+s.DroppedMalformed+s.Intruders != 0 {
		t.Errorf("%+v", s)
	}
}

// Either side closes its half, and the other goes on.
func TestHalfClose(t *testing.T) {
	t.Run("application", func(t *testing.T) {
		newHost(t, serve(t, func(c *Conn) {
			defer c.Close()
			b, _ := io.ReadAll(c)
			time.Sleep(20 * time.Millisecond)
			c.Write(bytes.ToUpper(b))
		}), nil)
		c := dial(t, dest4)
		defer c.Close()
		io.WriteString(c, "question")
		c.CloseWrite()
		if b, err := io.ReadAll(c); string(b) != "QUESTION" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	})
	t.Run("destination", func(t *testing.T) {
		got := make(chan string, 1)
		newHost(t, serve(t, func(c *Conn) {
			defer c.Close()
			io.WriteString(c, "hello")
			c.CloseWrite()
			b, _ := io.ReadAll(c)
			got <- string(b)
		}), nil)
		c := dial(t, dest6)
		if b, err := io.ReadAll(c); string(b) != "hello" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		time.Sleep(20 * time.Millisecond)
		io.WriteString(c, "goodbye")
		c.Close()
		if b := receive(t, got); b != "goodbye" {
			t.Errorf("%q after the end of the other half", b)
		}
	})
}

func TestResets(t *testing.T) {
	t.Run("by the destination", func(t *testing.T) {
		h := newHost(t, serve(t, func(c *Conn) {
			c.Read(make([]byte, 1))
			c.SetLinger(0)
			c.Close()
		}), nil)
		for _, dest := range []string{dest4, dest6} {
			c := dial(t, dest)
			defer c.Close()
			io.WriteString(c, "x")
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: %v", dest, err)
			}
		}
		h.ended(t, 2)
	})
	t.Run("by the application", func(t *testing.T) {
		got := make(chan error, 1)
		h := newHost(t, serve(t, func(c *Conn) {
			io.WriteString(c, "x")
			_, err := c.Read(make([]byte, 1))
			got <- err
			c.Close()
		}), nil)
		for _, dest := range []string{dest4, dest6} {
			c := dial(t, dest)
			c.Read(make([]byte, 1)) // a reset before the socket is accepted fails Accept
			c.SetLinger(0)
			c.Close()
			if err := receive(t, got); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: %v", dest, err)
			}
		}
		h.ended(t, 2)
	})
}

// ended waits until n connections are known to be over.
func (h *host) ended(t *testing.T, n int) {
	t.Helper()
	eventually(t, "connections to end", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		ended := 0
		for key, e := range h.table.flows {
			if key == e.key && !e.ended.IsZero() && e.released {
				ended++
			}
		}
		return ended == n
	})
}

// What the far end says reaches connect(2) at once.
func TestRefusals(t *testing.T) {
	tests := []struct {
		name   string
		do     func(*Pending)
		e4, e6 syscall.Errno
	}{
		{"refused", (*Pending).Refuse, syscall.ECONNREFUSED, syscall.ECONNREFUSED},
		{"host", func(p *Pending) { p.Unreachable(HostUnreachable) }, syscall.EHOSTUNREACH, syscall.EHOSTUNREACH},
		{"net", func(p *Pending) { p.Unreachable(NetUnreachable) }, syscall.ENETUNREACH, syscall.ENETUNREACH},
		{"prohibited", func(p *Pending) { p.Unreachable(AdminProhibited) }, syscall.EHOSTUNREACH, syscall.EACCES},
	}
	do := make(chan func(*Pending), 1)
	h := newHost(t, func(p *Pending) {
		go func() {
			(<-do)(p)
			p.Refuse() // is too late
			if _, err := p.Accept(context.Background()); !errors.Is(err, ErrAnswered) {
				t.Errorf("Accept after an answer: %v", err)
			}
		}()
	}, nil)
	for _, tt := range tests {
		for dest, want := range map[string]syscall.Errno{dest4: tt.e4, dest6: tt.e6} {
			do <- tt.do
			start := time.Now()
			_, err := net.DialTimeout("tcp", dest, 5*time.Second)
			if !errors.Is(err, want) || time.Since(start) > 500*time.Millisecond {
				t.Errorf("%s: %s: %v after %v", tt.name, dest, err, time.Since(start))
			}
		}
	}
	if s := h.Stats(); s.Pending != 0 || s.Connections != 0 || s.Offered != 8 {
		t.Errorf("%+v", s)
	}
}

func timedOut(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

func TestSilence(t *testing.T) {
	h := newHost(t, (*Pending).Drop, nil)
	// The kernel repeats a SYN after 1 s.
	_, err := net.DialTimeout("tcp", dest4, 1200*time.Millisecond)
	if !timedOut(err) {
		t.Error(err)
	}
	if s := h.Stats(); s.Offered != 1 || s.DroppedRepeats != 1 || s.Pending != 0 || s.Connections != 0 {
		t.Errorf("%+v", s)
	}
}

// The far end takes a while: the SYN is held, its repetition does no harm.
func TestSlowAccept(t *testing.T) {
	h := newHost(t, func(p *Pending) {
		time.AfterFunc(1100*time.Millisecond, func() { serve(t, func(c *Conn) { c.Close() })(p) })
	}, nil)
	c := dial(t, dest6)
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
	c.Close()
	if s := h.Stats(); s.Offered != 1 || s.DroppedRepeats != 1 || s.Accepted != 1 {
		t.Errorf("%+v", s)
	}
}

func TestManyShort(t *testing.T) {
	const n = 1000
	h := newHost(t, serve(t, func(c *Conn) {
		io.Copy(c, c)
		c.Close()
	}), nil)
	for i := range n {
		c := dial(t, []string{dest4, dest6}[i%2])
		io.WriteString(c, "ping")
		c.CloseWrite()
		if b, err := io.ReadAll(c); string(b) != "ping" || err != nil {
			t.Fatalf("connection %d: %q, %v", i, b, err)
		}
		c.Close()
	}
	eventually(t, "owners to close", func() bool { return h.Stats().Connections == 0 })
	eventually(t, "all entries to go", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.table.sweep(time.Now().Add(linger + time.Second))
		return len(h.table.flows) == 0
	})
	if s := h.Stats(); s.Accepted != n || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
}

// After a restart nothing is known of a connection: both kernels learn it.
func TestUnknownConnection(t *testing.T) {
	conns := make(chan *Conn, 1)
	h := newHost(t, serve(t, func(c *Conn) { conns <- c }), nil)
	for _, dest := range []string{dest4, dest6} {
		c := dial(t, dest)
		far := receive(t, conns)
		h.mu.Lock()
		clear(h.table.flows)
		h.mu.Unlock()
		io.WriteString(c, "hello?")
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: application reads %v", dest, err)
		}
		io.WriteString(far, "anybody?")
		far.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: owner reads %v", dest, err)
		}
		c.Close()
		far.Close()
	}
}

// A host that drops what comes from the TUN is named, with a hint.
func TestBlocked(t *testing.T) {
	failed := make(chan error, 1)
	newHost(t, func(p *Pending) {
		p.t.answerTimeout = 100 * time.Millisecond
		go func() {
			_, err := p.Accept(context.Background())
			p.Unreachable(AdminProhibited)
			failed <- err
		}()
	}, func(c *Config) {
		c.Fakes4 = c.Fakes4[:1]
		c.Device = "" // or it would be the only route
	})
	// Answers to the fake address go nowhere, as behind a firewall.
	_, fake, _ := net.ParseCIDR("10.77.0.240/32")
	if err := netlink.RouteAdd(&netlink.Route{Dst: fake, Type: syscall.RTN_BLACKHOLE}); err != nil {
		t.Fatal(err)
	}
	_, err := net.DialTimeout("tcp", dest4, 5*time.Second)
	if !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("the application was told %v", err)
	}
	var e *Error
	if err := receive(t, failed); !errors.As(err, &e) || !errors.Is(err, ErrBlocked) || e.Hint() == "" ||
		e.From.Addr() != netip.MustParseAddr("10.77.0.240") || e.To.Addr() != netip.MustParseAddr("10.77.0.2") {
		t.Errorf("Accept = %v", err)
	}
}

// Who connects to the listener itself is reset.
func TestIntruder(t *testing.T) {
	h := newHost(t, func(*Pending) { t.Error("a connection was offered") }, func(c *Config) { c.Device = "" })
	c, err := net.Dial("tcp", h.listeners[0].Addr().String())
	if err == nil { // else the reset was faster
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	if s := h.Stats(); s.Intruders != 1 {
		t.Errorf("%+v", s)
	}
}

// What the owner exempts is carried, and so is what is not TCP.
func TestNotCaptured(t *testing.T) {
	h := newHost(t, func(p *Pending) { p.Refuse() }, func(c *Config) {
		c.Capture = func(_, dst netip.AddrPort) bool { return dst.Port() != 22 }
	})
	if _, err := net.DialTimeout("tcp", "198.51.100.7:22", 50*time.Millisecond); !timedOut(err) {
		t.Error(err)
	}
	before := h.passed.Load()
	if before == 0 {
		t.Error("the SYN was not carried")
	}
	u, err := net.Dial("udp", dest4)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	u.Write([]byte("x"))
	eventually(t, "a UDP packet", func() bool { return h.passed.Load() > before })
	if _, err := net.Dial("tcp", dest4); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error(err)
	}
}

// The end of Run ends what is pending.
func TestStop(t *testing.T) {
	pending := make(chan *Pending, 1)
	h := newHost(t, func(p *Pending) { pending <- p }, nil)
	_, err := net.DialTimeout("tcp", dest4, 50*time.Millisecond)
	if err == nil {
		t.Error("connected")
	}
	p := receive(t, pending)
	h.stop()
	if _, err := p.Accept(context.Background()); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	p.Drop()
	if s := h.Stats(); s.Pending != 0 || s.Connections != 0 {
		t.Errorf("%+v", s)
	}
}

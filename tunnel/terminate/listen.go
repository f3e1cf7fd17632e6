package terminate

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listen opens a listener on a. Accepted sockets inherit its options;
// TCP_NODELAY is Go's default.
func listen(a netip.Addr, device string) (*net.TCPListener, error) {
	lc := net.ListenConfig{
		KeepAliveConfig: keepAlive,
		Control: func(_, _ string, c syscall.RawConn) error {
			return control(c, func(fd int) error { return setOptions(fd, device) })
		},
	}
	lc.SetMultipathTCP(false)
	for try := 0; ; try++ {
		l, err := lc.Listen(context.Background(), network(a), netip.AddrPortFrom(a, 0).String())
		if err == nil {
			return l.(*net.TCPListener), nil
		}
		if try == bindTries || !errors.Is(err, unix.EADDRNOTAVAIL) {
			return nil, err
		}
		time.Sleep(bindPause)
	}
}

// A new IPv6 address is tentative, and none to bind to, until a kernel worker
// has found that this device needs no duplicate address detection.
const (
	bindTries = 50
	bindPause = 20 * time.Millisecond
)

// keepAlive is for hosts behind this one that vanish. A local program's end
// is always seen, and an idle phone should sleep.
var keepAlive = net.KeepAliveConfig{
	Enable: true, Idle: 10 * time.Minute, Interval: time.Minute, Count: 5,
}

// network is Go's name of the family of a.
func network(a netip.Addr) string {
	if a.Is6() {
		return "tcp6"
	}
	return "tcp4"
}

// control calls f with the descriptor of c.
func control(c syscall.RawConn, f func(fd int) error) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

func setOptions(fd int, device string) error {
	// bbr's pacing costs half of the speed on links without delay, and this
	// link has none. A kernel without cubic has something as good here.
	_ = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "cubic")
	if device == "" {
		return nil
	}
	return unix.BindToDevice(fd, device)
}

func newFamily(local netip.Addr, port uint16, fakes []netip.Addr) family {
	f := family{addr: local.As16(), port: port}
	for _, a := range fakes {
		f.fakes = append(f.fakes, a.As16())
	}
	// Not from the start: after a restart the application's kernel may have
	// packets on the way for the ports that were used before.
	f.cursor = int(uint32(time.Now().UnixNano())) % (numPorts * len(fakes))
	return f
}

// acceptLoop takes connections from l until it is closed.
func (t *Terminator) acceptLoop(ctx context.Context, l *net.TCPListener) error {
	const minPause, maxPause = time.Millisecond, time.Second
	pause := minPause
	for {
		c, err := l.AcceptTCP()
		if err == nil {
			pause = minPause
			t.accepted(c)
			continue
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return ctx.Err()
		}
		// Too many open files, or no memory: it passes.
		t.count(&t.table.stats.AcceptErrors)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
			pause = min(2*pause, maxPause)
		}
	}
}

// accepted gives a socket to the connection that waits for it. Others may
// reach the listener as well; they are reset.
func (t *Terminator) accepted(c *net.TCPConn) {
	local, ok1 := c.LocalAddr().(*net.TCPAddr)
	remote, ok2 := c.RemoteAddr().(*net.TCPAddr)
	if ok1 && ok2 && t.deliver(c, endpointsOf(local.AddrPort(), remote.AddrPort())) {
		return
	}
	_ = c.SetLinger(0)
	c.Close()
}

func (t *Terminator) deliver(c *net.TCPConn, key endpoints) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.table.flows[key]
	if e == nil || e.originated {
		t.table.stats.Intruders++
		return false
	}
	if e.state != opening { // its owner gave up
		return false
	}
	e.pending.conn = c
	t.table.end(e, nil)
	e.pending = nil
	return true
}

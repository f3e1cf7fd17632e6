package tunnel

import (
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// corkConn lies between TLS and the socket.
//
// While corked it gathers what TLS writes, one record of at most 16 KiB at a
// time, so that a batch of records goes to the kernel in one system call; an
// MPTCP send takes the connection's lock and wakes its scheduler, which is
// dearer than the copy.
//
// Once it polls, Read returns errWouldBlock instead of waiting, and await
// waits without a buffer: TLS has then no whole record left, and an idle
// carrier costs next to no memory. It waits for the rest of a record that has
// begun, not for each packet of it.
type corkConn struct {
	net.Conn
	raw   syscall.RawConn // nil where the connection has none
	polls bool            // set before the reads of which it speaks
	rest  recordRest      // of the one reader, as lowat
	lowat lowWater

	read struct { // of the one reader
		p       []byte
		n       int
		err     error
		try     func(fd uintptr) bool // made once: a closure for each read would allocate
		readyFn func(fd uintptr) bool
	}

	mu     sync.Mutex // guards what follows
	corked bool
	buf    *[]byte // borrowed from corkBuffers; given back when empty
}

// corkBytes is room for what is written at once, a relay's batch, in records.
const corkBytes = 280 << 10

// corkBuffers are lent for the time of one write to carriers that are many:
// those that say nothing have none.
var corkBuffers = sync.Pool{New: func() any { b := make([]byte, 0, corkBytes); return &b }}

func newCorkConn(conn net.Conn) *corkConn {
	c := &corkConn{Conn: conn}
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw = raw
			c.read.try, c.read.readyFn = c.tryRead, readable
			c.lowat.set = c.lowat.setsockopt
		}
	}
	return c
}

// wouldBlock is temporary, so that TLS goes on after it.
type wouldBlock struct{}

func (wouldBlock) Error() string   { return "nothing to read now" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

var errWouldBlock net.Error = wouldBlock{}

// poll makes Read not wait, where the connection can do without.
func (c *corkConn) poll() { c.polls = c.raw != nil }

// Read implements net.Conn.
func (c *corkConn) Read(p []byte) (int, error) {
	if !c.polls {
		n, err := c.Conn.Read(p)
		c.rest.follow(p[:n])
		return n, err
	}
	c.read.p, c.read.n, c.read.err = p, 0, nil
	err := c.raw.Read(c.read.try)
	c.read.p = nil
	if err != nil {
		return 0, err
	}
	return c.read.n, c.read.err
}

func (c *corkConn) tryRead(fd uintptr) bool {
	r := &c.read
	for {
		n, err := unix.Read(int(fd), r.p)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			r.err = errWouldBlock
		case err != nil:
			r.err = &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
		case n == 0:
			r.err = io.EOF
		default:
			r.n = n
			c.rest.follow(r.p[:n])
		}
		return true
	}
}

// await waits until Read has something to say that matters.
func (c *corkConn) await() error {
	if want := max(1, c.rest.left); want != c.lowat.now && !c.lowat.refused {
		c.lowat.now = want
		if err := c.raw.Control(c.lowat.set); err != nil {
			return err
		}
	}
	return c.raw.Read(c.read.readyFn)
}

// readable asks the kernel: the runtime forgets an edge that came before it
// was asked to wait.
func readable(fd uintptr) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}
	n, err := unix.Poll(fds[:], 0)
	return err == nil && n > 0
}

// room waits until the kernel takes more: until little of what it has is unsent,
// where TCP_NOTSENT_LOWAT says so. A write deadline ends the wait.
func (c *corkConn) room() error {
	if c.raw == nil {
		return nil
	}
	return c.raw.Write(writable)
}

// writable asks the kernel, as readable does.
func writable(fd uintptr) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds[:], 0)
	return err == nil && n > 0
}

// Write passes b on, or keeps it when corked.
func (c *corkConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.corked {
		return c.Conn.Write(b)
	}
	if c.buf == nil {
		c.buf = corkBuffers.Get().(*[]byte)
	}
	*c.buf = append(*c.buf, b...)
	return len(b), nil
}

func (c *corkConn) cork() {
	c.mu.Lock()
	c.corked = true
	c.mu.Unlock()
}

// uncork writes what was gathered. Only the goroutine that corked calls it.
func (c *corkConn) uncork() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.corked = false
	if c.buf == nil {
		return nil
	}
	if len(*c.buf) == 0 {
		return nil
	}
	_, err := c.Conn.Write(*c.buf)
	*c.buf = (*c.buf)[:0]
	corkBuffers.Put(c.buf)
	c.buf = nil
	return err
}

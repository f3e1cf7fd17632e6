package tunnel

import (
	"net"
	"sync"
)

// corkConn lies between TLS and the socket. While corked it gathers what TLS
// writes, one record of at most 16 KiB at a time, so that a batch of records
// goes to the kernel in one system call; an MPTCP send takes the connection's
// lock and wakes its scheduler, which is dearer than the copy.
type corkConn struct {
	net.Conn

	mu     sync.Mutex // guards what follows
	corked bool
	buf    []byte
}

// Write passes b on, or keeps it when corked.
func (c *corkConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.corked {
		c.buf = append(c.buf, b...)
		return len(b), nil
	}
	return c.Conn.Write(b)
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
	if len(c.buf) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.buf)
	c.buf = c.buf[:0]
	return err
}

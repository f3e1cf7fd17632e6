package terminate

import (
	"net"
	"sync"
	"time"
)

// Conn is a connection that was accepted or dialled: an ordinary socket of
// this host, whose peer is a fake address. It must be closed, also after a
// reset: the connection is remembered until then.
type Conn struct {
	*net.TCPConn
	t    *Terminator
	e    *entry
	once sync.Once
}

func (t *Terminator) newConn(c *net.TCPConn, e *entry) *Conn {
	return &Conn{TCPConn: c, t: t, e: e}
}

// Close closes the socket. With SetLinger(0) before, the application or the
// destination sees a reset.
func (c *Conn) Close() error {
	err := c.TCPConn.Close()
	c.once.Do(c.release)
	return err
}

func (c *Conn) release() {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	c.e.seen = time.Now() // the kernel may have much to send yet
	c.t.table.release(c.e)
}

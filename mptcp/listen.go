package mptcp

import (
	"context"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A Listener accepts MPTCP connections, and plain TCP ones from peers that do
// not speak it: ask Conn.MPTCP. It is a net.Listener, safe for concurrent use.
type Listener struct {
	tcp       *net.TCPListener
	multipath bool
}

// Listen opens a listener. [::] takes IPv4 and IPv6, 0.0.0.0 IPv4 alone; port 0
// is the kernel's choice. The caller closes it.
//
// o.ReceiveBufferBytes is inherited by the accepted connections and should be 8
// to 16 MB on a server: with less, a connection that was idle can stall when
// bulk data starts. o.Device, o.Local and o.UserspacePathManager do not apply.
func Listen(ctx context.Context, local netip.AddrPort, o Options) (*Listener, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	local = unmapped(local)
	fd, family, err := newSocket(o.PlainTCP, local.Addr().Is6())
	if err != nil {
		return nil, socketError(err, o.PlainTCP)
	}
	if err := o.prepareListen(fd, family, local); err != nil {
		unix.Close(fd)
		return nil, err
	}
	f, err := fileOf(fd)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	nl, err := net.FileListener(f)
	if err != nil {
		return nil, &Error{Op: "hand the listener to the runtime", Err: err}
	}
	tcp, ok := nl.(*net.TCPListener)
	if !ok {
		nl.Close()
		return nil, &Error{Op: "hand the listener to the runtime", Err: unix.EPROTOTYPE}
	}
	return &Listener{tcp: tcp, multipath: !o.PlainTCP}, nil
}

func (o *Options) prepareListen(fd, family int, local netip.AddrPort) error {
	if err := o.apply(fd); err != nil {
		return err
	}
	// Connections of an earlier run that linger must not block the port.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return &Error{Op: "set SO_REUSEADDR", Err: err}
	}
	sa, err := sockaddr(local, family)
	if err == nil {
		err = unix.Bind(fd, sa)
	}
	if err != nil {
		return &Error{Op: "bind to " + local.String(), Err: err}
	}
	backlog := o.Backlog
	if backlog <= 0 {
		backlog = 1 << 15 // the kernel lowers it to net.core.somaxconn
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return &Error{Op: "listen on " + local.String(), Err: err}
	}
	return nil
}

// AcceptConn waits for the next connection, which the caller closes.
func (l *Listener) AcceptConn() (*Conn, error) {
	tcp, err := l.tcp.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return newConn(tcp, l.multipath)
}

// Accept is AcceptConn for net.Listener; what it returns is a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.AcceptConn()
	if err != nil {
		return nil, err // not c: a nil *Conn would be a non-nil net.Conn
	}
	return c, nil
}

// Addr is the address listened on, a *net.TCPAddr.
func (l *Listener) Addr() net.Addr { return l.tcp.Addr() }

// Close ends the listener and every waiting Accept; accepted connections stay.
func (l *Listener) Close() error { return l.tcp.Close() }

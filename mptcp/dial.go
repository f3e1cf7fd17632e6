package mptcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Dial connects to remote. The context bounds the connect alone; its error is
// returned as it is when it ends first. The caller closes the connection.
//
// A peer that answers without MPTCP gives a connection that is plain TCP: ask
// Conn.MPTCP. Errors are *Error, with ErrUnsupported or ErrUserspaceManager
// inside where they apply, and the errno of connect otherwise.
func Dial(ctx context.Context, remote netip.AddrPort, o Options) (*Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	remote = unmapped(remote)
	fd, family, err := o.open(remote.Addr().Is6())
	if err != nil {
		return nil, err
	}
	if err := o.prepareDial(fd, family); err != nil {
		unix.Close(fd)
		return nil, err
	}
	sa, err := sockaddr(remote, family)
	if err != nil {
		unix.Close(fd)
		return nil, &Error{Op: "connect", Err: err}
	}
	err = unix.Connect(fd, sa)
	if err != nil && err != unix.EINPROGRESS && err != unix.EINTR {
		unix.Close(fd)
		return nil, connectError(remote, err)
	}
	f, ferr := fileOf(fd)
	if ferr != nil {
		return nil, ferr
	}
	defer f.Close()
	if err != nil {
		if err := awaitConnect(ctx, f); err != nil {
			if ctxErr := ctx.Err(); ctxErr != nil {
				return nil, ctxErr
			}
			return nil, connectError(remote, err)
		}
	}
	return connOf(f, !o.PlainTCP)
}

// open makes the socket, with the path manager that o wants.
func (o *Options) open(wantV6 bool) (fd, family int, err error) {
	if !o.UserspacePathManager || o.PlainTCP {
		fd, family, err = newSocket(o.PlainTCP, wantV6)
		if err != nil {
			return -1, 0, socketError(err, o.PlainTCP)
		}
		return fd, family, nil
	}
	err = withUserspaceManager(func() (err error) {
		fd, family, err = newSocket(false, wantV6)
		if err != nil {
			return socketError(err, false)
		}
		return nil
	}, func() { unix.Close(fd) })
	if err != nil {
		return -1, 0, err
	}
	return fd, family, nil
}

func (o *Options) prepareDial(fd, family int) error {
	if err := o.apply(fd); err != nil {
		return err
	}
	if o.MaxSegmentBytes > 0 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, o.MaxSegmentBytes); err != nil {
			return &Error{Op: "set TCP_MAXSEG", Err: err}
		}
	}
	if o.Device != "" {
		if err := unix.BindToDevice(fd, o.Device); err != nil {
			return &Error{Op: "bind to device " + o.Device, Err: err}
		}
	}
	if o.Local.IsValid() {
		// Without this the kernel reserves a local port at bind, which
		// exhausts them sooner. MPTCP sockets of most kernels refuse it.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		sa, err := sockaddr(netip.AddrPortFrom(o.Local, 0), family)
		if err == nil {
			err = unix.Bind(fd, sa)
		}
		if err != nil {
			return &Error{Op: "bind to " + o.Local.String(), Err: err}
		}
	}
	return nil
}

// awaitConnect waits in Go's poller until a connect in progress has an outcome.
func awaitConnect(ctx context.Context, f *os.File) error {
	stop := context.AfterFunc(ctx, func() { f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var outcome error
	err = raw.Write(func(fd uintptr) bool {
		done := false
		done, outcome = connectOutcome(int(fd))
		return done
	})
	if err != nil {
		return err
	}
	return outcome
}

// connectOutcome tells whether a connect is over, and how. Readiness alone does
// not: the poller may wake for an event from before.
func connectOutcome(fd int) (done bool, err error) {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return true, err
	}
	switch e := unix.Errno(errno); e {
	case 0, unix.EISCONN:
		if _, err := unix.Getpeername(fd); err != nil {
			if errors.Is(err, unix.ENOTCONN) {
				return false, nil
			}
			return true, err
		}
		return true, nil
	case unix.EINPROGRESS, unix.EALREADY, unix.EINTR:
		return false, nil
	default:
		return true, e
	}
}

func connectError(remote netip.AddrPort, err error) error {
	return &Error{Op: "connect to " + remote.String(), Err: err}
}

// connOf turns a connected socket into a Conn. net duplicates the descriptor;
// the caller closes its own.
func connOf(f *os.File, multipath bool) (*Conn, error) {
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, &Error{Op: "hand the socket to the runtime", Err: err}
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		nc.Close()
		return nil, &Error{Op: "hand the socket to the runtime", Err: unix.EPROTOTYPE}
	}
	return newConn(tcp, multipath)
}

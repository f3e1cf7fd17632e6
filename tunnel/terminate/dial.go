package terminate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Dial opens a connection to destination whose packets come from source, out
// of the TUN: as if source's host were there. It may be called as soon as
// packets are given to Packet. Source must be routed into the TUN, or the
// answers are lost; see the package comment for what else is needed.
//
// Errors are of type *Error. They wrap the syscall.Errno that connect(2) would
// have given at source: ECONNREFUSED for a reset, ETIMEDOUT after the kernel's
// last SYN, and EHOSTUNREACH, ENETUNREACH or EACCES after an ICMP error;
// EADDRINUSE if there is such a connection already, EADDRNOTAVAIL, ENETUNREACH
// or EAFNOSUPPORT for a source, a destination or a pair that cannot be. Else
// they wrap ErrFamily, ErrLimit, ErrNoPorts, net.ErrClosed after the
// end of Run, and the context's error.
//
// After some six ICMP errors to one source the kernel sends it one a second at
// most. A dial that gets none is silent until its SYN is repeated.
func (t *Terminator) Dial(ctx context.Context, source, destination netip.AddrPort) (*Conn, error) {
	source, destination = plain(source), plain(destination)
	fail := func(err error) (*Conn, error) {
		return nil, &Error{From: source, To: destination, Err: err, hint: dialHint(err)}
	}
	if err := t.checkDial(source, destination); err != nil {
		return fail(err)
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	// The one way to interrupt a dial: the caller's end, an ICMP error, and
	// the end of Run all come by this context.
	dialCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	t.mu.Lock()
	e, err := t.table.originate(endpointsOf(destination, source), source.Addr().Is6(), cancel, time.Now())
	if err == nil {
		t.dials.Add(1)
	}
	t.mu.Unlock()
	if err != nil {
		return fail(err)
	}
	defer t.dials.Done()

	c, err := t.connect(dialCtx, e.local)
	if err != nil {
		err = reason(ctx, dialCtx, err)
	}
	t.mu.Lock()
	now := time.Now()
	switch {
	case err != nil:
		t.table.abandon(e, err, now)
	case !t.table.connected(e, now):
		err = reason(ctx, dialCtx, net.ErrClosed)
	}
	t.mu.Unlock()
	if err != nil {
		if c != nil {
			c.Close()
		}
		return fail(err)
	}
	_ = c.SetLinger(-1) // fails only on a socket that is closed
	return t.newConn(c, e), nil
}

func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// checkDial refuses what no kernel would deliver, or what would be mistaken
// for a packet of Packet's own.
func (t *Terminator) checkDial(source, destination netip.AddrPort) error {
	from, to := source.Addr(), destination.Addr()
	if !from.IsValid() || !to.IsValid() || from.BitLen() != to.BitLen() {
		return syscall.EAFNOSUPPORT
	}
	a := from.As16()
	own := a == t.table.families[0].addr || a == t.table.families[1].addr
	if own || source.Port() == 0 || !ordinary(from) || t.table.isFake(a) {
		return syscall.EADDRNOTAVAIL
	}
	if !ordinary(to) || t.table.isFake(to.As16()) {
		return syscall.ENETUNREACH
	}
	return nil
}

// connect makes a socket and connects it; local are its endpoints.
func (t *Terminator) connect(ctx context.Context, local endpoints) (*net.TCPConn, error) {
	d := net.Dialer{
		KeepAliveConfig: keepAlive,
		Control: func(_, _ string, c syscall.RawConn) error {
			return control(c, func(fd int) error {
				// All share one port, see reserve.
				err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
				if err == nil {
					// A dial that is given up is to leave nothing half open.
					err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
				}
				if err == nil {
					err = setOptions(fd, t.device)
				}
				return err
			})
		},
	}
	d.SetMultipathTCP(false)
	from, to := local.source(), local.destination()
	return d.DialTCP(ctx, network(from.Addr()), from, to)
}

// reason finds out why a dial failed. DialTCP may fail by the deadline a
// moment before ctx does.
func reason(ctx, dialCtx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if cause := context.Cause(dialCtx); cause != nil {
		return cause
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno // the rest would speak of the fake endpoint
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return err
}

func dialHint(err error) string {
	switch err {
	case ErrNoPorts:
		return "give the tunnel more fake addresses"
	case ErrFamily:
		return "give the tunnel an address of this family in a range of 16 or more"
	}
	return ""
}

// reserve binds a socket to a port of a's that the kernel chooses, and keeps
// it. All sockets of Dial share that port, and differ by their fake peers: so
// there is room for as many as those have ports, and none of the ports that
// the host's own programs dial from is taken.
func reserve(a netip.Addr, device string) (*os.File, uint16, error) {
	domain, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: a.As16()})
	if a.Is4() {
		domain, sa = unix.AF_INET, &unix.SockaddrInet4{Addr: a.As4()}
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return nil, 0, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), "port for dialling")
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = setOptions(fd, device)
	}
	if err == nil {
		err = unix.Bind(fd, sa)
	}
	if err == nil {
		sa, err = unix.Getsockname(fd)
	}
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("bind to %v: %w", a, err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return f, uint16(sa.Port), nil
	case *unix.SockaddrInet6:
		return f, uint16(sa.Port), nil
	}
	f.Close()
	return nil, 0, fmt.Errorf("bind to %v: no address of TCP", a)
}

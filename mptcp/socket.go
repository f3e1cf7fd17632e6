package mptcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// newSocket returns a non-blocking stream socket and its address family.
//
// An MPTCP socket is AF_INET6 and dual-stack even for an IPv4 peer: an AF_INET
// one refuses IPv6 subflows for its whole life. AF_INET is the last resort of a
// kernel without IPv6.
func newSocket(plain, wantV6 bool) (fd, family int, err error) {
	const kind = unix.SOCK_STREAM | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	proto := unix.IPPROTO_MPTCP
	if plain {
		proto = unix.IPPROTO_TCP
		if !wantV6 {
			fd, err = unix.Socket(unix.AF_INET, kind, proto)
			return fd, unix.AF_INET, err
		}
	}
	fd, err = unix.Socket(unix.AF_INET6, kind, proto)
	if err != nil && !wantV6 {
		// Which errno a kernel without IPv6 gives depends on how it lacks it.
		if fd4, err4 := unix.Socket(unix.AF_INET, kind, proto); err4 == nil {
			return fd4, unix.AF_INET, nil
		}
	}
	if err != nil {
		return -1, 0, err
	}
	// The host's default may be v6only (net.ipv6.bindv6only).
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
		unix.Close(fd)
		return -1, 0, fmt.Errorf("make the socket dual-stack: %w", err)
	}
	return fd, unix.AF_INET6, nil
}

// socketError explains why a kernel made no socket.
func socketError(err error, plain bool) error {
	e := &Error{Op: "socket", Err: err}
	if plain {
		return e
	}
	switch {
	case errors.Is(err, unix.ENOPROTOOPT):
		e.Err = fmt.Errorf("%w: %w", ErrUnsupported, err)
		e.Hint = "MPTCP is switched off: sysctl net.mptcp.enabled=1"
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ESOCKTNOSUPPORT):
		e.Err = fmt.Errorf("%w: %w", ErrUnsupported, err)
		e.Hint = "this kernel is built without MPTCP (CONFIG_MPTCP); braid needs Linux 6.1 or newer with it"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		e.Hint = "a security policy (seccomp, SELinux) forbids MPTCP sockets to this process"
	}
	return e
}

// sockaddr turns an address into the form of a socket of the given family; an
// IPv4 address becomes v4-mapped on AF_INET6.
func sockaddr(ap netip.AddrPort, family int) (unix.Sockaddr, error) {
	addr := ap.Addr().Unmap()
	if !addr.IsValid() {
		return nil, fmt.Errorf("no address: %w", unix.EDESTADDRREQ)
	}
	if family == unix.AF_INET {
		if !addr.Is4() {
			return nil, fmt.Errorf("%v on an IPv4 socket: %w", ap, unix.EAFNOSUPPORT)
		}
		return &unix.SockaddrInet4{Addr: addr.As4(), Port: int(ap.Port())}, nil
	}
	sa := &unix.SockaddrInet6{Addr: addr.As16(), Port: int(ap.Port())}
	if zone := addr.Zone(); zone != "" {
		ifi, err := net.InterfaceByName(zone)
		if err != nil {
			return nil, fmt.Errorf("zone of %v: %w", ap, err)
		}
		sa.ZoneId = uint32(ifi.Index)
	}
	return sa, nil
}

// unmapped is the address that people mean: plain IPv4 for v4-mapped.
func unmapped(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// fileOf hands a non-blocking descriptor to Go's poller and takes ownership.
func fileOf(fd int) (*os.File, error) {
	f := os.NewFile(uintptr(fd), "mptcp")
	if f == nil {
		unix.Close(fd)
		return nil, &Error{Op: "socket", Err: unix.EBADF}
	}
	return f, nil
}

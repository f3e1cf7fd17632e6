package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ResetCarriers resets all of a running daemon's connections to or from
// braid's port and returns how many. KillCarriers leaves it to the kernels
// whether an MPTCP connection outlives the loss of all its subflows; this ends the
// connection itself, with MP_FASTCLOSE (RFC 8684, 3.5) to the other side, where
// it looks like the reset of a plain connection.
func (d *Daemon) ResetCarriers() (n int, err error) {
	fail := func(err error) (int, error) { return n, fmt.Errorf("reset carriers of %s: %w", d.role, err) }
	pidfd, err := unix.PidfdOpen(d.PID(), 0)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(pidfd)
	list, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(d.PID()), "fd"))
	if err != nil {
		return fail(err)
	}
	for _, entry := range list {
		number, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		fd, err := unix.PidfdGetfd(pidfd, number, 0) // a descriptor of ours for the same socket
		if errors.Is(err, unix.EBADF) {
			continue // closed meanwhile
		}
		if err != nil {
			return fail(err)
		}
		if isCarrier(fd) {
			if err = disconnect(fd); err == nil {
				n++
			}
		}
		unix.Close(fd)
		if err != nil {
			return fail(err)
		}
	}
	return n, nil
}

// isCarrier tells whether a descriptor is an open connection with braid's port
// at one of its ends.
func isCarrier(fd int) bool {
	port := func(a unix.Sockaddr, err error) int {
		switch a := a.(type) {
		case *unix.SockaddrInet4:
			return a.Port
		case *unix.SockaddrInet6:
			return a.Port
		}
		return 0
	}
	remote := port(unix.Getpeername(fd)) // fails for a listener
	return remote != 0 && (remote == Port || port(unix.Getsockname(fd)) == Port)
}

// disconnect is connect(2) with AF_UNSPEC, which package unix has no address for.
func disconnect(fd int) error {
	a := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&a)), unsafe.Sizeof(a))
	if errno != 0 && errno != unix.ENOTCONN {
		return errno
	}
	return nil
}

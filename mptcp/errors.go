package mptcp

import (
	"errors"
	"fmt"
	"net/netip"
)

var (
	// ErrUnsupported: the kernel makes no MPTCP sockets, because it is built
	// without MPTCP or net.mptcp.enabled is 0.
	ErrUnsupported = errors.New("the kernel offers no MPTCP")

	// ErrUserspaceManager: the userspace path manager could not be chosen for
	// a socket, because its sysctl is absent or not writable.
	ErrUserspaceManager = errors.New("the userspace path manager cannot be chosen")

	// ErrFallback: the connection is plain TCP, so there are no subflows to
	// see or to manage (RFC 8684 section 3.7).
	ErrFallback = errors.New("the connection is plain TCP")

	// ErrJoining: a subflow's backup flag differs from what is wanted, and
	// cannot be changed before its join is through.
	ErrJoining = errors.New("a join is under way")
	// ErrNotYet: the connection takes no further subflows yet, because the
	// peer has acknowledged no data of it (RFC 8684 section 3.2: the
	// connection is not yet known to be fully established). A connection that
	// is closing answers the same. errors.Is(err, unix.ENOTCONN) holds as well.
	ErrNotYet = errors.New("no data of the connection is acknowledged yet")
)

// An Error is a failed operation on a socket. Err keeps the errno for
// errors.Is; Hint, where there is one, is a sentence for the administrator.
type Error struct {
	Op   string
	Hint string
	Err  error
}

func (e *Error) Error() string { return "mptcp: " + e.Op + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// A PathError is a request that the kernel's path manager refused. Err keeps
// the errno for errors.Is. Token is 0 and the addresses are zero where the
// operation has none.
type PathError struct {
	Op            string
	Token         uint32
	ID            uint8 // address id, where the operation names one
	Local, Remote netip.AddrPort
	Message       string // the kernel's own words (extended acknowledgement), may be empty
	Err           error
}

func (e *PathError) Error() string {
	s := "mptcp path manager: " + e.Op
	if e.Token != 0 {
		s += fmt.Sprintf(" on connection %#08x", e.Token)
	}
	if e.Local.Addr().IsValid() {
		s += fmt.Sprintf(" from %v", e.Local)
	}
	if e.Remote.Addr().IsValid() {
		s += fmt.Sprintf(" to %v", e.Remote)
	}
	if e.ID != 0 {
		s += fmt.Sprintf(" id %d", e.ID)
	}
	s += ": " + e.Err.Error()
	if e.Message != "" {
		s += " (" + e.Message + ")"
	}
	return s
}

func (e *PathError) Unwrap() error { return e.Err }

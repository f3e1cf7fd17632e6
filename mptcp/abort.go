package mptcp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Abort closes the connection like Close, but at once: what it holds, in both
// directions, is dropped at both ends. The peer's reads and writes fail with
// ECONNRESET. An MPTCP connection sends MP_FASTCLOSE and resets each subflow (RFC
// 8684 section 3.5); Close would go on sending what was written, and so would the
// peer. A reset that is lost is not repeated until the peer sends something.
func (c *Conn) Abort() error {
	// connect(2) with AF_UNSPEC dissolves the association. SO_LINGER of zero,
	// which resets a TCP connection, does nothing to an MPTCP one.
	_ = c.raw.Control(func(fd uintptr) {
		var unspecified unix.RawSockaddr
		_, _, _ = unix.Syscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&unspecified)), unsafe.Sizeof(unspecified))
	})
	return c.Close()
}

package mptcp

import (
	"net"
	"net/netip"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Conn is a TCP connection that is MPTCP, or was meant to be. It can be used
// wherever a *net.TCPConn can. Its methods, like those of net.Conn, are safe for
// concurrent use. Keep-alive is on with Go's defaults; TCP_NODELAY is on.
type Conn struct {
	*net.TCPConn
	raw           syscall.RawConn
	multipath     bool
	local, remote netip.AddrPort
}

func newConn(tcp *net.TCPConn, multipath bool) (*Conn, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		tcp.Close()
		return nil, &Error{Op: "use the socket", Err: err}
	}
	c := &Conn{TCPConn: tcp, raw: raw, multipath: multipath}
	if a, ok := tcp.LocalAddr().(*net.TCPAddr); ok {
		c.local = unmapped(a.AddrPort())
	}
	if a, ok := tcp.RemoteAddr().(*net.TCPAddr); ok {
		c.remote = unmapped(a.AddrPort())
	}
	return c, nil
}

// LocalAddrPort is the local address of the initial subflow, IPv4 unmapped. It
// does not change when that subflow goes.
func (c *Conn) LocalAddrPort() netip.AddrPort { return c.local }

// RemoteAddrPort is the peer's address of the initial subflow, IPv4 unmapped.
func (c *Conn) RemoteAddrPort() netip.AddrPort { return c.remote }

// MPTCP asks the kernel whether the connection is MPTCP at this moment. It is
// false when the peer does not speak MPTCP, when a middlebox stripped it, also
// later on (RFC 8684 section 3.7), on plain sockets, and after Close. One side
// can see a late fallback before the other does, or alone.
func (c *Conn) MPTCP() bool {
	info, err := c.Info()
	return err == nil && !info.Fallback
}

// Token names the connection in PathManager and Event, on this host. It is
// ErrFallback on a plain connection.
func (c *Conn) Token() (uint32, error) {
	info, err := c.Info()
	if err == nil && info.Fallback {
		err = &Error{Op: "token", Err: ErrFallback}
	}
	return info.Token, err
}

// Info reads the state of the whole connection (MPTCP_INFO). It is ErrFallback
// on a plain connection.
func (c *Conn) Info() (Info, error) {
	if !c.multipath {
		return Info{}, &Error{Op: "MPTCP_INFO", Err: ErrFallback}
	}
	q := getOptQuery()
	defer optQueries.Put(q)
	n, err := q.get(c.raw, unix.SOL_MPTCP, optInfo, q.buf[:infoRoom])
	if notOffered(err) {
		err = ErrFallback // the kernel then answers as for a TCP socket
	} else if err == nil && n < infoMinimum {
		err = unix.EINVAL
	}
	if err != nil {
		return Info{}, &Error{Op: "MPTCP_INFO", Err: err}
	}
	return DecodeInfo(q.buf[:n]), nil
}

// TCPInfo reads TCP_INFO: of the connection when it is plain TCP, of the
// initial subflow when it is MPTCP.
func (c *Conn) TCPInfo() (TCPInfo, error) {
	q := getOptQuery()
	defer optQueries.Put(q)
	n, err := q.get(c.raw, unix.IPPROTO_TCP, unix.TCP_INFO, q.buf[:tcpInfoRoom])
	if err != nil {
		return TCPInfo{}, &Error{Op: "TCP_INFO", Err: err}
	}
	return DecodeTCPInfo(q.buf[:n]), nil
}

// CongestionControl is the name of the algorithm in use.
func (c *Conn) CongestionControl() (string, error) {
	q := getOptQuery()
	defer optQueries.Put(q)
	n, err := q.get(c.raw, unix.IPPROTO_TCP, unix.TCP_CONGESTION, q.buf[:64])
	if err != nil {
		return "", &Error{Op: "TCP_CONGESTION", Err: err}
	}
	return unix.ByteSliceToString(q.buf[:n]), nil
}

// SetCongestionControl sets TCP_CONGESTION while the connection runs; the
// name is as in Options.
func (c *Conn) SetCongestionControl(name string) error {
	var err error
	if cerr := c.raw.Control(func(fd uintptr) {
		err = (&Options{CongestionControl: name}).setCongestionControl(int(fd))
	}); cerr != nil {
		err = &Error{Op: "set congestion control " + name, Err: cerr}
	}
	return err
}

// SetNotSentLowat sets TCP_NOTSENT_LOWAT while the connection runs, as
// Options.NotSentLowatBytes does.
func (c *Conn) SetNotSentLowat(bytes int) error {
	var err error
	if cerr := c.raw.Control(func(fd uintptr) { err = setNotSentLowat(int(fd), bytes) }); cerr != nil {
		err = &Error{Op: "set TCP_NOTSENT_LOWAT", Err: cerr}
	}
	return err
}

// SetSendBuffer sets the send buffer in bytes while the connection runs, beyond
// net.core.wmem_max where the process has CAP_NET_ADMIN. The kernel books twice
// the number, and stops tuning it by itself. Of an MPTCP connection it bounds
// what all subflows together have not been acknowledged, and what each holds.
func (c *Conn) SetSendBuffer(bytes int) error {
	var err error
	if cerr := c.raw.Control(func(fd uintptr) {
		err = setBuffer(int(fd), unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, bytes)
	}); cerr != nil {
		err = cerr
	}
	if err != nil {
		return &Error{Op: "set send buffer", Err: err}
	}
	return nil
}

// SetReceiveBuffer sets the receive buffer in bytes while the connection runs,
// beyond net.core.rmem_max where the process has CAP_NET_ADMIN. The kernel books
// twice the number, and stops tuning it by itself.
func (c *Conn) SetReceiveBuffer(bytes int) error {
	var err error
	if cerr := c.raw.Control(func(fd uintptr) {
		err = setBuffer(int(fd), unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, bytes)
	}); cerr != nil {
		err = cerr
	}
	if err != nil {
		return &Error{Op: "set receive buffer", Err: err}
	}
	return nil
}

// ReceiveBuffer is the receive buffer in bytes as the kernel books it, twice
// what was asked for.
func (c *Conn) ReceiveBuffer() (bytes int, err error) {
	if cerr := c.raw.Control(func(fd uintptr) {
		bytes, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
	}); cerr != nil {
		err = cerr
	}
	if err != nil {
		return 0, &Error{Op: "receive buffer", Err: err}
	}
	return bytes, nil
}

// bound is the index of the interface that the socket is bound to, 0 for none.
func (c *Conn) bound() (ifIndex int) {
	_ = c.raw.Control(func(fd uintptr) {
		ifIndex, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX)
	})
	return ifIndex
}

// optQuery is one getsockopt with its buffer and its closure, reused so that
// sampling does not allocate.
type optQuery struct {
	buf         [512]byte
	level, name int
	value       []byte
	length      uint32
	errno       unix.Errno
	call        func(fd uintptr)
}

var optQueries = sync.Pool{New: func() any {
	q := new(optQuery)
	q.call = q.run
	return q
}}

func getOptQuery() *optQuery { return optQueries.Get().(*optQuery) }

func (q *optQuery) run(fd uintptr) {
	q.length, q.errno = getsockopt(int(fd), q.level, q.name, q.value)
}

// getsockopt reads an option of any form into value, which is not empty.
func getsockopt(fd, level, name int, value []byte) (length uint32, errno unix.Errno) {
	length = uint32(len(value))
	_, _, errno = unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name),
		uintptr(unsafe.Pointer(&value[0])), uintptr(unsafe.Pointer(&length)), 0)
	return length, errno
}

// get reads an option into value, which is not empty, and returns how much of
// it the kernel filled.
func (q *optQuery) get(raw syscall.RawConn, level, name int, value []byte) (int, error) {
	q.level, q.name, q.value, q.errno = level, name, value, 0
	err := raw.Control(q.call)
	q.value = nil
	if err != nil {
		return 0, err
	}
	if q.errno != 0 {
		return 0, q.errno
	}
	return min(int(q.length), len(value)), nil
}

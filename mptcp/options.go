package mptcp

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Options of a socket, applied before connect or listen. The zero value is an
// MPTCP socket with the host's defaults, bbr where the kernel has it, and
// TCP_NODELAY. Connections accepted by a listener inherit the listener's.
//
// Mark, buffers, congestion control and TCP_NODELAY reach all subflows of an
// MPTCP connection, also those that join later.
type Options struct {
	// Mark is SO_MARK, which routing rules can match; 0 sets none. It needs
	// CAP_NET_ADMIN or, since 5.17, CAP_NET_RAW.
	Mark uint32

	// Device names the interface of the initial subflow (SO_BINDTODEVICE).
	// Only Dial looks at it. Do not count on joining subflows being bound
	// likewise, or not (6.18 does not bind them): leave it empty for a
	// connection that is to have more than one subflow. Local and Mark, with a
	// routing rule, choose the uplink there.
	Device string

	// Local is the source address of Dial; zero leaves it to the kernel.
	Local netip.Addr

	// ReceiveBufferBytes is SO_RCVBUFFORCE, or SO_RCVBUF without
	// CAP_NET_ADMIN, which net.core.rmem_max bounds silently. 0 leaves the
	// kernel's own tuning. The kernel books twice the number. MPTCP
	// connections with unequal paths need 4 MB or more: kernels stop for ever
	// when out-of-order data fills the buffer.
	ReceiveBufferBytes int

	// SendBufferBytes is SO_SNDBUFFORCE or SO_SNDBUF, likewise. 0 leaves the
	// kernel's own tuning, which is usually right.
	SendBufferBytes int

	// CongestionControl is TCP_CONGESTION. Empty takes bbr where the kernel
	// has it and allows it to this process, else the host's default; a name
	// that the kernel refuses is an error.
	CongestionControl string

	// NotSentLowatBytes is TCP_NOTSENT_LOWAT: the socket is writable only
	// while less than this is unsent. 0 sets none. A kernel that refuses it on
	// MPTCP sockets (before 6.9) is no error.
	NotSentLowatBytes int

	// UserspacePathManager makes this socket, and no other on the host, one
	// whose subflows are created and removed by PathManager. Only Dial looks
	// at it. It needs CAP_NET_ADMIN.
	UserspacePathManager bool

	// MaxSegmentBytes is TCP_MAXSEG: no TCP segment, with its options, has more
	// beside the headers, in either direction. 0 leaves it to the interface. Only
	// Dial looks at it.
	MaxSegmentBytes int

	// PlainTCP asks for an ordinary TCP socket.
	PlainTCP bool

	// Backlog is the length of the accept queue; 0 is the host's maximum
	// (net.core.somaxconn).
	Backlog int
}

// apply sets the options that both ends share on a fresh socket.
func (o *Options) apply(fd int) error {
	if o.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(o.Mark)); err != nil {
			return &Error{Op: "set mark", Err: err, Hint: "SO_MARK needs the capability CAP_NET_ADMIN"}
		}
	}
	if o.ReceiveBufferBytes > 0 {
		if err := setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, o.ReceiveBufferBytes); err != nil {
			return &Error{Op: "set receive buffer", Err: err}
		}
	}
	if o.SendBufferBytes > 0 {
		if err := setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, o.SendBufferBytes); err != nil {
			return &Error{Op: "set send buffer", Err: err}
		}
	}
	if err := o.setCongestionControl(fd); err != nil {
		return err
	}
	if o.NotSentLowatBytes > 0 {
		if err := setNotSentLowat(fd, o.NotSentLowatBytes); err != nil {
			return err
		}
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return &Error{Op: "set TCP_NODELAY", Err: err}
	}
	return nil
}

func (o *Options) setCongestionControl(fd int) error {
	if o.CongestionControl != "" {
		if err := unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, o.CongestionControl); err != nil {
			return &Error{Op: "set congestion control " + o.CongestionControl, Err: err,
				Hint: "the kernel's choices are in net.ipv4.tcp_available_congestion_control"}
		}
		return nil
	}
	// With loss, bbr keeps most of a path's rate where cubic collapses. Any
	// failure (no module, not allowed) leaves what the host has.
	_ = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr")
	return nil
}

func setNotSentLowat(fd, bytes int) error {
	err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, bytes)
	if err != nil && !notOffered(err) {
		return &Error{Op: "set TCP_NOTSENT_LOWAT", Err: err}
	}
	return nil
}

// setBuffer prefers the forced form, which needs CAP_NET_ADMIN.
func setBuffer(fd, forced, unforced, bytes int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, forced, bytes); err == nil {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unforced, bytes)
}

// notOffered tells whether an errno means that the kernel does not know the
// option on this kind of socket.
func notOffered(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOPROTOOPT)
}

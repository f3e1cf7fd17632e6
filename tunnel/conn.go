// Package tunnel carries IP packets between a TUN device and carriers.
//
// It owns sessions, carriers and what flows in them, and nothing of the host:
// devices, listeners, dialers and the uplinks arrive as parameters, so that
// the same code runs over kernel sockets and over pipes in a test.
//
// The two roles are Client and Server; each has a blocking Run. What they
// share is the carrier (carrier.go), the outbox in front of it (outbox.go)
// and the session (session.go).
package tunnel

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Device is a TUN device whose packets keep their virtio-net header; package
// tunnel/tun has the kernel's.
type Device interface {
	// ReadBatch waits for packets and reads as many as are there into buf:
	// headroom bytes left alone, then sizes[i] bytes of header and packet,
	// and so on. One goroutine calls it. After Close it fails.
	ReadBatch(buf []byte, headroom int, sizes []int) (int, error)
	// Write gives the host one header and packet; any goroutine may call it.
	Write(packet []byte) error
	Close() error
}

// Uplink is a local interface that reaches the internet.
type Uplink struct {
	Name      string
	Index     int          // of the interface, as the kernel counts
	Addresses []netip.Addr // usable as source, both families
}

// Conn is the connection below a carrier's TLS: MPTCP, or plain TCP where
// the path or the other host has no MPTCP.
type Conn interface {
	net.Conn
	// MPTCP reports whether the kernel still speaks Multipath TCP here.
	MPTCP() bool
	// SetUplinks makes the subflows match the uplinks: one on each, missing
	// ones created, others removed. It may be called at any time and again;
	// a server's connection ignores it. The error says what is still missing.
	SetUplinks([]Uplink) error
	// AppendSubflows appends the subflows alive now.
	AppendSubflows([]Subflow) ([]Subflow, error)
}

// Subflow is one TCP subflow as the kernel sees it now.
type Subflow struct {
	Uplink        string // name; empty where it is not known, as on a server
	Local, Remote netip.AddrPort
	RTT           time.Duration
	Backup        bool
	// Counters since the subflow began. Bytes are of the TCP payload.
	RxBytes, TxBytes           uint64
	TxSegments, Retransmission uint64
}

// Dialer opens connections for carriers.
type Dialer interface {
	// Dial connects to server with the first subflow on uplink via.
	Dial(ctx context.Context, server netip.AddrPort, via Uplink) (Conn, error)
}

// Listener takes connections of clients.
type Listener interface {
	Accept() (Conn, error)
	Close() error
	Addr() net.Addr
}

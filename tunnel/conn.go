// Package tunnel carries the traffic of a TUN device in carriers.
//
// It owns sessions, carriers and what flows in them, and nothing of the host:
// devices, listeners, dialers, terminators and the uplinks arrive as
// parameters, so that the same code runs over kernel sockets and over pipes in
// a test.
//
// The two roles are Client and Server; each has a blocking Run. What they
// share is, for packets, their lane (packetlane.go) and the carriers that bring
// them (carrier.go), for streams the lane (lane.go), its links (link.go) and the
// pool of them (pool.go).
package tunnel

import (
	"context"
	"net"
	"net/netip"
	"time"

	"braid/scheduler"
	"braid/tunnel/relay"
	"braid/tunnel/wire"
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
	Role      scheduler.Role
	// CapBytes is what it may carry in a month; 0: there is no limit. What is
	// over 90 % makes it an overflow, what is over all of it a backup.
	CapBytes uint64
	// Metered: each byte costs, so that it is asked for less when idle.
	Metered bool
	// Twin: another uplink has one of its addresses, too, so that the address
	// alone does not say by which of them a connection leaves.
	Twin bool
	// Backup, in SetUplinks: its subflow is used when no other works.
	Backup bool
	// Epoch, in SetUplinks: when it is another than the last time, a subflow
	// from before is made anew.
	Epoch uint32
}

// Conn is the connection below a carrier's TLS: MPTCP, or plain TCP where
// the path or the other host has no MPTCP.
type Conn interface {
	net.Conn
	// Abort is Close at once: what the connection holds, in both directions, is
	// dropped at both ends.
	Abort() error
	// MPTCP reports whether the kernel still speaks Multipath TCP here.
	MPTCP() bool
	// SetUplinks makes the subflows match the uplinks: one on each, missing
	// ones created, others removed. It may be called at any time and again;
	// a server's connection ignores it. The error says what is still missing.
	SetUplinks([]Uplink) error
	// AppendSubflows appends the subflows alive now.
	AppendSubflows([]Subflow) ([]Subflow, error)
	// SetPurpose says what the connection will carry; a dialled one knows. What is
	// ForPath can become ForLossyPath at any time.
	SetPurpose(Purpose) error
	// Renew readies the connection for another stream. What the last one left
	// as an estimate of the path is often no more than its own rate.
	Renew()
	// Progress is a number that changes while the peer's kernel takes bytes
	// or brings some, whether or not whole frames come of them.
	Progress() uint64
	// Heard tells how long ago the peer's kernel was last heard of, by any
	// segment, also where nothing can be read yet. It is asked of connections
	// that are plain TCP.
	Heard() (ago time.Duration, err error)
	// SetSendRoom bounds what the kernel holds of the connection and has not
	// had acknowledged, bytes as it counts, with its own overhead.
	SetSendRoom(bytes uint64) error
	// SetNotSentLowat bounds what the kernel holds unsent before it says that it
	// has room, bytes.
	SetNotSentLowat(bytes int) error
	// RaiseReceiveBuffer gives the kernel more room for what is out of order.
	RaiseReceiveBuffer()
}

// Purpose is what a connection carries: the best congestion control for the
// one is the worst for the other.
type Purpose int

// The purposes.
const (
	ForPackets     Purpose = iota // the session's control, and packets while there is no path
	ForStreams                    // one at a time, whose own ends are elsewhere
	ForPath                       // beats and packets over one uplink; plain TCP, bound to it
	ForLossyPath                  // the same, where segments are lost though there is no queue
	ForExamination                // what fills a queue to the brim, if it is asked to
)

// Subflow is one TCP subflow as the kernel sees it now.
type Subflow struct {
	Uplink        string // name; empty where it is not known, as on a server
	Local, Remote netip.AddrPort
	RTT           time.Duration
	MinRTT        time.Duration // the shortest of the recent minutes; 0: not known
	Backup        bool
	// Counters since the subflow began. Bytes are of the TCP payload.
	RxBytes, TxBytes           uint64
	AckedBytes                 uint64 // of those sent, that the peer has up to the first that is missing
	TxSegments, Retransmission uint64
	WireBytes                  uint64 // both ways, with headers and repetitions, about
	// SackedBytes is about what the peer has behind that.
	SackedBytes uint64
	// NotSent is what the subflow was given and has not sent, bytes.
	NotSent uint64
	// Path: it is a path carrier's, no subflow of a bond.
	Path bool
	// Trial: it is a speed test's. What waits there is nobody's need.
	Trial bool
	// RxSegments came with data, TxDataSegments went with some, again ones too.
	RxDataSegments, TxDataSegments uint64
}

// wait is how much longer than the shortest its round trips take, as if there were
// a queue; 0: not so much longer, or it is not known.
func (s *Subflow) wait() time.Duration {
	if s.MinRTT > 0 && s.RTT > scheduler.QueueFrom(s.MinRTT) {
		return s.RTT - s.MinRTT
	}
	return 0
}

// Dialer opens connections for carriers.
type Dialer interface {
	// Dial connects to server with the first subflow on uplink via.
	Dial(ctx context.Context, server netip.AddrPort, via Uplink, purpose Purpose) (Conn, error)
}

// Terminator ends the TCP connections that the TUN brings in this host;
// package tunnel/terminate has the kernel's.
type Terminator interface {
	// Packet takes a header and packet that was read from the TUN; true
	// means that it is done with. One goroutine calls it.
	Packet(payload []byte, now time.Time) bool
	// Dial makes a connection that comes out of the TUN, from a source that
	// is somewhere else.
	Dial(ctx context.Context, source, destination netip.AddrPort) (relay.Socket, error)
	// Run serves until ctx ends. Connections that it gave live on, as long as
	// Packet is called.
	Run(ctx context.Context) error
}

// HeldConn is a connection whose SYN a Terminator holds. Exactly one of Accept
// and Fail is to be called; Fail also after an Accept that failed.
type HeldConn interface {
	Source() netip.AddrPort
	Destination() netip.AddrPort
	// Accept lets the connection come about.
	Accept(ctx context.Context) (relay.Socket, error)
	// Fail answers as the destination would have.
	Fail(wire.OpenResult)
	// Done is closed when the application has given up, or Accept is done.
	Done() <-chan struct{}
}

// NewTerminator makes a Terminator for a TUN that has these addresses, each
// with its range. accept must not block. It returns nil when there is nothing
// that it could do.
type NewTerminator func(addresses []netip.Prefix, accept func(HeldConn), capture func(source, destination netip.AddrPort) bool) (Terminator, error)

// Listener takes connections of clients.
type Listener interface {
	Accept() (Conn, error)
	Close() error
	Addr() net.Addr
}

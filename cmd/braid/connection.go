package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"braid/mptcp"
	"braid/tunnel"
)

// carrierMark is the firewall mark of all packets of carriers and of what the
// client itself asks the internet ("braid" in leetspeak). Rules of package
// hostnet keep marked packets out of the tunnel.
const carrierMark = 0xb4a1d

// receiveBufferBytes of a carrier, on both sides. With the kernel's own tuning,
// unequal paths can stall an MPTCP connection for ever, and an idle one crawls
// when bulk begins (docs/design.md). It is a bound, not an allocation.
const receiveBufferBytes = 16 << 20

// congestionControl is that of carriers which bring packets: cubic, not bbr, as
// long as their paths lose nothing but what does not fit into a queue.
// Most of the packets belong to TCP connections that probe for bandwidth
// themselves. A bbr around them takes the pauses of their probing for the
// path's limit and they take its pacing for theirs, until the two have starved
// each other (docs/benchmarks.md has the figures).
func congestionControl() string {
	available, err := os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control")
	if err == nil && !slices.Contains(strings.Fields(string(available)), "cubic") {
		return "reno" // every kernel has it
	}
	return "cubic"
}

// streamCongestion is that of carriers of streams, each of which is one
// connection from end to end: with loss, bbr keeps most of a path's rate where
// cubic collapses. So it is that of path carriers on a path that loses segments,
// too. "" is bbr where the kernel has it, else the host's default.
type streamCongestion string

// check fails when the kernel does not have what the user wrote.
func (s streamCongestion) check() error {
	available, err := os.ReadFile("/proc/sys/net/ipv4/tcp_available_congestion_control")
	if s == "" || err != nil || slices.Contains(strings.Fields(string(available)), string(s)) {
		return nil
	}
	return &configError{&hintedError{
		fmt.Errorf("tunnel.congestion: this kernel does not have %q", string(s)),
		"leave it out, load the module tcp_" + string(s) + ", or choose one of: " + strings.TrimSpace(string(available)),
	}}
}

// keepAlive finds subflows that are gone and keeps NATs awake. Carriers are many
// and idle, and a metered uplink pays for each question: Go's own 15 seconds cost
// some 70 MB a month.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Minute, Interval: 15 * time.Second, Count: 4}

// loadCongestion is that of a doctor's transfers: others leave slow start when the
// round trip grows (HyStart in cubic), or pace themselves (bbr), and take long to
// show how deep a queue is. Every kernel has it.
const loadCongestion = "reno"

// purposed is what both ends' connections do for tunnel.Conn.
type purposed struct {
	*mptcp.Conn
	congestion streamCongestion
}

// SetPurpose implements tunnel.Conn.
func (c purposed) SetPurpose(p tunnel.Purpose) error {
	if err := c.SetKeepAliveConfig(keepAlive); err != nil {
		return err
	}
	switch p {
	case tunnel.ForPackets:
		return nil
	case tunnel.ForPath:
		return c.SetNotSentLowat(pathNotSentBytes)
	case tunnel.ForExamination:
		return c.SetCongestionControl(loadCongestion)
	}
	if err := c.SetCongestionControl(string(c.congestion)); err != nil || p == tunnel.ForLossyPath {
		return err
	}
	return c.SetNotSentLowat(streamNotSentBytes)
}

// Renew implements tunnel.Conn. bbr takes a short transfer's rate for the
// path's, paces the next one by it, and takes seconds to find out. Set anew it
// begins as at first, but with the window that it had: what it knows of the
// path without the rate of who used it. Cubic has a window and no more.
func (c purposed) Renew() {
	if name, err := c.CongestionControl(); err != nil || name != "bbr" {
		return
	}
	if c.SetCongestionControl("reno") == nil {
		_ = c.SetCongestionControl("bbr") // reno does as well
	}
}

// Progress implements tunnel.Conn.
func (c purposed) Progress() uint64 {
	if info, err := c.Info(); err == nil && !info.Fallback {
		return info.SendUnacknowledged + info.ReceiveNext
	}
	info, err := c.TCPInfo()
	if err != nil {
		return 0
	}
	return info.BytesAcked + info.BytesReceived
}

// Heard implements tunnel.Conn.
func (c purposed) Heard() (time.Duration, error) {
	info, err := c.TCPInfo()
	return min(info.LastDataReceived, info.LastAckReceived), err
}

// SetSendRoom implements tunnel.Conn. The kernel doubles what it is given.
func (c purposed) SetSendRoom(bytes uint64) error { return c.SetSendBuffer(int(bytes / 2)) }

// RaiseReceiveBuffer implements tunnel.Conn.
func (c purposed) RaiseReceiveBuffer() { _ = c.SetReceiveBuffer(2 * receiveBufferBytes) }

// How much of a carrier's data the kernel takes before it can send it. Of
// packets nobody can drop or overtake what waits there; the queue that braid
// bounds is its own, and with less unlimited links lose a tenth of their rate
// to wake-ups. A stream has its carrier to itself.
const (
	notSentBytes       = 256 << 10
	streamNotSentBytes = 1 << 20
	pathNotSentBytes   = 16 << 10
)

// dialer makes a client's carriers.
type dialer struct {
	pm         *mptcp.PathManager
	resolver   *resolver
	congestion streamCongestion
}

// Dial connects over one uplink. But for a path carrier's the socket is bound
// to the uplink's address, not to its device: a binding to the device could be
// inherited by the subflows over other uplinks. Where two uplinks have one
// address there is no other way; a kernel that heeds the interface of a join
// does not pass the binding on.
func (d *dialer) Dial(ctx context.Context, server netip.AddrPort, via tunnel.Uplink, purpose tunnel.Purpose) (tunnel.Conn, error) {
	local, ok := addressFor(via, server.Addr())
	if !ok {
		return nil, fmt.Errorf("uplink %s has no address for %v", via.Name, server)
	}
	o := mptcp.Options{
		Mark: carrierMark, Local: local, CongestionControl: string(d.congestion), NotSentLowatBytes: notSentBytes,
		ReceiveBufferBytes: receiveBufferBytes, UserspacePathManager: true,
	}
	if via.Twin {
		o.Device = via.Name
	}
	switch purpose {
	case tunnel.ForPackets:
		o.CongestionControl = congestionControl()
	case tunnel.ForPath:
		o.CongestionControl, o.PlainTCP, o.UserspacePathManager, o.Device = congestionControl(), true, false, via.Name
	}
	c, err := mptcp.Dial(ctx, server, o)
	if err != nil {
		return nil, err
	}
	conn := &clientConn{
		purposed: purposed{c, d.congestion}, bond: mptcp.NewBond(c, d.pm), via: via.Name, remotes: d.resolver.siblings(server),
	}
	if err := conn.SetPurpose(purpose); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// addressFor returns the uplink's first address of the family of remote.
func addressFor(u tunnel.Uplink, remote netip.Addr) (netip.Addr, bool) {
	for _, a := range u.Addresses {
		if a.Unmap().Is4() == remote.Unmap().Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// clientConn is a client's end of a carrier.
type clientConn struct {
	purposed
	bond    *mptcp.Bond
	via     string           // name of the uplink of the first subflow
	remotes []netip.AddrPort // other addresses of the same server

	mu      sync.Mutex // guards what follows
	scratch []mptcp.PathSubflow
	epochs  map[string]uint32 // of the uplinks, as last set
}

// errUplinkGone ends a plain TCP carrier whose uplink is gone: it cannot move.
var errUplinkGone = errors.New("its uplink is gone, and plain TCP cannot move to another")

// SetUplinks implements tunnel.Conn.
func (c *clientConn) SetUplinks(list []tunnel.Uplink) error {
	if kept := c.renewed(list); len(kept) < len(list) {
		if _, err := c.bond.Sync(c.paths(kept)); err != nil && !errors.Is(err, mptcp.ErrFallback) {
			return err
		}
	}
	_, err := c.bond.Sync(c.paths(list))
	if !errors.Is(err, mptcp.ErrFallback) {
		return err
	}
	for _, u := range list {
		if u.Name == c.via {
			return nil
		}
	}
	c.Close()
	return errUplinkGone
}

// renewed returns the uplinks whose subflows may stay: those whose epoch is the
// one before.
func (c *clientConn) renewed(list []tunnel.Uplink) (kept []tunnel.Uplink) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epochs == nil {
		c.epochs = make(map[string]uint32)
	}
	for _, u := range list {
		was, known := c.epochs[u.Name]
		c.epochs[u.Name] = u.Epoch
		if !known || was == u.Epoch {
			kept = append(kept, u)
		}
	}
	return kept
}

// paths chooses one way to the server for each uplink: from an address of the
// family of the first subflow, or else to one of the server's other addresses.
// The uplink of the first subflow is first: of several with its address the first
// subflow is taken for the first's.
func (c *clientConn) paths(list []tunnel.Uplink) []mptcp.Path {
	if i := slices.IndexFunc(list, func(u tunnel.Uplink) bool { return u.Name == c.via }); i > 0 {
		list = slices.Concat(list[i:i+1], list[:i], list[i+1:])
	}
	paths := make([]mptcp.Path, 0, len(list))
	for _, u := range list {
		for _, remote := range append([]netip.AddrPort{c.RemoteAddrPort()}, c.remotes...) {
			if local, ok := addressFor(u, remote.Addr()); ok {
				paths = append(paths, mptcp.Path{Name: u.Name, IfIndex: u.Index, Local: local, Remote: remote, Backup: u.Backup})
				break
			}
		}
	}
	if len(paths) > mptcp.MostSubflows {
		// The server's kernel would refuse them, again and again.
		slices.SortStableFunc(paths, func(a, b mptcp.Path) int { return rank(a) - rank(b) })
		paths = paths[:mptcp.MostSubflows]
	}
	return paths
}

// rank sorts those first that are to carry.
func rank(p mptcp.Path) int {
	if p.Backup {
		return 1
	}
	return 0
}

// AppendSubflows implements tunnel.Conn.
func (c *clientConn) AppendSubflows(dst []tunnel.Subflow) ([]tunnel.Subflow, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	c.scratch, err = c.bond.AppendSubflows(c.scratch[:0])
	if errors.Is(err, mptcp.ErrFallback) {
		return appendPlain(dst, c.Conn, c.via)
	}
	for _, s := range c.scratch {
		t := subflow(s.Local, s.Remote, s.TCP)
		t.Uplink, t.Backup = s.Path, s.Backup
		dst = append(dst, t)
	}
	return dst, err
}

// serverConn is a server's end of a carrier.
type serverConn struct {
	purposed

	mu      sync.Mutex // guards what follows
	scratch []mptcp.Subflow
}

// SetUplinks implements tunnel.Conn; the client decides about subflows.
func (c *serverConn) SetUplinks([]tunnel.Uplink) error { return nil }

// AppendSubflows implements tunnel.Conn.
func (c *serverConn) AppendSubflows(dst []tunnel.Subflow) ([]tunnel.Subflow, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	c.scratch, err = c.Conn.AppendSubflows(c.scratch[:0])
	if errors.Is(err, mptcp.ErrFallback) {
		return appendPlain(dst, c.Conn, "")
	}
	for _, s := range c.scratch {
		if s.TCP.State.Live() {
			dst = append(dst, subflow(s.Local, s.Remote, s.TCP))
		}
	}
	return dst, err
}

// appendPlain appends the one flow of a connection that is plain TCP.
func appendPlain(dst []tunnel.Subflow, c *mptcp.Conn, via string) ([]tunnel.Subflow, error) {
	info, err := c.TCPInfo()
	if err != nil {
		return dst, err
	}
	t := subflow(c.LocalAddrPort(), c.RemoteAddrPort(), info)
	t.Uplink = via
	return append(dst, t), nil
}

// headerBytes of a segment with data: IPv4, TCP, and the options that Multipath
// TCP and timestamps need. An IPv6 header has 20 more, an acknowledgement 8
// fewer.
const headerBytes = 20 + 20 + 12 + 20

func subflow(local, remote netip.AddrPort, t mptcp.TCPInfo) tunnel.Subflow {
	return tunnel.Subflow{
		Local: local, Remote: remote, RTT: t.RTT, MinRTT: t.MinRTT,
		RxBytes: t.BytesReceived, TxBytes: t.BytesSent - t.BytesRetransmitted, AckedBytes: t.BytesAcked,
		TxSegments: uint64(t.SegmentsSent), Retransmission: uint64(t.TotalRetransSegs),
		WireBytes:      t.BytesReceived + t.BytesSent + headerBytes*uint64(t.SegmentsSent+t.SegmentsReceived),
		NotSent:        uint64(t.NotSentBytes),
		RxDataSegments: uint64(t.DataSegmentsIn), TxDataSegments: uint64(t.DataSegmentsSent),
		SackedBytes: uint64(t.SackedSegments) * uint64(t.SendMSSBytes),
	}
}

// listener takes connections of clients.
type listener struct {
	*mptcp.Listener
	congestion streamCongestion
}

// Accept implements tunnel.Listener.
func (l listener) Accept() (tunnel.Conn, error) {
	c, err := l.AcceptConn()
	if err != nil {
		return nil, err
	}
	return &serverConn{purposed: purposed{c, l.congestion}}, nil
}

// listen opens the server's listeners. An address without a host is all of
// the host's, IPv4 and IPv6.
func listen(ctx context.Context, addrs []netip.AddrPort, congestion streamCongestion) ([]tunnel.Listener, error) {
	var list []tunnel.Listener
	for _, a := range addrs {
		l, err := mptcp.Listen(ctx, a, mptcp.Options{CongestionControl: congestionControl(), NotSentLowatBytes: notSentBytes, ReceiveBufferBytes: receiveBufferBytes})
		if err != nil {
			for _, l := range list {
				l.Close()
			}
			return nil, err
		}
		list = append(list, listener{l, congestion})
	}
	return list, nil
}

var (
	_ tunnel.Conn     = (*clientConn)(nil)
	_ tunnel.Conn     = (*serverConn)(nil)
	_ tunnel.Listener = listener{}
	_ net.Conn        = (*clientConn)(nil)
)

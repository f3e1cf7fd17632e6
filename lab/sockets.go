package lab

import (
	"context"
	"net"
)

// DialContext connects to a literal address from inside the host, with plain
// TCP rather than MPTCP; it fits http.Transport. Names are not resolved in the
// host's namespace. The connection is the caller's to close.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	d.SetMultipathTCP(false)
	return h.DialWith(ctx, &d, network, address)
}

// DialWith is DialContext with a dialer of the caller's.
func (h *Host) DialWith(ctx context.Context, d *net.Dialer, network, address string) (conn net.Conn, err error) {
	// Not on the host's thread: it may take long.
	if entering := h.visit(func() { conn, err = d.DialContext(ctx, network, address) }); entering != nil {
		return nil, entering
	}
	return conn, err
}

// Listen listens inside the host, with plain TCP (Go's own default is MPTCP).
// The listener is the caller's to close.
func (h *Host) Listen(ctx context.Context, network, address string) (listener net.Listener, err error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	err = h.Do(func() error {
		listener, err = lc.Listen(ctx, network, address)
		return err
	})
	return listener, err
}

// ListenPacket opens a packet socket, such as UDP, inside the host. It is the
// caller's to close.
func (h *Host) ListenPacket(ctx context.Context, network, address string) (conn net.PacketConn, err error) {
	var lc net.ListenConfig
	err = h.Do(func() error {
		conn, err = lc.ListenPacket(ctx, network, address)
		return err
	})
	return conn, err
}

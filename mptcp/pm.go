package mptcp

import (
	"errors"
	"net/netip"
	"os"
	"syscall"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A PathManager speaks to the kernel's path manager over generic netlink (family
// mptcp_pm, kernel header linux/mptcp_pm.h), in the network namespace of the
// thread that opened it. Its methods are safe for concurrent use. All that
// changes something needs CAP_NET_ADMIN.
//
// The operations that take a token work on one connection of this host, and
// only on one whose socket was made with Options.UserspacePathManager. Their
// errors are *PathError.
type PathManager struct {
	conn   *genetlink.Conn
	family genetlink.Family
}

// OpenPathManager opens the connection to the kernel. The caller closes it. A
// kernel without MPTCP gives ErrUnsupported.
func OpenPathManager() (*PathManager, error) {
	conn, family, err := dialFamily()
	if err != nil {
		return nil, err
	}
	return &PathManager{conn: conn, family: family}, nil
}

func dialFamily() (*genetlink.Conn, genetlink.Family, error) {
	fail := func(err error) (*genetlink.Conn, genetlink.Family, error) {
		return nil, genetlink.Family{}, &PathError{Op: "open", Err: err}
	}
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return fail(err)
	}
	// The kernel's own words on a refusal; kernels always have them, a
	// failure costs only the words.
	_ = conn.SetOption(netlink.ExtendedAcknowledge, true)
	family, err := conn.GetFamily(familyName)
	if err != nil {
		conn.Close()
		if errors.Is(err, unix.ENOENT) || errors.Is(err, os.ErrNotExist) {
			err = errors.Join(ErrUnsupported, err)
		}
		return fail(err)
	}
	return conn, family, nil
}

// Close ends the connection to the kernel; requests under way fail.
func (pm *PathManager) Close() error { return pm.conn.Close() }

// SubflowSpec describes a subflow to create.
type SubflowSpec struct {
	// ID is the address id of Local within the connection (RFC 8684 section
	// 3.2), 1 to 255. An address has one id and an id one address, until
	// RemoveAddress or DestroySubflow.
	ID uint8
	// IfIndex is the interface to bind the subflow to; 0 leaves it to routing.
	IfIndex int
	// Local is the source. Its port 0 is the kernel's choice.
	Local netip.AddrPort
	// Remote is the peer's address and port, of the same family.
	Remote netip.AddrPort
	// Backup asks the peer to use the subflow only when no other works (the B
	// bit of RFC 8684 section 3.2). 6.1 ignores it here, SetBackup works.
	Backup bool
}

// CreateSubflow starts a subflow; it returns while the join is under way, and
// whether that succeeds is seen in Conn.Subflows or in events. Before the peer
// has acknowledged data, errors.Is(err, ErrNotYet).
//
// Linux 6.1 ignores IfIndex, and 6.18 heeds it (its routes through another
// interface then count for nothing). Do not rely on it alone: have a route that
// depends on the source address as well.
func (pm *PathManager) CreateSubflow(token uint32, s SubflowSpec) error {
	if s.ID == 0 { // the kernel would take it, and confuse it with the initial subflow
		return &PathError{Op: "create subflow", Token: token, Local: s.Local, Remote: s.Remote,
			Message: "address id 0 is the initial subflow's", Err: unix.EINVAL}
	}
	return pm.subflowRequest("create subflow", cmdSubflowCreate, token, s.ID, s.Local, s.Remote,
		addr{AddrPort: s.Local, id: s.ID, hasID: true, flags: backupFlag(s.Backup), ifIndex: s.IfIndex}, addr{AddrPort: s.Remote})
}

// RemoveAddress tells the peer that the address with this id is gone (REMOVE_ADDR,
// RFC 8684 section 3.4.2): the peer closes its subflows and sends what they
// carried elsewhere, at once. It does not close this side's: DestroySubflow. Id
// 0 is the initial subflow's address. A kernel that does not know the id answers
// EINVAL.
func (pm *PathManager) RemoveAddress(token uint32, id uint8) error {
	e := &PathError{Op: "remove address", Token: token, ID: id}
	return pm.request(e, cmdRemove, 0, nil, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(attrToken, token)
		ae.Uint8(attrLocalID, id)
	})
}

// DestroySubflow closes one subflow, named by both its addresses and ports, with
// a FIN towards the peer, which answers it when it arrives. Data in flight is
// sent again on other subflows. The address id is free then. A subflow that does
// not exist is ESRCH.
func (pm *PathManager) DestroySubflow(token uint32, local, remote netip.AddrPort) error {
	local, remote = unmapped(local), unmapped(remote)
	err := pm.subflowRequest("destroy subflow", cmdSubflowDestroy, token, 0, local, remote,
		addr{AddrPort: local}, addr{AddrPort: remote})
	if local.Addr().Is4() && errors.Is(err, unix.ESRCH) {
		// The kernel looks the subflow up by exact family; the initial one of
		// a dual-stack socket has v4-mapped addresses.
		err = pm.subflowRequest("destroy subflow", cmdSubflowDestroy, token, 0, local, remote,
			addr{AddrPort: local, mapped: true}, addr{AddrPort: remote, mapped: true})
	}
	return err
}

// SetBackup makes a subflow a backup or a normal one, and tells the peer to do
// the same (MP_PRIO, RFC 8684 section 3.3.8). A subflow that does not exist is
// EINVAL.
func (pm *PathManager) SetBackup(token uint32, local, remote netip.AddrPort, backup bool) error {
	local, remote = unmapped(local), unmapped(remote)
	return pm.subflowRequest("set backup", cmdSetFlags, token, 0, local, remote,
		addr{AddrPort: local, flags: backupFlag(backup), hasFlags: true}, addr{AddrPort: remote})
}

func backupFlag(backup bool) uint32 {
	if backup {
		return addrFlagBackup
	}
	return 0
}

// subflowRequest sends a request about one subflow of one connection.
func (pm *PathManager) subflowRequest(op string, cmd uint8, token uint32, id uint8, local, remote netip.AddrPort, la, ra addr) error {
	e := &PathError{Op: op, Token: token, ID: id, Local: local, Remote: remote}
	return pm.request(e, cmd, 0, nil, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(attrToken, token)
		la.encode(ae, attrAddr)
		ra.encode(ae, attrAddrRemote)
	})
}

// Limits of the kernel's own path manager, for all connections of the namespace
// that do not use the userspace one.
type Limits struct {
	// ExtraSubflows that a connection may have beside the initial one, as
	// client or as server. Kernels allow up to 8 (newer ones 64).
	ExtraSubflows uint32
	// AcceptedAddresses: announced addresses of the peer that are used.
	AcceptedAddresses uint32
}

// Limits reads the limits.
func (pm *PathManager) Limits() (Limits, error) {
	var l Limits
	err := pm.request(&PathError{Op: "get limits"}, cmdGetLimits, 0, func(data []byte) error {
		var err error
		l, err = decodeLimits(data)
		return err
	}, nil)
	return l, err
}

// SetLimits sets both limits.
func (pm *PathManager) SetLimits(l Limits) error {
	return pm.request(&PathError{Op: "set limits"}, cmdSetLimits, 0, nil, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(attrReceiveAddAddrs, l.AcceptedAddresses)
		ae.Uint32(attrSubflows, l.ExtraSubflows)
	})
}

// An Endpoint is an address that the kernel's own path manager uses, set by an
// administrator or by a program such as NetworkManager.
type Endpoint struct {
	ID      uint8
	Addr    netip.Addr
	Port    uint16 // 0: the connection's
	IfIndex int    // 0: none
	// Signal: announced to peers. Subflow: joins are made from it. Backup:
	// with the backup bit. Fullmesh: to every address of the peer. Implicit:
	// made by the kernel itself.
	Signal, Subflow, Backup, Fullmesh, Implicit bool
}

// Endpoints lists the kernel path manager's endpoints. braid never changes them.
func (pm *PathManager) Endpoints() ([]Endpoint, error) {
	var out []Endpoint
	err := pm.request(&PathError{Op: "list endpoints"}, cmdGetAddr, netlink.Dump, func(data []byte) error {
		ep, ok, err := decodeEndpoint(data)
		if ok {
			out = append(out, ep)
		}
		return err
	}, nil)
	return out, err
}

// request executes one command; a failure is e with its error filled in.
func (pm *PathManager) request(e *PathError, cmd uint8, flags netlink.HeaderFlags, decode func([]byte) error, encode func(*netlink.AttributeEncoder)) error {
	ae := netlink.NewAttributeEncoder()
	if encode != nil {
		encode(ae)
	}
	data, err := ae.Encode()
	if err != nil {
		e.Err = err
		return e
	}
	flags |= netlink.Request
	if decode == nil {
		// A request that is answered with data gets none: it would come after
		// the answer, unread, and be taken for the next request's.
		flags |= netlink.Acknowledge
	}
	msgs, err := pm.conn.Execute(genetlink.Message{
		Header: genetlink.Header{Command: cmd, Version: pm.family.Version},
		Data:   data,
	}, pm.family.ID, flags)
	if err != nil {
		return e.fill(err)
	}
	if decode == nil {
		return nil
	}
	for _, m := range msgs {
		if err := decode(m.Data); err != nil {
			e.Err = err
			return e
		}
	}
	return nil
}

// fill takes errno and words out of what netlink returned.
func (e *PathError) fill(err error) error {
	e.Err = err
	var op *netlink.OpError
	if errors.As(err, &op) {
		e.Message = op.Message
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		e.Err = errno
		if errno == unix.ENOTCONN {
			e.Err = notYetError{}
		}
	}
	return e
}

// notYetError is both ErrNotYet and its errno.
type notYetError struct{}

func (notYetError) Error() string   { return ErrNotYet.Error() }
func (notYetError) Unwrap() []error { return []error{ErrNotYet, unix.ENOTCONN} }

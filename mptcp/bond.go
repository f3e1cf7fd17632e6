package mptcp

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// A Path is one uplink's source address, from which a connection is to have a
// subflow.
type Path struct {
	// Name is the caller's, for Change and PathSubflow.
	Name string
	// Local is the source address, IPv4 or IPv6.
	Local netip.Addr
	// IfIndex is the uplink's interface; 0 leaves it to routing. See
	// PathManager.CreateSubflow for what kernels make of it.
	IfIndex int
	// Remote is where the subflow goes; the zero value is the connection's own
	// remote address. It is needed for a path of the other address family.
	Remote netip.AddrPort
	// Backup: used only when no path without it works.
	Backup bool
}

// ChangeOp is what Sync did.
type ChangeOp uint8

// What Sync does.
const (
	Created   ChangeOp = iota + 1 // the join is under way
	Removed                       // closed here, and the peer was told
	BackupSet                     // the backup flag was set or cleared
)

func (op ChangeOp) String() string {
	switch op {
	case Created:
		return "created"
	case Removed:
		return "removed"
	case BackupSet:
		return "backup set"
	}
	return fmt.Sprintf("change-%d", uint8(op))
}

// A Change is one thing that Sync did, or failed to do when Err is set.
type Change struct {
	Op    ChangeOp
	Path  string         // the path's name, empty for a subflow that no path had
	Local netip.AddrPort // port 0 while the kernel has not chosen it
	ID    uint8          // address id, 0 for the initial subflow
	Err   error
}

// A PathSubflow is a live subflow and the path it belongs to.
type PathSubflow struct {
	Subflow
	Path      string // empty when no path of the last Sync has it
	AddressID uint8  // 0 for the initial subflow
	Backup    bool   // as this side last set it
}

// What a Bond needs of its connection and of the path manager.
type (
	bondConn interface {
		Info() (Info, error)
		AppendSubflows([]Subflow) ([]Subflow, error)
	}
	bondManager interface {
		CreateSubflow(token uint32, s SubflowSpec) error
		RemoveAddress(token uint32, id uint8) error
		DestroySubflow(token uint32, local, remote netip.AddrPort) error
		SetBackup(token uint32, local, remote netip.AddrPort, backup bool) error
	}
)

// A Bond keeps the subflows of one connection equal to a set of paths. It is
// mechanism alone: nothing happens except in Sync, whose caller decides when.
// Neither the connection nor the path manager is owned; both outlive the Bond.
// Its methods are safe for concurrent use.
//
// The connection must be a dialled one with Options.UserspacePathManager.
type Bond struct {
	conn   bondConn
	pm     bondManager
	remote netip.AddrPort
	// boundIf is the interface the connection's socket is bound to, 0 for none.
	boundIf int

	mu sync.Mutex // guards what follows
	// members are the subflows this Bond knows of, live or not.
	members []*member
	lastID  uint8
	subs    []Subflow // scratch
	extras  []Subflow // live subflows that are no member's
}

// A member is a path that has, had or is to have a subflow.
//
// Its address id is the kernel's key of the pair (local address, port). The
// kernel remembers that pair when a subflow dies by itself, and would refuse
// another id for the address, so a member keeps its id until it is removed.
// After a removal the path comes back as a new member with a fresh id: the
// announcement that the old id is gone may still be on its way to the peer, and
// would close a subflow that reused it.
type member struct {
	path    Path           // as last wanted, Remote filled in
	id      uint8          // 0: the initial subflow
	local   netip.AddrPort // port 0: any subflow from the address
	wanted  bool
	live    bool
	sub     Subflow // where live
	backup  bool    // as the kernel and the peer were last told
	told    bool    // told on an established subflow, which all kernels heed
	created bool    // the kernel has, or had, its address id
}

// NewBond makes a Bond; the initial subflow is its first member.
func NewBond(c *Conn, pm *PathManager) *Bond {
	return newBond(c, pm, c.LocalAddrPort(), c.RemoteAddrPort(), c.bound())
}

func newBond(conn bondConn, pm bondManager, local, remote netip.AddrPort, boundIf int) *Bond {
	// The kernel's lists of subflows have no zones.
	local = netip.AddrPortFrom(local.Addr().WithZone(""), local.Port())
	remote = netip.AddrPortFrom(remote.Addr().WithZone(""), remote.Port())
	first := &member{path: Path{Local: local.Addr(), Remote: remote}, local: local, created: true}
	return &Bond{conn: conn, pm: pm, remote: remote, boundIf: boundIf, members: []*member{first}}
}

// Sync removes the subflows that no path wants (the address from the peer's
// view first, then the subflow), sets the backup flags that differ, and creates
// the subflows that are missing: a subflow that was lost is thus repaired, and a
// connection that lives on without any is revived. A subflow whose join is
// still under way counts as present; to try it anew, Sync without its path and
// then with it.
//
// One path's failure does not stop the others; the error joins them all.
// errors.Is(err, ErrNotYet) when joins have to wait for the first acknowledged
// data; errors.Is(err, ErrJoining) when only a backup flag has to wait for a
// join; errors.Is(err, ErrFallback), with nothing done, on a connection that is
// plain TCP. Two paths may have the same address on different interfaces.
func (b *Bond) Sync(paths []Path) ([]Change, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	info, err := b.conn.Info()
	if err != nil {
		return nil, err
	}
	if info.Fallback {
		return nil, &Error{Op: "sync subflows", Err: ErrFallback}
	}
	if err := b.observeLocked(); err != nil {
		return nil, err
	}
	s := syncRun{b: b, token: info.Token}
	missing := s.claim(paths)
	s.removeUnwanted()
	s.setBackups()
	for _, m := range missing {
		s.create(m)
	}
	return s.changes, s.err()
}

// AppendSubflows appends the live subflows with the names of their paths; it
// allocates only when dst has too little room.
func (b *Bond) AppendSubflows(dst []PathSubflow) ([]PathSubflow, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.observeLocked(); err != nil {
		return dst, err
	}
	for _, m := range b.members {
		if !m.live {
			continue
		}
		ps := PathSubflow{Subflow: m.sub, AddressID: m.id, Backup: m.backup}
		if m.wanted {
			ps.Path = m.path.Name
		}
		dst = append(dst, ps)
	}
	for _, s := range b.extras {
		dst = append(dst, PathSubflow{Subflow: s})
	}
	return dst, nil
}

// observeLocked looks which members live. Live subflows are recognised by their
// local address, or address and port where several paths share the address.
func (b *Bond) observeLocked() error {
	var err error
	if b.subs, err = b.conn.AppendSubflows(b.subs[:0]); err != nil {
		return err
	}
	b.extras = b.extras[:0]
	for _, m := range b.members {
		m.live = false
	}
	for _, s := range b.subs {
		if !s.TCP.State.Live() {
			continue
		}
		if m := b.ownerLocked(s); m != nil {
			m.live, m.sub = true, s
		} else {
			b.extras = append(b.extras, s)
		}
	}
	return nil
}

func (b *Bond) ownerLocked(s Subflow) *member {
	var byAddress *member
	for _, m := range b.members {
		switch {
		case m.live || m.path.Remote != s.Remote:
		case m.local == s.Local:
			return m
		case byAddress == nil && m.local.Port() == 0 && m.local.Addr() == s.Local.Addr():
			byAddress = m
		}
	}
	return byAddress
}

// nextIDLocked is an address id that no member has, the longest unused.
func (b *Bond) nextIDLocked() (uint8, error) {
	for range 255 {
		b.lastID = b.lastID%255 + 1
		used := false
		for _, m := range b.members {
			used = used || m.id == b.lastID
		}
		if !used {
			return b.lastID, nil
		}
	}
	return 0, errors.New("all 255 address ids of the connection are in use")
}

// is tells whether the member is the subflow of a path.
func (b *Bond) is(m *member, p Path) bool {
	if m.path.Local != p.Local || m.path.Remote != p.Remote {
		return false
	}
	if m.id == 0 { // connect knew of no interface unless the socket was bound
		return b.boundIf == 0 || p.IfIndex == 0 || p.IfIndex == b.boundIf
	}
	return m.path.IfIndex == p.IfIndex
}

// gone tells whether the kernel says that what was to be removed is not there.
func gone(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT)
}

package mptcp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// syncRun is one run of Bond.Sync, with the Bond locked:
//
//	claim → removeUnwanted → setBackups → create
//
// Removing comes first: the peer then sends again at once what a dead subflow
// carried, and an address that moved to another interface is free for its new
// subflow. A connection survives the moment without any subflow.
type syncRun struct {
	b       *Bond
	token   uint32
	changes []Change
	errs    []error
}

func (s *syncRun) record(c Change) {
	s.changes = append(s.changes, c)
	if c.Err != nil {
		s.errs = append(s.errs, fmt.Errorf("path %s: %w", c.Path, c.Err))
	}
}

func (s *syncRun) err() error { return errors.Join(s.errs...) }

// claim gives every path its member and returns those without a subflow, new
// ones included.
func (s *syncRun) claim(paths []Path) (missing []*member) {
	b := s.b
	for _, m := range b.members {
		m.wanted = false
	}
	// The initial subflow cannot be made again once it is gone.
	b.members = slices.DeleteFunc(b.members, func(m *member) bool { return m.id == 0 && !m.live })
	for _, p := range paths {
		p.Local = p.Local.Unmap().WithZone("")
		if !p.Remote.IsValid() {
			p.Remote = b.remote
		}
		p.Remote = netip.AddrPortFrom(p.Remote.Addr().Unmap().WithZone(""), p.Remote.Port())
		if p.Local.Is4() != p.Remote.Addr().Is4() || !p.Local.IsValid() {
			s.record(Change{Op: Created, Path: p.Name, Local: netip.AddrPortFrom(p.Local, 0),
				Err: fmt.Errorf("local address %v does not fit remote address %v", p.Local, p.Remote)})
			continue
		}
		m, err := s.memberOf(p)
		if err != nil {
			s.record(Change{Op: Created, Path: p.Name, Local: netip.AddrPortFrom(p.Local, 0), Err: err})
			continue
		}
		m.path, m.wanted = p, true
		if !m.live {
			missing = append(missing, m)
		}
	}
	return missing
}

func (s *syncRun) memberOf(p Path) (*member, error) {
	b := s.b
	for _, m := range b.members {
		if !b.is(m, p) {
			continue
		}
		if !m.wanted {
			return m, nil
		}
		if m.id != 0 || m.path.IfIndex == p.IfIndex {
			return nil, fmt.Errorf("path %s has the same address and interface", m.path.Name)
		}
	}
	id, err := b.nextIDLocked()
	if err != nil {
		return nil, err
	}
	m := &member{id: id, local: netip.AddrPortFrom(p.Local, 0)}
	b.members = append(b.members, m)
	return m, nil
}

func (s *syncRun) removeUnwanted() {
	b := s.b
	b.members = slices.DeleteFunc(b.members, func(m *member) bool {
		switch {
		case m.wanted:
			return false
		case !m.live:
			s.forget(m)
			return true
		}
		return s.remove(m.id, m.path.Name, m.sub)
	})
	for _, sub := range b.extras {
		err := b.pm.DestroySubflow(s.token, sub.Local, sub.Remote)
		if gone(err) {
			continue
		}
		s.record(Change{Op: Removed, Local: sub.Local, Err: err})
	}
}

// forget frees the address id of a subflow that died by itself. The kernel may
// have freed it already.
func (s *syncRun) forget(m *member) {
	if m.created && m.id != 0 {
		_ = s.b.pm.RemoveAddress(s.token, m.id)
	}
}

// remove tells the peer and closes the subflow; it is true when that is done.
func (s *syncRun) remove(id uint8, path string, sub Subflow) bool {
	// Told first, the peer sends again at once; a peer that is only reset
	// takes several times as long. A failure to tell must not stop the rest.
	removeErr := s.b.pm.RemoveAddress(s.token, id)
	err := s.b.pm.DestroySubflow(s.token, sub.Local, sub.Remote)
	if gone(err) {
		err = nil
	} else if err != nil {
		err = errors.Join(removeErr, err)
	}
	s.record(Change{Op: Removed, Path: path, Local: sub.Local, ID: id, Err: err})
	return err == nil
}

// setBackups waits with subflows that are still joining: their flag goes with
// the join, or follows when they are established.
func (s *syncRun) setBackups() {
	for _, m := range s.b.members {
		if !m.wanted || !m.live {
			continue
		}
		want := m.path.Backup
		if m.backup == want && (m.told || !want) {
			continue
		}
		if m.sub.TCP.State != StateEstablished {
			if m.backup != want {
				s.errs = append(s.errs, fmt.Errorf("path %s: set backup to %v: %w", m.path.Name, want, ErrJoining))
			}
			continue
		}
		err := s.b.pm.SetBackup(s.token, m.sub.Local, m.sub.Remote, want)
		if err == nil {
			confirmed := m.backup == want
			m.backup, m.told = want, true
			if confirmed {
				continue // Created with the flag; said again for 6.1, which ignores it there.
			}
		}
		s.record(Change{Op: BackupSet, Path: m.path.Name, Local: m.sub.Local, ID: m.id, Err: err})
	}
}

func (s *syncRun) create(m *member) {
	b := s.b
	if b.sharesAddressLocked(m) || m.local.Port() != 0 {
		s.createOnOwnPort(m)
		return
	}
	s.recordCreated(m, s.request(m))
}

// createOnOwnPort is for paths with the same address. The kernel has one id per
// pair of address and port, so their subflows need ports of our choice, and a
// port that was used may linger in TIME_WAIT: each begins with a fresh pair.
func (s *syncRun) createOnOwnPort(m *member) {
	if m.created {
		s.forget(m)
		id, err := s.b.nextIDLocked()
		if err != nil {
			s.recordCreated(m, err)
			return
		}
		m.id, m.created = id, false
	}
	const tries = 4 // another program may have the port
	for try := 1; ; try++ {
		m.local = netip.AddrPortFrom(m.path.Local, s.b.freePortLocked(m.path.Local))
		err := s.request(m)
		if try == tries || !errors.Is(err, unix.EADDRINUSE) {
			s.recordCreated(m, err)
			return
		}
	}
}

func (s *syncRun) request(m *member) error {
	err := s.b.pm.CreateSubflow(s.token, SubflowSpec{
		ID: m.id, IfIndex: m.path.IfIndex, Local: m.local, Remote: m.path.Remote, Backup: m.path.Backup,
	})
	if err == nil {
		m.backup, m.told, m.created = m.path.Backup, false, true
	}
	return err
}

func (s *syncRun) recordCreated(m *member, err error) {
	s.record(Change{Op: Created, Path: m.path.Name, Local: m.local, ID: m.id, Err: err})
}

// sharesAddressLocked tells whether another member's subflows come from the
// same address and could not be told from this one's.
func (b *Bond) sharesAddressLocked(m *member) bool {
	for _, o := range b.members {
		if o != m && o.id != 0 && o.wanted && o.path.Local == m.path.Local {
			return true
		}
	}
	return false
}

// freePortLocked is a random port in the kernel's default range of ephemeral
// ones that no subflow of the address has.
func (b *Bond) freePortLocked(local netip.Addr) uint16 {
	const lowest, highest = 32768, 60999
	for {
		ap := netip.AddrPortFrom(local, uint16(lowest+rand.IntN(highest-lowest+1)))
		if !slices.ContainsFunc(b.members, func(m *member) bool { return m.local == ap || m.live && m.sub.Local == ap }) {
			return ap.Port()
		}
	}
}

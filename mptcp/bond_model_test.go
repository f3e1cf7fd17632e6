package mptcp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// A model of one connection in the kernel, for what real paths do not do on
// demand. Like the kernel it has a table of address ids beside the subflows, and
// refuses an id or an address that the table has otherwise.
type model struct {
	t        *testing.T
	log      []string
	table    map[netip.AddrPort]uint8
	subs     []modelSubflow
	removed  map[uint8]bool // ids the peer was told are gone
	nextPort uint16
	asked    int  // requests with a port
	joining  bool // new subflows stay syn-sent
	old      bool // 6.1, which takes no notice of the backup flag of a join
}

type modelSubflow struct {
	Subflow
	id     uint8
	backup bool
}

func (m *model) Info() (Info, error) { return Info{Token: 1}, nil }

func (m *model) AppendSubflows(dst []Subflow) ([]Subflow, error) {
	for _, s := range m.subs {
		dst = append(dst, s.Subflow)
	}
	return dst, nil
}

func (m *model) note(format string, args ...any) { m.log = append(m.log, fmt.Sprintf(format, args...)) }

func (m *model) CreateSubflow(_ uint32, s SubflowSpec) error {
	m.note("create %d %v if %d backup %v", s.ID, s.Local, s.IfIndex, s.Backup)
	if m.removed[s.ID] {
		m.t.Errorf("id %d again: the peer may still close it", s.ID)
	}
	for ap, id := range m.table {
		if (ap == s.Local) != (id == s.ID) {
			return unix.EINVAL
		}
	}
	local := s.Local
	if local.Port() != 0 { // now and then another program has it
		if m.asked++; m.asked%3 == 0 {
			return unix.EADDRINUSE
		}
	}
	if local.Port() == 0 {
		m.nextPort++
		local = netip.AddrPortFrom(local.Addr(), m.nextPort)
	}
	if slices.ContainsFunc(m.subs, func(o modelSubflow) bool { return o.Local == local && o.TCP.State != StateClosed }) {
		return unix.EADDRINUSE
	}
	m.table[s.Local] = s.ID
	state := StateEstablished
	if m.joining {
		state = StateSynSent
	}
	m.subs = append(m.subs, modelSubflow{Subflow{Local: local, Remote: s.Remote, TCP: TCPInfo{State: state}}, s.ID, s.Backup && !m.old})
	return nil
}

func (m *model) RemoveAddress(_ uint32, id uint8) error {
	m.note("remove %d", id)
	if id == 0 {
		if !slices.ContainsFunc(m.subs, func(s modelSubflow) bool { return s.id == 0 }) {
			return unix.EINVAL
		}
		return nil
	}
	for ap, have := range m.table {
		if have == id {
			delete(m.table, ap)
			m.removed[id] = true
			return nil
		}
	}
	return unix.EINVAL
}

func (m *model) DestroySubflow(_ uint32, local, remote netip.AddrPort) error {
	m.note("destroy %v", local)
	for i, s := range m.subs {
		if s.Local != local || s.Remote != remote || s.TCP.State == StateClosed {
			continue
		}
		for ap := range m.table { // by address alone, as the kernel does
			if ap.Addr() == local.Addr() {
				delete(m.table, ap)
				break
			}
		}
		m.die(i)
		return nil
	}
	return unix.ESRCH
}

// die: the initial subflow stays in the list, closed.
func (m *model) die(i int) {
	if m.subs[i].id == 0 {
		m.subs[i].TCP.State = StateClosed
		return
	}
	m.subs = slices.Delete(m.subs, i, i+1)
}

func (m *model) SetBackup(_ uint32, local, remote netip.AddrPort, backup bool) error {
	m.note("backup %v %v", local, backup)
	for i, s := range m.subs {
		if s.Local == local && s.Remote == remote && s.TCP.State == StateEstablished {
			m.subs[i].backup = backup
			return nil
		}
	}
	return unix.EINVAL
}

var (
	modelLocal   = netip.MustParseAddrPort("10.1.0.1:5000")
	modelRemote  = netip.MustParseAddrPort("10.9.0.1:443")
	modelRemote6 = netip.MustParseAddrPort("[fd00:9::1]:443")
)

func newModel(t *testing.T) (*model, *Bond) {
	m := &model{t: t, table: map[netip.AddrPort]uint8{}, removed: map[uint8]bool{}, nextPort: 10000}
	m.subs = []modelSubflow{{Subflow: Subflow{Local: modelLocal, Remote: modelRemote, TCP: TCPInfo{State: StateEstablished}}}}
	return m, newBond(m, m, modelLocal, modelRemote, 0)
}

// Whatever happened before, after a Sync there is one subflow for each path, and
// no other.
func TestBondRandomTransitions(t *testing.T) {
	pool := []Path{
		{Name: "a", Local: modelLocal.Addr(), IfIndex: 1},
		{Name: "b", Local: clientB4, IfIndex: 2},
		{Name: "b again", Local: clientB4, IfIndex: 3}, // two modems that give the same address
		{Name: "b6", Local: clientB6, IfIndex: 2, Remote: modelRemote6},
		{Name: "c", Local: netip.MustParseAddr("10.3.0.1")},
		{Name: "c elsewhere", Local: netip.MustParseAddr("10.3.0.1"), Remote: netip.MustParseAddrPort("10.9.0.2:443")},
	}
	for seed := range uint64(300) {
		m, b := newModel(t)
		m.old = seed%2 == 1
		r := rand.New(rand.NewPCG(seed, 1))
		for range 30 { // fewer removals than there are ids
			var want []Path
			for _, p := range pool {
				if p.Name == "c elsewhere" && len(want) > 0 && want[len(want)-1].Name == "c" {
					continue
				}
				if r.IntN(3) > 0 {
					p.Backup = r.IntN(3) == 0
					want = append(want, p)
				}
			}
			m.joining = r.IntN(4) == 0
			m.note("sync %+v", want)
			if changes, err := b.Sync(want); err != nil {
				t.Errorf("%v: %+v", err, changes)
			}
			for i := range m.subs { // joins succeed or fail
				if m.subs[i].TCP.State == StateSynSent {
					m.subs[i].TCP.State = StateEstablished
				}
			}
			changes, err := b.Sync(want)
			for _, c := range changes {
				if c.Op != BackupSet {
					t.Errorf("at rest: %+v", c)
				}
			}
			m.check(b, want, changes, err)
			for range r.IntN(3) { // some die by themselves
				if len(m.subs) > 0 {
					m.note("dies %d", len(m.subs)-1)
					m.die(r.IntN(len(m.subs)))
				}
			}
		}
		if t.Failed() {
			for _, line := range m.log {
				t.Log(line)
			}
			t.Fatalf("seed %d", seed)
		}
	}
}

func (m *model) check(b *Bond, want []Path, changes []Change, err error) {
	m.t.Helper()
	if err != nil {
		m.t.Errorf("%v: %+v", err, changes)
		return
	}
	got, err := b.AppendSubflows(nil)
	if err != nil || len(got) != len(want) {
		m.t.Errorf("%d subflows for %d paths: %+v, %v", len(got), len(want), got, err)
		return
	}
	for _, p := range want {
		i := slices.IndexFunc(got, func(s PathSubflow) bool { return s.Path == p.Name })
		if i < 0 || got[i].Local.Addr() != p.Local || got[i].Backup != p.Backup {
			m.t.Errorf("path %+v: %+v", p, got)
			return
		}
		j := slices.IndexFunc(m.subs, func(s modelSubflow) bool { return s.Local == got[i].Local && s.TCP.State != StateClosed })
		if s := m.subs[j]; s.id != got[i].AddressID || s.TCP.State == StateEstablished && s.backup != p.Backup {
			m.t.Errorf("path %+v: the kernel has %+v, the bond %+v", p, s, got[i])
		}
	}
}

// The order that makes failover quick: the peer is told before anything else.
func TestBondOrder(t *testing.T) {
	m, b := newModel(t)
	a := Path{Name: "a", Local: modelLocal.Addr()}
	if _, err := b.Sync([]Path{a, {Name: "b", Local: clientB4, Backup: true}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Sync([]Path{{Name: "c", Local: clientA4.Next()}}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"create 1 10.2.0.1:0 if 0 backup true",
		"remove 0", "destroy 10.1.0.1:5000", "remove 1", "destroy 10.2.0.1:10001",
		"create 2 10.1.0.2:0 if 0 backup false",
	}
	if !slices.Equal(m.log, want) {
		t.Errorf("got  %q\nwant %q", m.log, want)
	}
}

func TestBondBadPaths(t *testing.T) {
	_, b := newModel(t)
	a := Path{Name: "a", Local: modelLocal.Addr(), IfIndex: 1}
	changes, err := b.Sync([]Path{a, a, {Name: "none"}, {Name: "six", Local: clientB6}, {Name: "b", Local: clientB4}})
	if err == nil || changeList(changes) != "created a 0 failed, created none 0 failed, created six 0 failed, created b 1" {
		t.Errorf("%s; %v", changeList(changes), err)
	}
	if subs, err := b.AppendSubflows(nil); err != nil || len(subs) != 2 {
		t.Errorf("%+v, %v", subs, err)
	}
}

// Addresses with a zone, or v4-mapped, are the same as without.
func TestBondZonesAndMapped(t *testing.T) {
	m, _ := newModel(t)
	local, remote := netip.MustParseAddrPort("[fe80::1]:5000"), netip.MustParseAddrPort("[fe80::2]:443")
	m.subs[0].Local, m.subs[0].Remote = local, remote
	zoned := func(ap netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(ap.Addr().WithZone("a0"), ap.Port()) }
	b := newBond(m, m, zoned(local), zoned(remote), 0)
	if changes, err := b.Sync([]Path{{Local: zoned(local).Addr(), Remote: zoned(remote)}}); err != nil || len(changes) != 0 {
		t.Errorf("%v, %v", changeList(changes), err)
	}
	_, b = newModel(t)
	if changes, err := b.Sync([]Path{{Local: netip.AddrFrom16(modelLocal.Addr().As16())}}); err != nil || len(changes) != 0 {
		t.Errorf("%v, %v", changeList(changes), err)
	}
}

// A flag that differs from what a join under way has asked for can be set only
// when it is through; until then Sync says so.
func TestBondFlagWaitsForTheJoin(t *testing.T) {
	m, b := newModel(t)
	m.joining = true
	first := Path{Name: "first", Local: modelLocal.Addr()}
	second := Path{Name: "second", Local: netip.MustParseAddr("10.2.0.1"), Backup: true}
	if _, err := b.Sync([]Path{first, second}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Sync([]Path{first, second}); err != nil {
		t.Errorf("the flag is as the join has it: %v", err)
	}
	second.Backup = false
	if _, err := b.Sync([]Path{first, second}); !errors.Is(err, ErrJoining) {
		t.Errorf("while it joins: %v, want %v", err, ErrJoining)
	}
	for i := range m.subs {
		m.subs[i].TCP.State = StateEstablished
	}
	if _, err := b.Sync([]Path{first, second}); err != nil {
		t.Error(err)
	}
	if m.subs[1].backup {
		t.Error("the flag was not cleared")
	}
}

package mptcp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// bondLab is a bonded connection over A, and the paths it may have.
type bondLab struct {
	*lab
	e          *echo
	conn, peer *Conn
	bond       *Bond
	a, b       Path
}

func newBondLab(t *testing.T) *bondLab {
	t.Helper()
	l := newLab(t)
	if _, err := l.pathManager(l.server).SwapLimits(ServerLimits); err != nil {
		t.Fatal(err)
	}
	bl := &bondLab{lab: l, e: l.serve(Options{ReceiveBufferBytes: 8 << 20})}
	bl.conn = l.bonded(bl.e, clientA4, service4)
	bl.peer = bl.e.next(t)
	bl.bond = NewBond(bl.conn, l.pathManager(l.client))
	bl.a = Path{Name: "a", Local: clientA4, IfIndex: l.client.index("a0")}
	bl.b = Path{Name: "b", Local: clientB4, IfIndex: l.client.index("b0")}
	return bl
}

// sync makes the paths so, expects these changes, and waits for the subflows.
func (bl *bondLab) sync(want string, paths ...Path) {
	bl.t.Helper()
	changes, err := bl.bond.Sync(paths)
	if err != nil {
		bl.t.Fatal(err)
	}
	if got := changeList(changes); got != want {
		bl.t.Fatalf("changes %q, want %q", got, want)
	}
	var locals []netip.Addr
	for _, p := range paths {
		locals = append(locals, p.Local)
	}
	awaitSubflows(bl.t, bl.conn, locals...)
	if changes, err := bl.bond.Sync(paths); err != nil || len(changes) != 0 {
		bl.t.Fatalf("again: %v, %v", changes, err)
	}
}

func changeList(changes []Change) string {
	var out []string
	for _, c := range changes {
		s := fmt.Sprintf("%v %s %d", c.Op, c.Path, c.ID)
		if c.Err != nil {
			s += " failed"
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func TestBondAddsAndRemoves(t *testing.T) {
	bl := newBondLab(t)
	bl.sync("", bl.a)
	bl.sync("created b 1", bl.a, bl.b)
	a, b := bl.client.sent("a0"), bl.client.sent("b0")
	exchange(t, bl.conn, 8<<20)
	if a, b = bl.client.sent("a0")-a, bl.client.sent("b0")-b; a < 100_000 || b < 100_000 {
		t.Errorf("A sent %d bytes, B %d", a, b)
	}
	subs, err := bl.bond.AppendSubflows(nil)
	if err != nil || len(subs) != 2 {
		t.Fatalf("%+v, %v", subs, err)
	}
	slices.SortFunc(subs, func(x, y PathSubflow) int { return int(x.AddressID) - int(y.AddressID) })
	if s := subs[0]; s.Path != "a" || s.AddressID != 0 || s.Local.Addr() != clientA4 || s.Backup {
		t.Errorf("%+v", s)
	}
	if s := subs[1]; s.Path != "b" || s.AddressID != 1 || s.Local.Addr() != clientB4 || s.Backup {
		t.Errorf("%+v", s)
	}
	bl.sync("removed b 1", bl.a)
	awaitSubflows(t, bl.peer, service4)
	exchange(t, bl.conn, 1<<20)
	bl.sync("created b 2", bl.a, bl.b)
	exchange(t, bl.conn, 1<<20)
}

func TestBondBackup(t *testing.T) {
	bl := newBondLab(t)
	a, b := bl.a, bl.b
	b.Backup = true
	changes, err := bl.bond.Sync([]Path{a, b})
	if err != nil || changeList(changes) != "created b 1" {
		t.Fatal(changeList(changes), err)
	}
	awaitSubflows(t, bl.conn, clientA4, clientB4)
	for range 3 { // also says it again for kernels that ignore it in the join
		if changes, err := bl.bond.Sync([]Path{a, b}); err != nil || len(changes) != 0 {
			t.Fatal(changeList(changes), err)
		}
	}
	bl.idle("b0")
	a.Backup, b.Backup = true, false
	bl.sync("backup set a 0, backup set b 1", a, b)
	exchange(t, bl.conn, 100_000)
	bl.idle("a0")
	subs, err := bl.bond.AppendSubflows(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range subs {
		if s.Backup != (s.Path == "a") {
			t.Errorf("%+v", s)
		}
	}
	a.Backup = false
	bl.sync("backup set a 0", a, b)
}

// idle checks that an interface carries no data while the connection does.
func (bl *bondLab) idle(name string) {
	bl.t.Helper()
	before := bl.client.link(name).Attrs().Statistics
	exchange(bl.t, bl.conn, 2<<20)
	after := bl.client.link(name).Attrs().Statistics
	if after.TxBytes-before.TxBytes > 200_000 || after.RxBytes-before.RxBytes > 200_000 {
		bl.t.Errorf("%s: %d bytes sent, %d received", name, after.TxBytes-before.TxBytes, after.RxBytes-before.RxBytes)
	}
}

// Traffic goes on while a path turns into a black hole and is taken out. Left to
// itself the kernel takes seconds.
func TestBondFailover(t *testing.T) {
	for _, initial := range []bool{false, true} {
		t.Run(fmt.Sprintf("initial=%v", initial), func(t *testing.T) {
			bl := newBondLab(t)
			bl.sync("created b 1", bl.a, bl.b)
			dies, stays, neighbour := bl.b, bl.a, serverB4
			if initial {
				dies, stays, neighbour = bl.a, bl.b, serverA4
			}
			var writes, reads sync.WaitGroup
			var received atomic.Int64
			writes.Go(func() {
				for b := make([]byte, 1<<16); ; {
					if _, err := bl.conn.Write(b); err != nil {
						return
					}
				}
			})
			reads.Go(func() {
				for b := make([]byte, 1<<16); ; {
					n, err := bl.conn.Read(b)
					if err != nil {
						return
					}
					received.Add(int64(n))
				}
			})
			time.Sleep(100 * time.Millisecond)
			bl.client.blackhole(dies.Name+"0", neighbour)
			bl.server.blackhole(dies.Name+"1", dies.Local)
			time.Sleep(100 * time.Millisecond)
			before, start := received.Load(), time.Now()
			want := fmt.Sprintf("removed %s %d", dies.Name, map[bool]int{true: 0, false: 1}[initial])
			if changes, err := bl.bond.Sync([]Path{stays}); err != nil || changeList(changes) != want {
				t.Errorf("%v, %v", changeList(changes), err)
			}
			eventually(t, func() (string, bool) {
				n := received.Load() - before
				return fmt.Sprintf("%d bytes received", n), n > 4<<20
			})
			t.Logf("4 MiB were there %v after Sync", time.Since(start))
			awaitSubflows(t, bl.conn, stays.Local)
			bl.conn.Close()
			writes.Wait()
			reads.Wait()
		})
	}
}

func TestBondLinkDownAndBack(t *testing.T) {
	bl := newBondLab(t)
	bl.sync("created b 1", bl.a, bl.b)
	bl.client.setDown("b0")
	bl.sync("removed b 1", bl.a)
	exchange(t, bl.conn, 2<<20)
	bl.comeBack("b")
	bl.sync("created b 2", bl.a, bl.b)

	// The initial subflow's link likewise; its path comes back as a join.
	bl.client.setDown("a0")
	bl.sync("removed a 0", bl.b)
	exchange(t, bl.conn, 2<<20)
	bl.comeBack("a")
	bl.sync("created a 3", bl.a, bl.b)
	before := bl.client.sent("a0")
	exchange(t, bl.conn, 8<<20)
	if moved := bl.client.sent("a0") - before; moved < 100_000 {
		t.Errorf("A sent %d bytes after its return", moved)
	}
}

func TestBondRevivesAConnectionWithoutSubflows(t *testing.T) {
	bl := newBondLab(t)
	bl.sync("created b 1", bl.a, bl.b)
	bl.sync("removed a 0, removed b 1")
	awaitSubflows(t, bl.peer)
	if !bl.conn.MPTCP() {
		t.Error("without subflows it is not MPTCP")
	}
	// What is written meanwhile is kept.
	moved := make(chan struct{})
	go func() { defer close(moved); exchange(t, bl.conn, 1<<20) }()
	time.Sleep(50 * time.Millisecond)
	bl.sync("created b 2", bl.b)
	<-moved
	bl.sync("created a 3", bl.a, bl.b)
	exchange(t, bl.conn, 1<<20)
}

func TestBondBothFamilies(t *testing.T) {
	bl := newBondLab(t)
	b6 := Path{Name: "b6", Local: clientB6, IfIndex: bl.b.IfIndex, Remote: netip.AddrPortFrom(service6, bl.e.port())}
	bl.sync("created b6 1", bl.a, b6)
	before := bl.client.sent("b0")
	exchange(t, bl.conn, 8<<20)
	if moved := bl.client.sent("b0") - before; moved < 100_000 {
		t.Errorf("B sent %d bytes", moved)
	}
	bl.sync("removed a 0", b6)
	exchange(t, bl.conn, 1<<20)
	bl.sync("created a 2", bl.a, b6)

	// A connection that began with IPv6 takes IPv4.
	conn := bl.bonded(bl.e, clientA6, service6)
	bond := NewBond(conn, bl.pathManager(bl.client))
	paths := []Path{{Name: "a6", Local: clientA6}, {Name: "b4", Local: clientB4, Remote: netip.AddrPortFrom(service4, bl.e.port())}}
	changes, err := bond.Sync(paths)
	if err != nil || changeList(changes) != "created b4 1" {
		t.Fatal(changeList(changes), err)
	}
	awaitSubflows(t, conn, clientA6, clientB4)
	exchange(t, conn, 1<<20)
	if changes, err := bond.Sync(paths[1:]); err != nil || changeList(changes) != "removed a6 0" {
		t.Fatal(changeList(changes), err)
	}
	awaitSubflows(t, conn, clientB4)
	exchange(t, conn, 1<<20)

	changes, err = bond.Sync([]Path{paths[1], {Name: "wrong", Local: clientA4}})
	if err == nil || changeList(changes) != "created wrong 0 failed" {
		t.Errorf("an IPv4 path to an IPv6 remote: %v, %v", changeList(changes), err)
	}
}

func TestBondNotYetAndFallback(t *testing.T) {
	l := newLab(t)
	e := l.serve(Options{})
	pm := l.pathManager(l.client)
	o := Options{Mark: testMark, Local: clientA4, UserspacePathManager: true}
	conn := l.dial(netip.AddrPortFrom(service4, e.port()), o)
	bond := NewBond(conn, pm)
	paths := []Path{{Name: "a", Local: clientA4}, {Name: "b", Local: clientB4}}
	changes, err := bond.Sync(paths)
	if !errors.Is(err, ErrNotYet) || changeList(changes) != "created b 1 failed" {
		t.Fatal(changeList(changes), err)
	}
	exchange(t, conn, 1)
	if changes, err = bond.Sync(paths); err != nil || changeList(changes) != "created b 1" {
		t.Fatal(changeList(changes), err)
	}
	awaitSubflows(t, conn, clientA4, clientB4)

	plain := l.serve(Options{PlainTCP: true})
	conn = l.dial(netip.AddrPortFrom(service4, plain.port()), o)
	exchange(t, conn, 1)
	if changes, err := NewBond(conn, pm).Sync(paths); !errors.Is(err, ErrFallback) || len(changes) != 0 {
		t.Errorf("on plain TCP: %v, %v", changeList(changes), err)
	}
}

// A join that the server refuses is tried again by the next Sync.
func TestBondRepairsARefusedJoin(t *testing.T) {
	bl := newBondLab(t)
	spm := bl.pathManager(bl.server)
	if err := spm.SetLimits(Limits{}); err != nil {
		t.Fatal(err)
	}
	paths := []Path{bl.a, bl.b}
	for range 3 {
		changes, err := bl.bond.Sync(paths)
		if err != nil || changeList(changes) != "created b 1" {
			t.Fatal(changeList(changes), err)
		}
		eventually(t, func() (string, bool) {
			subs, err := bl.bond.AppendSubflows(nil)
			return fmt.Sprint(subs, err), err == nil && len(subs) == 1
		})
	}
	if err := spm.SetLimits(ServerLimits); err != nil {
		t.Fatal(err)
	}
	bl.sync("created b 1", paths...)
	exchange(t, bl.conn, 1<<20)
}

// A subflow that the kernel gave up, and one that was closed behind the Bond's
// back, are made again.
func TestBondRepairsALostSubflow(t *testing.T) {
	bl := newBondLab(t)
	bl.client.sysctl("net/ipv4/tcp_retries2", "1")
	bl.sync("created b 1", bl.a, bl.b)
	b0 := bl.client.link("b0")
	bl.client.blackhole("b0", serverB4)
	eventually(t, func() (string, bool) {
		exchange(t, bl.conn, 200_000)
		n := len(established(t, bl.conn))
		return fmt.Sprintf("%d subflows", n), n == 1
	})
	bl.client.must(func() error { return delNeighbour(b0, serverB4) })
	bl.sync("created b 1", bl.a, bl.b)
	exchange(t, bl.conn, 1<<20)

	pm := bl.pathManager(bl.client)
	for _, s := range established(t, bl.conn) {
		if err := pm.DestroySubflow(mustToken(t, bl.conn), s.Local, s.Remote); err != nil {
			t.Fatal(err)
		}
	}
	awaitSubflows(t, bl.conn)
	bl.sync("created b 1, created a 2", bl.b, bl.a)
	exchange(t, bl.conn, 1<<20)
}

// What another program joined to the connection is no path's and goes.
func TestBondRemovesStrangers(t *testing.T) {
	bl := newBondLab(t)
	pm := bl.pathManager(bl.client)
	err := pm.CreateSubflow(mustToken(t, bl.conn), SubflowSpec{ID: 200, Local: netip.AddrPortFrom(clientB4, 0), Remote: bl.conn.RemoteAddrPort()})
	if err != nil {
		t.Fatal(err)
	}
	awaitSubflows(t, bl.conn, clientA4, clientB4)
	bl.sync("removed  0", bl.a)
	bl.sync("created b 1", bl.a, bl.b)
}

// Joins that hang in a black hole can be taken out and tried anew.
func TestBondHangingJoin(t *testing.T) {
	bl := newBondLab(t)
	b0 := bl.client.link("b0")
	bl.client.blackhole("b0", serverB4)
	paths := []Path{bl.a, bl.b}
	if changes, err := bl.bond.Sync(paths); err != nil || changeList(changes) != "created b 1" {
		t.Fatal(changeList(changes), err)
	}
	if changes, err := bl.bond.Sync(paths); err != nil || len(changes) != 0 {
		t.Fatal(changeList(changes), err)
	}
	subs, err := bl.bond.AppendSubflows(nil)
	if err != nil || len(subs) != 2 {
		t.Fatalf("%+v, %v", subs, err)
	}
	if changes, err := bl.bond.Sync(paths[:1]); err != nil || changeList(changes) != "removed b 1" {
		t.Fatal(changeList(changes), err)
	}
	bl.client.must(func() error { return delNeighbour(b0, serverB4) })
	bl.sync("created b 2", paths...)
	exchange(t, bl.conn, 1<<20)
}

package mptcp

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// How subflows find their uplinks: by source address and mark, on any kernel.
// The main table leads to the service over B alone, and no interface is named.
func TestSubflowsLeaveBySourceRule(t *testing.T) {
	l := newLab(t)
	e := l.serve(Options{ReceiveBufferBytes: 8 << 20})
	for _, c := range []struct {
		first, second netip.Addr
		remote        netip.Addr
		links         [2]string
	}{
		{clientA4, clientB4, service4, [2]string{"a0", "b0"}},
		{clientB4, clientA4, service4, [2]string{"b0", "a0"}},
		{clientA6, clientB6, service6, [2]string{"a0", "b0"}},
		{clientB6, clientA6, service6, [2]string{"b0", "a0"}},
	} {
		before := [2]uint64{l.client.sent(c.links[0]), l.client.sent(c.links[1])}
		conn := l.bonded(e, c.first, c.remote)
		exchange(t, conn, 200_000)
		if moved := l.client.sent(c.links[0]) - before[0]; moved < 200_000 {
			t.Errorf("initial from %v: %d bytes left by %s", c.first, moved, c.links[0])
		}
		if moved := l.client.sent(c.links[1]) - before[1]; moved > 20_000 {
			t.Errorf("initial from %v: %d bytes left by %s", c.first, moved, c.links[1])
		}
		bond := NewBond(conn, l.pathManager(l.client))
		if _, err := bond.Sync([]Path{{Name: "first", Local: c.first, Backup: true}, {Name: "second", Local: c.second}}); err != nil {
			t.Fatal(err)
		}
		awaitSubflows(t, conn, c.first, c.second)
		exchange(t, conn, 100_000)
		before[1] = l.client.sent(c.links[1])
		exchange(t, conn, 1<<20)
		if moved := l.client.sent(c.links[1]) - before[1]; moved < 1<<20 {
			t.Errorf("join from %v: %d bytes left by %s", c.second, moved, c.links[1])
		}
		conn.Close()
	}
}

// What an interface named at the join does without such a rule: 6.18 heeds it,
// also where the first socket was bound elsewhere. Other kernels differ, so this
// is told and not required.
func TestInterfaceOfAJoin(t *testing.T) {
	l := newLab(t)
	e := l.serve(Options{})
	for _, device := range []string{"", "b0"} {
		conn := l.dial(netip.AddrPortFrom(service4, e.port()), Options{Local: clientB4, Device: device, UserspacePathManager: true})
		exchange(t, conn, 1)
		bond := NewBond(conn, l.pathManager(l.client))
		if _, err := bond.Sync([]Path{{Local: clientB4, Backup: true}, {Local: clientA4, IfIndex: l.client.index("a0")}}); err != nil {
			t.Fatal(err)
		}
		awaitSubflows(t, conn, clientA4, clientB4)
		exchange(t, conn, 100_000)
		before := l.client.sent("a0")
		exchange(t, conn, 1<<20)
		t.Logf("socket bound to %q, join to a0: %d KiB left by a0", device, (l.client.sent("a0")-before)>>10)
		conn.Close()
	}
}

// Both paths die without a sign, and one comes back.
func TestBondRevivesAfterBlackholes(t *testing.T) {
	bl := newBondLab(t)
	bl.sync("created b 1", bl.a, bl.b)
	a0, a1 := bl.client.link("a0"), bl.server.link("a1")
	bl.client.blackhole("a0", serverA4)
	bl.client.blackhole("b0", serverB4)
	bl.server.blackhole("a1", clientA4)
	bl.server.blackhole("b1", clientB4)
	moved := make(chan struct{})
	go func() { defer close(moved); exchange(t, bl.conn, 1<<20) }()
	time.Sleep(50 * time.Millisecond)
	bl.sync("removed a 0, removed b 1")
	time.Sleep(50 * time.Millisecond)
	bl.client.must(func() error { return delNeighbour(a0, serverA4) })
	bl.server.must(func() error { return delNeighbour(a1, clientA4) })
	bl.sync("created a 2", bl.a)
	<-moved
	exchange(t, bl.conn, 1<<20)
}

// Kernels before MPTCP_FULL_INFO have two options that tell the same, without
// the ids.
func TestSubflowsWithoutFullInfo(t *testing.T) {
	bl := newBondLab(t)
	bl.sync("created b6 1", bl.a, Path{Name: "b6", Local: clientB6, Remote: netip.AddrPortFrom(service6, bl.e.port())})
	exchange(t, bl.conn, 1<<20)
	full, err := bl.conn.Subflows()
	if err != nil || len(full) != 2 {
		t.Fatalf("%+v, %v", full, err)
	}
	q := subflowQueries.Get().(*subflowQuery)
	old, err := q.separate(bl.conn, nil)
	if err != nil || len(old) != 2 {
		t.Fatalf("%+v, %v", old, err)
	}
	if !slices.EqualFunc(full, old, func(f, o Subflow) bool {
		return f.Local == o.Local && f.Remote == o.Remote && f.Mapped == o.Mapped && o.ID == 0 && f.ID != 0 &&
			f.TCP.State == o.TCP.State && f.TCP.BytesReceived == o.TCP.BytesReceived
	}) {
		t.Errorf("%+v, by FULL_INFO %+v", old, full)
	}
}

// A host without IPv6 addresses.
func TestIPv6SwitchedOff(t *testing.T) {
	l := newLab(t)
	for _, h := range []*host{l.client, l.server} {
		h.sysctl("net/ipv6/conf/all/disable_ipv6", "1")
		h.sysctl("net/ipv6/bindv6only", "1")
	}
	e := l.serve(Options{})
	conn := l.bonded(e, clientA4, service4)
	if !conn.MPTCP() {
		t.Error("not MPTCP")
	}
	if _, err := NewBond(conn, l.pathManager(l.client)).Sync([]Path{{Local: clientA4}, {Local: clientB4}}); err != nil {
		t.Fatal(err)
	}
	awaitSubflows(t, conn, clientA4, clientB4)
	exchange(t, conn, 100_000)
}

// Two uplinks with the same address, as two modems of one maker have.
func TestBondSharedAddress(t *testing.T) {
	bl := newBondLab(t)
	other := Path{Name: "other", Local: clientB4}
	bl.sync("created b 1", bl.a, bl.b)
	bl.sync("created other 2", bl.a, bl.b, other)
	exchange(t, bl.conn, 1<<20)
	bl.sync("removed b 1", bl.a, other)
	awaitSubflows(t, bl.peer, service4, service4)
	bl.sync("created b 3", bl.a, bl.b, other)
	exchange(t, bl.conn, 1<<20)
	bl.sync("removed other 2, removed b 3", bl.a)
	awaitSubflows(t, bl.peer, service4)
	bl.sync("created b 4, created other 5", bl.a, bl.b, other)
	exchange(t, bl.conn, 1<<20)
}

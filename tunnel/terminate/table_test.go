package terminate

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// fixture is a Terminator without kernel: what it writes is kept.
type fixture struct {
	*Terminator
	now     time.Time
	offered []*Pending
	written [][]byte
}

const (
	app      = "10.0.0.5:4000"
	web      = "192.0.2.1:443"
	listener = "10.77.0.2:999"
	dialPort = 888 // at the same address
)

func newFixture() *fixture {
	f := &fixture{now: time.Now()}
	f.Terminator = &Terminator{
		write:         func(p []byte) error { f.written = append(f.written, append([]byte(nil), p...)); return nil },
		offer:         func(p *Pending) { f.offered = append(f.offered, p) },
		answerTimeout: time.Second,
		table:         newTable(),
	}
	l := netip.MustParseAddrPort(listener)
	f.table.families[0] = newFamily(l.Addr(), l.Port(), []netip.Addr{netip.MustParseAddr("10.77.0.8"), netip.MustParseAddr("10.77.0.9")})
	f.table.families[0].dial = dialPort
	f.table.limits = limits{pending: 10, pendingPerSource: 3, connections: 20}
	return f
}

// send is a packet from src to dst; it returns what was written because of
// it, or nil, and whether it was taken.
func (f *fixture) send(p tcpPacket) (*segment, bool) {
	f.written = nil
	taken := f.Packet(p.bytes(), f.now)
	if len(f.written) == 0 {
		return nil, taken
	}
	var s segment
	parse(f.written[0], &s)
	return &s, taken
}

// last returns the last connection offered.
func (f *fixture) last() *entry { return f.offered[len(f.offered)-1].e }

// open makes an open connection, but for the socket.
func (f *fixture) open(t *testing.T, source string, seq uint32) *entry {
	t.Helper()
	n := len(f.offered)
	f.send(tcpPacket{src: source, dst: web, flags: flagSYN, seq: seq})
	if len(f.offered) != n+1 {
		t.Fatal("the SYN was not offered")
	}
	e := f.last()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.table.open(e, false, f.now) {
		t.Fatal("no port")
	}
	f.table.end(e, nil)
	return e
}

func (f *fixture) sweepAfter(d time.Duration) int {
	f.now = f.now.Add(d)
	f.table.sweep(f.now)
	return len(f.table.flows)
}

// close sends the packets of an orderly end, from either side first.
func (f *fixture) close(e *entry) {
	out, in := e.key, e.local
	send := func(k endpoints, flags uint8, seq, ack uint32) {
		f.send(tcpPacket{src: k.source().String(), dst: k.destination().String(), flags: flags, seq: seq, ack: ack})
	}
	send(out, flagFIN|flagACK, 100, 500)
	send(in, flagACK, 500, 101)
	send(in, flagFIN|flagACK, 500, 101)
	send(out, flagACK, 101, 501)
}

func TestTableVerdicts(t *testing.T) {
	tests := []struct {
		name   string
		in     tcpPacket
		taken  bool
		resets bool
		offers bool
	}{
		{"SYN", tcpPacket{src: app, dst: web, flags: flagSYN}, true, false, true},
		{"ECN SYN", tcpPacket{src: app, dst: web, flags: flagSYN | 0xc0}, true, false, true},
		{"ACK", tcpPacket{src: app, dst: web, flags: flagACK}, true, true, false},
		{"RST", tcpPacket{src: app, dst: web, flags: flagRST}, true, false, false},
		{"SYN+ACK", tcpPacket{src: app, dst: web, flags: flagSYN | flagACK}, false, false, false},
		{"SYN+FIN", tcpPacket{src: app, dst: web, flags: flagSYN | flagFIN}, true, false, false},
		{"multicast", tcpPacket{src: app, dst: "224.0.0.1:1", flags: flagSYN}, false, false, false},
		{"IPv6 without fakes", tcpPacket{src: "[fd00::1]:1", dst: "[2001:db8::1]:1", flags: flagSYN}, false, false, false},
		{"to a fake", tcpPacket{src: app, dst: "10.77.0.8:5", flags: flagSYN}, true, false, false},
		{"listener's, unknown", tcpPacket{src: listener, dst: "10.77.0.9:5", flags: flagACK}, true, true, false},
		{"listener's reset", tcpPacket{src: listener, dst: "10.77.0.9:5", flags: flagRST}, true, false, false},
	}
	for _, tt := range tests {
		f := newFixture()
		s, taken := f.send(tt.in)
		if taken != tt.taken || (s != nil) != tt.resets || s != nil && s.flags&flagRST == 0 || (len(f.offered) == 1) != tt.offers {
			t.Errorf("%s: taken %v, wrote %v, offered %d", tt.name, taken, s, len(f.offered))
		}
	}
}

func TestBounds(t *testing.T) {
	f := newFixture()
	ports := []string{":1", ":2", ":3", ":4"}
	for _, host := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"} {
		for _, port := range ports {
			f.send(tcpPacket{src: host + port, dst: web, flags: flagSYN})
		}
	}
	// Three of each of three hosts, one of the fourth.
	if s := f.Stats(); len(f.offered) != 10 || s.Pending != 10 || s.DroppedLimit != 6 {
		t.Errorf("offered %d, %+v", len(f.offered), s)
	}
	for _, p := range f.offered {
		p.Refuse()
	}
	if s := f.Stats(); s.Pending != 0 || s.Connections != 0 || len(f.table.flows) != 0 || len(f.table.sources) != 0 {
		t.Errorf("%+v, %d flows", s, len(f.table.flows))
	}
}

// A fake endpoint is used again only long after its connection's end.
func TestFakeIsReserved(t *testing.T) {
	f := newFixture()
	e := f.open(t, app, 1)
	f.close(e)
	if e.ended.IsZero() {
		t.Fatal("the end was not seen")
	}
	if f.sweepAfter(linger + time.Second); f.table.flows[e.local] != e {
		t.Error("gone while it has an owner")
	}
	f.table.release(e)
	e2 := f.open(t, app, 2) // the same port again
	if e2.local == e.local || !e.superseded || f.table.flows[e2.key] != e2 {
		t.Error("the fake endpoint was used again")
	}
	if s, _ := f.send(tcpPacket{src: listener, dst: e.local.destination().String(), flags: flagACK}); s != nil {
		t.Errorf("a late answer of the old connection was forwarded: %+v", s)
	}
	if n := f.sweepAfter(time.Second); n != 2 {
		t.Errorf("%d flows, want those of the new connection", n)
	}
	f.table.release(e2)
	if n := f.sweepAfter(orphan - time.Second); n != 2 {
		t.Error("given up before its end")
	}
	if n := f.sweepAfter(2 * time.Second); n != 0 {
		t.Errorf("%d flows after all", n)
	}
}

func TestPortsRunOut(t *testing.T) {
	f := newFixture()
	fam := &f.table.families[0]
	fam.cursor = 0
	seen := map[endpoints]bool{}
	for range 3 * portTries {
		key, ok := f.table.free(fam, fam.port)
		if !ok || seen[key] || key.dstPort < firstPort {
			t.Fatalf("%v:%d, %v", key.dst, key.dstPort, ok)
		}
		seen[key] = true
		f.table.flows[key] = &entry{}
	}
	fam.cursor = 0
	if _, ok := f.table.free(fam, fam.port); ok {
		t.Error("found a port behind too many that are used")
	}
	fam.cursor = numPorts*2 - 1
	if key, ok := f.table.free(fam, fam.port); !ok || key.dstPort != 65535 || fam.cursor != 0 {
		t.Errorf("the last is %d", key.dstPort)
	}
}

// A SYN on an open connection is the kernel's to answer; after a reset it is
// a new connection.
func TestSYNOnOpen(t *testing.T) {
	f := newFixture()
	e := f.open(t, app, 1)
	s, _ := f.send(tcpPacket{src: app, dst: web, flags: flagSYN, seq: 77})
	if s == nil || s.endpoints != e.local.reverse() || len(f.offered) != 1 {
		t.Error("not forwarded")
	}
	f.send(tcpPacket{src: app, dst: web, flags: flagRST, seq: 2})
	f.send(tcpPacket{src: app, dst: web, flags: flagSYN, seq: 78})
	if len(f.offered) != 2 {
		t.Error("not offered after the reset")
	}
}

// While its SYN is held the application gives up.
func TestAbortedWhileHeld(t *testing.T) {
	f := newFixture()
	f.send(tcpPacket{src: app, dst: web, flags: flagSYN, seq: 1})
	p := f.offered[0]
	f.send(tcpPacket{src: app, dst: web, flags: flagSYN, seq: 1}) // repeated: dropped
	f.send(tcpPacket{src: app, dst: web, flags: flagRST, seq: 2})
	select {
	case <-p.Done():
	default:
		t.Error("not done")
	}
	if _, err := p.Accept(context.Background()); !errors.Is(err, ErrAborted) {
		t.Error(err)
	}
	p.Refuse()
	if len(f.written) != 0 || len(f.table.flows) != 0 || f.Stats().Pending != 0 {
		t.Errorf("wrote %d, %d flows", len(f.written), len(f.table.flows))
	}
}

func TestDropThenRetry(t *testing.T) {
	f := newFixture()
	syn := tcpPacket{src: app, dst: web, flags: flagSYN, seq: 1}
	f.send(syn)
	f.offered[0].Drop()
	f.now = f.now.Add(silence / 2)
	if f.send(syn); len(f.offered) != 1 {
		t.Error("a repeated SYN was offered")
	}
	syn.seq = 5
	if f.send(syn); len(f.offered) != 2 {
		t.Error("another attempt was not offered")
	}
	f.offered[1].Drop()
	f.now = f.now.Add(2 * silence)
	if f.send(syn); len(f.offered) != 3 {
		t.Error("a SYN after the silence was not offered")
	}
	if f.sweepAfter(neglect + time.Second); len(f.table.flows) != 0 || f.Stats().Pending != 0 {
		t.Error("a neglected SYN is still held")
	}
}

// A failed Accept is undone: counts, ports, and what the application may do.
func TestAcceptFails(t *testing.T) {
	f := newFixture()
	syn := tcpPacket{src: app, dst: web, flags: flagSYN, seq: 1}
	f.send(syn)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p := f.offered[0]
	if _, err := p.Accept(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if s := f.Stats(); s.Pending != 0 || s.Connections != 0 || s.Failed != 1 {
		t.Errorf("%+v", s)
	}
	if s, _ := f.send(syn); s != nil || len(f.offered) != 1 {
		t.Error("the repeated SYN was not dropped")
	}
	f.written = nil
	p.Refuse()
	if len(f.written) != 1 {
		t.Error("Refuse did not answer")
	}
	if f.send(syn); len(f.offered) != 2 {
		t.Error("not offered anew")
	}
	if f.deliver(nil, p.e.local) {
		t.Error("a late socket was delivered")
	}
}

// Connections that came in as packets are left alone, for as long as they last.
func TestCarried(t *testing.T) {
	f := newFixture()
	p := tcpPacket{src: app, dst: web, flags: flagSYN | flagACK}
	for _, flags := range []uint8{flagSYN | flagACK, flagACK, flagACK | flagFIN, flagACK} {
		p.flags = flags
		if s, taken := f.send(p); s != nil || taken {
			t.Errorf("flags %02x: taken %v", flags, taken)
		}
	}
	if f.sweepAfter(carriedEnding+time.Second) != 0 || f.Stats().Carried != 0 {
		t.Error("not forgotten after its end")
	}
	if s, taken := f.send(p); s == nil || !taken {
		t.Error("not reset, though unknown")
	}
}

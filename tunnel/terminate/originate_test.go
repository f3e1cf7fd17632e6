package terminate

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"braid/tunnel/wire"
)

const (
	peer    = "198.51.100.7:5000" // at the tunnel's other end
	service = "192.168.9.2:80"
)

// originate is Dial without a socket.
func (f *fixture) originate(src, dst string, cancel func(error)) (*entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return f.table.originate(endpointsOf(d, s), s.Addr().Is6(), cancel, f.now)
}

func (f *fixture) dial(tb testing.TB, src, dst string) *entry {
	tb.Helper()
	e, err := f.originate(src, dst, func(error) {})
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// from sends a segment along k.
func (f *fixture) from(k endpoints, flags uint8, seq, ack uint32) *segment {
	s, _ := f.send(tcpPacket{src: k.source().String(), dst: k.destination().String(), flags: flags, seq: seq, ack: ack})
	return s
}

const ourISN, theirISN = 99, 499

// handshake passes the first three packets.
func (f *fixture) handshake(e *entry) {
	f.from(e.local, flagSYN, ourISN, 0)
	f.from(e.key, flagSYN|flagACK, theirISN, ourISN+1)
	f.from(e.local, flagACK, ourISN+1, theirISN+1)
}

// Packets of both directions get the other's endpoints.
func TestDialRewrites(t *testing.T) {
	f := newFixture()
	e := f.dial(t, peer, service)
	if e.local.source().String() != "10.77.0.2:888" || !f.table.isFake(e.local.dst) {
		t.Errorf("local socket %v → %v", e.local.source(), e.local.destination())
	}
	for _, step := range []struct {
		from, to endpoints
		flags    uint8
	}{
		{e.local, e.key.reverse(), flagSYN},
		{e.key, e.local.reverse(), flagSYN | flagACK},
		{e.local, e.key.reverse(), flagACK},
	} {
		if s := f.from(step.from, step.flags, 1, 1); s == nil || s.endpoints != step.to || s.flags != step.flags {
			t.Errorf("%v → %v became %+v", step.from.source(), step.from.destination(), s)
		}
		verify(t, f.written[0])
	}
	if s := f.Stats(); s.Dialling != 1 || s.Connections != 1 || s.Pending != 0 {
		t.Errorf("%+v", s)
	}
	if !f.table.connected(e, f.now) || f.table.connected(e, f.now) {
		t.Error("connected must be true once")
	}
	if s := f.Stats(); s.Dialling != 0 || s.Originated != 1 || s.Connections != 1 {
		t.Errorf("%+v", s)
	}
	f.close(e)
	if e.ended.IsZero() {
		t.Error("the end was not seen")
	}
	f.table.release(e)
	if n := f.sweepAfter(linger - time.Second); n != 2 {
		t.Errorf("%d flows before the end of linger", n)
	}
	if n := f.sweepAfter(2 * time.Second); n != 0 || f.Stats().Connections != 0 {
		t.Errorf("%d flows after all", n)
	}
}

func TestDialRefused(t *testing.T) {
	f := newFixture()
	f.now = time.Now()
	f.limitConnections(2)
	open := f.dial(t, peer, service)
	tests := []struct {
		name     string
		src, dst string
		want     error
	}{
		{"same", peer, service, syscall.EADDRINUSE},
		{"no IPv6", peer6, serve6, ErrFamily},
		{"mixed", peer4, serve6, syscall.EAFNOSUPPORT},
		{"from this host", "10.77.0.2:5", service, syscall.EADDRNOTAVAIL},
		{"from a fake", "10.77.0.8:5", service, syscall.EADDRNOTAVAIL},
		{"from port 0", "198.51.100.7:0", service, syscall.EADDRNOTAVAIL},
		{"from anywhere", "0.0.0.0:5", service, syscall.EADDRNOTAVAIL},
		{"to a fake", peer, "10.77.0.9:5", syscall.ENETUNREACH},
		{"to multicast", peer, "224.0.0.1:5", syscall.ENETUNREACH},
		{"to loopback", peer, "127.0.0.1:5", syscall.ENETUNREACH},
		{"to a mapped loopback", peer, "[::ffff:127.0.0.1]:5", syscall.ENETUNREACH},
	}
	for _, tt := range tests {
		_, err := f.Dial(context.Background(), netip.MustParseAddrPort(tt.src), netip.MustParseAddrPort(tt.dst))
		var e *Error
		if !errors.Is(err, tt.want) || !errors.As(err, &e) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if _, err := f.Dial(context.Background(), netip.AddrPort{}, netip.AddrPort{}); !errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Error(err)
	}
	f.dial(t, peer, "192.168.9.2:81")
	if _, err := f.originate(peer, "192.168.9.2:82", nil); !errors.Is(err, ErrLimit) || f.Stats().DroppedLimit != 1 {
		t.Error(err)
	}
	f.table.stop(f.now)
	if _, err := f.originate(peer, "192.168.9.2:82", nil); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if s := f.Stats(); open.state != failed || s.Connections != 0 || s.Dialling != 0 || s.Failed != 2 {
		t.Errorf("%+v", s)
	}
}

func (f *fixture) limitConnections(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.table.limits.connections = n
}

// What is remembered under the same endpoints gives way if it is over.
func TestDialSupersedes(t *testing.T) {
	reversed := func(f *fixture, flags uint8) {
		f.send(tcpPacket{src: service, dst: peer, flags: flags})
	}
	tests := []struct {
		name   string
		before func(*fixture)
		want   error
	}{
		{"dialling", func(f *fixture) { f.dial(t, peer, service) }, syscall.EADDRINUSE},
		{"open", func(f *fixture) { f.table.connected(f.dial(t, peer, service), f.now) }, syscall.EADDRINUSE},
		{"ended", func(f *fixture) {
			e := f.dial(t, peer, service)
			f.handshake(e)
			f.table.connected(e, f.now)
			f.close(e)
		}, nil},
		{"reset", func(f *fixture) {
			e := f.dial(t, peer, service)
			f.table.connected(e, f.now)
			f.from(e.key, flagRST, 1, 1)
		}, nil},
		{"refused", func(f *fixture) { f.table.abandon(f.dial(t, peer, service), syscall.ECONNREFUSED, f.now) }, nil},
		{"given up", func(f *fixture) { f.table.abandon(f.dial(t, peer, service), context.Canceled, f.now) }, nil},
		{"held", func(f *fixture) { reversed(f, flagSYN) }, syscall.EADDRINUSE},
		{"dropped", func(f *fixture) { reversed(f, flagSYN); f.offered[0].Drop() }, nil},
		{"carried", func(f *fixture) { reversed(f, flagSYN|flagACK) }, syscall.EADDRINUSE},
		{"carried, long ago", func(f *fixture) {
			reversed(f, flagSYN|flagACK)
			f.now = f.now.Add(carriedIdle + time.Second)
		}, nil},
	}
	for _, tt := range tests {
		f := newFixture()
		tt.before(f)
		old := f.table.flows[endpointsOf(netip.MustParseAddrPort(service), netip.MustParseAddrPort(peer))]
		e, err := f.originate(peer, service, nil)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			continue
		}
		if err != nil {
			continue
		}
		if f.table.flows[e.key] != e || f.table.flows[e.local] != e {
			t.Errorf("%s: not registered", tt.name)
		}
		if s := f.Stats(); s.Carried != 0 || s.Dialling != 1 {
			t.Errorf("%s: %+v", tt.name, s)
		}
		if old != nil && old.originated {
			if old.local == e.local {
				t.Errorf("%s: the same fake endpoint", tt.name)
			}
			if s := f.from(old.local, flagRST|flagACK, 1, 1); s != nil {
				t.Errorf("%s: a packet of the old socket was forwarded", tt.name)
			}
		}
	}
}

// An ICMP error fails the dial whose SYN it quotes, and no other.
func TestDialUnreachable(t *testing.T) {
	f := newFixture()
	var told []error
	e, err := f.originate(peer, service, func(err error) { told = append(told, err) })
	if err != nil {
		t.Fatal(err)
	}
	other := f.dial(t, peer, "192.168.9.2:81")
	f.table.connected(other, f.now)
	send := func(src, dst string, seq uint32, code uint8) bool {
		return f.Packet(icmpAbout(src, dst, seq, icmpUnreachable, code), f.now)
	}
	if send(peer, service, 0, 1) {
		t.Error("taken before the SYN")
	}
	f.from(e.local, flagSYN, ourISN, 0)
	f.from(other.local, flagSYN, ourISN, 0)
	for name, taken := range map[string]bool{
		"another sequence number": send(peer, service, ourISN+1, 1),
		"another port":            send("198.51.100.7:5001", service, ourISN, 1),
		"the other direction":     send(service, peer, ourISN, 1),
		"an open connection":      send(peer, "192.168.9.2:81", ourISN, 1),
		"too big":                 send(peer, service, ourISN, 4),
	} {
		if taken {
			t.Errorf("%s: taken", name)
		}
	}
	// About the local socket's own packet, which nobody but this host saw.
	if src := e.local.source().String(); send(src, e.local.destination().String(), ourISN, 1) {
		t.Error("taken for the local socket's endpoints")
	}
	if len(told) != 0 {
		t.Fatalf("given up: %v", told)
	}
	if !send(peer, service, ourISN, 1) || len(told) != 1 || !errors.Is(told[0], syscall.EHOSTUNREACH) {
		t.Errorf("told %v", told)
	}
	if send(peer, service, ourISN, 1) || len(told) != 1 {
		t.Error("taken twice")
	}
	if s := f.Stats(); e.state != failed || s.Failed != 1 || s.Dialling != 0 || s.Connections != 1 {
		t.Errorf("%+v", s)
	}
}

// The answer to a dial that was given up is reset; after a while all of it is
// forgotten.
func TestDialGivenUp(t *testing.T) {
	f := newFixture()
	e := f.dial(t, peer, service)
	f.from(e.local, flagSYN, ourISN, 0)
	f.table.abandon(e, context.Canceled, f.now)
	if s := f.from(e.local, flagSYN, ourISN, 0); s != nil {
		t.Error("a repeated SYN left")
	}
	s := f.from(e.key, flagSYN|flagACK, theirISN, ourISN+1)
	if s == nil || s.endpoints != e.key.reverse() || s.flags&flagRST == 0 || s.seq != ourISN+1 {
		t.Errorf("answered with %+v", s)
	}
	if s := f.from(e.key, flagRST, theirISN, 0); s != nil {
		t.Errorf("a reset was answered with %+v", s)
	}
	if s := f.from(e.local, flagRST, ourISN+1, 0); s == nil || s.endpoints != e.key.reverse() {
		t.Error("the socket's own reset was not forwarded")
	}
	if n := f.sweepAfter(silence - time.Second); n != 2 {
		t.Errorf("%d flows", n)
	}
	if n := f.sweepAfter(2 * time.Second); n != 0 {
		t.Errorf("%d flows after all", n)
	}
	if s := f.from(e.local, flagACK, 1, 1); s == nil || s.flags&flagRST == 0 || s.endpoints != e.local.reverse() {
		t.Errorf("a forgotten socket was told %+v", s)
	}
}

// SYNs and resets that come against a dial.
func TestSYNOnDialled(t *testing.T) {
	f := newFixture()
	e := f.dial(t, peer, service)
	f.from(e.local, flagSYN, ourISN, 0)
	if s := f.from(e.key, flagSYN, 7, 0); s == nil || s.endpoints != e.local.reverse() {
		t.Error("a simultaneous open was not forwarded")
	}
	// The local kernel ignores the first, and answers something old with the
	// second.
	f.from(e.key, flagRST, 1, 0)
	f.from(e.local, flagRST, 1, 0)
	if !e.ended.IsZero() || e.state != dialling {
		t.Error("ended by a reset that is none of its own")
	}
	f.handshake(e)
	f.table.connected(e, f.now)
	if s := f.from(e.key, flagSYN, 7, 0); s == nil || s.endpoints != e.local.reverse() || len(f.offered) != 0 {
		t.Error("a SYN on an open connection was not forwarded")
	}
	f.from(e.key, flagRST, theirISN+1, 0)
	f.from(e.key, flagSYN, 8, 0)
	if len(f.offered) != 1 || f.table.flows[e.key] == e {
		t.Error("not offered after the reset")
	}
	// A SYN while a dial that failed is remembered is a new connection.
	e = f.dial(t, peer, "192.168.9.2:81")
	f.from(e.local, flagSYN, 0, 0)
	f.table.abandon(e, context.Canceled, f.now)
	if f.from(e.key, flagSYN, 0, 0); len(f.offered) != 2 {
		t.Error("not offered after a dial that failed")
	}
}

// The destination may reset at once, while Dial does not know yet that it was
// connected.
func TestResetWhileDialling(t *testing.T) {
	f := newFixture()
	e := f.dial(t, peer, service)
	f.handshake(e)
	f.from(e.key, flagRST, theirISN+1, 0)
	if e.ended.IsZero() {
		t.Error("the reset was not seen")
	}
	f.from(e.key, flagSYN, 7, 0) // its port again
	if len(f.offered) != 1 {
		t.Error("not offered")
	}
	if !f.table.connected(e, f.now) {
		t.Error("superseded, but the socket has its own story")
	}
	f.table.release(e)
	f.offered[0].Refuse()
	if n := f.sweepAfter(linger + time.Second); n != 0 || f.Stats().Connections != 0 {
		t.Errorf("%d flows, %+v", n, f.Stats())
	}
}

// FuzzPacket feeds what may come from the TUN beside connections of all kinds.
func FuzzPacket(f *testing.F) {
	model := func(tb testing.TB) (*fixture, []*entry) {
		x := newFixture()
		es := []*entry{
			x.dial(tb, peer, service), x.dial(tb, peer, "192.168.9.2:81"), x.dial(tb, peer, "192.168.9.2:82"),
			x.dial(tb, peer, "192.168.9.2:83"),
		}
		for _, e := range es {
			x.from(e.local, flagSYN, ourISN, 0)
		}
		x.handshake(es[1])
		x.table.connected(es[1], x.now)
		x.table.abandon(es[2], context.Canceled, x.now)
		x.handshake(es[3])
		x.table.connected(es[3], x.now)
		x.send(tcpPacket{src: es[3].local.source().String(), dst: es[3].local.destination().String(), flags: flagACK, seq: ourISN + 1, data: []byte("data")})
		x.send(tcpPacket{src: app, dst: web, flags: flagSYN})
		return x, es
	}
	_, es := model(f)
	for _, e := range es {
		for _, k := range []endpoints{e.key, e.local} {
			for _, flags := range []uint8{flagSYN, flagSYN | flagACK, flagACK, flagFIN | flagACK, flagRST} {
				f.Add(tcpPacket{src: k.source().String(), dst: k.destination().String(), flags: flags, seq: theirISN + 1, ack: ourISN + 1}.bytes())
			}
		}
		for _, code := range []uint8{1, 3, icmpTooBig} {
			f.Add(icmpAbout(e.key.destination().String(), e.key.source().String(), ourISN, icmpUnreachable, code))
		}
	}
	f.Add(icmpAbout(peer, es[3].key.source().String(), ourISN+1, icmpUnreachable, icmpTooBig))
	f.Add(icmpAbout(peer6, serve6, ourISN, icmp6Unreachable, 3))
	f.Add(icmpAbout(peer6, serve6, ourISN, icmp6TooBig, 0))
	f.Fuzz(func(t *testing.T, p []byte) {
		x, es := model(t)
		for range 2 {
			before := append([]byte(nil), p...)
			x.written = nil
			taken := x.Packet(p, x.now)
			if !taken && len(x.written) != 0 {
				t.Fatal("written, but not taken")
			}
			for _, w := range x.written {
				if wire.CheckPacket(before) == nil && wire.CheckPacket(w) != nil {
					t.Fatalf("a good packet became a bad one: % x", w)
				}
			}
		}
		x.table.stop(x.now)
		for _, e := range es {
			x.table.release(e)
		}
		if s := x.Stats(); s.Dialling != 0 || s.Pending != 0 || s.Connections != 0 {
			t.Fatalf("%+v", s)
		}
		if n := x.sweepAfter(orphan + carriedIdle); n != 0 {
			t.Fatalf("%d flows stay", n)
		}
	})
}

package terminate

import (
	"net/netip"
	"time"
)

// state of an entry.
//
//	       SYN        Pending.Accept      the listener accepts
//	(none) ──▶ held ───────────────▶ opening ───────────────▶ open
//	            │ Drop                  │ nothing accepted, aborted
//	            ▼                       ▼
//	          silent                  failed
//
// An entry in state held that is refused, or aborted, goes at once. Those of
// Dial are drawn in originate.go.
type state uint8

const (
	held state = iota
	opening
	open
	failed
	silent
	carried  // not ours: a connection that came in as packets
	dialling // by Dial
)

// side of a connection that a packet is from.
type side uint8

const (
	fromApplication side = iota
	fromListener
)

// entry is one connection. From opening on it has a fake endpoint. One that
// was dialled has the destination in the application's place, and the local
// socket in the listener's: its answers come the way that others' SYNs do.
type entry struct {
	key     endpoints // application → destination; dialled: destination → source
	local   endpoints // listener or local socket → fake
	in, out rewriting // to the local kernel, and from it
	state   state
	pending *Pending    // until accepted
	cancel  func(error) // while dialling, to interrupt Dial
	isn     uint32      // of the SYN

	born, seen time.Time
	until      time.Time // silent, failed: SYNs or answers are expected; carried: end
	ended      time.Time // when both FINs were acknowledged, or a RST seen
	fins       [2]fin    // by side

	// What the local kernel has sent and nobody acknowledged yet: sequence
	// numbers from acked to before sent.
	acked, sent uint32

	originated bool // by Dial
	asked      bool // originated: the local kernel sent its SYN
	answered   bool // the local kernel sent its SYN+ACK; originated: its ACK
	released   bool // no owner any more
	superseded bool // key belongs to a new connection
	ending     bool // carried: a FIN or RST was seen
}

// verdict says what becomes of a packet.
type verdict uint8

const (
	carry   verdict = iota // not captured
	drop                   // consumed
	forward                // rewritten: write it back
	refuse                 // answer with a reset
	offer                  // a new connection: hand its Pending to the owner
)

// family is what the table knows of IPv4 or IPv6.
type family struct {
	addr   [16]byte // of the listener
	port   uint16
	dial   uint16 // the port of sockets that Dial makes
	fakes  [][16]byte
	cursor int // of the next fake endpoint
}

// table is all connections. It does no I/O, reads no clock and has no lock:
// the Terminator's guards it.
type table struct {
	// flows has an entry under its key and, if it has a fake endpoint, also
	// under local: one look finds either.
	flows    map[endpoints]*entry
	families [2]family        // IPv4, IPv6
	sources  map[[16]byte]int // pending connections per application address
	capture  func(source, destination netip.AddrPort) bool
	limits   limits
	stopped  bool // nothing new is let in
	stats    Stats
}

type limits struct{ pending, pendingPerSource, connections int }

func newTable() *table {
	return &table{flows: make(map[endpoints]*entry), sources: make(map[[16]byte]int)}
}

func (t *table) family(v6 bool) *family {
	if v6 {
		return &t.families[1]
	}
	return &t.families[0]
}

// isFake reports whether a is one of the fake addresses. It needs no lock.
func (t *table) isFake(a [16]byte) bool {
	for i := range t.families {
		for _, f := range t.families[i].fakes {
			if f == a {
				return true
			}
		}
	}
	return false
}

// packet decides about a packet and rewrites it if the verdict is forward.
func (t *table) packet(payload []byte, s *segment, now time.Time) (verdict, *entry) {
	e := t.flows[s.endpoints]
	if e == nil {
		return t.unknown(payload, s, now), t.flows[s.endpoints]
	}
	if s.endpoints != e.key {
		return t.answer(e, payload, s, now), e
	}
	if s.isSYN() {
		return t.repeated(e, payload, s, now)
	}
	if e.originated {
		return t.incoming(e, payload, s, now), e
	}
	e.seen = now
	switch e.state {
	case carried:
		e.carried(s, now)
		return carry, e
	case held, silent:
		if s.flags&flagRST != 0 {
			t.end(e, ErrAborted)
			t.remove(e)
		}
		t.stats.DroppedStray++
		return drop, e
	case opening:
		if s.flags&flagRST != 0 {
			t.fail(e, ErrAborted, now)
		}
	}
	e.track(s, fromApplication, now)
	e.in.apply(payload, s)
	return forward, e
}

// isSYN tells a SYN that opens a connection.
func (s *segment) isSYN() bool { return s.flags&(flagSYN|flagACK|flagRST) == flagSYN }

// answer decides about a packet of the local kernel's.
func (t *table) answer(e *entry, payload []byte, s *segment, now time.Time) verdict {
	if e.superseded {
		t.stats.DroppedStray++
		return drop
	}
	if e.originated {
		return t.outgoing(e, payload, s, now)
	}
	e.seen = now
	if s.flags&flagSYN != 0 {
		e.answered = true
	}
	if e.state == opening && !e.answered && s.flags&flagRST != 0 {
		// Not the destination refuses but this host. It is the owner who
		// tells the application.
		t.fail(e, ErrBlocked, now)
		return drop
	}
	e.track(s, fromListener, now)
	e.out.apply(payload, s)
	return forward
}

// repeated decides about a SYN whose endpoints have an entry.
func (t *table) repeated(e *entry, payload []byte, s *segment, now time.Time) (verdict, *entry) {
	switch e.state {
	case held:
		// The latest is kept: its timestamp is what the answer will echo,
		// and the port may by now belong to another attempt.
		if len(payload) <= maxSYN {
			e.pending.syn = append(e.pending.syn[:0], payload...)
			e.isn, e.seen = s.seq, now
		}
		t.stats.DroppedRepeats++
		return drop, e
	case silent, failed:
		if !e.originated && s.seq == e.isn && now.Before(e.until) {
			t.stats.DroppedRepeats++
			return drop, e
		}
	case opening, open, dialling:
		if e.ended.IsZero() {
			// Lost on the way, or a port used again after a crash: the
			// kernel knows what to answer (RFC 5961, 4). To a dial it is a
			// simultaneous open (RFC 9293, 3.5).
			e.seen = now
			e.in.apply(payload, s)
			return forward, e
		}
	}
	// The old connection is over.
	t.supersede(e)
	return t.unknown(payload, s, now), t.flows[s.endpoints]
}

// unknown decides about a packet without entry.
func (t *table) unknown(payload []byte, s *segment, now time.Time) verdict {
	if t.isFake(s.dst) {
		f := t.family(s.v6)
		if s.src == f.addr && (s.srcPort == f.port || s.srcPort == f.dial) && s.flags&flagRST == 0 {
			t.stats.Resets++ // frees the socket of a forgotten connection
			return refuse
		}
		t.stats.DroppedFake++
		return drop
	}
	if len(t.family(s.v6).fakes) == 0 || !ordinary(s.destination().Addr()) ||
		t.capture != nil && !t.capture(s.source(), s.destination()) {
		return carry
	}
	switch {
	case s.flags&flagRST != 0:
		t.stats.DroppedStray++
		return drop
	case s.flags&(flagSYN|flagACK) == flagSYN|flagACK:
		return t.carryOn(s, now)
	case !s.isSYN():
		t.stats.Resets++
		return refuse
	case s.super || s.flags&flagFIN != 0 || len(payload) > maxSYN:
		t.stats.DroppedMalformed++
		return drop
	case t.stopped || t.stats.Pending >= t.limits.pending || t.sources[s.src] >= t.limits.pendingPerSource ||
		t.stats.Connections >= t.limits.connections:
		t.stats.DroppedLimit++
		return drop
	}
	e := &entry{key: s.endpoints, state: held, isn: s.seq, born: now, seen: now}
	t.flows[e.key] = e
	t.sources[s.src]++
	t.stats.Pending++
	t.stats.Connections++
	t.stats.Offered++
	return offer
}

// ordinary reports whether a program can have a connection to a through a
// tunnel.
func ordinary(a netip.Addr) bool {
	return !a.IsMulticast() && !a.IsLinkLocalUnicast() && !a.IsUnspecified() && !a.IsLoopback() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// carryOn remembers a connection from the tunnel's other end that comes as
// packets: a SYN+ACK shows that this side accepts it. Its packets are carried,
// not reset.
func (t *table) carryOn(s *segment, now time.Time) verdict {
	if t.stats.Carried >= t.limits.connections {
		t.stats.DroppedLimit++
		return drop
	}
	e := &entry{key: s.endpoints, state: carried, born: now, seen: now, until: now.Add(carriedIdle)}
	t.flows[e.key] = e
	t.stats.Carried++
	return carry
}

// open gives a held connection a fake endpoint; false if none is free.
func (t *table) open(e *entry, v6 bool, now time.Time) bool {
	f := t.family(v6)
	local, ok := t.free(f, f.port)
	if !ok {
		return false
	}
	e.state, e.seen = opening, now
	t.bind(e, local)
	return true
}

// bind gives e its fake endpoint.
func (t *table) bind(e *entry, local endpoints) {
	e.local = local
	e.in = newRewriting(e.key, local.reverse())
	e.out = newRewriting(local, e.key.reverse())
	t.flows[local] = e
}

const (
	// Fake ports below this are not used, for the sake of firewalls that
	// suspect a client there.
	firstPort = 1024
	numPorts  = 1<<16 - firstPort
	// portTries bounds the search. Entries in a row are of connections that
	// were opened in a row; so many alive mean that hardly any port is free.
	portTries = 4096
)

// free takes the fake endpoint that was used longest ago and is not reserved,
// as the peer of a local port.
func (t *table) free(f *family, port uint16) (endpoints, bool) {
	for range min(portTries, numPorts*len(f.fakes)) {
		n := f.cursor
		f.cursor = (n + 1) % (numPorts * len(f.fakes))
		key := endpoints{f.addr, f.fakes[n%len(f.fakes)], port, firstPort + uint16(n/len(f.fakes))}
		if _, used := t.flows[key]; !used {
			return key, true
		}
	}
	t.stats.NoPorts++
	return endpoints{}, false
}

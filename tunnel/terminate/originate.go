package terminate

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// Errors of Terminator.Dial. Others wrap a syscall.Errno or are the context's.
var (
	// ErrFamily: the Config has no local address of the source's family.
	ErrFamily = errors.New("the tunnel has no address of this family")
	// ErrLimit: there are as many connections as may be.
	ErrLimit = errors.New("too many connections")
)

// An entry that Dial makes has these states:
//
//	       Dial            the local socket is connected
//	(none) ──▶ dialling ─────────────────────────────────▶ open
//	              │ RST, ICMP error, silence, given up
//	              ▼
//	            failed
//
// A dial that was refused goes at once. After others the destination's answer
// may still come; it is reset.

// originate makes the entry of a connection whose answers have key as their
// endpoints. cancel is called when it is to be given up; the lock is held.
func (t *table) originate(key endpoints, v6 bool, cancel func(error), now time.Time) (*entry, error) {
	f, old := t.family(v6), t.flows[key]
	switch {
	case t.stopped:
		return nil, net.ErrClosed
	case len(f.fakes) == 0:
		return nil, ErrFamily
	case old != nil && !old.past(now):
		return nil, syscall.EADDRINUSE
	case t.stats.Connections >= t.limits.connections:
		t.stats.DroppedLimit++
		return nil, ErrLimit
	}
	local, ok := t.free(f, f.dial)
	if !ok {
		return nil, ErrNoPorts
	}
	if old != nil {
		t.supersede(old)
	}
	e := &entry{key: key, state: dialling, originated: true, cancel: cancel, born: now, seen: now}
	t.flows[key] = e
	t.bind(e, local)
	t.stats.Dialling++
	t.stats.Connections++
	return e, nil
}

// past reports whether nobody can be hurt when the endpoints of e get a new
// connection.
func (e *entry) past(now time.Time) bool {
	switch e.state {
	case silent, failed:
		return true
	case carried:
		return now.After(e.until)
	}
	return !e.ended.IsZero()
}

// connected notes that the local socket is connected; false if the dial was
// given up before.
func (t *table) connected(e *entry, now time.Time) bool {
	if e.state != dialling {
		return false
	}
	e.state, e.seen, e.cancel = open, now, nil
	t.stats.Dialling--
	t.stats.Originated++
	return true
}

// abandon fails a connection that is being dialled.
func (t *table) abandon(e *entry, err error, now time.Time) {
	if e.state != dialling {
		return
	}
	cancel := e.cancel
	e.state, e.until, e.cancel = failed, now.Add(silence), nil
	t.stats.Dialling--
	t.stats.Failed++
	t.release(e)
	if errors.Is(err, syscall.ECONNREFUSED) {
		t.remove(e)
	}
	cancel(err)
}

// incoming decides about a packet from the destination of a connection that
// was dialled.
func (t *table) incoming(e *entry, payload []byte, s *segment, now time.Time) verdict {
	if e.state == failed {
		if s.flags&flagRST != 0 {
			t.stats.DroppedStray++
			return drop
		}
		t.stats.Resets++
		return refuse
	}
	e.seen = now
	// Until it is connected, the local socket ignores a reset that does not
	// answer its SYN. What it makes of one, Dial is told by the socket.
	if e.established() || s.flags&flagRST == 0 {
		e.track(s, fromApplication, now)
	}
	e.in.apply(payload, s)
	return forward
}

// outgoing decides about a packet of a socket that Dial made.
func (t *table) outgoing(e *entry, payload []byte, s *segment, now time.Time) verdict {
	reset := s.flags&flagRST != 0
	switch {
	case e.state == failed && !reset:
		t.stats.DroppedStray++ // it is about to be closed
		return drop
	case s.flags&flagSYN != 0:
		e.isn, e.asked = s.seq, true
	case !reset:
		e.answered = true
	}
	e.seen = now
	if e.established() || !reset { // else the answer to some old packet
		e.track(s, fromListener, now)
	}
	e.out.apply(payload, s)
	return forward
}

// established reports whether the local socket has shown to be connected.
func (e *entry) established() bool { return e.answered || e.state == open }

// reported decides about an ICMP error.
func (t *table) reported(payload []byte, x *icmpError, now time.Time) verdict {
	switch {
	case x.tooBig && t.tooBig(payload, x):
		return forward
	case !x.tooBig && t.unreached(x, now):
		return drop
	}
	return carry
}

// unreached fails the dial whose SYN an ICMP error quotes, and reports whether
// there is one.
func (t *table) unreached(x *icmpError, now time.Time) bool {
	e := t.flows[x.quoted.reverse()]
	if e == nil || e.state != dialling || !e.asked || e.isn != x.seq || e.established() ||
		e.key != x.quoted.reverse() {
		return false
	}
	t.abandon(e, x.errno, now)
	return true
}

// stop ends what is pending or being dialled, and lets nothing new in.
func (t *table) stop(now time.Time) {
	t.stopped = true
	for _, e := range t.flows {
		t.end(e, net.ErrClosed)
		t.abandon(e, net.ErrClosed, now)
	}
}

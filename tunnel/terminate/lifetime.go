package terminate

import "time"

// How long things are kept.
const (
	// linger is how long a fake address and port stay with a connection that
	// has ended: longer than TIME_WAIT (60 s), and than a half-open socket
	// repeats its SYN+ACK (63 s), in the local kernel.
	linger = 90 * time.Second
	// orphan is when a connection that its owner closed is given up though
	// its end was not seen. The kernel gives up such a socket after 60 s
	// (tcp_fin_timeout) or some 100 s (tcp_orphan_retries).
	orphan = 5 * time.Minute
	// silence is how long repeated SYNs of a dropped connection are ignored.
	// A later one is worth another attempt. It is also how long an answer to
	// a dial that was given up is expected.
	silence = 30 * time.Second
	// neglect ends a held SYN that neither the owner nor the application
	// cares for. Linux repeats a SYN for 127 s.
	neglect = 3 * time.Minute
	// Timeouts of carried connections, by RFC 5382, 5: established, and
	// after a FIN or RST.
	carriedIdle   = 2*time.Hour + 4*time.Minute
	carriedEnding = 4 * time.Minute
)

// fin is the end of one direction.
type fin struct {
	seen, acked bool
	end         uint32 // the sequence number behind it
}

// track watches what is on the way, and for the connection's end.
func (e *entry) track(s *segment, from side, now time.Time) {
	if from == fromListener {
		e.transmitted(s)
	} else if s.flags&flagACK != 0 && s.ack-e.acked <= e.sent-e.acked {
		e.acked = s.ack
	}
	if s.flags&flagFIN != 0 {
		e.fins[from].seen, e.fins[from].end = true, s.end()
	}
	if other := &e.fins[1-from]; s.flags&flagACK != 0 && other.seen && int32(s.ack-other.end) >= 0 {
		other.acked = true
	}
	if e.ended.IsZero() && (s.flags&flagRST != 0 || e.fins[0].acked && e.fins[1].acked) {
		e.ended = now
	}
}

func (e *entry) carried(s *segment, now time.Time) {
	e.ending = e.ending || s.flags&(flagFIN|flagRST) != 0
	e.until = now.Add(carriedIdle)
	if e.ending {
		e.until = now.Add(carriedEnding)
	}
}

// end takes a connection out of the pending ones, with what its owner is
// told. Without error it is then open.
func (t *table) end(e *entry, err error) {
	if e.state != held && e.state != opening {
		return
	}
	t.stats.Pending--
	if t.sources[e.key.src]--; t.sources[e.key.src] == 0 {
		delete(t.sources, e.key.src)
	}
	if err == nil {
		e.state = open
		t.stats.Accepted++
	} else {
		if e.state == held {
			e.state = silent // until the next sweep
		} else {
			e.state = failed
		}
		t.release(e)
	}
	if e.pending != nil {
		e.pending.decide(err)
	}
}

// fail ends a connection that was being opened.
func (t *table) fail(e *entry, err error, now time.Time) {
	t.end(e, err)
	e.until = now.Add(silence)
	t.stats.Failed++
}

// settle notes that the owner has answered the SYN himself. Unless he chose
// silence, the application may open the same connection again at once.
func (t *table) settle(e *entry, quiet bool, now time.Time) {
	t.end(e, ErrAnswered)
	switch {
	case quiet:
		e.until = now.Add(silence)
	case e.state == failed:
		t.supersede(e)
	default:
		t.remove(e)
	}
}

// supersede gives the endpoints of e but for the fake one, which stays
// reserved, to a new connection.
func (t *table) supersede(e *entry) {
	delete(t.flows, e.key)
	e.superseded = true
	if e.state == carried {
		t.stats.Carried--
	}
}

// release notes that the owner is done with e.
func (t *table) release(e *entry) {
	if !e.released {
		e.released = true
		t.stats.Connections--
	}
}

// remove forgets e.
func (t *table) remove(e *entry) {
	if t.flows[e.key] == e {
		delete(t.flows, e.key)
	}
	if t.flows[e.local] == e {
		delete(t.flows, e.local)
	}
}

// sweep removes what is over.
func (t *table) sweep(now time.Time) {
	for key, e := range t.flows {
		if key == e.local && !e.superseded || !e.over(now) {
			continue
		}
		if e.state == carried {
			t.stats.Carried--
		}
		t.end(e, ErrAborted)
		t.remove(e)
	}
}

func (e *entry) over(now time.Time) bool {
	idle := now.Sub(e.seen)
	switch e.state {
	case held:
		return idle > neglect
	case silent, carried:
		return now.After(e.until)
	case failed:
		if e.originated {
			return now.After(e.until)
		}
		return idle > linger
	case dialling:
		return false // Dial knows when
	}
	return e.released && (!e.ended.IsZero() && idle > linger || idle > orphan)
}

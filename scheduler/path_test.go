package scheduler

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// path is a model of an uplink: beats and answers on one TCP connection, with
// what TCP does to them. Packets keep their order and may be lost; segments
// are sent again when a later one was acknowledged (RACK) or after a timeout;
// data is delivered in order.
//
//	client ──(beat, ack)──▶ server
//	       ◀─(answer, ack)──
//
// It drives a Health as its owner should: all that arrives, and Step after
// each and at each Deadline.
type path struct {
	rng    *rand.Rand
	now    time.Time
	events eventQueue
	order  int

	delay  func() time.Duration // one way
	loss   float64              // of each direction
	upLost bool                 // black holes
	dnLost bool

	client, server *side
	health         *Health
	changes        []Transition
	beatSent       []time.Time
	idle           bool // no traffic from now on
	lastTraffic    time.Time
}

// side is one end of the connection, as sender and receiver.
type side struct {
	peer        *side
	lost        *bool
	lastArrival time.Time // at the peer
	sent        []segment // by sequence
	una         int
	timer       int // of the latest timeout armed
	backoff     int
	rtt         time.Duration
	next        int // expected
	early       map[int]bool
	deliver     func(seq int)
	segment     func()
}

type segment struct {
	at    time.Time
	acked bool
}

// packet has data (or -1) and all that its sender has received.
type packet struct {
	to    *side
	data  int
	cum   int
	early []int
}

func newPath(seed uint64, rtt, jitter time.Duration, loss float64) *path {
	p := &path{rng: rand.New(rand.NewPCG(seed, 1)), now: epoch, loss: loss, health: NewHealth(epoch)}
	p.delay = func() time.Duration {
		return rtt/2 + time.Duration(p.rng.ExpFloat64()*float64(jitter)/2)
	}
	p.client = &side{lost: &p.upLost, early: map[int]bool{}, rtt: rtt}
	p.server = &side{lost: &p.dnLost, early: map[int]bool{}, rtt: rtt, peer: p.client}
	p.client.peer = p.server
	p.server.segment = func() {}
	p.server.deliver = func(int) { p.send(p.server) }
	p.client.segment = func() { p.health.Heard(p.now) }
	p.client.deliver = func(seq int) { p.health.Answered(p.now, p.now.Sub(p.beatSent[seq])) }
	p.health.Present(p.now, true, "")
	p.health.Connected(p.now)
	return p
}

func (p *path) beat() {
	p.beatSent = append(p.beatSent, p.now)
	p.health.Sent(p.now)
	p.send(p.client)
}

// beatDue is when the next beat should leave.
func (p *path) beatDue() time.Time {
	var last time.Time
	if n := len(p.beatSent); n > 0 {
		last = p.beatSent[n-1]
	}
	if !p.idle {
		p.lastTraffic = p.now
	}
	return p.now.Add(Pace{}.Next(p.now, last, p.lastTraffic, p.health.Quick()))
}

// run goes on for so long and returns what changed.
func (p *path) run(d time.Duration) []Transition {
	end := p.now.Add(d)
	p.changes = nil
	for {
		next, do := p.beatDue(), p.beat
		if len(p.events) > 0 && !p.events[0].at.After(next) {
			next, do = p.events[0].at, func() { heap.Pop(&p.events).(event).do() }
		}
		if due := p.health.Deadline(); !due.IsZero() && due.Before(next) {
			next, do = due, func() {}
		}
		if next.After(end) {
			p.now = end
			return p.changes
		}
		p.now = next
		do()
		p.changes = append(p.changes, p.health.Step(p.now)...)
	}
}

func (p *path) at(t time.Time, do func()) {
	p.order++
	heap.Push(&p.events, event{t, p.order, do})
}

// send sends the next data of a side.
func (p *path) send(s *side) {
	s.sent = append(s.sent, segment{})
	p.transmit(s, len(s.sent)-1)
	if s.una == len(s.sent)-1 {
		p.arm(s)
	}
}

func (p *path) transmit(s *side, seq int) {
	if seq >= 0 {
		s.sent[seq].at = p.now
	}
	arrival := p.now.Add(p.delay())
	if arrival.Before(s.lastArrival) {
		arrival = s.lastArrival
	}
	s.lastArrival = arrival
	if *s.lost || p.rng.Float64() < p.loss {
		return
	}
	k := packet{to: s.peer, data: seq, cum: s.next}
	for e := range s.early {
		k.early = append(k.early, e)
	}
	p.at(arrival, func() { p.arrive(k) })
}

func (p *path) arrive(k packet) {
	s := k.to
	s.segment()
	p.acknowledge(s, k)
	if k.data < 0 {
		return
	}
	if k.data >= s.next {
		s.early[k.data] = true
	}
	answered := len(s.sent)
	for s.early[s.next] {
		delete(s.early, s.next)
		s.next++
		s.deliver(s.next - 1)
	}
	if len(s.sent) == answered {
		p.transmit(s, -1) // an acknowledgement of its own
	}
}

func (p *path) acknowledge(s *side, k packet) {
	var newest time.Time
	progress := false
	ack := func(seq int) {
		g := &s.sent[seq]
		if !g.acked {
			g.acked, progress = true, true
		}
		if g.at.After(newest) {
			newest = g.at
		}
	}
	for seq := s.una; seq < k.cum; seq++ {
		ack(seq)
	}
	s.una = max(s.una, k.cum)
	for _, seq := range k.early {
		if seq >= s.una {
			ack(seq)
		}
	}
	if !progress {
		return
	}
	s.backoff = 0
	for seq := s.una; seq < len(s.sent); seq++ {
		if g := s.sent[seq]; !g.acked && g.at.Before(newest) {
			p.transmit(s, seq)
		}
	}
	p.arm(s)
}

// arm starts the retransmission timer anew: Linux' least timeout is 200 ms
// beyond the round trip.
func (p *path) arm(s *side) {
	s.timer++
	armed := s.timer
	if s.una == len(s.sent) {
		return
	}
	p.at(p.now.Add((s.rtt+200*time.Millisecond)<<s.backoff), func() {
		if s.timer != armed || s.una == len(s.sent) {
			return
		}
		s.backoff = min(s.backoff+1, 8)
		p.transmit(s, s.una)
		p.arm(s)
	})
}

type event struct {
	at    time.Time
	order int
	do    func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].order < q[j].order
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

var epoch = time.Date(2026, time.November, 21, 12, 0, 0, 0, time.UTC)

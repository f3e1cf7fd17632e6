package queue

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// link simulates an uplink behind a Queue, in virtual time: it takes a packet
// when it has sent the one before, whose bytes arrive half a round trip later.
// Its senders have a window that grows by a segment in a round trip and halves
// after a loss, and know no timeouts: nothing is lost but by the Queue.
//
//	senders ─▶ Queue ─▶ 10 Mb/s ─▶ receivers
//	   ▲                               │
//	   └────────── round trip ─────────┘
type link struct {
	q       *Queue[int]
	rng     *rand.Rand
	now     time.Duration
	free    time.Duration // when the link is
	rate    float64       // bits per second
	rtt     time.Duration
	atOnce  int // bytes that the link takes at a time
	senders []*sender
	acks    []ack // by time
	ping    time.Duration
	call    spec
	worst   time.Duration // wait of the sparse flow
	seen    int           // of the sparse flow
}

// sender is crude AIMD.
type sender struct {
	flow     int
	window   float64 // segments
	inFlight int
	next     int // segment to send
	expected int // segment at the receiver
	calm     int // no second halving before this segment is acknowledged
	got      int // segments that arrived
	most     int // segments in a super-packet
	ecn      byte
}

type ack struct {
	at     time.Duration
	sender *sender
	segs   int // that arrived or are missing
	last   int // the highest that arrived
	lost   bool
}

const simSegment = 1440

func (s *sender) packet(n int) spec {
	p := spec{sport: uint16(s.flow), flags: 0x10, seq: uint32(s.next) * simSegment, data: n * simSegment, ecn: s.ecn}
	if n > 1 {
		p.size = simSegment
	}
	return p
}

func (l *link) push(id int, p spec) {
	payload := p.build()
	h, _ := Parse(payload)
	l.q.Push(epoch.Add(l.now), &h, Packet[int]{Payload: payload, Meta: id})
}

// send sends what the window has room for, not in dribs and drabs: TCP, too,
// waits for half of the window (tcp_tso_should_defer).
func (l *link) send(s *sender) {
	for {
		n := min(s.most, int(s.window)-s.inFlight)
		if n < min(s.most, max(1, int(s.window)/2)) {
			return
		}
		l.push(s.flow, s.packet(n))
		s.next += n
		s.inFlight += n
	}
}

// transmit lets the link take its next packet.
func (l *link) transmit() bool {
	p, ok := l.q.Pop(epoch.Add(l.now), l.atOnce)
	if !ok {
		return false
	}
	wait := epoch.Add(l.now).Sub(p.Since)
	l.free = l.now + time.Duration(float64(len(p.Payload))*8/l.rate*1e9)
	if p.Meta < 0 {
		l.worst = max(l.worst, wait)
		l.seen++
		return true
	}
	s := l.senders[p.Meta]
	a := ack{at: l.free + l.rtt, sender: s, lost: p.Marked}
	for _, seg := range segments(p.Payload) {
		n := int(binary.BigEndian.Uint32(seg[minIPv4+tcpSeq:]) / simSegment)
		if n < s.expected {
			panic("order")
		}
		a.lost = a.lost || n > s.expected
		a.segs += n + 1 - s.expected
		s.expected, a.last = n+1, n
		s.got++
	}
	l.acks = append(l.acks, a)
	return true
}

func (l *link) acknowledged(a ack) {
	s := a.sender
	s.inFlight -= a.segs
	switch {
	case !a.lost:
		s.window += float64(a.segs) / s.window
	case a.last >= s.calm:
		s.window = max(2, s.window/2)
		s.calm = s.next
	}
	l.send(s)
}

// run lets it all happen until a time.
func (l *link) run(end time.Duration) {
	for l.now < end {
		due := l.ping
		if len(l.acks) > 0 {
			due = min(due, l.acks[0].at)
		}
		if l.free <= due && l.q.Len() > 0 {
			l.now = max(l.now, l.free)
			l.transmit()
			continue
		}
		l.now = due
		if due == l.ping {
			l.push(-1, l.call)
			l.ping += 20*ms + time.Duration(l.rng.IntN(1000))*time.Microsecond
			continue
		}
		a := l.acks[0]
		l.acks = l.acks[1:]
		l.acknowledged(a)
	}
}

func newLink(bulk, most, atOnce int, ecn byte) *link {
	l := &link{rng: rand.New(rand.NewPCG(10, uint64(most))), rate: 10e6, rtt: 30 * ms, atOnce: atOnce,
		call: spec{udp: true, sport: 5060, data: 172}}
	target, interval := DelaysFor(l.rate, atOnce)
	l.q = newBench(nil, Params{Target: target, Interval: interval}).q
	for i := range bulk {
		l.senders = append(l.senders, &sender{flow: i, window: 10, most: most, ecn: ecn})
	}
	return l
}

// TestSimulation is a call beside eight downloads on 10 Mb/s. The call waits
// for what the link has begun to send and for nothing else; the downloads have
// the same, and fill the link. So it is with super-packets, of which the link
// takes so much at a time as its owner likes.
func TestSimulation(t *testing.T) {
	for _, test := range []struct {
		most, atOnce int
		ecn          byte
	}{
		{1, DefaultQuantum, NotECT}, {1, DefaultQuantum, ECT0},
		{44, DefaultQuantum, NotECT}, {44, DefaultQuantum, ECT0}, {44, 6000, NotECT}, {44, 64 << 10, NotECT},
	} {
		t.Run(fmt.Sprintf("%d segments, %d bytes at once, ECN %d", test.most, test.atOnce, test.ecn), func(t *testing.T) {
			l := newLink(8, test.most, test.atOnce, test.ecn)
			for _, s := range l.senders {
				l.send(s)
			}
			l.run(5 * time.Second)
			l.worst, l.seen = 0, 0
			for _, s := range l.senders {
				s.got = 0
			}
			const seconds = 30
			l.run((5 + seconds) * time.Second)

			least, most, sum := math.MaxInt, 0, 0
			for _, s := range l.senders {
				least, most, sum = min(least, s.got), max(most, s.got), sum+s.got
			}
			turn := time.Duration(float64(test.atOnce) * 8 / l.rate * 1e9)
			used := float64(sum*simSegment*8) / seconds / l.rate
			c := l.q.Counters(Bulk)
			t.Logf("call: worst wait %v of %d; downloads: %d to %d segments, %.1f %% of the link; %d dropped, %d marked, %v smoothed delay",
				l.worst, l.seen, least, most, 100*used, c.Dropped, c.Marked, c.DelaySmoothed)
			if l.worst > turn {
				t.Errorf("the call waited %v, what the link takes at once %v", l.worst, turn)
			}
			if float64(most-least) > 0.05*float64(sum)/8 {
				t.Errorf("the downloads got %d to %d segments", least, most)
			}
			if used < 0.9 {
				t.Errorf("%.1f %% of the link used", 100*used)
			}
			if test.ecn == NotECT && c.Dropped == 0 || test.ecn != NotECT && (c.Marked == 0 || c.Dropped > 0) {
				t.Errorf("counters %+v", c)
			}
			if n := l.q.Counters(Sparse); n.Dropped+n.TooOld+n.Overflowed > 0 || n.Packets < uint64(l.seen) {
				t.Errorf("of the call: %+v", n)
			}
		})
	}
}

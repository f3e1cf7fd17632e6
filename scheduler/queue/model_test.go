package queue

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

// model drives a Queue and keeps what must always hold: each segment that was
// pushed leaves, is counted as dropped, or waits; those of a flow leave in their
// order and as they were; each packet's owner has it back once; no more waits
// than may.
type model struct {
	*bench
	flows  [7][][]byte // segments pushed and not left, oldest first
	owned  map[int]bool
	pushed uint64 // segments
	left   uint64
	id     int
}

func newModel(t testing.TB) *model {
	m := &model{owned: map[int]bool{}}
	m.bench = newBench(t, Params{Flows: 4, Limit: 20_000, Quantum: 700, CEThreshold: 40 * ms,
		MaxAge: [classes]time.Duration{Sparse: 300 * ms, Bulk: 500 * ms}})
	m.q.dropped = m.back
	return m
}

// back says that a packet is its owner's again.
func (m *model) back(id int) {
	if !m.owned[id] {
		m.t.Fatalf("packet %d is not the queue's", id)
	}
	delete(m.owned, id)
}

// spec makes a packet of a flow out of two bytes; a flow is one protocol.
func (m *model) spec(a, b byte) spec {
	flow := int(a) % len(m.flows)
	s := spec{sport: uint16(flow), v6: flow%2 == 1, udp: flow%3 == 1, id: uint16(m.id), fill: uint64(m.id),
		data: 10 + int(b)*7, ecn: a >> 4 & 3, flags: 0x18, seq: uint32(m.id)}
	if flow == 6 {
		s.dscp = 1
	}
	if a >= 128 {
		s.size = 8 + int(b>>1)
		s.gsoECN = !s.udp && a&8 != 0
		if s.gsoECN {
			s.flags |= flagCWR
		}
	}
	return s
}

func (m *model) does(call, a, b byte) {
	switch call % 8 {
	case 0, 1, 2, 3:
		s := m.spec(a, b)
		payload := s.build()
		segs := segments(payload)
		h, ok := Parse(payload)
		if !ok || h.Segments != len(segs) {
			m.t.Fatalf("%+v: %+v, %v", s, h, ok)
		}
		m.id++
		m.owned[m.id] = true
		m.pushed += uint64(len(segs))
		m.flows[s.sport] = append(m.flows[s.sport], segs...)
		p := Packet[int]{Payload: payload, Meta: m.id}
		if b == 99 {
			p.Since = m.now.Add(-100 * ms)
		}
		m.q.Push(m.now, &h, p)
		if m.q.full() {
			m.t.Fatalf("%d packets, %d bytes wait", m.q.Len(), m.q.Bytes())
		}
	case 4, 5, 6:
		p, ok := m.q.Pop(m.now, int(a)*8)
		if ok != (len(p.Payload) > 0) || !ok && m.q.Len() > 0 {
			m.t.Fatalf("ok %v with %d waiting", ok, m.q.Len())
		}
		if ok {
			m.leaves(p)
		}
	case 7:
		switch {
		case a < 8:
			m.q.Drain(m.leaves)
			if m.q.Len() != 0 || m.q.Bytes() != 0 || len(m.owned) != 0 {
				m.t.Fatalf("%d wait, %d owned", m.q.Len(), len(m.owned))
			}
		case a < 16:
			m.q.SetDelays(time.Duration(b)*ms/8, time.Duration(b)*ms)
		default:
			m.now = m.now.Add(time.Duration(b) * time.Duration(a) * ms / 100)
		}
	}
	m.consistent()
}

// leaves looks for a packet's segments among those of its flow.
func (m *model) leaves(p Packet[int]) {
	if !m.owned[p.Meta] {
		m.t.Fatalf("packet %d leaves twice", p.Meta)
	}
	h, ok := Parse(p.Payload)
	if !ok {
		m.t.Fatalf("%x", head(p.Payload))
	}
	flow := &m.flows[h.Key.SrcPort]
	for _, seg := range segments(p.Payload) {
		m.left++
		i := 0
		for i < len(*flow) && !same((*flow)[i], seg, p.Marked) {
			i++
		}
		if i == len(*flow) {
			m.t.Fatalf("packet %d: a segment of it was not pushed, or has left, or was overtaken", p.Meta)
		}
		*flow = (*flow)[i+1:]
	}
	if !p.More {
		m.back(p.Meta)
	}
}

func same(a, b []byte, marked bool) bool {
	if marked {
		n, _ := readNetwork(a)
		return len(a) == len(b) && b[0]>>4 == a[0]>>4 && bytes.Equal(a[n.transport:], b[n.transport:])
	}
	return bytes.Equal(a, b)
}

// consistent adds up.
func (m *model) consistent() {
	q := m.q
	packets, size, segs := 0, 0, uint64(0)
	for at := inSparse; at < places; at++ {
		before := int32(none)
		for i := q.lists[at].first; i != none; i = q.flow(i).after {
			f := q.flow(i)
			if f.in != at || f.before != before {
				m.t.Fatal("the lists are broken")
			}
			before = i
			n, own, guests := f.first, 0, 0
			for range f.packets {
				w := &q.waiting[n]
				own += len(w.payload)
				segs += uint64(w.segments)
				if w.guest {
					guests++
				}
				n = w.next
			}
			if q.out.packet != none && q.out.flow == f && q.waiting[q.out.packet].guest {
				guests++
			}
			if own != f.bytes || guests != f.guests {
				m.t.Fatalf("a queue has %d bytes, %d guests, and says %d, %d", own, guests, f.bytes, f.guests)
			}
			packets += f.packets
			size += own
		}
		if q.lists[at].last != before {
			m.t.Fatal("the lists are broken")
		}
	}
	if o := &q.out; o.packet != none {
		packets++
		size += len(q.waiting[o.packet].payload) - o.segments*o.shape.size
		segs += uint64(q.waiting[o.packet].segments) - uint64(o.segments)
	}
	if packets != q.packets || size != q.bytes || packets != len(m.owned) {
		m.t.Fatalf("%d packets of %d bytes, the queue says %d, %d, their owners miss %d", packets, size, q.packets, q.bytes, len(m.owned))
	}
	c, d := q.Counters(Sparse), q.Counters(Bulk)
	gone := c.Dropped + c.Overflowed + c.TooOld + d.Dropped + d.Overflowed + d.TooOld
	if m.pushed != m.left+gone+segs {
		m.t.Fatalf("%d segments pushed, %d left, %d dropped, %d wait", m.pushed, m.left, gone, segs)
	}
}

func TestQueueModel(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 3))
		m := newModel(t)
		calls := byte(rng.Uint32()) // with more or fewer to push
		for range 600 {
			call := byte(rng.Uint32())
			if rng.IntN(3) == 0 {
				call = calls
			}
			m.does(call, byte(rng.Uint32()), byte(rng.Uint32()))
		}
	}
}

func FuzzQueue(f *testing.F) {
	f.Add([]byte{0, 200, 90, 0, 1, 30, 4, 20, 0, 7, 200, 99, 4, 20, 0, 0, 3, 9, 4, 200, 0, 7, 0, 0})
	f.Add([]byte{0, 170, 255, 0, 171, 255, 0, 172, 255, 0, 173, 255, 4, 9, 0, 0, 174, 255, 5, 9, 0, 6, 9, 0, 7, 255, 255, 4, 255, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newModel(t)
		for ; len(data) >= 3; data = data[3:] {
			m.does(data[0], data[1], data[2])
		}
	})
}

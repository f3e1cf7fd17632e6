package queue

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// reference is RFC 8289's pseudo-code (section 5), word for word as far as Go
// lets, for a queue of packets that are one MTU at most.
type reference struct {
	target, interval time.Duration
	queue            []refPacket
	bytes, maxpacket int

	firstAboveTime, dropNext time.Duration
	count, lastcount         uint32
	dropping                 bool
	drops                    []int
}

type refPacket struct {
	id, size int
	tstamp   time.Duration
}

func (r *reference) enqueue(p refPacket) {
	r.queue = append(r.queue, p)
	r.bytes += p.size
	r.maxpacket = max(r.maxpacket, p.size)
}

func (r *reference) dodequeue(now time.Duration) (p *refPacket, okToDrop bool) {
	if len(r.queue) == 0 {
		r.firstAboveTime = 0
		return nil, false
	}
	first := r.queue[0]
	r.queue = r.queue[1:]
	r.bytes -= first.size
	sojournTime := now - first.tstamp
	if sojournTime < r.target || r.bytes <= r.maxpacket {
		r.firstAboveTime = 0
	} else {
		if r.firstAboveTime == 0 {
			r.firstAboveTime = now + r.interval
		} else if now >= r.firstAboveTime {
			okToDrop = true
		}
	}
	return &first, okToDrop
}

func (r *reference) controlLaw(t time.Duration, count uint32) time.Duration {
	return t + time.Duration(float64(r.interval)/math.Sqrt(float64(count)))
}

func (r *reference) drop(p *refPacket) { r.drops = append(r.drops, p.id) }

func (r *reference) dequeue(now time.Duration) *refPacket {
	p, okToDrop := r.dodequeue(now)
	if r.dropping {
		if !okToDrop {
			r.dropping = false
		}
		for now >= r.dropNext && r.dropping {
			r.drop(p)
			r.count++
			p, okToDrop = r.dodequeue(now)
			if !okToDrop {
				r.dropping = false
			} else {
				r.dropNext = r.controlLaw(r.dropNext, r.count)
			}
		}
	} else if okToDrop {
		r.drop(p)
		p, _ = r.dodequeue(now)
		r.dropping = true
		delta := r.count - r.lastcount
		r.count = 1
		if delta > 1 && now-r.dropNext < 16*r.interval {
			r.count = delta
		}
		r.dropNext = r.controlLaw(now, r.count)
		r.lastcount = r.count
	}
	return p
}

// TestCoDelTrace gives a trace of arrivals, with a load that comes and goes, to
// a Queue and to the RFC's pseudo-code: they drop the same packets.
func TestCoDelTrace(t *testing.T) {
	const rate = 10e6 // bits per second
	drops := 0
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 8289))
		target, interval := DefaultTarget, DefaultInterval
		if seed%3 == 1 {
			target, interval = DelaysFor(2e6, 3000)
		}
		ref := &reference{target: target, interval: interval}
		var got []int
		q := New(Params{Target: target, Interval: interval, MaxAge: [classes]time.Duration{time.Hour, time.Hour}, Limit: 1 << 30},
			maphash.MakeSeed(), func(id int) { got = append(got, id) })
		packets := map[int][]byte{}
		for _, n := range []int{0, 40, 512, 1000, 1440} {
			packets[n] = spec{data: n}.build()
		}
		var arrival, departure time.Duration
		load := 1.0
		for id := 0; id < 6000; {
			if arrival <= departure {
				payload := packets[[]int{0, 40, 512, 1000, 1440, 1440, 1440}[rng.IntN(7)]]
				h, _ := Parse(payload)
				q.Push(epoch.Add(arrival), &h, Packet[int]{Payload: payload, Meta: id})
				ref.enqueue(refPacket{id, len(payload), arrival})
				id++
				if rng.IntN(300) == 0 {
					load = 0.3 + 1.4*rng.Float64()
				}
				arrival += time.Duration(rng.ExpFloat64() * 800 * 8 / rate / load * 1e9)
				continue
			}
			p, ok := q.Pop(epoch.Add(departure), math.MaxInt)
			want := ref.dequeue(departure)
			if ok != (want != nil) || ok && (p.Meta != want.id || p.Since != epoch.Add(want.tstamp)) {
				t.Fatalf("seed %d at %v: packet %v %v, want %+v", seed, departure, p.Meta, ok, want)
			}
			if !slices.Equal(got, ref.drops) {
				t.Fatalf("seed %d at %v: dropped %v, want %v", seed, departure, got, ref.drops)
			}
			if ok {
				departure += time.Duration(float64(len(p.Payload)) * 8 / rate * 1e9)
			} else {
				departure = arrival
			}
		}
		drops += len(got)
		if c := q.Counters(Bulk); c.Dropped+q.Counters(Sparse).Dropped != uint64(len(got)) {
			t.Fatalf("counted %d drops of %d", c.Dropped, len(got))
		}
	}
	if drops < 1000 {
		t.Fatalf("only %d drops: the traces test nothing", drops)
	}
}

// TestCoDelSegments: on super-packets CoDel drops what it would drop of their
// segments, one at a time, and what is left is whole.
func TestCoDelSegments(t *testing.T) {
	dropped := 0
	q := New(Params{}, maphash.MakeSeed(), func(int) { dropped++ })
	seq := uint32(0)
	now := epoch
	for i := range 10 {
		s := spec{data: 20 * 1000, size: 1000, flags: 0x10, seq: seq}
		seq += uint32(s.data)
		b := s.build()
		h, _ := Parse(b)
		q.Push(now, &h, Packet[int]{Payload: b, Meta: i})
	}
	next, missing := uint32(0), uint64(0)
	for now = now.Add(6 * ms); ; now = now.Add(16 * ms) {
		before := q.Counters(Bulk).Dropped
		p, ok := q.Pop(now, math.MaxInt)
		if !ok {
			break
		}
		if n := q.Counters(Bulk).Dropped - before; n > 1 {
			t.Fatalf("%d segments in a row", n)
		}
		for _, seg := range segments(p.Payload) {
			at := binary.BigEndian.Uint32(seg[minIPv4+tcpSeq:])
			if at < next || (at-next)%1000 != 0 {
				t.Fatalf("sequence %d after %d", at, next)
			}
			missing += uint64(at-next) / 1000
			next = at + 1000
		}
		checkComplete(t, segments(p.Payload))
	}
	if c := q.Counters(Bulk); missing == 0 || c.Dropped != missing || c.Packets != 200-missing || dropped != 0 {
		t.Fatalf("%d missing, %d packets gone, counters %+v", missing, dropped, c)
	}
}

func TestDelaysFor(t *testing.T) {
	tests := []struct {
		rate             float64
		burst            int
		target, interval time.Duration
	}{
		{0, 1500, 5 * ms, 100 * ms},
		{-1, 1500, 5 * ms, 100 * ms},
		{100e6, 1500, 5 * ms, 100 * ms},
		{1e6, 1500, 18 * ms, 113 * ms},
		{10e6, 65000, 78 * ms, 173 * ms},
		{1e6, 65000, 780 * ms, 1560 * ms},
		{1e-9, 65000, 90 * time.Second, 180 * time.Second},
		{1e6, -1, 5 * ms, 100 * ms},
	}
	for _, test := range tests {
		if target, interval := DelaysFor(test.rate, test.burst); target != test.target || interval != test.interval {
			t.Errorf("DelaysFor(%v, %d) = %v, %v", test.rate, test.burst, target, interval)
		}
	}
}

package resequence

import "time"

// Params are what a Buffer is made with. What is 0 has its default.
type Params struct {
	// Packets that may wait, missing ones among them included; default 1024,
	// at most 65536. It is made a power of two.
	Packets int
	// Bytes that may wait; default 4 MiB.
	Bytes int
}

const (
	defaultPackets = 1024
	mostPackets    = 1 << 16
	defaultBytes   = 4 << 20

	// maxPaths is how many paths' order is watched. With more, only time tells.
	maxPaths = 16
)

// Counters are since the Buffer was made, in packets.
type Counters struct {
	Released  uint64 // in all
	Waited    uint64 // of them, those that did not go at once
	Passed    uint64 // missing ones that were given up
	Late      uint64 // of those, the ones that came after all
	Duplicate uint64 // of one that waits; dropped
}

// Buffer is of one flow, or of whatever is numbered together.
type Buffer[M any] struct {
	release func(M)
	dropped func(M)
	slots   []slot[M]
	limit   int
	wait    time.Duration

	next    uint64 // the number to release next
	head    uint64 // the lowest that waits, if any does
	packets int
	bytes   int

	paths    [maxPaths]brought
	known    int
	crowded  bool // there were more paths at a time
	counters Counters
}

type slot[M any] struct {
	held  bool
	bytes int
	since time.Time
	meta  M
}

// brought is what is known of one path.
type brought struct {
	id int
	to uint64    // behind the highest number that it brought
	at time.Time // when it last brought one
}

// New makes a Buffer that expects a flow's packets from the number first on.
// release is called, from within Push, Expire and Flush, for each packet in its
// turn; dropped, which may be nil, for a duplicate of one that waits. Neither
// may call the Buffer.
func New[M any](p Params, first uint64, release, dropped func(M)) *Buffer[M] {
	if p.Packets <= 0 {
		p.Packets = defaultPackets
	}
	if p.Bytes <= 0 {
		p.Bytes = defaultBytes
	}
	if dropped == nil {
		dropped = func(M) {}
	}
	size := 1
	for size < min(p.Packets, mostPackets) {
		size *= 2
	}
	return &Buffer[M]{release: release, dropped: dropped, slots: make([]slot[M], size), limit: p.Bytes, next: first}
}

// SetWait says for how long a packet waits for a missing one, from now on; Wait
// gives that of some paths. At first it is 0, and nothing waits.
func (b *Buffer[M]) SetWait(d time.Duration) { b.wait = max(d, 0) }

// Next returns the number that is released next. It, and any below, does not wait.
func (b *Buffer[M]) Next() uint64 { return b.next }

// Reset makes it the Buffer of another flow, from the number first on, after it has
// released what waits. The wait and the counters stay.
func (b *Buffer[M]) Reset(first uint64) {
	b.Flush()
	b.next, b.known, b.crowded = first, 0, false
}

// Len returns how many packets wait.
func (b *Buffer[M]) Len() int { return b.packets }

// Bytes returns how many bytes wait.
func (b *Buffer[M]) Bytes() int { return b.bytes }

// Counters returns what was counted.
func (b *Buffer[M]) Counters() Counters { return b.counters }

// Push takes in the packet with the number seq, which the path of that ID has
// brought, and releases what may go.
func (b *Buffer[M]) Push(now time.Time, seq uint64, path, bytes int, meta M) {
	bytes = max(bytes, 0)
	b.note(now, path, seq)
	if seq < b.next {
		b.counters.Late++
		b.counters.Released++
		b.release(meta)
		return
	}
	if size := uint64(len(b.slots)); seq-b.next >= size {
		b.passTo(seq - size + 1)
	}
	s := b.at(seq)
	if s.held { // by the same number, as all others are within the slots
		b.counters.Duplicate++
		b.dropped(meta)
		return
	}
	if seq == b.next { // needs no place
		b.next++
		b.counters.Released++
		b.release(meta)
	} else {
		*s = slot[M]{true, bytes, now, meta}
		if b.packets == 0 || seq < b.head {
			b.head = seq
		}
		b.packets++
		b.bytes += bytes
	}
	b.run()
	for b.bytes > b.limit {
		b.pass()
	}
	b.Expire(now)
}

// Expire releases what waits no longer. It is to be called when Deadline has
// come; Push does it too.
func (b *Buffer[M]) Expire(now time.Time) {
	if b.packets == 0 {
		return
	}
	lost := b.lost(now)
	for b.packets > 0 {
		if b.head >= lost && now.Sub(b.at(b.head).since) < b.wait {
			return
		}
		b.pass()
	}
}

// Deadline returns when Expire has something to do; false while nothing waits.
func (b *Buffer[M]) Deadline() (time.Time, bool) {
	if b.packets == 0 {
		return time.Time{}, false
	}
	return b.at(b.head).since.Add(b.wait), true
}

// Flush releases all that waits, as at the end of the flow.
func (b *Buffer[M]) Flush() {
	for b.packets > 0 {
		b.pass()
	}
}

func (b *Buffer[M]) at(seq uint64) *slot[M] { return &b.slots[seq&uint64(len(b.slots)-1)] }

// run releases what is next, and finds the head again.
func (b *Buffer[M]) run() {
	for b.packets > 0 && b.at(b.next).held {
		b.pop()
	}
	if b.packets > 0 && b.head < b.next {
		b.head = b.next
		for !b.at(b.head).held {
			b.head++
		}
	}
}

// pop releases the packet that is next, and waits.
func (b *Buffer[M]) pop() {
	s := b.at(b.next)
	meta := s.meta
	b.packets--
	b.bytes -= s.bytes
	*s = slot[M]{}
	b.next++
	b.counters.Released++
	b.counters.Waited++
	b.release(meta)
}

// pass gives up what is missing before the first that waits, and releases that
// and what follows it.
func (b *Buffer[M]) pass() {
	b.passTo(b.head)
	b.run()
}

// passTo gives up all missing ones below a number, and releases what waits
// below it. The number may be far away.
func (b *Buffer[M]) passTo(seq uint64) {
	for b.next < seq {
		switch {
		case b.packets == 0:
			b.counters.Passed += seq - b.next
			b.next = seq
		case b.at(b.next).held:
			b.pop()
		default:
			b.counters.Passed++
			b.next++
		}
	}
}

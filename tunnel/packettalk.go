package tunnel

import (
	"time"

	"braid/scheduler/queue"
	"braid/tunnel/wire"
)

// talk tells whether a flow is a conversation that suffers from queues: a call, a
// game, a terminal. It is sparse both ways, so that the acknowledgements of
// something large are none: outbound by the flow's own class, inbound by what the
// peer says of each packet. The zero value is ready.
type talk struct {
	since   time.Time // when its present second began
	packets int       // in it, both ways
	bulk    time.Time // when one last came that was not sparse
}

const (
	// talkLeast packets a second are a conversation: a name is asked for with
	// fewer.
	talkLeast = 5
	// talkAfter that second began it is one. What begins to send as much as it
	// can is not sparse any more by then.
	talkAfter = 200 * time.Millisecond
	// talkBulk is how long what is bulk in either direction is none: its
	// acknowledgements may pause.
	talkBulk = 2 * time.Second
)

// saw takes in a packet of the flow, of either direction, and reports whether
// somebody waits for its like.
func (t *talk) saw(now time.Time, class queue.Class) bool {
	if class == queue.Bulk {
		t.bulk = now
		return false
	}
	if age := now.Sub(t.since); age < 0 || age >= time.Second {
		t.since, t.packets = now, 0
	}
	t.packets++
	return t.packets >= talkLeast && now.Sub(t.since) >= talkAfter && now.Sub(t.bulk) >= talkBulk
}

// hear takes in a packet that the peer sent.
func (l *packetLane) hear(now time.Time, head *wire.PacketHead, packet []byte) {
	if l.talks == nil {
		return
	}
	h, ok := queue.Parse(packet)
	if !ok {
		return
	}
	class := queue.Sparse
	if head.Bulk {
		class = queue.Bulk
	}
	key := h.Key.Reverse()
	l.mu.Lock()
	defer l.mu.Unlock()
	f, _ := l.flows.Get(&key)
	if f.talk.saw(now, class) {
		l.talks(now)
	}
}

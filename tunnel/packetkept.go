package tunnel

import (
	"fmt"
	"time"

	"braid/scheduler/policy"
	"braid/scheduler/queue"
	"braid/tunnel/wire"
)

// kept are a carrier's packets that the peer has not said to have: those that
// its writer is writing, and those that were written. The packet lane's mutex
// guards it.
//
//	take ─▶ writing ─ wrote ─▶ written ─ arrived ─▶ freed
//	            └──────────────────┴───── leave ─▶ another path
type kept struct {
	written  []*parcel // from first on, in order
	first    int
	writing  []*parcel
	bytes    int    // of buffers written
	released uint64 // how many were written and are kept no more
	arrived  uint64 // as the peer said
	left     bool   // leave was called while the writer wrote

	sparse outstanding
}

// keptBytes bounds the buffers that wait for the peer's word. What is beyond is
// forgotten, and not sent again: 40 Mbit is the product of 160 Mb/s and a quarter
// of a second.
const keptBytes = 5 << 20

// take keeps a packet, and returns its index on the carrier.
func (k *kept) take(c *parcel) (index uint64) {
	k.writing = append(k.writing, c)
	return k.released + uint64(len(k.written)-k.first+len(k.writing)-1)
}

// nth is the packet with that index on the carrier, nil if it is kept no more.
func (k *kept) nth(index uint64) *parcel {
	if index < k.released {
		return nil
	}
	i := index - k.released
	if n := uint64(len(k.written) - k.first); i < n {
		return k.written[k.first+int(i)]
	} else if i -= n; i < uint64(len(k.writing)) && !k.left {
		return k.writing[i]
	}
	return nil
}

// idle reports whether the peer has everything.
func (k *kept) idle() bool { return len(k.written) == k.first && len(k.writing) == 0 }

// oldest is when the oldest of those was taken that the peer does not have.
func (k *kept) oldest() (sent time.Time, ok bool) {
	switch {
	case k.first < len(k.written):
		return k.written[k.first].sent, true
	case len(k.writing) > 0:
		return k.writing[0].sent, true
	}
	return time.Time{}, false
}

// wrote takes in that the writer is done with what it took.
func (k *kept) wrote() {
	for _, c := range k.writing {
		if k.left {
			k.released++
			c.free()
			continue
		}
		k.bytes += len(c.buf)
		k.written = append(k.written, c)
	}
	clear(k.writing)
	k.writing, k.left = k.writing[:0], false
	k.release(k.arrived)
	for k.bytes > keptBytes {
		k.release(k.released + 1)
	}
}

// news is what a word of the peer says.
type news struct {
	sent  time.Time // when the last of those that are new was taken; zero: that is forgotten
	bytes int       // of those that are new, as far as they are known
	again int       // of these, copies that were sent again
}

// acknowledge takes the peer's word that so many packets have arrived on the
// carrier, and how long sparse ones took.
func (k *kept) acknowledge(now time.Time, packets uint64, took *policy.Delivery) (n news, err error) {
	all := k.released + uint64(len(k.written)-k.first)
	switch {
	case packets < k.arrived:
		return n, fmt.Errorf("%w arrived: %d packets after %d", wire.ErrMalformed, packets, k.arrived)
	case packets > all+uint64(len(k.writing)):
		return n, fmt.Errorf("%w arrived: %d packets of %d", wire.ErrMalformed, packets, all+uint64(len(k.writing)))
	}
	if packets == k.arrived {
		return n, nil
	}
	for i := max(k.arrived, k.released); i < packets; i++ {
		var c *parcel
		if i < all {
			c = k.written[k.first+int(i-k.released)]
		} else { // the reader was quicker than the writer
			c = k.writing[i-all]
		}
		n.bytes += len(c.packet)
		n.sent = c.sent
		if c.class == queue.Sparse {
			took.Took(now.Sub(c.sent))
		}
		if c.kind == wire.CopyAgain {
			n.again++
		}
	}
	k.arrived = packets
	k.sparse.below(packets)
	k.release(packets)
	return n, nil
}

// release frees those written, up to the one with that number on the carrier.
func (k *kept) release(upTo uint64) {
	for k.released < upTo && k.first < len(k.written) {
		c := k.written[k.first]
		k.written[k.first] = nil
		k.first++
		k.released++
		k.bytes -= len(c.buf)
		c.free()
	}
	if k.first == len(k.written) {
		k.written, k.first = k.written[:0], 0
	} else if k.first > len(k.written)/2 {
		n := copy(k.written, k.written[k.first:])
		clear(k.written[n:])
		k.written, k.first = k.written[:n], 0
	}
}

// leave appends all that the peer may not have, oldest first, but for copies, whose
// originals are elsewhere, and keeps nothing. What is being written is copied.
func (k *kept) leave(list []*parcel) []*parcel {
	for _, c := range k.written[k.first:] {
		k.released++
		if c.isCopy() {
			c.free()
			continue
		}
		c.kind = wire.Moved
		list = append(list, c)
	}
	clear(k.written)
	k.written, k.first, k.bytes = k.written[:0], 0, 0
	if !k.left {
		for i, c := range k.writing {
			if k.released+uint64(i) >= k.arrived && !c.isCopy() {
				list = append(list, c.clone(wire.Moved))
			}
		}
		k.left = len(k.writing) > 0
	}
	return list
}

// each calls f with all that the peer may not have, oldest first.
func (k *kept) each(f func(*parcel)) {
	for _, c := range k.written[k.first:] {
		f(c)
	}
	if !k.left {
		for _, c := range k.writing {
			f(c)
		}
	}
}

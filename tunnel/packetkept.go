package tunnel

import (
	"fmt"
	"time"

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
}

// keptBytes bounds the buffers that wait for the peer's word. What is beyond is
// forgotten, and not sent again: 40 Mbit is the product of 160 Mb/s and a quarter
// of a second.
const keptBytes = 5 << 20

func (k *kept) take(c *parcel) { k.writing = append(k.writing, c) }

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

// acknowledge takes the peer's word that so many packets have arrived on the
// carrier. sent is when the last of them was taken, zero where that is forgotten,
// and bytes how long those are that are new, as far as they are known.
func (k *kept) acknowledge(packets uint64) (sent time.Time, bytes int, err error) {
	all := k.released + uint64(len(k.written)-k.first)
	switch {
	case packets < k.arrived:
		return sent, 0, fmt.Errorf("%w arrived: %d packets after %d", wire.ErrMalformed, packets, k.arrived)
	case packets > all+uint64(len(k.writing)):
		return sent, 0, fmt.Errorf("%w arrived: %d packets of %d", wire.ErrMalformed, packets, all+uint64(len(k.writing)))
	}
	if packets == k.arrived {
		return sent, 0, nil
	}
	for n := max(k.arrived, k.released); n < packets; n++ {
		var c *parcel
		if n < all {
			c = k.written[k.first+int(n-k.released)]
		} else { // the reader was quicker than the writer
			c = k.writing[n-all]
		}
		bytes += len(c.packet)
		sent = c.sent
	}
	k.arrived = packets
	k.release(packets)
	return sent, bytes, nil
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

// leave appends all that the peer may not have, oldest first, and keeps nothing.
// What is being written is copied.
func (k *kept) leave(list []*parcel) []*parcel {
	for _, c := range k.written[k.first:] {
		k.released++
		list = append(list, c)
	}
	clear(k.written)
	k.written, k.first, k.bytes = k.written[:0], 0, 0
	if !k.left {
		for i, c := range k.writing {
			if k.released+uint64(i) >= k.arrived {
				list = append(list, c.clone())
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

package stream

import (
	"fmt"
	"sync"
)

// blockBytes is the unit in which a Buffer grows and shrinks: what a socket
// hands over at once, and small enough that an idle stream costs one block at
// most.
const blockBytes = 64 << 10

type block [blockBytes]byte

var blocks = sync.Pool{New: func() any { return new(block) }}

// Buffer holds the bytes of a stream from the first that the peer has not
// acknowledged to the last that was read, by their offset in the stream. It
// is queue and retransmission store in one, so that a byte is copied once:
// from the socket into it.
//
//	acked          sent                end
//	  ├── under way ─┼── not yet sent ──┤
//	  └ block ┘ └ block ┘ └ block ┘ └ block ┘
//
// It is not safe for concurrent use. Slices that it returns hold until their
// bytes are acknowledged, and between Pin and Unpin in any case, so that a
// carrier may write them without the lock of whoever guards the buffer.
type Buffer struct {
	limit  int // bytes that may be held
	budget *Budget
	exempt int // blocks that the budget does not pay for
	blocks []*block
	lent   bool   // Space was called and Commit not yet: the last block stays
	pinned bool   // so do all from the one with the byte at pin on
	pin    uint64 // an offset
	start  uint64 // offset of the first byte of blocks[0]
	acked  uint64
	sent   uint64
	most   uint64 // the largest that sent ever was
	end    uint64
}

// NewBuffer makes an empty buffer for at most limit bytes. It holds no memory
// until the first Space.
func NewBuffer(limit int) *Buffer { return &Buffer{limit: limit} }

// Acked is the offset before which the peer has everything.
func (b *Buffer) Acked() uint64 { return b.acked }

// Sent is the offset of the next byte to send.
func (b *Buffer) Sent() uint64 { return b.sent }

// MostSent is the offset behind the last byte that was ever sent.
func (b *Buffer) MostSent() uint64 { return b.most }

// End is the offset behind the last byte.
func (b *Buffer) End() uint64 { return b.end }

// Held is the number of bytes that are not acknowledged.
func (b *Buffer) Held() int { return int(b.end - b.acked) }

// Space returns room for more bytes behind the last, to be read into and then
// committed; until then it stays, whatever is acknowledged meanwhile. It is
// empty when the limit is reached, or the budget has no block left.
func (b *Buffer) Space() []byte {
	room := b.limit - b.Held()
	if room <= 0 {
		return nil
	}
	at := int(b.end - b.start)
	if at == len(b.blocks)*blockBytes {
		if len(b.blocks) >= b.exempt && b.budget.take(1) == 0 {
			return nil
		}
		b.blocks = append(b.blocks, blocks.Get().(*block))
	}
	b.lent = true
	p := b.blocks[at/blockBytes][at%blockBytes:]
	return p[:min(len(p), room)]
}

// Commit says that n bytes were written to the front of Space.
func (b *Buffer) Commit(n int) {
	if room := len(b.blocks)*blockBytes - int(b.end-b.start); n < 0 || n > room {
		panic(fmt.Sprintf("stream: commit of %d bytes into %d", n, room)) // a bug of ours, whatever a peer does
	}
	b.lent = false
	b.end += uint64(n)
	if b.acked == b.end {
		b.release() // nothing came: give back what Space took
	}
}

// Unsent returns bytes to send, as many as lie together, at most limit of them.
func (b *Buffer) Unsent(limit int) []byte {
	if b.sent == b.end {
		return nil
	}
	at := int(b.sent - b.start)
	p := b.blocks[at/blockBytes][at%blockBytes:]
	return p[:min(uint64(len(p)), uint64(limit), b.end-b.sent)]
}

// Advance says that n bytes of Unsent are about to be sent.
func (b *Buffer) Advance(n int) {
	if n < 0 || uint64(n) > b.end-b.sent {
		panic(fmt.Sprintf("stream: %d bytes sent of %d", n, b.end-b.sent))
	}
	b.sent += uint64(n)
	b.most = max(b.most, b.sent)
}

// Pin keeps what is sent from now on until Unpin, whatever the peer says: it
// may acknowledge what is not written yet, and its memory would be another
// stream's.
func (b *Buffer) Pin() { b.pinned, b.pin = true, b.sent }

// Unpin ends Pin: the slices of Unsent since then are not used any more.
func (b *Buffer) Unpin() {
	if b.pinned {
		b.pinned = false
		b.release()
	}
}

// Ack takes the peer's word that it has everything before offset, and frees
// it. It reports false, and changes nothing, when that cannot be: the peer
// takes back what it had, or has what was never sent.
func (b *Buffer) Ack(offset uint64) bool {
	if offset < b.acked || offset > b.sent {
		return false
	}
	b.acked = offset
	b.release()
	return true
}

// Rewind makes everything from the peer's offset on unsent again, for another
// carrier. It reports false as Ack does. The offset may be beyond Sent: when a
// greeting has been overtaken by a later one, sending begins too early in the
// stream for a while, on a carrier that the peer has left.
func (b *Buffer) Rewind(offset uint64) bool {
	if offset < b.acked || offset > b.most {
		return false
	}
	b.acked, b.sent = offset, offset
	b.release()
	return true
}

// skip moves an empty buffer on by n bytes that never were in it.
func (b *Buffer) skip(n int) {
	if b.Held() > 0 {
		panic("stream: bytes skipped while others wait")
	}
	b.end += uint64(n)
	b.sent, b.acked, b.most = b.end, b.end, b.end
	b.release()
	b.start = b.end
}

// release gives back the blocks before the first byte that is held, and the
// last one too when nothing is and none of it is lent.
func (b *Buffer) release() {
	n := int(b.acked-b.start) / blockBytes
	if b.acked == b.end && !b.lent {
		n = len(b.blocks)
	}
	if b.pinned {
		n = min(n, int(max(b.pin, b.start)-b.start)/blockBytes)
	}
	if n == 0 {
		return
	}
	for _, blk := range b.blocks[:n] {
		blocks.Put(blk)
	}
	b.budget.give(max(0, len(b.blocks)-b.exempt) - max(0, len(b.blocks)-n-b.exempt))
	// Moved down, so that the slice keeps its room and nothing allocates.
	kept := copy(b.blocks, b.blocks[n:])
	clear(b.blocks[kept:])
	b.blocks = b.blocks[:kept]
	if b.start += uint64(n) * blockBytes; kept == 0 {
		b.start = b.end
	}
}

// Close gives back all memory. The buffer must not be used any more.
func (b *Buffer) Close() {
	b.acked, b.sent, b.lent = b.end, b.end, false
	b.release()
}

package stream

import "sync/atomic"

// Budget bounds the memory of all streams of a session beyond what each may
// have in any case: MinBufferBytes of what the peer has not acknowledged, and
// MinWindowBytes of room that the peer is promised. It is counted in blocks of
// 64 KiB, and safe for concurrent use. A nil Budget has no bound.
//
// Nobody waits for a budget. Who is refused has MinBufferBytes under way, and
// asks again when some of it is acknowledged; a window that could not grow
// asks again when more of it has been used.
type Budget struct {
	blocks atomic.Int64 // left
	all    atomic.Int64
}

// NewBudget makes a budget of so many bytes, rounded down to whole blocks.
func NewBudget(bytes int64) *Budget {
	b := &Budget{}
	b.Resize(bytes)
	return b
}

// Resize makes it a budget of so many bytes in all. Where more are taken than that
// they stay taken, and nobody gets any until enough came back.
func (b *Budget) Resize(bytes int64) {
	blocks := max(bytes, 0) / blockBytes
	b.blocks.Add(blocks - b.all.Swap(blocks))
}

// Left is how many bytes are not taken.
func (b *Budget) Left() int64 { return max(b.blocks.Load(), 0) * blockBytes }

// take returns how many of n blocks it has taken.
func (b *Budget) take(n int) int {
	if b == nil {
		return n
	}
	for {
		left := b.blocks.Load()
		got := min(int64(n), left)
		if got <= 0 {
			return 0
		}
		if b.blocks.CompareAndSwap(left, left-got) {
			return int(got)
		}
	}
}

// takeSpare is take for what is not needed yet: it leaves half of the budget to
// those who need it.
func (b *Budget) takeSpare(n int) int {
	if b != nil && b.blocks.Load()-int64(n) < b.all.Load()/2 {
		return 0
	}
	return b.take(n)
}

// give returns n blocks.
func (b *Budget) give(n int) {
	if b != nil && n > 0 {
		b.blocks.Add(int64(n))
	}
}

// Package sequence tells whether a numbered packet has come before.
//
// It does no I/O, reads no clock and locks nothing.
package sequence

import "math/bits"

// Size is how many numbers a Window remembers: at half a million packets a
// second, 130 ms of them. Packets that differ by more in age are of paths that
// differ by more, and too late to be of use where they are that many.
const Size = 64 << 10

const words = Size / 64

// Window remembers which of the latest Size numbers were seen, as IPsec's
// anti-replay window does (RFC 6479). It is of fixed size, and the zero value
// is ready. A Window belongs to one goroutine, or to whoever holds its owner's
// lock.
type Window struct {
	// seen has a bit for each number below next and not below next-Size, at its
	// remainder; the others' bits are clear.
	seen [words]uint64
	next uint64 // after the highest number seen
}

// Take notes a number and reports whether it is seen for the first time. A
// number that is older than the window counts as seen. It takes bounded time,
// whatever the number.
func (w *Window) Take(n uint64) (first bool) {
	if n >= w.next {
		w.advance(n)
	} else if w.next-n > Size {
		return false
	}
	word, bit := &w.seen[n%Size/64], uint64(1)<<(n%64)
	first = *word&bit == 0
	*word |= bit
	return first
}

// Next is the number after the highest that was seen; 0 when none was, and after
// the highest that there is.
func (w *Window) Next() uint64 { return w.next }

// Missing is how many of the numbers in the window were not seen.
func (w *Window) Missing() int {
	seen := 0
	for _, word := range w.seen {
		seen += bits.OnesCount64(word)
	}
	return int(min(w.next, Size)) - seen
}

// advance makes n the highest, and clears the places of those between.
func (w *Window) advance(n uint64) {
	if n-w.next >= Size {
		clear(w.seen[:])
	} else {
		for i := w.next; i <= n; {
			if i%64 == 0 && n-i >= 63 {
				w.seen[i%Size/64] = 0
				i += 64
				continue
			}
			w.seen[i%Size/64] &^= 1 << (i % 64)
			i++
		}
	}
	w.next = n + 1
}

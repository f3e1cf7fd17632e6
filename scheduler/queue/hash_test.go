package queue

import (
	"hash/maphash"
	"testing"
)

// A hash that one table made serves another with its seed, and runs of one flow
// need none.
func TestHashIsShared(t *testing.T) {
	seed := maphash.MakeSeed()
	a, b := NewTable[int](2, seed), NewTable[int](2, seed)
	get := func(n int) {
		t.Helper()
		var hash Hash
		v, _ := a.GetHashed(key(n), &hash)
		*v = n
		w, _ := b.GetHashed(key(n), &hash)
		*w = n
	}
	for _, n := range []int{1, 1, 2, 1, 3, 3, 2, 1} { // with room for two
		get(n)
	}
	for _, table := range []*Table[int]{a, b} {
		for _, n := range []int{2, 1} {
			if v, fresh := table.Get(key(n)); fresh || *v != n {
				t.Errorf("flow %d: %d, new %v", n, *v, fresh)
			}
		}
	}
	var hash Hash
	if a.GetHashed(key(1), &hash); hash.known {
		t.Error("the flow of the packet before was hashed")
	}
}

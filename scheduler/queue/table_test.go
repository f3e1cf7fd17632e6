package queue

import (
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"testing"
)

func key(n int) *FlowKey {
	return &FlowKey{SrcPort: uint16(n), DstPort: uint16(n >> 16), Kind: 4}
}

// TestTable compares with a list, the latest last.
func TestTable(t *testing.T) {
	for _, size := range []int{1, 2, 7, 64} {
		rng := rand.New(rand.NewPCG(uint64(size), 1))
		table := NewTable[int](size, maphash.MakeSeed())
		var model []int
		values := map[int]int{}
		for i := range 20000 {
			n := rng.IntN(2 * size)
			v, fresh := table.Get(key(n))
			at := slices.Index(model, n)
			if fresh != (at < 0) {
				t.Fatalf("%d: fresh %v of %v", n, fresh, model)
			}
			if at >= 0 {
				model = slices.Delete(model, at, at+1)
				if *v != values[n] {
					t.Fatalf("%d: value %d, want %d", n, *v, values[n])
				}
			} else if *v != 0 {
				t.Fatalf("%d: value %d of a new flow", n, *v)
			} else if len(model) == size {
				model = model[1:]
			}
			model = append(model, n)
			*v, values[n] = i+1, i+1
			if table.Len() != len(model) {
				t.Fatalf("%d flows, want %d", table.Len(), len(model))
			}
		}
	}
}

func TestTableHeld(t *testing.T) {
	table := NewTable[int](3, maphash.MakeSeed())
	for n := range 3 {
		table.hold(table.insert(key(n), hashOf(table, key(n)).sum))
	}
	if i := table.insert(key(3), hashOf(table, key(3)).sum); i != none {
		t.Fatalf("entry %d was held", i)
	}
	table.release(1)
	table.release(0)
	if i := table.insert(key(3), hashOf(table, key(3)).sum); i != 1 {
		t.Fatalf("entry %d instead of the one longest idle", i)
	}
	if table.find(key(1), hashOf(table, key(1))) != none || table.find(key(0), hashOf(table, key(0))) != 0 {
		t.Fatal("the wrong flow is gone")
	}
}

func TestTableAllocations(t *testing.T) {
	table := NewTable[int](8, maphash.MakeSeed())
	n := 0
	if a := testing.AllocsPerRun(100, func() { n++; table.Get(key(n)) }); a != 0 {
		t.Fatalf("%v allocations", a)
	}
}

func hashOf(t *Table[int], key *FlowKey) *Hash { return &Hash{maphash.Comparable(t.seed, *key), true} }

package queue

import "hash/maphash"

// none is no index.
const none = -1

// Table keeps a value for each of a bounded number of flows. When it is full, a
// new flow takes the place of the one not asked for the longest.
type Table[V any] struct {
	seed    maphash.Seed
	buckets []int32 // first entry of each chain
	entries []entry[V]
	used    int   // entries that have ever had a flow
	last    int32 // that was found last: packets come in runs of one flow

	oldest, newest int32 // of those that may be evicted
}

type entry[V any] struct {
	key          FlowKey
	chain        int32 // next of the same bucket
	older, newer int32 // of those that may be evicted, by when they were asked for
	value        V
}

// NewTable makes a table for so many flows, at least one. The seed keeps those
// who choose ports and addresses from making all of them collide.
func NewTable[V any](flows int, seed maphash.Seed) *Table[V] {
	flows = max(flows, 1)
	size := 2
	for size < 2*flows {
		size *= 2
	}
	t := &Table[V]{
		seed:    seed,
		buckets: make([]int32, size),
		entries: make([]entry[V], flows),
		oldest:  none,
		newest:  none,
	}
	for i := range t.buckets {
		t.buckets[i] = none
	}
	return t
}

// Get returns the value of a flow, and whether it is new: then the value is the
// zero value. It does not allocate. The pointer is good until the next call.
func (t *Table[V]) Get(key *FlowKey) (v *V, fresh bool) {
	var hash Hash
	return t.GetHashed(key, &hash)
}

// GetHashed is Get for who asks several tables with one seed: it takes the key's
// hash if that is known, and notes it if it had to be made.
func (t *Table[V]) GetHashed(key *FlowKey, hash *Hash) (v *V, fresh bool) {
	i := t.find(key, hash)
	switch {
	case i == none:
		i, fresh = t.insert(key, hash.sum), true
	case i != t.newest:
		t.unlink(i)
		t.link(i)
	}
	return &t.entries[i].value, fresh
}

// Len returns the number of flows.
func (t *Table[V]) Len() int { return t.used }

// Each calls f for each flow's value, in no order that says anything. f must
// not call the Table.
func (t *Table[V]) Each(f func(v *V)) {
	for i := range t.entries[:t.used] {
		f(&t.entries[i].value)
	}
}

// Hash is that of a FlowKey, by the seed of a table. The zero value is not known.
type Hash struct {
	sum   uint64
	known bool
}

func (t *Table[V]) bucket(hash uint64) *int32 { return &t.buckets[hash&uint64(len(t.buckets)-1)] }

// find returns the entry of a flow; or none, and then hash is known.
func (t *Table[V]) find(key *FlowKey, hash *Hash) int32 {
	if int(t.last) < t.used && t.entries[t.last].key == *key {
		return t.last
	}
	if !hash.known {
		*hash = Hash{maphash.Comparable(t.seed, *key), true}
	}
	i := *t.bucket(hash.sum)
	for i != none && t.entries[i].key != *key {
		i = t.entries[i].chain
	}
	if i != none {
		t.last = i
	}
	return i
}

// insert makes an entry for a flow that has none, or returns none when all are
// held.
func (t *Table[V]) insert(key *FlowKey, hash uint64) int32 {
	i := int32(t.used)
	if t.used < len(t.entries) {
		t.used++
	} else {
		i = t.oldest
		if i == none {
			return none
		}
		t.evict(i)
	}
	head := t.bucket(hash)
	t.entries[i] = entry[V]{key: *key, chain: *head}
	*head, t.last = i, i
	t.link(i)
	return i
}

func (t *Table[V]) evict(i int32) {
	t.unlink(i)
	at := t.bucket(maphash.Comparable(t.seed, t.entries[i].key))
	for *at != i {
		at = &t.entries[*at].chain
	}
	*at = t.entries[i].chain
}

// hold keeps an entry from being evicted until release, which makes it the one
// asked for last.
func (t *Table[V]) hold(i int32)    { t.unlink(i) }
func (t *Table[V]) release(i int32) { t.link(i) }

func (t *Table[V]) link(i int32) {
	e := &t.entries[i]
	e.older, e.newer = t.newest, none
	if e.older == none {
		t.oldest = i
	} else {
		t.entries[e.older].newer = i
	}
	t.newest = i
}

func (t *Table[V]) unlink(i int32) {
	e := &t.entries[i]
	if e.older == none {
		t.oldest = e.newer
	} else {
		t.entries[e.older].newer = e.newer
	}
	if e.newer == none {
		t.newest = e.older
	} else {
		t.entries[e.newer].older = e.older
	}
}

package queue

// place is the list that a flow is in.
type place uint8

const (
	inNone place = iota
	// Flows that have just become active, RFC 8290's "new": sparse ones first,
	// or a download that paused would go before a call.
	inSparse
	inNew
	inOld
	inBackground

	places
)

// list is a queue of flows, by their index in the table.
type list struct{ first, last int32 }

// enlist puts a flow that is in no list at the end of one.
func (q *Queue[M]) enlist(at place, i int32) {
	l, f := &q.lists[at], q.flow(i)
	f.in, f.before, f.after = at, l.last, none
	if l.last == none {
		l.first = i
	} else {
		q.flow(l.last).after = i
	}
	l.last = i
}

// remove takes a flow out of its list.
func (q *Queue[M]) remove(i int32) {
	f := q.flow(i)
	l := &q.lists[f.in]
	if f.before == none {
		l.first = f.after
	} else {
		q.flow(f.before).after = f.after
	}
	if f.after == none {
		l.last = f.before
	} else {
		q.flow(f.after).before = f.before
	}
	f.in = inNone
}

func (q *Queue[M]) move(to place, i int32) {
	q.remove(i)
	q.enlist(to, i)
}

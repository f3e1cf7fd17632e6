package tunnel

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
)

// The pool's floors: links in all, used and idle. A page brings a handful of
// connections at once; the other direction is seldom used.
const (
	spareLinks        = 4
	spareReverseLinks = 1
	// spareAhead is how many are idle, whatever is used: a new connection
	// should find one, and while it is served another is dialled.
	spareAhead = 2
	// spareMost bounds what is kept after a burst.
	spareMost = 32
)

// errNoCarrier ends the wait for a carrier.
var errNoCarrier = errors.New("no carrier free in time")

// pool lends links to streams of one direction. It starts nothing: whoever
// makes links asks it how many are missing.
//
//	add ──▶ idle ──lease──▶ leased ──release──▶ idle
//	          │               │
//	          └────remove─────┴──▶ (closed)
type pool struct {
	// changed is called, without lock, when missing may have grown.
	changed func()

	mu      sync.Mutex // guards what follows
	spare   int        // the floor
	closed  bool
	idle    []*link // the one used last is last: its window is the warmest
	leased  map[*link]struct{}
	waiting []waiter // the smallest rank first
	recent  int      // how many were leased at once lately
}

// waiter is a stream that waits for a link.
type waiter struct {
	link chan *link // of one
	rank int
}

// rankLost is that of streams that had a link and lost it. A new stream has
// how many its program's host has in the making already: a scan, or a program
// whose peers are all gone, does not hold up its neighbours.
const rankLost = -1

func newPool(spare int, changed func()) *pool {
	return &pool{spare: spare, changed: changed, leased: map[*link]struct{}{}}
}

// add takes a link that is new, or clean again. It reports false when the
// pool or the link is closed; the link is then the caller's to close.
func (p *pool) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	delete(p.leased, l)
	if l.dead.Load() { // who closes it removes it, and may have done so
		return false
	}
	if len(p.waiting) > 0 {
		p.waiting[0].link <- l // nobody else sends
		p.waiting = p.waiting[1:]
		p.leased[l] = struct{}{}
		p.recent = max(p.recent, len(p.leased))
		return true
	}
	p.idle = append(p.idle, l)
	return true
}

// lease returns a link of the caller's own, which add or remove must follow.
// It waits until ctx ends, behind those of the same or a smaller rank.
func (p *pool) lease(ctx context.Context, rank int) (*link, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errNoCarrier
	}
	for n := len(p.idle); n > 0; n = len(p.idle) {
		l := p.idle[n-1]
		p.idle = p.idle[:n-1]
		if l.dead.Load() {
			continue
		}
		p.leased[l] = struct{}{}
		p.recent = max(p.recent, len(p.leased))
		p.mu.Unlock()
		p.changed()
		return l, nil
	}
	w := waiter{make(chan *link, 1), rank}
	at, _ := slices.BinarySearchFunc(p.waiting, rank+1, func(w waiter, rank int) int { return cmp.Compare(w.rank, rank) })
	p.waiting = slices.Insert(p.waiting, at, w)
	p.mu.Unlock()
	p.changed()
	select {
	case l := <-w.link:
		if l == nil {
			return nil, errNoCarrier
		}
		return l, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	p.waiting = slices.DeleteFunc(p.waiting, func(o waiter) bool { return o == w })
	p.mu.Unlock()
	select {
	case l := <-w.link: // it came all the same
		if l != nil && !p.add(l) {
			l.Close()
		}
	default:
	}
	return nil, errNoCarrier
}

// remove forgets a link that is closed.
func (p *pool) remove(l *link) {
	p.mu.Lock()
	delete(p.leased, l)
	if i := slices.Index(p.idle, l); i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
	p.mu.Unlock()
	p.changed()
}

// takeIdle takes out the link that has been idle for the longest time, to be
// looked at; nil: there is none. add or remove must follow.
func (p *pool) takeIdle() *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	l := p.idle[0]
	p.idle = slices.Delete(p.idle, 0, 1)
	return l
}

// has reports whether the link is of this pool.
func (p *pool) has(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, leased := p.leased[l]
	return leased || slices.Contains(p.idle, l)
}

// poolCounts is how a pool is now.
type poolCounts struct {
	idle, leased, waiting int
	target                int // idle links to have
}

func (p *pool) counts() poolCounts {
	p.mu.Lock()
	defer p.mu.Unlock()
	// As many as the last burst had beyond those in use come again.
	target := max(p.spare, p.recent) - len(p.leased)
	if len(p.leased) > 0 {
		target = max(target, min(spareAhead, p.spare))
	}
	target = min(max(target, 0), spareMost)
	return poolCounts{idle: len(p.idle), leased: len(p.leased), waiting: len(p.waiting), target: target}
}

// surplus is how many idle links may go, when that lasts. One more than
// needed stays: it was needed a moment ago.
func (c poolCounts) surplus() int { return c.idle - c.target - 1 }

// missing is how many links should be made.
func (c poolCounts) missing() int { return c.waiting + c.target - c.idle }

// cool lets the memory of a burst fade; it is called now and then.
func (p *pool) cool() {
	p.mu.Lock()
	p.recent = max(len(p.leased), p.recent*3/4)
	p.mu.Unlock()
	p.changed()
}

// close ends all waiting, and returns the idle links for the caller to close.
func (p *pool) close() []*link {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, w := range p.waiting {
		w.link <- nil
	}
	p.waiting = nil
	idle := p.idle
	p.idle = nil
	return idle
}

package tunnel

import (
	"cmp"
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// poolLink makes a link that a pool can hold, and that leaves it when closed.
func poolLink(p *pool, number uint64) *link {
	end, _ := bufferedPipe()
	return &link{number: number, conn: &fakeConn{Conn: end}, closed: p.remove}
}

// lending is one call of lease under way.
type lending struct {
	rank   int
	giveUp context.CancelFunc
	done   bool // synctest.Wait comes before it is read
	link   *link
	err    error
}

func (w *lending) number() uint64 { return numberOf(w.link) }

// numberOf names a link; 0: none.
func numberOf(k *link) uint64 {
	if k == nil {
		return 0
	}
	return k.number
}

// lend calls lease, and returns when it has returned or waits.
func lend(t *testing.T, p *pool, rank int) *lending {
	ctx, cancel := context.WithCancel(t.Context())
	w := &lending{rank: rank, giveUp: cancel}
	go func() {
		w.link, w.err = p.lease(ctx, rank)
		w.done = true
	}()
	synctest.Wait()
	return w
}

func TestPoolLendsByRank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(spareLinks, func() {})
		var waiting []*lending
		for _, rank := range []int{1, 0, rankLost, 0, 2, rankLost, 1} {
			waiting = append(waiting, lend(t, p, rank))
		}
		for turn, i := range []int{2, 5, 1, 3, 0, 6, 4} {
			k := poolLink(p, uint64(turn))
			if !p.add(k) {
				t.Fatal("link not taken")
			}
			synctest.Wait()
			if w := waiting[i]; w.link != k {
				t.Fatalf("link %d did not go to stream %d, of rank %d", turn, i, w.rank)
			}
		}
	})
}

func TestPoolHasNoDeadLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(spareLinks, func() {})
		alive, dead, dying := poolLink(p, 1), poolLink(p, 2), poolLink(p, 3)
		dead.Close()
		if p.add(dead) || p.has(dead) {
			t.Error("a link that is closed was taken")
		}
		p.add(alive)
		p.add(dying)
		dying.dead.Store(true) // Close has begun
		if w := lend(t, p, 0); w.link != alive {
			t.Errorf("lent link %d", w.number())
		}
		dying.Close()
		// It dies in a stream's hands, which gives it back all the same.
		alive.Close()
		if p.add(alive) {
			t.Error("a link that died while lent was taken back")
		}
		w := lend(t, p, 0)
		if n := p.counts(); n.idle != 0 || n.leased != 0 || n.waiting != 1 || w.done {
			t.Errorf("counts %+v", n)
		}
		w.giveUp()
		synctest.Wait()
		if n := p.counts(); n.waiting != 0 || w.err != errNoCarrier {
			t.Errorf("given up: %v, counts %+v", w.err, n)
		}
	})
}

func TestPoolClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(spareLinks, func() {})
		a, b := poolLink(p, 1), poolLink(p, 2)
		p.add(a)
		p.add(b)
		lent := lend(t, p, 0)
		if idle := p.close(); !slices.Equal(idle, []*link{a}) || lent.link != b {
			t.Errorf("%d were idle, link %d was lent", len(idle), lent.number())
		}
		if p.add(b) {
			t.Error("a link was taken after close")
		}
		if w := lend(t, p, 0); w.err != errNoCarrier {
			t.Errorf("lease after close: %v", w.err)
		}

		p = newPool(spareLinks, func() {})
		waiting := lend(t, p, 1)
		p.close()
		synctest.Wait()
		if waiting.err != errNoCarrier {
			t.Errorf("who waited has %v", waiting.err)
		}
	})
}

func TestPoolTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(spareLinks, func() {})
		want := func(when string, idle, leased, target int) {
			t.Helper()
			if n := p.counts(); n.idle != idle || n.leased != leased || n.target != target {
				t.Errorf("%s: %+v, want %d idle, %d leased, a target of %d", when, n, idle, leased, target)
			}
		}
		want("empty", 0, 0, spareLinks)
		var lent []*link
		for i := range spareMost + 20 {
			p.add(poolLink(p, uint64(i)))
			lent = append(lent, lend(t, p, 0).link)
		}
		want("a burst", 0, len(lent), spareAhead)
		for _, k := range lent {
			p.add(k)
		}
		want("after it", len(lent), 0, spareMost)
		for range 20 {
			p.cool()
		}
		want("long after it", len(lent), 0, spareLinks)
	})
}

// poolModel is the pool in its simplest form.
type poolModel struct {
	idle, leased []*link
	waiting      []*lending
	taken        *link // by takeIdle
	dead         map[*link]bool
	closed       bool
}

// add returns who gets the link, or none.
func (m *poolModel) add(k *link) (to *lending, ok bool) {
	if m.closed {
		return nil, false
	}
	if m.drop(k); m.dead[k] {
		return nil, false
	}
	if len(m.waiting) == 0 {
		m.idle = append(m.idle, k)
		return nil, true
	}
	to = m.waiting[0]
	m.waiting = m.waiting[1:]
	m.leased = append(m.leased, k)
	return to, true
}

func (m *poolModel) drop(k *link) {
	is := func(o *link) bool { return o == k }
	m.idle = slices.DeleteFunc(m.idle, is)
	m.leased = slices.DeleteFunc(m.leased, is)
}

// lease returns the link that is lent at once; nil: it waits.
func (m *poolModel) lease(w *lending) *link {
	for len(m.idle) > 0 {
		k := m.idle[len(m.idle)-1]
		m.idle = m.idle[:len(m.idle)-1]
		if !m.dead[k] {
			m.leased = append(m.leased, k)
			return k
		}
	}
	m.waiting = append(m.waiting, w)
	slices.SortStableFunc(m.waiting, func(a, b *lending) int { return cmp.Compare(a.rank, b.rank) })
	return nil
}

// Whatever happens in whatever order, the pool does what its model does.
func TestPoolModel(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			p := newPool(spareLinks, func() {})
			m := &poolModel{dead: map[*link]bool{}}
			pick := func(list []*link) *link { return list[random.IntN(len(list))] }
			add := func(step int, k *link) {
				to, ok := m.add(k)
				if got := p.add(k); got != ok {
					t.Fatalf("seed %d, step %d: add says %v, want %v", seed, step, got, ok)
				}
				synctest.Wait()
				if to != nil && to.link != k {
					t.Fatalf("seed %d, step %d: link %d went to somebody else", seed, step, k.number)
				}
			}
			for step := range 300 {
				switch op := random.IntN(10); {
				case step == 290:
					waiting := m.waiting
					if idle := p.close(); !slices.Equal(idle, m.idle) {
						t.Fatalf("seed %d: close gives back %d links", seed, len(idle))
					}
					m.closed, m.idle, m.waiting = true, nil, nil
					synctest.Wait()
					for _, w := range waiting {
						if w.err != errNoCarrier {
							t.Fatalf("seed %d: closed, and somebody waits", seed)
						}
					}
				case op < 2:
					add(step, poolLink(p, uint64(step+1)))
				case op < 5 && !m.closed:
					w := lend(t, p, random.IntN(4)-1)
					if k := m.lease(w); w.link != k || w.done != (k != nil) {
						t.Fatalf("seed %d, step %d: lease gave link %d, want %d", seed, step, w.number(), numberOf(k))
					}
				case op == 5 && len(m.leased) > 0:
					add(step, pick(m.leased))
				case op == 6 && len(m.leased)+len(m.idle) > 0:
					k := pick(slices.Concat(m.leased, m.idle))
					m.dead[k] = true
					k.dead.Store(true)
					if random.IntN(2) == 0 { // else it is about to be removed
						m.drop(k)
						k.Close()
					}
				case op == 7 && len(m.waiting) > 0:
					w := m.waiting[random.IntN(len(m.waiting))]
					m.waiting = slices.DeleteFunc(m.waiting, func(o *lending) bool { return o == w })
					w.giveUp()
					synctest.Wait()
					if w.err != errNoCarrier {
						t.Fatalf("seed %d, step %d: given up, and %v", seed, step, w.err)
					}
				case op == 8 && m.taken == nil && len(m.idle) > 0:
					m.taken = m.idle[0]
					m.idle = m.idle[1:]
					if k := p.takeIdle(); k != m.taken {
						t.Fatalf("seed %d, step %d: link %d taken", seed, step, numberOf(k))
					}
				case op == 9 && m.taken != nil:
					add(step, m.taken)
					m.taken = nil
				}
				n := p.counts()
				if !slices.Equal(p.idle, m.idle) || n.leased != len(m.leased) || n.waiting != len(m.waiting) {
					t.Fatalf("seed %d, step %d: %+v, want %d, %d, %d", seed, step, n, len(m.idle), len(m.leased), len(m.waiting))
				}
			}
			p.close()
		})
	}
}

// A link that comes while its stream gives up is neither lost nor lent twice.
func TestPoolGiveUpRace(t *testing.T) {
	const links = 3
	p := newPool(spareLinks, func() {})
	var held [links]atomic.Bool
	for i := range held {
		p.add(poolLink(p, uint64(i)))
	}
	var all sync.WaitGroup
	for i := range 8 {
		random := rand.New(rand.NewPCG(1, uint64(i)))
		all.Go(func() {
			for range 300 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(50))*time.Microsecond)
				k, err := p.lease(ctx, random.IntN(3)-1)
				cancel()
				if err != nil {
					continue
				}
				if !held[k.number].CompareAndSwap(false, true) {
					t.Errorf("link %d is lent twice", k.number)
				}
				runtime.Gosched()
				held[k.number].Store(false)
				p.add(k)
			}
		})
	}
	all.Wait()
	if n := p.counts(); n.idle != links || n.leased != 0 || n.waiting != 0 {
		t.Errorf("at the end %+v", n)
	}
}

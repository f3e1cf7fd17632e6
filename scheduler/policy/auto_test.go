package policy

import (
	"hash/maphash"
	"math/rand/v2"
	"testing"
	"time"

	"braid/scheduler/queue"
)

// stage gives an Auto one packet after another.
type stage struct {
	t     *testing.T
	auto  *Auto
	now   time.Time
	paths []Path
}

func newStage(t *testing.T, paths []Path) *stage {
	return &stage{t, NewAuto(maphash.MakeSeed(), NewHedge(0)), epoch, paths}
}

// send sends a packet of a flow every so often for some time; it returns how
// often it changed paths, and the last.
func (s *stage) send(p Packet, every, during time.Duration, each func(n int)) (moves, last int) {
	last = -1
	for n := 0; n < int(during/every); n++ {
		if each != nil {
			each(n)
		}
		got := s.auto.Pick(s.now, p, s.paths, nil)
		if last >= 0 && got[0] != last {
			moves++
		}
		last = got[0]
		s.now = s.now.Add(every)
	}
	return moves, last
}

func TestSparseStays(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	s := newStage(t, []Path{{ID: 1, RTT: 30 * ms, Rate: 50e6}, {ID: 2, RTT: 32 * ms, Rate: 50e6}})
	moves, _ := s.send(call(1), 20*ms, time.Minute, func(int) {
		s.paths[0].RTT = 30*ms + time.Duration(rng.IntN(4000))*time.Microsecond
		s.paths[1].RTT = 30*ms + time.Duration(rng.IntN(4000))*time.Microsecond
		s.paths[0].Queued = rng.IntN(6000)
	})
	if moves > 0 {
		t.Errorf("%d moves for noise", moves)
	}
}

func TestSparseLeaves(t *testing.T) {
	s := newStage(t, cellA())
	s.send(call(1), 20*ms, time.Second, nil)
	s.paths[0].Queued = 400_000 // 64 ms
	if _, last := s.send(call(1), 20*ms, 20*ms, nil); last != 2 {
		t.Fatal("waits in a queue that has come up")
	}
	s.paths[0].Queued = 0
	if _, last := s.send(call(1), 20*ms, 60*ms, nil); last != 2 {
		t.Fatal("went back at once")
	}
	if moves, last := s.send(call(1), 20*ms, 200*ms, nil); moves != 1 || last != 1 {
		t.Fatalf("%d moves, is on %d", moves, last)
	}
	// A queue that comes and goes takes the flow along a few times a second at
	// most.
	moves, _ := s.send(call(1), 5*ms, 10*time.Second, func(n int) {
		s.paths[0].Queued = 400_000 * (n / 10 % 2)
	})
	if moves > 60 {
		t.Errorf("%d moves in ten seconds", moves)
	}
	s.paths = s.paths[1:]
	if _, last := s.send(call(1), 5*ms, 5*ms, nil); last != 2 {
		t.Fatal("the path is gone")
	}
}

// TestCopies: a call has copies, a game has, a terminal that prints has none,
// and 100 calls have no more than the budget.
func TestCopies(t *testing.T) {
	for _, test := range []struct {
		name  string
		p     Packet
		every time.Duration
		least float64 // part of its packets that have a copy
		most  float64
	}{
		{"call", call(1), 20 * ms, 1, 1},
		{"game", call(1), 10 * ms, 1, 1},
		{"too many", call(1), 4 * ms, 0, 0.1},
		{"large", Packet{Key: key(1), Bytes: 900}, 40 * ms, 0, 0},
		{"large and urgent", Packet{Key: key(1), Bytes: 900, DSCP: 46}, 20 * ms, 1, 1},
		{"urgent but much", Packet{Key: key(1), Bytes: 900, DSCP: 46}, 5 * ms, 0, 0.1},
	} {
		s := newStage(t, cellA())
		n := 0
		for range 500 {
			if len(s.auto.Pick(s.now, test.p, s.paths, nil)) > 1 {
				n++
			}
			s.now = s.now.Add(test.every)
		}
		if part := float64(n) / 500; part < test.least || part > test.most {
			t.Errorf("%s: %d of 500 have a copy", test.name, n)
		}
		if c := s.auto.Hedge().Copies(AtOnce); c.Sent != uint64(n) {
			t.Errorf("%s: counted %+v", test.name, c)
		}
	}
	s := newStage(t, cellA())
	bytes := 0
	for n := range 50_000 { // 10 seconds
		if len(s.auto.Pick(s.now, call(n%100), s.paths, nil)) > 1 {
			bytes += 210
		}
		s.now = s.now.Add(200 * time.Microsecond)
	}
	if share := float64(bytes*8) / 10 / 30e6; share > 0.052 || share < 0.045 {
		t.Errorf("100 calls have copies of %.1f %% of the slower link", 100*share)
	}
}

// TestBulkSpreads: flows over equal paths, ten at a time or all at once.
func TestBulkSpreads(t *testing.T) {
	for _, every := range []time.Duration{0, ms, 50 * ms} {
		s := newStage(t, []Path{{ID: 1, RTT: 30 * ms, Rate: 50e6}, {ID: 2, RTT: 90 * ms, Rate: 50e6}, {ID: 3, RTT: 20 * ms, Rate: 50e6}, {ID: 4, RTT: 30 * ms, Rate: 50e6}})
		count := map[int]int{}
		for n := range 100 {
			for old := range n { // the others go on
				s.auto.Pick(s.now, bulk(old), s.paths, nil)
			}
			count[s.auto.Pick(s.now, bulk(n), s.paths, nil)[0]]++
			s.now = s.now.Add(every)
		}
		for id, n := range count {
			if n < 23 || n > 27 || len(count) != 4 {
				t.Fatalf("every %v: path %d has %d of 100 flows", every, id, n)
			}
		}
	}
}

// TestBulkByRate: flows that fill what they get are spread by rate.
func TestBulkByRate(t *testing.T) {
	s := newStage(t, cellA())
	count := map[int]int{}
	for n := range 80 {
		count[s.auto.Pick(s.now, bulk(n), s.paths, nil)[0]]++
	}
	if count[1] < 45 || count[1] > 55 {
		t.Fatalf("%v: rates are 5 to 3", count)
	}
}

// TestBulkUsesWhatIsLeft: a film of 5 Mb/s on the large path leaves more there
// than the small one has.
func TestBulkUsesWhatIsLeft(t *testing.T) {
	s := newStage(t, cellA())
	s.send(bulk(1), 2400*time.Microsecond, 2*time.Second, nil)
	if got := s.auto.Pick(s.now, bulk(2), s.paths, nil)[0]; got != 1 {
		t.Fatalf("path %d", got)
	}
}

func TestBulkStays(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	for _, test := range []struct {
		name string
		each func(s *stage, n int)
	}{
		{"nothing changes", func(*stage, int) {}},
		{"its own queue, rates that waver", func(s *stage, _ int) {
			s.paths[0].Rate, s.paths[1].Rate = 45e6+10e6*rng.Float64(), 27e6+6e6*rng.Float64()
			s.paths[0].Queued = 400_000
		}},
		{"another queue now and then", func(s *stage, n int) { s.paths[0].Queued = 1_000_000 * (n / 1000 % 10 / 9) }},
	} {
		s := newStage(t, cellA())
		s.send(bulk(1), 200*time.Microsecond, time.Second, nil)
		if moves, last := s.send(bulk(1), 200*time.Microsecond, 10*time.Second, func(n int) { test.each(s, n) }); moves != 0 || last != 1 {
			t.Errorf("%s: %d moves, is on %d", test.name, moves, last)
		}
	}
}

// TestBulkFlood: more is offered than both paths have. It stays on the best
// link, and a second one takes the other.
func TestBulkFlood(t *testing.T) {
	s := newStage(t, cellA())
	count := map[[2]int]int{}
	for n := range 200_000 {
		s.paths[0].Queued = min(n*1000, 3_000_000)
		if n > 100_000 {
			got := s.auto.Pick(s.now, bulk(2), s.paths, nil)[0]
			count[[2]int{2, got}]++
			s.paths[1].Queued = min((n-100_000)*1000, 3_000_000)
		}
		count[[2]int{1, s.auto.Pick(s.now, bulk(1), s.paths, nil)[0]}]++
		s.now = s.now.Add(60 * time.Microsecond)
	}
	if len(count) != 2 || count[[2]int{1, 1}] == 0 || count[[2]int{2, 2}] == 0 {
		t.Fatalf("flow, path: %v", count)
	}
}

// TestBulkAlone: what has a path for itself does not share a full one, unless that
// is worth far more.
func TestBulkAlone(t *testing.T) {
	for rate, want := range map[float64]int{13e6: 2, 2e6: 1} {
		s := newStage(t, []Path{{ID: 1, RTT: 30 * ms, Rate: 48e6}, {ID: 2, RTT: 200 * ms}})
		every := 60 * time.Microsecond // 200 Mb/s
		s.send(bulk(1), every, ms, nil)
		s.paths[0].Queued = 2_000_000
		s.send(bulk(1), every, 2*time.Second, nil)
		_, last := s.send(bulk(2), every, 10*time.Second, func(n int) {
			s.auto.Pick(s.now, bulk(1), s.paths, nil)
			s.paths[1].Queued = min(n*1500, 2_000_000)
			if n == 3333 { // a round trip
				s.paths[1].Rate = rate
			}
		})
		if last != want {
			t.Errorf("with %.0f Mb/s on the second path it is on %d, want %d", rate/1e6, last, want)
		}
	}
}

// TestBulkMoves: what happens to its path at one second, and by when it must
// have moved, and how often.
func TestBulkMoves(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(s *stage)
		within time.Duration
	}{
		{"gone", func(s *stage) { s.paths = s.paths[1:] }, 0},
		{"stands by now", func(s *stage) { s.paths[0].Standby = true }, 0},
		{"collapsed", func(s *stage) { s.paths[0].Rate, s.paths[0].Queued = 2e6, 300_000 }, 1500 * ms},
		{"filled by others", func(s *stage) { s.paths[0].Queued = 1_000_000 }, 1500 * ms},
	} {
		s := newStage(t, cellA())
		every := 2400 * time.Microsecond // 5 Mb/s
		s.send(bulk(1), every, time.Second, nil)
		test.change(s)
		if _, last := s.send(bulk(1), every, max(test.within, every), nil); last != 2 {
			t.Errorf("%s: not moved within %v", test.name, test.within)
		}
		if moves, _ := s.send(bulk(1), every, 20*time.Second, nil); moves != 0 {
			t.Errorf("%s: moved %d times more", test.name, moves)
		}
	}
}

// TestBulkSpreadsAgain: eight flows that fill what they have were left with one
// path; at two seconds the other returns, and soon has its share of them.
func TestBulkSpreadsAgain(t *testing.T) {
	s := newStage(t, cellA())
	both := s.paths
	s.paths = both[:1]
	var at [8]int
	var owed [8]float64 // bytes that a flow may send
	moves := 0
	var balanced time.Duration
	for n := range 30_000 {
		if n == 2000 {
			s.paths = both
		}
		count := map[int]int{}
		for _, id := range at {
			count[id]++
		}
		for i := range s.paths {
			p := &s.paths[i]
			p.Queued = 8000 * count[p.ID]
			for flow := range at {
				if at[flow] == p.ID || at[flow] == 0 {
					owed[flow] += p.Rate / 8 / 1000 / float64(max(1, count[p.ID]))
				}
			}
		}
		for flow := range at {
			for ; owed[flow] > 0; owed[flow] -= 1510 {
				got := s.auto.Pick(s.now, bulk(flow), s.paths, nil)[0]
				if at[flow] != 0 && at[flow] != got {
					moves++
				}
				at[flow] = got
			}
		}
		if count[2] == 3 && balanced == 0 {
			balanced = s.now.Sub(epoch) - 2*time.Second
		}
		s.now = s.now.Add(ms)
	}
	t.Logf("balanced %v after the return, with %d moves, at the end %v", balanced, moves, at)
	if balanced == 0 || balanced > 5*time.Second || moves > 5 {
		t.Fatalf("balanced after %v, %d moves: %v", balanced, moves, at)
	}
}

// TestPulses: whatever the paths do, a flow moves seldom.
func TestPulses(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	s := newStage(t, cellA())
	moves, _ := s.send(bulk(1), 2400*time.Microsecond, 2*time.Minute, func(n int) {
		if n%1000 == 0 {
			for i := range s.paths {
				s.paths[i].Rate = 1e6 + 50e6*rng.Float64()
				s.paths[i].Queued = rng.IntN(2) * 1_000_000
			}
		}
	})
	if moves > 12 {
		t.Errorf("%d moves in two minutes", moves)
	}
}

// TestClasses: a flow that turns bulk stays where it is unless there is much
// more room elsewhere, and is sparse again where it then is.
func TestClasses(t *testing.T) {
	s := newStage(t, []Path{{ID: 1, RTT: 30 * ms, Rate: 50e6}, {ID: 2, RTT: 60 * ms, Rate: 60e6}, {ID: 3, RTT: 60 * ms, Rate: 10e6}})
	p := call(1)
	s.send(p, 20*ms, time.Second, nil)
	p.Class = queue.Bulk
	if moves, last := s.send(p, 2*ms, time.Second, nil); moves != 0 || last != 1 {
		t.Fatalf("%d moves, is on %d", moves, last)
	}
	s.paths[0].Rate = 20e6
	s.now = s.now.Add(5 * time.Second) // nothing of it is under way any more
	if _, last := s.send(p, 2*ms, time.Second, nil); last != 2 {
		t.Fatalf("is on %d after a rest", last)
	}
	p.Class = queue.Sparse
	if _, last := s.send(p, 20*ms, time.Second, nil); last != 1 {
		t.Fatalf("a sparse flow is on %d", last)
	}
}

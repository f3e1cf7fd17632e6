package stream

import (
	"sync"
	"testing"
	"time"
)

func TestBudgetIsNeverOverdrawn(t *testing.T) {
	b := NewBudget(10*blockBytes + 5)
	if b.Left() != 10*blockBytes {
		t.Fatalf("%d bytes in it", b.Left())
	}
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for n := range 2000 {
				got := b.take(n % 7)
				if left := b.Left(); left < 0 || left > 10*blockBytes {
					t.Errorf("%d bytes left", left)
				}
				b.give(got)
			}
		})
	}
	running.Wait()
	if b.Left() != 10*blockBytes {
		t.Errorf("%d bytes left", b.Left())
	}
	var none *Budget
	if none.take(5) != 5 {
		t.Error("no budget is no bound")
	}
	none.give(5)
	if NewBudget(-1).take(1) != 0 {
		t.Error("a negative budget has blocks")
	}
}

// An Outbound holds its floor without a budget, more with one, and is given
// room again by its own acknowledgements.
func TestOutboundAndBudget(t *testing.T) {
	budget := NewBudget(2 * blockBytes)
	o := NewOutbound(16<<20, 1<<30, budget)
	other := NewOutbound(16<<20, 1<<30, budget)
	for _, skew := range []int{0, 1, 1000, blockBytes - 1} {
		fill(o.Buffer, noise(0, skew))
		o.Next(1 << 20)
		o.Ack(Ack{Received: o.Sent(), Limit: 1 << 30})
		n := fill(o.Buffer, noise(0, 1<<20))
		if n < MinBufferBytes+2*blockBytes || budget.Left() != 0 {
			t.Errorf("skew %d: holds %d, %d left", skew, n, budget.Left())
		}
		if n := fill(other.Buffer, noise(0, 1<<20)); n < MinBufferBytes || n > MinBufferBytes+blockBytes {
			t.Errorf("skew %d: without budget it holds %d", skew, n)
		}
		for o.Ready() {
			o.Next(1 << 20)
		}
		if err := o.Ack(Ack{Received: o.Sent() - uint64(n) + 2*blockBytes, Limit: 1 << 30}); err != nil {
			t.Fatal(err)
		}
		if len(o.Space()) == 0 {
			t.Errorf("skew %d: no room behind an acknowledgement", skew)
		}
		o.Commit(0)
		o.Ack(Ack{Received: o.Sent(), Limit: 1 << 30})
		if budget.Left() != 2*blockBytes {
			t.Errorf("skew %d: %d left when all is acknowledged", skew, budget.Left())
		}
		for other.Ready() {
			other.Next(1 << 20)
		}
		other.Ack(Ack{Received: other.Sent(), Limit: 1 << 30})
	}
	fill(o.Buffer, noise(0, 1<<20))
	o.Close()
	o.Close()
	if budget.Left() != 2*blockBytes {
		t.Errorf("%d left after Close", budget.Left())
	}
}

// path is one direction with a round trip and a rate, in ticks of a
// millisecond: an Outbound without end, an Inbound whose program takes
// readBytes a tick.
type path struct {
	in        *Inbound
	limit     uint64 // as the sender knows it
	sent      uint64
	data      []int    // under way, one for each tick
	acks      []uint64 // limits under way
	rateBytes int
	readBytes int
	now       time.Time
	told      time.Time
}

func newPath(windowBytes int, budget *Budget, rtt, rateBytes, readBytes int) *path {
	p := &path{in: NewInbound(windowBytes, budget), rateBytes: rateBytes, readBytes: readBytes, now: time.Unix(1, 0)}
	p.data, p.acks = make([]int, rtt/2), make([]uint64, rtt/2)
	p.limit = p.in.Ack().Limit
	return p
}

func (p *path) tick(t *testing.T) {
	p.now = p.now.Add(time.Millisecond)
	p.limit = max(p.limit, p.acks[0])
	n := min(p.rateBytes, int(p.limit-p.sent))
	p.sent += uint64(n)
	p.data = append(p.data[1:], n)
	if got := p.data[0]; got > 0 {
		if err := p.in.Data(got); err != nil {
			t.Fatal(err)
		}
		p.in.Keep(noise(0, got))
	}
	for left := p.readBytes; left > 0 && p.in.Waiting(); {
		b := p.in.Pending()
		k := min(left, len(b))
		p.in.Consume(k)
		p.in.Tune(p.now)
		left -= k
	}
	a, due := p.in.Due(p.now.Sub(p.told) > 25*time.Millisecond)
	if due {
		p.told = p.now
	}
	p.acks = append(p.acks[1:], a.Limit)
	if !due {
		p.acks[len(p.acks)-1] = 0
	}
}

// A gigabit over 100 ms has its window within a second.
func TestWindowGrowsFast(t *testing.T) {
	p := newPath(16<<20, nil, 100, 125_000, 1<<20)
	for n := range 1000 {
		p.tick(t)
		if p.in.Window() >= 12<<20 {
			t.Logf("after %d ms", n)
			return
		}
	}
	t.Errorf("%d bytes after a second", p.in.Window())
}

func TestWindowFollowsThePace(t *testing.T) {
	tests := []struct {
		name          string
		rtt           int
		rate, read    int // bytes a millisecond
		least, most   int // of the window, after 10 s
		budget        int64
		windowAllowed int
	}{
		{name: "slow path", rtt: 50, rate: 100, read: 1 << 20, least: 256 << 10, most: 512 << 10},
		{name: "20 Mb/s over 600 ms", rtt: 600, rate: 2_500, read: 1 << 20, least: 3 << 20, most: 16 << 20},
		{name: "slow program", rtt: 20, rate: 125_000, read: 1_000, least: 256 << 10, most: FirstWindowBytes},
		{name: "budget", rtt: 100, rate: 125_000, read: 1 << 20, budget: 10 * blockBytes, least: 256<<10 + 10*blockBytes, most: 256<<10 + 10*blockBytes},
		{name: "small window", rtt: 100, rate: 125_000, read: 1 << 20, windowAllowed: 100_000, least: 100_000, most: 100_000},
	}
	for _, tt := range tests {
		var budget *Budget
		if tt.budget > 0 {
			budget = NewBudget(tt.budget)
		}
		if tt.windowAllowed == 0 {
			tt.windowAllowed = 16 << 20
		}
		p := newPath(tt.windowAllowed, budget, tt.rtt, tt.rate, tt.read)
		for range 10_000 {
			p.tick(t)
		}
		if w := p.in.Window(); w < tt.least || w > tt.most {
			t.Errorf("%s: window of %d bytes, want %d to %d", tt.name, w, tt.least, tt.most)
		}
		p.in.Close()
		if budget != nil && budget.Left() != tt.budget {
			t.Errorf("%s: %d bytes left in the budget after Close", tt.name, budget.Left())
		}
	}
}

// What is promised at first comes out of one half of the budget; who grows has
// the other.
func TestFirstWindows(t *testing.T) {
	const more = FirstWindowBytes - MinWindowBytes
	budget := NewBudget(8 * more)
	var list []*Inbound
	for n := range 10 {
		in := NewInbound(16<<20, budget)
		want := FirstWindowBytes
		if n >= 4 {
			want = MinWindowBytes
		}
		if got := in.Ack().Limit; got != uint64(want) || in.Window() != want {
			t.Errorf("the stream %d is promised %d, want %d", n, got, want)
		}
		list = append(list, in)
	}
	if budget.Left() != 4*more {
		t.Errorf("%d bytes left, want half", budget.Left())
	}
	for _, in := range list {
		in.Close()
	}
	if budget.Left() != 8*more {
		t.Errorf("%d bytes left at the end", budget.Left())
	}
	if in := NewInbound(100_000, budget); in.Window() != 100_000 {
		t.Errorf("window of %d bytes, 100000 are allowed", in.Window())
	}
}

// A stream that has become slow gives its window back, as it uses up what was
// promised, and never takes back a promise.
func TestWindowShrinks(t *testing.T) {
	budget := NewBudget(64 << 20)
	p := newPath(4<<20, budget, 100, 125_000, 1<<20)
	for range 1000 {
		p.tick(t)
	}
	if p.in.Window() != 4<<20 || budget.Left() != 64<<20-(4<<20-256<<10) {
		t.Fatalf("window of %d bytes, %d in the budget", p.in.Window(), budget.Left())
	}
	p.rateBytes = 60
	last := p.in.told.Limit
	for range 90_000 {
		p.tick(t)
		if p.in.told.Limit < last {
			t.Fatalf("the peer was told %d after %d", p.in.told.Limit, last)
		}
		last = p.in.told.Limit
	}
	if p.in.Window() != 256<<10 || budget.Left() != 64<<20 {
		t.Errorf("window of %d bytes, %d in the budget", p.in.Window(), budget.Left())
	}
	p.in.Close()
}

// The end gives back what was promised beyond what waits.
func TestFinFreesTheWindow(t *testing.T) {
	budget := NewBudget(64 << 20)
	p := newPath(4<<20, budget, 100, 125_000, 1<<20)
	for range 1000 {
		p.tick(t)
	}
	if err := p.in.Fin(); err != nil {
		t.Fatal(err)
	}
	if budget.Left() != 64<<20 {
		t.Errorf("%d bytes in the budget", budget.Left())
	}
	p.in.Close()
	if budget.Left() != 64<<20 {
		t.Errorf("%d bytes in the budget after Close", budget.Left())
	}
}

// A budget that is made smaller than what is taken gives nothing until enough of
// it came back.
func TestBudgetResize(t *testing.T) {
	b := NewBudget(10 * blockBytes)
	if n := b.take(8); n != 8 {
		t.Fatalf("took %d", n)
	}
	b.Resize(4 * blockBytes)
	if b.Left() != 0 || b.take(1) != 0 || b.takeSpare(1) != 0 {
		t.Errorf("%d bytes left of a smaller one", b.Left())
	}
	b.give(5)
	if got := b.take(9); got != 1 {
		t.Errorf("took %d, want the one that is left", got)
	}
	b.give(4)
	b.Resize(20 * blockBytes)
	if b.Left() != 20*blockBytes || b.takeSpare(11) != 0 || b.takeSpare(10) != 10 {
		t.Errorf("%d bytes left of a larger one", b.Left())
	}
}

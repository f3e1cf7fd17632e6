package relay

import (
	"bytes"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"braid/tunnel/stream"
	"braid/tunnel/wire"
)

// countingLink counts writes that bring data.
type countingLink struct {
	*pipeLink
	writes atomic.Int64

	mu     sync.Mutex // guards what follows
	pieces []int      // all bytes of each of these
}

func (c *countingLink) WriteFrames(parts ...[]byte) error {
	b := bytes.Join(parts, nil)
	for rest := b; len(rest) > 0; {
		typ, n, err := wire.ParseHeader(rest)
		if err != nil {
			return err
		}
		if typ == wire.TypeData {
			c.writes.Add(1)
			c.mu.Lock()
			c.pieces = append(c.pieces, len(b))
			c.mu.Unlock()
			break
		}
		rest = rest[wire.HeaderLen+n:]
	}
	return c.pipeLink.WriteFrames(b)
}

// counted is a pair whose near end's present link counts.
func counted(p *pair) *countingLink {
	near, far := newLinks()
	c := &countingLink{pipeLink: near}
	p.start(nil, nil, testConfig)
	p.near.Attach(c)
	p.accept(far)
	synctest.Wait()
	return c
}

// arrival reads n bytes and returns how long they took.
func (p *pair) arrival(n int) time.Duration {
	start := time.Now()
	if _, err := io.ReadFull(p.farApp, make([]byte, n)); err != nil {
		p.t.Error(err)
	}
	return time.Since(start)
}

// A receiver hands on whole frames: the first must not take more than the first
// flight of a connection. So it is after a pause: the uplink may be another one.
func TestFirstPiecesAreSmall(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		link := counted(p)
		const bytes = 120 << 10
		for range 2 {
			p.running.Go(func() { p.nearApp.Write(make([]byte, bytes)) })
			p.arrival(bytes)
			synctest.Wait()
			link.mu.Lock()
			sum := 0
			for _, n := range link.pieces {
				if most := max(firstPiece, sum) + headSlack; n > most {
					t.Errorf("%d bytes at once behind %d, want at most %d: %v", n, sum, most, link.pieces)
				}
				sum += n
			}
			if len(link.pieces) > 8 {
				t.Errorf("%d pieces", len(link.pieces))
			}
			link.pieces = nil
			link.mu.Unlock()
			time.Sleep(2 * coldAfter)
		}
	})
}

func TestSmallWritesWait(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		link := counted(p)
		// A key after a pause goes at once.
		for range 3 {
			time.Sleep(smallPause)
			p.nearApp.Write([]byte("k"))
			if d := p.arrival(1); d != 0 {
				t.Errorf("a key takes %v", d)
			}
		}
		// So does much, and what is held goes along.
		p.nearApp.Write(make([]byte, 10))
		synctest.Wait()
		p.nearApp.Write(make([]byte, smallBytes))
		if d := p.arrival(smallBytes + 10); d != 0 {
			t.Errorf("%d bytes take %v", smallBytes+10, d)
		}
		p.nearApp.Write([]byte("k"))
		if d := p.arrival(1); d != smallPause {
			t.Errorf("a key behind that takes %v", d)
		}
		// Many tiny ones become few.
		time.Sleep(time.Second)
		before := link.writes.Load()
		for range 1000 {
			p.nearApp.Write(make([]byte, 3))
			time.Sleep(100 * time.Microsecond)
		}
		if n := link.writes.Load() - before; n > 51 {
			t.Errorf("%d writes in 100 ms", n)
		}
		p.arrival(3000)
		// The end waits for nothing.
		p.nearApp.Write([]byte("end"))
		synctest.Wait()
		start := time.Now()
		p.nearApp.CloseWrite()
		if b, err := io.ReadAll(p.farApp); string(b) != "end" || err != nil || time.Since(start) != 0 {
			t.Errorf("%q, %v after %v", b, err, time.Since(start))
		}
		p.farApp.CloseWrite()
		p.ended(nil, nil)
	})
}

// A new link begins without a pause, and an idle stream has no timer.
func TestHoldIsOfTheLink(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		counted(p)
		p.nearApp.Write([]byte("a"))
		p.arrival(1)
		p.nearApp.Write([]byte("b"))
		synctest.Wait()
		p.resume = func() time.Duration { return 0 }
		p.resumeOnce()
		if d := p.arrival(1); d != 0 {
			t.Errorf("behind the new link's greeting it takes %v", d)
		}
		time.Sleep(time.Minute)
		p.near.mu.Lock()
		defer p.near.mu.Unlock()
		if p.near.holdArmed || p.near.flushArmed || p.near.timer != nil {
			t.Error("an idle stream has timers")
		}
	})
}

// Many streams share a budget that is much too small for them, and a program
// that does not read keeps what it was given.
func TestSharedBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const total = 8 * 64 << 10
		cfg := testConfig
		cfg.BufferBytes, cfg.WindowBytes = 16<<20, 16<<20
		cfg.Budget = stream.NewBudget(total)
		var pairs []*pair
		for range 8 {
			p := newPair(t)
			defer p.stop()
			near, far := newLinks()
			p.start(near, far, cfg)
			pairs = append(pairs, p)
		}
		stuck := pairs[0]
		stuck.running.Go(func() { stuck.nearApp.Write(pattern(0, 4<<20)) })
		synctest.Wait()
		time.Sleep(time.Second)
		done := make(chan struct{})
		for n, p := range pairs[1:] {
			p.running.Go(func() {
				p.exchange(pattern(uint64(n), 3<<20), pattern(uint64(n+20), 3<<20))
				done <- struct{}{}
			})
		}
		for range pairs[1:] {
			<-done
		}
		if _, err := io.ReadFull(stuck.farApp, make([]byte, 4<<20)); err != nil {
			t.Error(err)
		}
		stuck.exchange(nil, nil)
		for _, p := range pairs {
			p.ended(nil, nil)
		}
		if left := cfg.Budget.Left(); left != total {
			t.Errorf("%d bytes of %d left in the budget", left, total)
		}
	})
}

func TestStats(t *testing.T) {
	bubble(t, func(t *testing.T, p *pair) {
		near, far := newLinks()
		p.start(near, far, testConfig)
		synctest.Wait()
		p.nearApp.Write(make([]byte, 1000))
		p.farApp.Write(make([]byte, 20))
		time.Sleep(time.Second)
		if got, want := p.near.Stats(), (Stats{SentBytes: 1000, ReceivedBytes: 20, Open: true}); got != want {
			t.Errorf("near: %+v, want %+v", got, want)
		}
		if got, want := p.far.Stats(), (Stats{SentBytes: 20, ReceivedBytes: 1000, Open: true}); got != want {
			t.Errorf("far: %+v, want %+v", got, want)
		}
		p.resume = func() time.Duration { return time.Second }
		near.Close()
		synctest.Wait()
		p.nearApp.Write(make([]byte, 500))
		synctest.Wait()
		if got, want := p.near.Stats(), (Stats{SentBytes: 1000, ReceivedBytes: 20, Open: true, Detached: true, Buffered: 500}); got != want {
			t.Errorf("near, detached: %+v, want %+v", got, want)
		}
		time.Sleep(time.Minute)
		if got, want := p.near.Stats(), (Stats{SentBytes: 1500, ReceivedBytes: 20, Open: true, Resumed: 1}); got != want {
			t.Errorf("near, resumed: %+v, want %+v", got, want)
		}
		if st := p.far.Stats(); st.Resumed != 1 {
			t.Errorf("far, resumed: %+v", st)
		}
	})
}

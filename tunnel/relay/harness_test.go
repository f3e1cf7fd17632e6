package relay

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"braid/tunnel/wire"
)

// Two relays back to back, with a program at each end:
//
//	nearApp ═ socket ═ near (opener) ═ link ═ far (accepter) ═ socket ═ farApp
type pair struct {
	t        testing.TB
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
	nearApp  *pipeSocket
	farApp   *pipeSocket
	connect  Connect // the far side's; nil: it succeeds
	resume   func() time.Duration
	nearDone chan struct{}
	farDone  chan struct{}

	mu             sync.Mutex // guards what follows
	link           *pipeLink  // the near end of the newest
	near, far      *Relay
	nearErr        error
	farErr         error
	released       []Link // near, far in the order of release
	detached       int
	farGone        bool // the far relay has ended
	noResume       bool
	refusedResumes int
}

var testConfig = Config{BufferBytes: 256 << 10, WindowBytes: 128 << 10, ResumeTimeout: time.Minute}

func newPair(t testing.TB) *pair {
	p := &pair{t: t, nearDone: make(chan struct{}), farDone: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.resume = func() time.Duration { return 100 * time.Millisecond }
	return p
}

func (p *pair) release(l Link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.released = append(p.released, l)
}

// start opens the stream on a link.
func (p *pair) start(nearLink, farLink *pipeLink, cfg Config) {
	nearApp, nearSock := newSockets()
	farSock, farApp := newSockets()
	p.nearApp, p.farApp = nearApp, farApp
	p.link = nearLink
	cfg.Released = p.release
	cfg.Detached = func(r *Relay, _ error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.detached++
		if r.opener && !p.noResume {
			p.running.Go(p.resumeOnce)
		}
	}
	open := wire.Open{
		Stream: wire.StreamID{1}, Source: netip.MustParseAddrPort("10.77.0.2:1"),
		Destination: netip.MustParseAddrPort("192.0.2.7:443"),
	}
	p.near = NewOpener(cfg, open, func(context.Context) (Socket, error) { return nearSock, nil })
	p.running.Go(func() {
		defer close(p.nearDone)
		p.nearErr = p.near.Run(p.ctx, nearLink)
	})
	p.running.Go(func() {
		defer close(p.farDone)
		typ, b, err := farLink.ReadFrame()
		if err != nil {
			return // it died on the way
		}
		if typ != wire.TypeOpen {
			p.t.Errorf("first frame: %v", typ)
			return
		}
		asked, err := wire.ParseOpen(b)
		if err != nil {
			p.t.Error(err)
			return
		}
		connect := p.connect
		if connect == nil {
			connect = func(context.Context) (Socket, error) { return farSock, nil }
		}
		far := NewAccepter(cfg, asked, connect)
		p.mu.Lock()
		p.far = far
		p.mu.Unlock()
		err = far.Run(p.ctx, farLink)
		p.mu.Lock()
		p.farErr, p.farGone = err, true
		p.mu.Unlock()
	})
}

// resumeOnce dials another link, some time after the last died.
func (p *pair) resumeOnce() {
	time.Sleep(p.resume())
	near, far := newLinks()
	p.mu.Lock()
	p.link = near
	p.mu.Unlock()
	if !p.near.Attach(near) {
		return
	}
	typ, b, err := far.ReadFrame()
	if err != nil {
		return // it died, too
	}
	if typ != wire.TypeResume {
		p.t.Errorf("%v on a new link", typ)
		return
	}
	ask, err := wire.ParseResume(b)
	if err != nil {
		p.t.Error(err)
		return
	}
	time.Sleep(p.resume() / 2)
	if p.far.AttachResumed(far, ask) {
		return
	}
	p.mu.Lock()
	p.refusedResumes++
	p.mu.Unlock()
	if RefuseResume(far) == nil {
		p.release(far)
	} else {
		far.Close()
	}
}

// stop ends everything; the bubble sees to it that nothing is left.
func (p *pair) stop() {
	p.cancel()
	p.running.Wait()
}

// killer kills the present link, and lets its ends notice some time later.
func (p *pair) killer(r *rand.Rand, notice func() time.Duration) {
	p.mu.Lock()
	l := p.link
	p.mu.Unlock()
	l.kill(func(n int) int { return r.IntN(n + 1) })
	a, b := notice(), notice()
	p.running.Go(func() { time.Sleep(a); l.Close() })
	p.running.Go(func() { time.Sleep(b); l.peer.Close() })
}

func pattern(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

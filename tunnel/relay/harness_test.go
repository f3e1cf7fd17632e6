package relay

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
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
	cfg      Config
	nearApp  *pipeSocket
	farApp   *pipeSocket
	farSock  *pipeSocket
	connect  Connect // the far side's; nil: it succeeds
	resume   func() time.Duration
	nearDone chan struct{}

	mu             sync.Mutex // guards what follows
	farEnded       *sync.Cond
	farCount       int // accepting goroutines
	ungreeted      map[*pipeLink]bool
	link           *pipeLink // the near end of the newest
	near, far      *Relay
	nearErr        error
	farErr         error
	released       []Link // near, far in the order of release
	detached       int
	accepted       int // far relays, in all
	noResume       bool
	refusedResumes int
}

var testConfig = Config{BufferBytes: 256 << 10, WindowBytes: 128 << 10, ResumeTimeout: time.Minute}

func newPair(t testing.TB) *pair {
	p := &pair{t: t, ungreeted: map[*pipeLink]bool{}}
	p.farEnded = sync.NewCond(&p.mu)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.resume = func() time.Duration { return 100 * time.Millisecond }
	return p
}

func (p *pair) release(l Link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.released = append(p.released, l)
}

var testOpen = wire.Open{
	Stream: wire.StreamID{1}, Source: netip.MustParseAddrPort("10.77.0.2:1"),
	Destination: netip.MustParseAddrPort("192.0.2.7:443"),
}

// start opens the stream on a link; without, the opener begins detached.
func (p *pair) start(nearLink, farLink *pipeLink, cfg Config) {
	nearApp, nearSock := newSockets()
	farSock, farApp := newSockets()
	p.nearApp, p.farApp, p.farSock = nearApp, farApp, farSock
	p.nearDone = make(chan struct{})
	cfg.Released = p.release
	cfg.Detached = func(r *Relay, _ error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.detached++
		if r.opener && !p.noResume {
			p.running.Go(p.resumeOnce)
		}
	}
	near := NewOpener(cfg, testOpen, func(context.Context) (Socket, error) { return nearSock, nil })
	p.mu.Lock()
	p.link, p.cfg = nearLink, cfg
	p.near, p.far, p.accepted = near, nil, 0
	p.mu.Unlock()
	p.running.Go(func() {
		defer close(p.nearDone)
		var first Link
		if nearLink != nil {
			first = nearLink
		}
		err := near.Run(p.ctx, first)
		p.mu.Lock()
		p.nearErr = err
		p.mu.Unlock()
	})
	if farLink != nil {
		p.accept(farLink)
	}
}

// accept is the far side's owner: it reads the greeting of a new link, and
// does what it asks for.
func (p *pair) accept(link *pipeLink) {
	p.mu.Lock()
	p.farCount++
	p.ungreeted[link] = true
	p.mu.Unlock()
	p.running.Go(func() {
		defer func() {
			p.mu.Lock()
			p.farCount--
			p.farEnded.Broadcast()
			p.mu.Unlock()
		}()
		typ, b, err := link.ReadFrame()
		p.mu.Lock()
		delete(p.ungreeted, link)
		p.mu.Unlock()
		if err != nil {
			return // it died on the way
		}
		switch typ {
		case wire.TypeOpen:
			asked, err := wire.ParseOpen(b)
			if err != nil {
				p.t.Error(err)
				return
			}
			p.acceptOpen(link, asked)
		case wire.TypeResume:
			ask, err := wire.ParseResume(b)
			if err != nil {
				p.t.Error(err)
				return
			}
			time.Sleep(p.resume() / 2)
			p.acceptResume(link, ask)
		default:
			p.t.Errorf("%v on a new link", typ)
		}
	})
}

func (p *pair) acceptOpen(link *pipeLink, asked wire.Open) {
	p.mu.Lock()
	if p.far != nil && p.far.AttachReopened(link) {
		p.mu.Unlock()
		return
	}
	connect := p.connect
	if connect == nil {
		if p.accepted > 0 { // the first one's socket is gone
			p.farSock, p.farApp = newSockets()
		}
		sock := p.farSock
		connect = func(context.Context) (Socket, error) { return sock, nil }
	}
	far := NewAccepter(p.cfg, asked, connect)
	p.far = far
	p.accepted++
	p.mu.Unlock()
	err := far.Run(p.ctx, link)
	p.mu.Lock()
	p.farErr = err
	p.mu.Unlock()
}

func (p *pair) acceptResume(link *pipeLink, ask wire.Resume) {
	p.mu.Lock()
	far := p.far
	p.mu.Unlock()
	if far != nil && far.AttachResumed(link, ask) {
		return
	}
	p.mu.Lock()
	p.refusedResumes++
	p.mu.Unlock()
	if RefuseResume(link) == nil {
		p.release(link)
	} else {
		link.Close()
	}
}

// resumeOnce dials another link, some time after the last died.
func (p *pair) resumeOnce() {
	time.Sleep(p.resume())
	near, far := newLinks()
	p.mu.Lock()
	p.link = near
	p.mu.Unlock()
	if p.near.Attach(near) {
		p.accept(far)
	}
}

// waitFar waits until the far side does nothing any more; the near side has
// ended.
func (p *pair) waitFar() {
	p.hangUp()
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.farCount > 0 {
		p.farEnded.Wait()
	}
}

// hangUp closes the links on which nobody has said anything.
func (p *pair) hangUp() {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.ungreeted {
		l.Close()
	}
}

// stop ends everything; the bubble sees to it that nothing is left.
func (p *pair) stop() {
	p.cancel()
	<-p.nearDone
	p.waitFar()
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

// noise is what pattern is cut from.
var noise = func() []byte {
	r := rand.New(rand.NewPCG(1, 7))
	b := make([]byte, 16<<20)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
}()

// pattern returns n random bytes, at most 12 MiB, the same for the same seed.
// They are not to be written to.
func pattern(seed uint64, n int) []byte {
	start := rand.New(rand.NewPCG(seed, 7)).IntN(4 << 20)
	return noise[start : start+n]
}

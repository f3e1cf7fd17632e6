package tunnel

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits on peers that have not proved who they are.
const (
	// maxHandshakes bounds memory: some 200 KB each. Those from addresses
	// where a client was lately have as many of their own.
	maxHandshakes = 64
	// handshakesPerSecond bounds CPU: about a millisecond each.
	handshakesPerSecond = 100
	handshakesBurst     = 200
	// knownFor is how long an address is trusted to be a client's: a pool of
	// carriers is dialled at once, and must not wait for strangers.
	knownFor = 10 * time.Minute
	// knownMost bounds memory.
	knownMost = 4096
)

var errTooManyHandshakes = errors.New("too many handshakes at once")

// gate decides which connections may begin a handshake.
type gate struct {
	strangers, clients chan struct{} // one token per handshake under way
	pace               *rate.Limiter

	mu    sync.Mutex // guards known
	known map[netip.Addr]time.Time
}

func newGate() *gate {
	return &gate{
		strangers: make(chan struct{}, maxHandshakes), clients: make(chan struct{}, maxHandshakes),
		pace: rate.NewLimiter(handshakesPerSecond, handshakesBurst), known: map[netip.Addr]time.Time{},
	}
}

func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// enter takes a token for a connection that was accepted just now; pass waits
// until it may go on, leave gives the token back.
func (g *gate) enter(remote net.Addr) (p *passage, err error) {
	g.mu.Lock()
	since, ok := g.known[addrOf(remote)]
	g.mu.Unlock()
	p = &passage{tokens: g.strangers, pace: g.pace}
	if ok && time.Since(since) < knownFor {
		p = &passage{tokens: g.clients}
	}
	select {
	case p.tokens <- struct{}{}:
		return p, nil
	default:
		return nil, errTooManyHandshakes
	}
}

type passage struct {
	tokens chan struct{}
	pace   *rate.Limiter // nil: there is none
}

func (p *passage) pass(ctx context.Context) error {
	if p.pace == nil {
		return nil
	}
	return p.pace.Wait(ctx)
}

func (p *passage) leave() { <-p.tokens }

// knows notes that a client was at an address.
func (g *gate) knows(remote net.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.known) >= knownMost {
		clear(g.known) // they are known again with their next carrier
	}
	g.known[addrOf(remote)] = time.Now()
}

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
	// handshakesPerAddress is what one address, or one IPv6 network of 64
	// bits, may have of either: more than a client's pool dials at once.
	handshakesPerAddress = 16
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

	mu    sync.Mutex // guards what follows
	known map[netip.Addr]time.Time
	begun map[netip.Addr]int // handshakes under way
}

func newGate() *gate {
	return &gate{
		strangers: make(chan struct{}, maxHandshakes), clients: make(chan struct{}, maxHandshakes),
		pace: rate.NewLimiter(handshakesPerSecond, handshakesBurst), known: map[netip.Addr]time.Time{},
		begun: map[netip.Addr]int{},
	}
}

// addrOf is what stands for a peer: its address, or its IPv6 network.
func addrOf(a net.Addr) netip.Addr {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	addr := t.AddrPort().Addr().Unmap().WithZone("")
	if addr.Is6() {
		addr = netip.PrefixFrom(addr, 64).Masked().Addr()
	}
	return addr
}

// enter takes a token for a connection that was accepted just now; pass waits
// until it may go on, leave gives the token back.
func (g *gate) enter(remote net.Addr) (p *passage, err error) {
	from := addrOf(remote)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.begun[from] >= handshakesPerAddress {
		return nil, errTooManyHandshakes
	}
	p = &passage{gate: g, from: from, tokens: g.strangers, pace: g.pace}
	if since, ok := g.known[from]; ok && time.Since(since) < knownFor {
		p.tokens, p.pace = g.clients, nil
	}
	select {
	case p.tokens <- struct{}{}:
		g.begun[from]++
		return p, nil
	default:
		return nil, errTooManyHandshakes
	}
}

// passage is one handshake's.
type passage struct {
	gate   *gate
	from   netip.Addr
	tokens chan struct{}
	pace   *rate.Limiter // nil: there is none
}

func (p *passage) pass(ctx context.Context) error {
	if p.pace == nil {
		return nil
	}
	return p.pace.Wait(ctx)
}

func (p *passage) leave() {
	<-p.tokens
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	if p.gate.begun[p.from]--; p.gate.begun[p.from] == 0 {
		delete(p.gate.begun, p.from)
	}
}

// knows notes that a client was at an address.
func (g *gate) knows(remote net.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.known) >= knownMost {
		clear(g.known) // they are known again with their next carrier
	}
	g.known[addrOf(remote)] = time.Now()
}

package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"braid/crypto"
)

// dialStagger is the head start of each dial over the next: enough for the
// handshake over a usual line, so that a healthy first uplink is not doubled,
// and short enough that a dead one costs little (RFC 8305, section 5).
const dialStagger = 300 * time.Millisecond

// ErrNoUplink says that there is no uplink to dial over.
var ErrNoUplink = errors.New("no usable uplink")

// candidate is one way to reach the server.
type candidate struct {
	server netip.AddrPort
	via    Uplink
}

// candidates pairs each server address with each uplink that has an address
// of its family. The first uplink's come first; uplinks arrive in order of
// preference.
func candidates(servers []netip.AddrPort, uplinks []Uplink) []candidate {
	var list []candidate
	for _, s := range servers {
		for _, u := range uplinks {
			if hasFamily(u, s.Addr()) {
				list = append(list, candidate{s, u})
			}
		}
	}
	return list
}

func hasFamily(u Uplink, server netip.Addr) bool {
	for _, a := range u.Addresses {
		if a.Unmap().Is4() == server.Unmap().Is4() {
			return true
		}
	}
	return false
}

// race runs attempt for 0 to n-1, each a stagger after the one before (which is
// asked for each time), the
// first eager ones also as soon as the one before has failed, and returns the
// first success; the others are cancelled and awaited, and what they made
// after all goes to discard. When all that have begun have failed it begins no
// more of those that are not eager: they are for those that hang. The error
// joins all failures that differ.
func race[T any](ctx context.Context, n, eager int, stagger func() time.Duration, attempt func(context.Context, int) (T, error), discard func(T)) (T, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		v   T
		err error
	}
	results := make(chan result)
	var started, finished int
	start := func() {
		i := started
		started++
		go func() {
			v, err := attempt(ctx, i)
			results <- result{v, err}
		}()
	}
	var winner *T
	var errs []error
	timer := time.NewTimer(stagger())
	defer timer.Stop()
	start()
	for finished < started {
		select {
		case r := <-results:
			finished++
			switch {
			case r.err != nil:
				if !slices.ContainsFunc(errs, func(e error) bool { return e.Error() == r.err.Error() }) {
					errs = append(errs, r.err)
				}
			case winner != nil:
				discard(r.v)
			default:
				winner = &r.v
				cancel()
			}
			if winner == nil && started < eager && ctx.Err() == nil {
				start()
				timer.Reset(stagger())
			}
		case <-timer.C:
			if winner == nil && started < n && ctx.Err() == nil {
				start()
				timer.Reset(stagger())
			}
		}
	}
	if winner != nil {
		return *winner, nil
	}
	var zero T
	return zero, errors.Join(errs...)
}

const (
	// againAfter bounds the connecting of all attempts but the first round: a
	// kernel repeats a lost SYN after one, three and seven seconds, which is
	// too late for whoever waits for an uplink to come back. The first round
	// may take its time, for paths that are really slow.
	againAfter = 8 * dialStagger
	// dialHurry takes the place of dialStagger while no uplink works: the first
	// SYN that gets through ends the outage.
	dialHurry = 100 * time.Millisecond
	// dialRounds is how often each candidate is tried: until the time is over.
	dialRounds = int(handshakeTimeout / dialHurry)
)

func usualStagger() time.Duration { return dialStagger }

// connect dials all candidates, again and again, until one has a secured
// connection. Hello is sent on the winner only: two would take the session
// from each other.
func connect(ctx context.Context, d Dialer, purpose Purpose, cfg *tls.Config, own crypto.PublicKey, list []candidate, stagger func() time.Duration) (*secured, candidate, error) {
	type won struct {
		s *secured
		c candidate
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	w, err := race(ctx, max(len(list), dialRounds), len(list), stagger, func(ctx context.Context, i int) (won, error) {
		c := list[i%len(list)]
		dialCtx, cancel := ctx, context.CancelFunc(func() {})
		if i >= len(list) {
			dialCtx, cancel = context.WithTimeout(ctx, againAfter)
		}
		conn, err := d.Dial(dialCtx, c.server, c.via, purpose)
		cancel()
		if err != nil {
			return won{}, fmt.Errorf("reach %v over %s: %w", c.server, c.via.Name, err)
		}
		s, err := secure(ctx, conn, func(cork *corkConn) *tls.Conn { return tls.Client(cork, cfg) }, crypto.RoleClient, own)
		if err != nil {
			return won{}, fmt.Errorf("reach %v over %s: %w", c.server, c.via.Name, err)
		}
		return won{s, c}, nil
	}, func(w won) { w.s.conn.Close() })
	return w.s, w.c, err
}

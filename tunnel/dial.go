package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
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

// race runs attempt for 0 to n-1, each a stagger after the one before or as
// soon as that has failed, and returns the first success; the others are
// cancelled and awaited, and what they made after all goes to discard. The
// error joins all failures.
func race[T any](ctx context.Context, n int, stagger time.Duration, attempt func(context.Context, int) (T, error), discard func(T)) (T, error) {
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
	timer := time.NewTimer(stagger)
	defer timer.Stop()
	start()
	for finished < started {
		select {
		case r := <-results:
			finished++
			switch {
			case r.err != nil:
				errs = append(errs, r.err)
			case winner != nil:
				discard(r.v)
			default:
				winner = &r.v
				cancel()
			}
			if winner == nil && started < n && ctx.Err() == nil {
				start()
				timer.Reset(stagger)
			}
		case <-timer.C:
			if winner == nil && started < n && ctx.Err() == nil {
				start()
				timer.Reset(stagger)
			}
		}
	}
	if winner != nil {
		return *winner, nil
	}
	var zero T
	return zero, errors.Join(errs...)
}

// connect dials all candidates until one has a secured connection. Hello is
// sent on the winner only: two would take the session from each other.
func connect(ctx context.Context, d Dialer, cfg *tls.Config, own crypto.PublicKey, list []candidate) (*secured, candidate, error) {
	type won struct {
		s *secured
		c candidate
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	w, err := race(ctx, len(list), dialStagger, func(ctx context.Context, i int) (won, error) {
		c := list[i]
		conn, err := d.Dial(ctx, c.server, c.via)
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

package dnsforward

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Bounds of one query.
const (
	serversPerQuery = 3 // that are asked at most
	maxAsks         = 8 // questions at most, to all of them together
	// patience ends before the five seconds of the C library, which would otherwise
	// ask again while we still do.
	patience = 4500 * time.Millisecond
)

// server is one DNS server. Its timing is guarded by the Forwarder's mu.
type server struct {
	addr netip.AddrPort
	timing
}

// race asks the servers in turn, and again, until one answers. What it returns
// has an ID of its own. All that it began has ended when it returns.
func (f *Forwarder) race(ctx context.Context, q *dns.Msg, network string) ([]byte, error) {
	servers := f.inOrder(time.Now())
	if len(servers) == 0 {
		return nil, errNoServers
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	outcomes := make(chan outcome, len(servers)) // one of each
	asks := make([]*ask, len(servers))
	for i, s := range servers {
		asks[i] = newAsk(f.cfg.Dial, s, q, network, outcomes)
	}

	var refused []byte // an answer, but another server may have a better one
	var errs []error
	var last *ask
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; {
		select {
		case <-timer.C:
			f.noteOverdue(last)
			if last = turn(asks, n); last == nil {
				return lastResort(refused, errs)
			}
			if n == maxAsks {
				break // all that can be done is wait
			}
			if n > 0 {
				f.again.Add(1)
			}
			last.ask(ctx, &wg)
			// Twice as long with each round: who does not answer at all is not
			// to be flooded.
			timer.Reset(f.waitFor(last) << (n / len(asks)))
			n++
		case o := <-outcomes:
			o.ask.over = true
			f.noteOutcome(o)
			switch {
			case o.err != nil:
				errs = append(errs, fmt.Errorf("ask %v: %w", o.ask.server.addr.Addr(), o.err))
			case !othersMayKnow(o.answer):
				return o.answer, nil
			case refused == nil:
				refused = o.answer
			}
			timer.Reset(0) // somebody else, now
		case <-ctx.Done():
			return lastResort(refused, append(errs, ctx.Err()))
		}
	}
}

// turn returns whom to ask as the n-th, nil if all are over.
func turn(asks []*ask, n int) *ask {
	for i := range asks {
		if a := asks[(n+i)%len(asks)]; !a.over {
			return a
		}
	}
	return nil
}

// lastResort is the result where nobody had an answer.
func lastResort(refused []byte, errs []error) ([]byte, error) {
	if refused != nil {
		return refused, nil
	}
	return nil, errors.Join(errs...)
}

// inOrder returns the servers to ask, the most promising first.
func (f *Forwarder) inOrder(now time.Time) []*server {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := slices.Clone(f.servers)
	slices.SortStableFunc(list, func(a, b *server) int { return int(a.cost(now) - b.cost(now)) })
	return list[:min(len(list), serversPerQuery)]
}

// waitFor is how long to wait for an answer to what was just asked.
func (f *Forwarder) waitFor(a *ask) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a.network == "tcp" {
		return 2 * a.server.wait() // the connection comes first
	}
	return a.server.wait()
}

// noteOverdue notes that an ask took too long, if it is one.
func (f *Forwarder) noteOverdue(a *ask) {
	if a == nil || a.over || a.network == "tcp" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	a.server.overdue(time.Now())
}

// noteOutcome notes how long an answer took.
func (f *Forwarder) noteOutcome(o outcome) {
	if o.ask.network == "tcp" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case o.err != nil:
		o.ask.server.overdue(time.Now())
	case o.ask.times == 1:
		o.ask.server.answered(time.Since(o.ask.asked))
	default:
		o.ask.server.answered(0)
	}
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"braid/lab/topology"
)

const (
	gridFor  = 17 * time.Second // a download, behind its warm-up
	gridWarm = 3 * time.Second
	// gridSettle is what a download leaves behind in queues and on the way, in
	// the worst pair.
	gridSettle = 2 * time.Second

	smallBytes = 2_000_000
	smallRuns  = 10
	smallIdle  = 300 * time.Millisecond
	// smallLong ends a series of small transfers early, after smallLeast: slow
	// ones need not be told so exactly.
	smallLong  = 90 * time.Second
	smallLeast = 3
)

// gridResult is one contender, or one uplink alone, in one round of one pair.
// What was not measured is 0.
type gridResult struct {
	Pair      string    `json:"pair"`
	Round     int       `json:"round"` // from 1
	Contender string    `json:"contender"`
	Mbps      float64   `json:"mbps"`     // payload of one download, after the warm-up
	SmallMs   float64   `json:"small_ms"` // the median of the transfers of 2 MB
	Small     []float64 `json:"small_all_ms"`
	Error     string    `json:"error,omitempty"`
}

// singles is no tunnel: plain TCP over each uplink by itself.
type singles struct{}

func (singles) name() string { return "singles" }
func (singles) start(_ context.Context, n *topology.Net, _ string) error {
	return n.AddSourceRules()
}
func (singles) target(n *topology.Net) (netip.Addr, bool) { return n.ServerAddr4, false }
func (singles) daemons() pids                             { return pids{} }
func (singles) stop() error                               { return nil }

// alone is the stage of singles with one uplink chosen. It is not to be closed.
func (g *stage) alone(uplink string) *stage {
	one := *g
	one.from = g.net.ClientAddr4(uplink)
	return &one
}

// grid measures the pairs one after another. A pair that fails is told, and the
// next one goes on; what is measured is written after each.
func grid(ctx context.Context, b *bench, s *suite) error {
	chosen, err := choosePairs(b.pairs, b.part, b.of)
	if err != nil {
		return err
	}
	names := b.contendersOf(s)
	b.report.gridHeader(names)
	var errs []error
	for _, p := range chosen {
		b.report.forget(p.name())
		if err := b.pair(ctx, p, names); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name(), err))
		}
		if ctx.Err() != nil {
			break
		}
		b.report.gridRow(p.name(), names)
		if b.jsonFile != "" {
			errs = append(errs, b.report.save(b.jsonFile))
		}
	}
	b.report.concludeGrid(names)
	return errors.Join(errs...)
}

// pair measures all rounds of one pair.
func (b *bench) pair(ctx context.Context, p pair, names []string) (err error) {
	var stages []*stage
	defer func() {
		for _, g := range stages {
			err = errors.Join(err, g.close())
		}
	}()
	add := func(c contender) error {
		g, err := newStage(ctx, p.config(), c, b.report.Default)
		if err == nil {
			stages = append(stages, g)
		}
		return err
	}
	if err := add(singles{}); err != nil {
		return err
	}
	for _, n := range names {
		if err := add(newContender(n, b.programs)); err != nil {
			return err
		}
	}
	for round := range b.roundsOr(1) {
		list, err := stages[0].singles(ctx, p, b.lengthOr(gridFor))
		if err != nil {
			return err
		}
		for _, g := range stages[1:] {
			res, err := g.pairResult(ctx, b.lengthOr(gridFor))
			if err != nil {
				return fmt.Errorf("%s: %w", g.name(), err)
			}
			list = append(list, res)
		}
		for _, res := range list {
			res.Pair, res.Round = p.name(), round+1
			b.report.Grid = append(b.report.Grid, res)
		}
	}
	return nil
}

// pairResult measures one contender.
func (g *stage) pairResult(ctx context.Context, length time.Duration) (res gridResult, err error) {
	res.Contender = g.name()
	if res.Mbps, err = g.goodput(ctx, length); err != nil {
		return res, err
	}
	took, err := g.small(ctx)
	res.take(took)
	if errors.Is(err, errSlow) {
		res.Error, err = err.Error(), nil
	}
	return res, err
}

func (r *gridResult) take(small []float64) {
	r.Small = small
	if len(small) > 0 {
		r.SmallMs = median(small)
	}
}

// singles measures each uplink by itself, the faster one first. Of the other is
// left out what its rate and round trip forbid it to be better at.
func (g *stage) singles(ctx context.Context, p pair, length time.Duration) ([]gridResult, error) {
	order := []int{0, 1}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p.mbps[b], p.mbps[a]) })
	list := make([]gridResult, len(order))
	for n, i := range order {
		res, one := &list[i], g.alone(pairUplinks[i])
		res.Contender = pairUplinks[i]
		first := &list[order[0]]
		var err error
		if n == 0 || first.Mbps < p.mbps[i] {
			if res.Mbps, err = one.goodput(ctx, length); err != nil {
				return nil, fmt.Errorf("%s: %w", res.Contender, err)
			}
		}
		if n == 0 || first.SmallMs > p.leastSmall(i) {
			took, err := one.small(ctx)
			res.take(took)
			if errors.Is(err, errSlow) {
				res.Error, err = err.Error(), nil
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", res.Contender, err)
			}
		}
	}
	return list, nil
}

// leastSmall is what a small transfer takes at least over an uplink: the
// handshake, the request, and the bytes at its rate. In ms.
func (p pair) leastSmall(i int) float64 { return 2*ms(p.rtt(i)) + smallBytes*8/p.mbps[i]/1000 }

// goodput is the rate of one download in Mb/s. One that brings nothing has 0.
func (g *stage) goodput(ctx context.Context, length time.Duration) (float64, error) {
	res, err := g.transfer(ctx, run{flows: 1, seconds: gridWarm + length, warm: gridWarm})
	if errors.Is(err, errNothing) {
		err = nil
	}
	if err != nil {
		return 0, err
	}
	return res.Mbps, sleep(ctx, gridSettle)
}

// errSlow ends a series of transfers of which one did not end in time.
var errSlow = errors.New("a transfer of 2 MB took longer than " + requestPatience.String())

// small makes transfers of 2 MB, each on a new connection after some quiet, and
// returns what each took, in ms. One that does not end counts as what it was
// waited for, and is the last.
func (g *stage) small(ctx context.Context) (took []float64, err error) {
	began := time.Now()
	for range smallRuns {
		if len(took) >= smallLeast && time.Since(began) > smallLong {
			break
		}
		if err := sleep(ctx, smallIdle); err != nil {
			return took, err
		}
		d, err := g.request(ctx, smallBytes)
		var timeout net.Error
		if ctx.Err() == nil && (errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()) {
			return append(took, ms(requestPatience)), errSlow
		}
		if err != nil {
			return took, err
		}
		took = append(took, ms(d))
	}
	return took, nil
}

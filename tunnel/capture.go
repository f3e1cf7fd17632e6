package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"braid/tunnel/relay"
)

// capture keeps the terminator of a TUN, whose addresses may change. A nil
// *capture is one that captures nothing.
type capture struct {
	terminator NewTerminator
	accept     func(HeldConn)
	wants      func(source, destination netip.AddrPort) bool
	exempt     atomic.Pointer[[]netip.Prefix]
	now        atomic.Pointer[captureRun]
	next       chan *captureRun

	mu        sync.Mutex // guards what follows
	addresses []netip.Prefix
}

type captureRun struct{ Terminator }

// newCapture makes a capture of all that is not exempt and has a destination
// that can take it.
func newCapture(newTerminator NewTerminator, exempt []netip.Prefix, takes func(destination netip.AddrPort) bool, accept func(HeldConn)) *capture {
	if newTerminator == nil {
		return nil
	}
	c := &capture{terminator: newTerminator, accept: accept, next: make(chan *captureRun, 1)}
	c.setExempt(exempt)
	isExempt := func(a netip.Addr) bool {
		return slices.ContainsFunc(*c.exempt.Load(), func(p netip.Prefix) bool { return p.Contains(a) })
	}
	c.wants = func(source, destination netip.AddrPort) bool {
		return !isExempt(source.Addr()) && !isExempt(destination.Addr()) && takes(destination)
	}
	return c
}

// setExempt changes what is exempt, for connections that begin.
func (c *capture) setExempt(list []netip.Prefix) {
	if c != nil {
		c.exempt.Store(&list)
	}
}

// set begins anew for other addresses. The connections of the old ones are
// lost with them.
func (c *capture) set(addresses []netip.Prefix) error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Equal(c.addresses, addresses) && c.now.Load() != nil {
		return nil
	}
	t, err := c.terminator(addresses, c.accept, c.wants)
	if err != nil {
		return err
	}
	c.addresses = slices.Clone(addresses)
	var run *captureRun
	if t != nil {
		run = &captureRun{t}
	}
	c.now.Store(run)
	c.discard()
	c.next <- run
	return nil
}

// discard ends a terminator that never ran.
func (c *capture) discard() {
	if c == nil {
		return
	}
	select {
	case run := <-c.next:
		if run != nil {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = run.Run(ctx)
		}
	default:
	}
}

// run runs whichever terminator there is, until ctx ends or it fails.
func (c *capture) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var run *captureRun
	for ctx.Err() == nil {
		run = c.runOne(ctx, cancel, run)
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// runOne runs one terminator, if there is one, until ctx ends or another is to
// run, which it returns.
func (c *capture) runOne(ctx context.Context, fail context.CancelCauseFunc, run *captureRun) (next *captureRun) {
	one, stop := context.WithCancel(ctx)
	var g sync.WaitGroup
	if run != nil {
		g.Go(func() {
			if err := run.Run(one); err != nil && one.Err() == nil {
				fail(fmt.Errorf("end connections of the tunnel device: %w", err))
			}
		})
	}
	select {
	case next = <-c.next:
	case <-one.Done():
	}
	stop()
	g.Wait()
	return next
}

// packet is Terminator.Packet.
func (c *capture) packet(payload []byte) bool {
	if c == nil {
		return false
	}
	run := c.now.Load()
	return run != nil && run.Packet(payload, time.Now())
}

var errNotCaptured = errors.New("TCP connections of this host's tunnel device are not ended here")

// dial is Terminator.Dial.
func (c *capture) dial(ctx context.Context, source, destination netip.AddrPort) (relay.Socket, error) {
	if c == nil {
		return nil, errNotCaptured
	}
	run := c.now.Load()
	if run == nil {
		return nil, errNotCaptured
	}
	return run.Dial(ctx, source, destination)
}

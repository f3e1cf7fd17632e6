package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"braid/lab/probe"
)

// traffic is what runs beside an uplink's death and return.
type traffic interface {
	// after is called at the death and at the return, and does not wait.
	after()
	// ready waits for what after began; an error tells that the traffic did not
	// survive.
	ready(context.Context) error
	// silences are the longest at the client that belong to death and return.
	silences(died, returned, end time.Time) (atDeath, atReturn time.Duration)
	stop()
}

// downloading is one download.
type downloading struct{ *flows }

func startDownload(ctx context.Context, g *stage) (downloading, error) {
	f, err := g.load.run(ctx, g.way(), run{flows: 1})
	if err != nil {
		return downloading{}, err
	}
	if err := sleep(ctx, failoverLoad-failoverBefore); err != nil {
		f.stop()
		return downloading{}, err
	}
	return downloading{f}, nil
}

func download(ctx context.Context, g *stage) (traffic, error) { return startDownload(ctx, g) }

func (downloading) after()                      {}
func (downloading) ready(context.Context) error { return nil }
func (d downloading) silences(died, returned, end time.Time) (atDeath, atReturn time.Duration) {
	return d.gaps.Longest(died, returned), d.gaps.Longest(returned, end)
}

// untilBack is one that nothing carries until the return.
type untilBack struct{ downloading }

func downloadUntilBack(ctx context.Context, g *stage) (traffic, error) {
	d, err := startDownload(ctx, g)
	return untilBack{d}, err
}

func (u untilBack) silences(_, returned, end time.Time) (atDeath, atReturn time.Duration) {
	return 0, u.gaps.After(returned, end)
}

// echoing is a series of UDP echoes.
type echoing struct{ *probe.Echo }

func echoes(ctx context.Context, g *stage) (traffic, error) {
	e, err := g.startEcho()
	if err != nil {
		return nil, err
	}
	return echoing{e}, sleep(ctx, failoverSettle)
}

func (echoing) after()                      {}
func (echoing) ready(context.Context) error { return nil }
func (e echoing) stop()                     { e.Stop(0) }
func (e echoing) silences(died, returned, end time.Time) (atDeath, atReturn time.Duration) {
	return e.Gaps().Longest(died, returned), e.Gaps().Longest(returned, end)
}

// requesting makes a request some time after each event.
type requesting struct {
	ask   func() (io.Reader, error) // for replyBytes
	close func()

	done chan error      // of the request under way
	took []time.Duration // the longest silence of each; read after ready
}

// requestLate is how long after an event a request is made.
const requestLate = 100 * time.Millisecond

func (r *requesting) after() {
	r.done = make(chan error, 1)
	go func() {
		time.Sleep(requestLate)
		longest, err := r.once()
		r.took = append(r.took, longest)
		r.done <- err
	}()
}

// once makes a request, takes the reply, and returns the longest silence from
// the asking to the last byte.
func (r *requesting) once() (time.Duration, error) {
	began := time.Now()
	gaps := probe.NewGaps(began)
	c, err := r.ask()
	if err != nil {
		return time.Since(began), err
	}
	b := make([]byte, blockBytes)
	for left := int64(replyBytes); left > 0; {
		n, err := c.Read(b[:min(int64(len(b)), left)])
		if n > 0 {
			gaps.Arrived(time.Now())
		}
		left -= int64(n)
		if err != nil && left > 0 {
			return gaps.Longest(began, time.Now()), fmt.Errorf("read the reply: %w", err)
		}
	}
	return gaps.Longest(began, time.Now()), nil
}

func (r *requesting) ready(ctx context.Context) error {
	defer func() { r.done = nil }()
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
	case <-time.After(requestPatience):
	}
	r.close() // which ends it
	<-r.done
	return errors.New("a request did not end within " + requestPatience.String())
}

func (r *requesting) silences(_, _, _ time.Time) (atDeath, atReturn time.Duration) {
	return r.took[0], r.took[1]
}

func (r *requesting) stop() {
	r.close()
	if r.done != nil {
		<-r.done
	}
}

// openRequests uses one connection, which has served one request before.
func openRequests(ctx context.Context, g *stage) (traffic, error) {
	c, err := g.dial(ctx, sendReplies, replyBytes)
	if err != nil {
		return nil, err
	}
	r := &requesting{close: func() { c.Close() }}
	r.ask = func() (io.Reader, error) { return c, nil }
	if _, err := r.once(); err != nil {
		c.Close()
		return nil, err
	}
	r.ask = func() (io.Reader, error) { return c, writeNumber(c, replyBytes) }
	return r, sleep(ctx, time.Second)
}

// newRequests uses a new one for each.
func newRequests(ctx context.Context, g *stage) (traffic, error) {
	ctx, cancel := context.WithCancel(ctx)
	var mu sync.Mutex // guards conns
	var conns []net.Conn
	closeAll := func() {
		cancel()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
	}
	ask := func() (io.Reader, error) {
		c, err := g.dial(ctx, sendReply, replyBytes)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, c)
		if ctx.Err() != nil {
			c.Close()
		}
		return c, nil
	}
	return &requesting{ask: ask, close: closeAll}, nil
}

// Package dashboard serves a web page that shows how a running braid is.
//
// The page (assets/) is what `braid status` says, drawn: it reads, and changes
// nothing. The way of what it shows:
//
//	sampler.go   takes the daemon's status again and again
//	history.go   keeps the rates of an hour, in bounded memory
//	serve.go     answers browsers: the page, the status, the history, a stream
//	             of events with the status
//	guard.go     keeps other web sites out, and tells browsers to
//	login.go     keeps people without the token out
//	token.go     the token's file
//
// The API that the page uses is for the page. Programs use the control socket, or
// `braid status --json`.
package dashboard

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
)

// Config says what a dashboard shows, where and to whom.
type Config struct {
	// Listen is where browsers connect, TCP. Without a TokenFile it must be a
	// loopback address.
	Listen netip.AddrPort
	// TokenFile is the path of the file with the token that a browser must show
	// once; OpenToken describes it. "": none is needed.
	TokenFile string
	// Status returns a *control.Client or a *control.Server. It is called once a
	// second, and twice while somebody looks, by one goroutine; what it returned is
	// not changed.
	Status func() any
	Log    *slog.Logger
}

// Dashboard is a dashboard, running or not.
type Dashboard struct {
	cfg     Config
	sampler *sampler
	retry   time.Duration
}

// New makes a dashboard. Nothing is opened yet.
func New(c Config) *Dashboard {
	return &Dashboard{cfg: c, sampler: newSampler(c.Status), retry: retryEvery}
}

// retryEvery is how soon what could not be opened is tried again: an address that
// comes with a cable, a token that is about to be made.
const retryEvery = 5 * time.Second

// Run serves until ctx ends, which gives nil. What a dashboard lacks is no reason
// for a daemon to stop: Run logs it once and tries again.
func (d *Dashboard) Run(ctx context.Context) error {
	said := ""
	for {
		token, l, err := d.open(ctx)
		if err == nil {
			said = ""
			d.cfg.Log.Info("dashboard served", "listen", l.Addr(), "token_file", d.cfg.TokenFile)
			err = d.Serve(ctx, l, token)
		}
		if err != nil && err.Error() != said && ctx.Err() == nil {
			said = err.Error()
			d.cfg.Log.Error("dashboard not served, tried again until it is", "error", err, "hint", hint(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(d.retry):
		}
	}
}

// open returns what Serve needs.
func (d *Dashboard) open(ctx context.Context) (token string, l net.Listener, err error) {
	if d.cfg.TokenFile != "" {
		if token, err = OpenToken(d.cfg.TokenFile); err != nil {
			return "", nil, err
		}
	} else if !d.cfg.Listen.Addr().IsLoopback() {
		return "", nil, fmt.Errorf("listen on %v: not without a token", d.cfg.Listen)
	}
	network := "tcp"
	if d.cfg.Listen.Addr().Is4() {
		network = "tcp4" // or package net takes 0.0.0.0 for all of IPv6 as well
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err = lc.Listen(ctx, network, d.cfg.Listen.String())
	return token, l, err
}

// Serve serves on l until ctx ends, which gives nil, to browsers that have shown
// the token; to all if it is "". It closes l, and returns after all its goroutines
// have ended.
func (d *Dashboard) Serve(ctx context.Context, l net.Listener, token string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.sampler.run(ctx) })
	g.Go(func() error { return d.serve(ctx, l, token) })
	return g.Wait()
}

// hint is how to mend err, or "".
func hint(err error) string {
	if e, ok := err.(interface{ Hint() string }); ok {
		return e.Hint()
	}
	return ""
}

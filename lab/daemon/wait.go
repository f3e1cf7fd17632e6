package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"
)

// WaitUp waits until a client is connected with a subflow on so many uplinks.
func (d *Daemon) WaitUp(ctx context.Context, uplinks int) error {
	return d.WaitFor(ctx, fmt.Sprintf("up with %d uplinks", uplinks), func(s Status) bool {
		return s.Session.State == "up" && s.Up() == uplinks
	})
}

// WaitFor waits until the status is as wanted.
func (d *Daemon) WaitFor(ctx context.Context, what string, ok func(Status) bool) error {
	for {
		s, err := d.Poll(ctx)
		if err == nil && ok(s) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s not %s: %w; status %+v, log:\n%s", d.role, what, ctx.Err(), s, d.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Poll is Status for those who ask again and again: it asks the control socket as
// "braid status --json" does. To start a program
// fifty times a second would take what the tests beside this one need.
func (d *Daemon) Poll(ctx context.Context) (s Status, err error) {
	fail := func(err error) (Status, error) { return s, fmt.Errorf("poll status of %s: %w", d.role, err) }
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", d.socket())
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://braid/v1/status", nil)
	if err != nil {
		return fail(err)
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fail(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fail(fmt.Errorf("answered %s", res.Status))
	}
	if err := json.NewDecoder(res.Body).Decode(&s); err != nil {
		return fail(err)
	}
	return s, nil
}

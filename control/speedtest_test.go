package control

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// testSpeedtester runs a function as a speed test.
type testSpeedtester func(ctx context.Context, r SpeedtestRequest, told func(SpeedtestStep)) (*Speedtest, error)

func (f testSpeedtester) Speedtest(ctx context.Context, r SpeedtestRequest, told func(SpeedtestStep)) (*Speedtest, error) {
	return f(ctx, r, told)
}

// serveSpeed serves a socket until the test ends.
func serveSpeed(t *testing.T, s Speedtester) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "braid.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, l, func() any { return &Client{} }, Changes{Speed: s}) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return path
}

func TestRunSpeedtest(t *testing.T) {
	path := serveSpeed(t, testSpeedtester(func(_ context.Context, r SpeedtestRequest, told func(SpeedtestStep)) (*Speedtest, error) {
		if len(r.Uplinks) != 1 || r.Uplinks[0] != "lte" || !r.Metered || r.Length() != 2500*time.Millisecond {
			t.Errorf("asked for %+v", r)
		}
		for i := range 3 {
			told(SpeedtestStep{Number: i, Of: 2})
		}
		return sampleSpeedtest(), nil
	}))
	var steps []int
	res, err := RunSpeedtest(t.Context(), path, SpeedtestRequest{Uplinks: []string{"lte"}, Metered: true, Seconds: 2.5}, func(s SpeedtestStep) { steps = append(steps, s.Number) })
	if err != nil || res.Bond.Down.Bps != 74.6e6 || len(steps) != 3 {
		t.Errorf("%+v, %v, steps %v", res, err, steps)
	}
}

func TestSpeedtestRefusals(t *testing.T) {
	busy := &Refusal{Status: http.StatusConflict, Problem: "a speed test is running already", Mend: "wait"}
	for what, c := range map[string]struct {
		tester Speedtester
		ask    SpeedtestRequest
		want   string
		status int
	}{
		"a server":  {nil, SpeedtestRequest{}, "a client's", http.StatusForbidden},
		"too long":  {testSpeedtester(nil), SpeedtestRequest{Seconds: 31}, "31s", http.StatusBadRequest},
		"too short": {testSpeedtester(nil), SpeedtestRequest{Seconds: 0.1}, "100ms", http.StatusBadRequest},
		"at once": {testSpeedtester(func(context.Context, SpeedtestRequest, func(SpeedtestStep)) (*Speedtest, error) {
			return nil, busy
		}), SpeedtestRequest{}, busy.Problem, http.StatusConflict},
		"an uplink that is not there": {testSpeedtester(func(context.Context, SpeedtestRequest, func(SpeedtestStep)) (*Speedtest, error) {
			return nil, &UnknownUplinkError{Uplink: "x"}
		}), SpeedtestRequest{}, `unknown uplink "x"`, http.StatusNotFound},
		"in the middle": {testSpeedtester(func(_ context.Context, _ SpeedtestRequest, told func(SpeedtestStep)) (*Speedtest, error) {
			told(SpeedtestStep{})
			return nil, busy
		}), SpeedtestRequest{}, busy.Problem, 0},
	} {
		_, err := RunSpeedtest(t.Context(), serveSpeed(t, c.tester), c.ask, func(SpeedtestStep) {})
		refusal, ok := errors.AsType[*Refusal](err)
		if !ok || !strings.Contains(refusal.Problem, c.want) || refusal.Status != c.status {
			t.Errorf("%s: %v (%+v)", what, err, refusal)
		}
	}
}

// Whoever hangs up ends the test.
func TestSpeedtestInterrupted(t *testing.T) {
	ended := make(chan struct{})
	path := serveSpeed(t, testSpeedtester(func(ctx context.Context, _ SpeedtestRequest, told func(SpeedtestStep)) (*Speedtest, error) {
		defer close(ended)
		told(SpeedtestStep{})
		<-ctx.Done()
		return nil, ctx.Err()
	}))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := RunSpeedtest(ctx, path, SpeedtestRequest{}, func(SpeedtestStep) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	<-ended
}

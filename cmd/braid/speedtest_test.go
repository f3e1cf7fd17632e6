package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"braid/control"
)

// toldSpeedtest answers every speed test in the same way.
type toldSpeedtest struct {
	asked chan control.SpeedtestRequest
	err   error
}

func (s toldSpeedtest) Speedtest(_ context.Context, r control.SpeedtestRequest, told func(control.SpeedtestStep)) (*control.Speedtest, error) {
	s.asked <- r
	told(control.SpeedtestStep{Of: 2})
	return &control.Speedtest{Server: "192.0.2.1:443", Seconds: r.Seconds}, s.err
}

func TestSpeedtestCommand(t *testing.T) {
	roles := &runningRoles{}
	tester := toldSpeedtest{asked: make(chan control.SpeedtestRequest, 1)}
	path := serveSocket(t, roles.status, control.Changes{Speed: tester})
	for _, c := range []struct {
		args    []string
		seconds float64
		metered bool
		uplinks int
	}{
		{nil, 6, false, 0}, {[]string{"--quick", "--metered"}, 3, true, 0},
		{[]string{"--time", "2500ms", "--uplink", "dsl", "--uplink", "lte"}, 2.5, false, 2},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"speedtest", "--control", path, "--json"}, c.args...)
		if code := run(t.Context(), args, &out, &errs); code != exitGood || errs.Len() > 0 {
			t.Errorf("%v: %d %s", args, code, &errs)
			continue
		}
		r := <-tester.asked
		var got control.Speedtest
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%v: %v in %s", args, err, &out)
		}
		if got.Seconds != c.seconds || r.Seconds != c.seconds || r.Metered != c.metered || len(r.Uplinks) != c.uplinks {
			t.Errorf("%v: asked for %+v, told %+v", args, r, got)
		}
	}
	for _, args := range [][]string{{"--time", "1s"}, {"--time", "31s"}, {"--time", "3s", "--quick"}, {"dsl"}} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), append([]string{"speedtest", "--control", path}, args...), &out, &errs); code != exitUsage || !strings.Contains(errs.String(), "hint: ") {
			t.Errorf("%v: %d %s", args, code, &errs)
		}
	}
}

func TestSpeedtestCommandRefused(t *testing.T) {
	tester := toldSpeedtest{asked: make(chan control.SpeedtestRequest, 1), err: &control.Refusal{Status: http.StatusConflict, Problem: "a speed test is running already", Mend: "wait"}}
	path := serveSocket(t, (&runningRoles{}).status, control.Changes{Speed: tester})
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"speedtest", "--control", path}, &out, &errs); code != exitFailed || errs.String() != "error: a speed test is running already\nhint: wait\n" {
		t.Errorf("%d %s", code, &errs)
	}
}

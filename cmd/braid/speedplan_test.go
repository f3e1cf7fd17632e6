package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"braid/control"
	"braid/scheduler"
	"braid/tunnel"
)

func speedUplink(name, role, state, use string, metered bool) speedCandidate {
	return speedCandidate{control.Uplink{Interface: name, Role: role, State: state, Use: use, Reason: "why"}, metered, scheduler.Rates{Rx: 40e6, Tx: 8e6}}
}

func TestSpeedPlan(t *testing.T) {
	all := []speedCandidate{
		speedUplink("dsl", "bond", "up", "active", false),
		speedUplink("cable", "bond", "late", "active", false),
		speedUplink("lte", "bond", "up", "active", true),
		speedUplink("over", "overflow", "up", "standby", false),
		speedUplink("back", "backup", "up", "standby", false),
		speedUplink("slow", "bond", "quarantined", "standby", false),
		speedUplink("gone", "bond", "dead", "none", true),
		speedUplink("never", "never", "off", "none", false),
	}
	for what, c := range map[string]struct {
		ask         control.SpeedtestRequest
		alone, bond []string
		left        map[string]string // part of why
	}{
		"nothing said": {
			control.SpeedtestRequest{}, []string{"dsl", "cable"}, []string{"dsl", "cable"},
			map[string]string{
				"lte": "about 72.0 MB): add --metered", "over": "role overflow", "back": "role backup", "slow": "quarantine (why)",
				"gone": "it is dead: why", "never": "its role is never",
			},
		},
		"metered": {
			control.SpeedtestRequest{Metered: true}, []string{"dsl", "cable", "lte", "over", "back"}, []string{"dsl", "cable", "lte", "over"},
			map[string]string{"slow": "--uplink slow", "gone": "dead", "never": "never"},
		},
		"named": {
			control.SpeedtestRequest{Uplinks: []string{"back", "slow", "over"}}, []string{"over", "back", "slow"}, []string{"over"}, nil,
		},
		"one of two named is metered": {
			control.SpeedtestRequest{Uplinks: []string{"dsl", "lte"}}, []string{"dsl"}, []string{"dsl"}, map[string]string{"lte": "--metered"},
		},
	} {
		plan, uplinks, err := speedPlan(all, c.ask)
		if err != nil || !slices.Equal(plan.Alone, c.alone) || !slices.Equal(plan.Bond, c.bond) || plan.For != control.DefaultSpeedtest {
			t.Errorf("%s: %+v, %v", what, plan, err)
		}
		for _, u := range uplinks {
			why := c.left[u.Interface]
			if (why == "") != (u.LeftOut == "") || !strings.Contains(u.LeftOut, why) {
				t.Errorf("%s: %s is left out for %q", what, u.Interface, u.LeftOut)
			}
			if (u.CostBytes > 0) != strings.Contains(u.LeftOut, "MB") {
				t.Errorf("%s: %+v", what, u)
			}
		}
	}
}

func TestSpeedPlanRefused(t *testing.T) {
	metered := []speedCandidate{speedUplink("lte", "bond", "up", "active", true)}
	_, _, err := speedPlan(metered, control.SpeedtestRequest{})
	if r, ok := errors.AsType[*control.Refusal](err); !ok || !strings.Contains(r.Mend, "about 36.0 MB") || !strings.Contains(r.Mend, "--metered") {
		t.Errorf("one that is metered: %v", err)
	}
	if _, _, err := speedPlan(metered, control.SpeedtestRequest{Uplinks: []string{"x"}}); err == nil || !strings.Contains(err.Error(), "unknown uplink") {
		t.Errorf("one that is not there: %v", err)
	}
	if _, _, err := speedPlan(nil, control.SpeedtestRequest{}); err == nil {
		t.Error("none at all is no fault")
	}
	unknown := speedUplink("lte", "bond", "up", "active", true)
	unknown.known = scheduler.Rates{}
	if _, _, err := speedPlan([]speedCandidate{unknown}, control.SpeedtestRequest{}); err == nil || !strings.Contains(err.(*control.Refusal).Mend, "not known yet") {
		t.Errorf("one of unknown rate: %v", err)
	}
}

func TestFillSpeedtest(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	latency := func(p50, worst int) tunnel.SpeedLatency {
		return tunnel.SpeedLatency{P50: ms(p50), Worst: ms(worst), Beats: 9}
	}
	res := &control.Speedtest{Uplinks: []control.SpeedtestUplink{{Interface: "dsl"}, {Interface: "lte", LeftOut: "why"}, {Interface: "sat"}}}
	both := tunnel.SpeedWay{
		Rate: 70e6, Parts: map[string]scheduler.BitRate{"sat": 30e6, "dsl": 40e6},
		Loaded: map[string]tunnel.SpeedLatency{"sat": latency(700, 900), "dsl": latency(60, 80)},
	}
	fillSpeedtest(res, tunnel.SpeedResult{
		Idle: map[string]tunnel.SpeedLatency{"dsl": latency(30, 31), "sat": latency(600, 610)},
		Alone: []tunnel.SpeedLine{
			{Uplink: "dsl", Down: tunnel.SpeedWay{Rate: 47e6, Lost: 0.01, Loaded: map[string]tunnel.SpeedLatency{"dsl": latency(61, 82), "sat": latency(1, 2)}}, Up: tunnel.SpeedWay{Problem: "x"}},
			{Uplink: "sat"},
		},
		Bond: &tunnel.SpeedLine{Down: both, Up: both}, Others: scheduler.Rates{Rx: 1, Tx: 2}, Calls: true,
	})
	dsl := res.Uplinks[0]
	if dsl.IdleMs != 30 || dsl.Down.Bps != 47e6 || dsl.Down.LostPct != 1 || dsl.Down.LoadedMs != 61 || dsl.Down.LoadedWorstMs != 82 || dsl.Up.Problem != "x" {
		t.Errorf("%+v, %+v, %+v", dsl, dsl.Down, dsl.Up)
	}
	if res.Uplinks[1].Down != nil || res.Uplinks[2].Down == nil || !res.Calls || res.OthersRxBps != 1 || res.OthersTxBps != 2 {
		t.Errorf("%+v", res)
	}
	b := res.Bond
	if b.IdleMs != 30 || b.Down.LoadedMs != 60 || len(b.Down.Parts) != 2 || b.Down.Parts[0].Interface != "dsl" || b.Down.Parts[1].LoadedWorstMs != 900 {
		t.Errorf("%+v, %+v", b, b.Down)
	}
}

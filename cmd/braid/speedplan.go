package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"braid/config"
	"braid/control"
	"braid/scheduler"
	"braid/tunnel"
)

// speedtester measures the uplinks of the running client.
type speedtester struct {
	client *tunnel.Client
	status func() *control.Client
	config func() *config.Client // that holds now
}

// Speedtest implements control.Speedtester.
func (s speedtester) Speedtest(ctx context.Context, r control.SpeedtestRequest, told func(control.SpeedtestStep)) (*control.Speedtest, error) {
	now, cfg := s.status(), s.config()
	var candidates []speedCandidate
	for _, u := range now.Uplinks {
		candidates = append(candidates, speedCandidate{u, cfg.Uplink(u.Interface).Metered, s.client.KnownRates(u.Interface)})
	}
	plan, uplinks, err := speedPlan(candidates, r)
	if err != nil {
		return nil, err
	}
	res := &control.Speedtest{
		Began: time.Now().UTC().Format(time.RFC3339), Server: now.Session.Server, Seconds: plan.For.Seconds(), Uplinks: uplinks,
	}
	found, err := s.client.Speedtest(ctx, plan, func(step tunnel.SpeedStep) { told(speedStep(step)) })
	if err != nil {
		return nil, speedRefusal(err)
	}
	fillSpeedtest(res, found)
	return res, nil
}

// speedRefusal says why there is no test, and what would help.
func speedRefusal(err error) error {
	refused, byServer := errors.AsType[*tunnel.SpeedRefusedError](err)
	switch {
	case errors.Is(err, tunnel.ErrSpeedtestRuns):
		return &control.Refusal{Status: http.StatusConflict, Problem: err.Error(), Mend: "wait until it has ended, or interrupt it where it was begun"}
	case errors.Is(err, tunnel.ErrNotConnected):
		return &control.Refusal{Status: http.StatusServiceUnavailable, Problem: err.Error(), Mend: "see why: braid status"}
	case errors.Is(err, tunnel.ErrNoSpeedtest):
		return &control.Refusal{Status: http.StatusNotImplemented, Problem: err.Error(), Mend: "update braid on the server"}
	case errors.Is(err, tunnel.ErrNoStreams):
		return &control.Refusal{Status: http.StatusConflict, Problem: err.Error(), Mend: `set tunnel.tcp = "streams" in client.toml, at least for the test`}
	case byServer:
		return &control.Refusal{Status: http.StatusForbidden, Problem: refused.Error()}
	}
	return err
}

// speedCandidate is an uplink that may be measured.
type speedCandidate struct {
	control.Uplink
	metered bool
	known   scheduler.Rates
}

// speedPlan chooses what to measure, and says of each uplink that is left out why.
func speedPlan(list []speedCandidate, r control.SpeedtestRequest) (plan tunnel.SpeedPlan, uplinks []control.SpeedtestUplink, err error) {
	plan.For = r.Length()
	for _, name := range r.Uplinks {
		if !slices.ContainsFunc(list, func(c speedCandidate) bool { return c.Interface == name }) {
			unknown := &control.UnknownUplinkError{Uplink: name}
			for _, c := range list {
				unknown.Known = append(unknown.Known, c.Interface)
			}
			return plan, nil, unknown
		}
	}
	for _, c := range list {
		named := slices.Contains(r.Uplinks, c.Interface)
		if len(r.Uplinks) > 0 && !named {
			continue
		}
		u := control.SpeedtestUplink{Interface: c.Interface, Role: c.Role, State: c.State, Metered: c.metered, IdleMs: c.RTTms}
		u.LeftOut = c.leftOut(named, r.Metered)
		switch {
		case u.LeftOut == "":
			plan.Alone = append(plan.Alone, c.Interface)
			if c.Use == control.UseActive || c.Role == control.RoleOverflow {
				plan.Bond = append(plan.Bond, c.Interface)
			}
		case c.metered && !r.Metered && c.works():
			u.CostBytes = c.cost(plan.For, len(list) > 1)
			u.LeftOut = c.costText(u.CostBytes)
		}
		uplinks = append(uplinks, u)
	}
	if len(plan.Alone) == 0 {
		return plan, uplinks, nothingToMeasure(uplinks)
	}
	return plan, uplinks, nil
}

// nothingToMeasure says why of each uplink.
func nothingToMeasure(uplinks []control.SpeedtestUplink) error {
	if len(uplinks) == 0 {
		return &control.Refusal{Status: http.StatusConflict, Problem: "there is no uplink now", Mend: "see: braid status"}
	}
	var why []string
	for _, u := range uplinks {
		why = append(why, u.Interface+": "+u.LeftOut)
	}
	return &control.Refusal{Status: http.StatusConflict, Problem: "there is no uplink to measure", Mend: strings.Join(why, "; ")}
}

// works reports whether the uplink carries anything now, if it is let.
func (c *speedCandidate) works() bool {
	return c.State == control.UplinkUp || c.State == control.UplinkLate || c.State == control.UplinkQuarantined
}

// leftOut is why the uplink is not measured, "" when it is.
func (c *speedCandidate) leftOut(named, metered bool) string {
	again := "braid speedtest --uplink " + c.Interface + " measures it"
	switch {
	case c.Role == control.RoleNever:
		return "not measured, its role is never"
	case !c.works():
		return strings.TrimSuffix("not measured, it is "+c.State+": "+c.Reason, ": ")
	case c.metered && !metered:
		return c.costText(0)
	case named || metered && c.State != control.UplinkQuarantined:
		return ""
	case c.Role == control.RoleOverflow || c.Role == control.RoleBackup:
		return "not measured, for it stands by (role " + c.Role + "): " + again
	case c.State == control.UplinkQuarantined:
		return "not measured, it is in quarantine (" + c.Reason + "): " + again
	}
	return ""
}

// cost is about how many bytes measuring the uplink takes, alone and in the bond; 0:
// its rates are not known.
func (c *speedCandidate) cost(each time.Duration, bond bool) uint64 {
	n := 1.0
	if bond {
		n = 2
	}
	return uint64(n * float64(c.known.Rx+c.known.Tx) / 8 * each.Seconds())
}

func (c *speedCandidate) costText(bytes uint64) string {
	how := "how much is not known yet"
	if bytes > 0 {
		how = "about " + control.FormatBytes(bytes)
	}
	return "not measured, for each byte costs (" + how + "): add --metered to measure it"
}

// speedStep says a step in the control API's words.
func speedStep(s tunnel.SpeedStep) control.SpeedtestStep {
	return control.SpeedtestStep{
		Number: s.Number, Of: s.Of, Interface: s.Uplink, Done: s.Done.Seconds(), Seconds: s.For.Seconds(), Bps: float64(s.Rate),
		Direction: [...]string{tunnel.SpeedIdle: "", tunnel.SpeedDown: control.SpeedDown, tunnel.SpeedUp: control.SpeedUp}[s.Phase],
	}
}

// fillSpeedtest puts what was found beside what was planned.
func fillSpeedtest(to *control.Speedtest, found tunnel.SpeedResult) {
	to.OthersRxBps, to.OthersTxBps, to.Calls = float64(found.Others.Rx), float64(found.Others.Tx), found.Calls
	var order []string
	for i := range to.Uplinks {
		u := &to.Uplinks[i]
		order = append(order, u.Interface)
		if l := found.Idle[u.Interface]; l.Beats > 0 {
			u.IdleMs = milliseconds(l.P50)
		}
		for _, l := range found.Alone {
			if l.Uplink == u.Interface {
				u.Down, u.Up = speedWay(l.Down, []string{u.Interface}), speedWay(l.Up, []string{u.Interface})
				u.Down.Parts, u.Up.Parts = nil, nil
			}
		}
	}
	if found.Bond == nil {
		return
	}
	to.Bond = &control.SpeedtestBond{Down: speedWay(found.Bond.Down, order), Up: speedWay(found.Bond.Up, order)}
	for name := range found.Bond.Down.Loaded {
		if l := found.Idle[name]; l.Beats > 0 && (to.Bond.IdleMs == 0 || milliseconds(l.P50) < to.Bond.IdleMs) {
			to.Bond.IdleMs = milliseconds(l.P50)
		}
	}
}

// speedWay says a measurement over some of the uplinks in the control API's words.
func speedWay(w tunnel.SpeedWay, uplinks []string) *control.SpeedtestWay {
	c := &control.SpeedtestWay{Bps: float64(w.Rate), LineBps: float64(w.Line), Bytes: w.Bytes, LostPct: 100 * w.Lost, Problem: w.Problem}
	for _, name := range uplinks {
		l, loaded := w.Loaded[name]
		if loaded && (c.LoadedMs == 0 || milliseconds(l.P50) < c.LoadedMs) {
			c.LoadedMs, c.LoadedWorstMs = milliseconds(l.P50), milliseconds(l.Worst)
		}
		if rate, carried := w.Parts[name]; carried {
			c.Parts = append(c.Parts, control.SpeedtestPart{
				Interface: name, Bps: float64(rate), LoadedMs: milliseconds(l.P50), LoadedWorstMs: milliseconds(l.Worst),
			})
		}
	}
	return c
}

var _ control.Speedtester = speedtester{}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

const (
	// speedFor is braid's own default.
	speedFor = 6 * time.Second
	// speedShare of a line's rate is payload at best: of a segment of 1500 bytes IP,
	// TCP with timestamps, and Multipath TCP's data sequence signal take 72.
	speedShare = 1428.0 / 1500
	// speedGoal is how far off a speed test may be.
	speedGoal = 0.05
)

// speedResult is one figure of a speed test.
type speedResult struct {
	Suite     string  `json:"suite"`
	Round     int     `json:"round"` // from 1
	Uplink    string  `json:"uplink"`
	Direction string  `json:"direction"`
	TrueMbps  float64 `json:"emulator_mbps"` // of IP, as the emulator is set
	Mbps      float64 `json:"mbps"`          // of payload
	LineMbps  float64 `json:"line_mbps"`     // with headers, as braid tells
	IdleMs    float64 `json:"idle_ms"`
	LoadedMs  float64 `json:"loaded_ms"`
	WorstMs   float64 `json:"loaded_worst_ms"`
	LostPct   float64 `json:"lost_pct"`
}

// payload is the result's part of the payload that the line can carry.
func (r speedResult) payload() float64 { return r.Mbps / (r.TrueMbps * speedShare) }

// line is the line's rate as braid tells it, to the true one.
func (r speedResult) line() float64 { return r.LineMbps / r.TrueMbps }

// toldWay and toldSpeed are what "braid speedtest --json" prints, as far as it is used.
type toldWay struct {
	Bps     float64 `json:"bps"`
	LineBps float64 `json:"line_bps"`
	Loaded  float64 `json:"loaded_ms"`
	Worst   float64 `json:"loaded_worst_ms"`
	Lost    float64 `json:"lost_pct"`
	Problem string  `json:"problem"`
}

type toldLine struct {
	Interface string   `json:"interface"`
	Idle      float64  `json:"idle_ms"`
	Down      *toldWay `json:"down"`
	Up        *toldWay `json:"up"`
}

type toldSpeed struct {
	Uplinks []toldLine `json:"uplinks"`
	Bond    *toldLine  `json:"bond"`
}

// speedtests runs the command itself, round after round.
func speedtests(ctx context.Context, b *bench, s *suite, stages []*stage) error {
	rates := map[string][2]float64{} // of the emulator, Mb/s, down and up; "bond" is the sum
	sum := [2]float64{}
	for _, u := range s.net().Uplinks {
		rates[u.Name] = [2]float64{float64(u.Down.Rate) / 1e6, float64(u.Up.Rate) / 1e6}
		sum[0] += rates[u.Name][0]
		sum[1] += rates[u.Name][1]
	}
	rates["bond"] = sum
	b.report.speedHeader()
	for round := range b.roundsOr(3) {
		for _, g := range stages {
			told, err := g.speedtest(ctx, b)
			if err != nil {
				return fmt.Errorf("%s: %w", g.name(), err)
			}
			for _, l := range told {
				for i, way := range []*toldWay{l.Down, l.Up} {
					r := speedResult{
						Suite: s.name, Round: round + 1, Uplink: l.Interface, Direction: []string{"down", "up"}[i], TrueMbps: rates[l.Interface][i],
						Mbps: way.Bps / 1e6, LineMbps: way.LineBps / 1e6, IdleMs: l.Idle, LoadedMs: way.Loaded, WorstMs: way.Worst, LostPct: way.Lost,
					}
					b.report.addSpeed(r)
				}
			}
		}
	}
	b.report.concludeSpeed(s)
	return nil
}

// speedtest runs one, and returns the uplinks and behind them the bond.
func (g *stage) speedtest(ctx context.Context, b *bench) ([]toldLine, error) {
	t, ok := g.contender.(*braidTunnel)
	if !ok {
		return nil, errors.New("it has no speed test")
	}
	socket := filepath.Join(t.setup.Client.RunDir(), "client.sock")
	out, err := g.net.Client.Run(ctx, t.program, "speedtest", "--json", "--control", socket, "--time", b.lengthOr(speedFor).String())
	if err != nil {
		return nil, fmt.Errorf("speed test: %w: %s", err, out)
	}
	var told toldSpeed
	if err := json.Unmarshal(out, &told); err != nil {
		return nil, fmt.Errorf("read speed test: %w: %s", err, out)
	}
	if told.Bond == nil {
		return nil, fmt.Errorf("speed test without a bond: %s", out)
	}
	told.Bond.Interface = "bond"
	list := append(told.Uplinks, *told.Bond)
	for _, l := range list {
		if l.Down == nil || l.Up == nil || l.Down.Problem != "" || l.Up.Problem != "" {
			return nil, fmt.Errorf("speed test has no figures of %s: %s", l.Interface, out)
		}
	}
	return list, nil
}

const speedRow = "%-6s %-5s %5s %9s %9s %8s %9s %8s %8s %8s %8s %7s\n"

func (*report) speedHeader() {
	fmt.Printf(speedRow, "", "", "round", "emulator", "payload", "of best", "headers", "of it", "idle ms", "loaded", "worst", "lost")
}

func (r *report) addSpeed(x speedResult) {
	r.Speed = append(r.Speed, x)
	pct := func(f float64) string { return fmt.Sprintf("%.1f %%", 100*f) }
	fmt.Printf(speedRow, x.Uplink, x.Direction, fmt.Sprint(x.Round), number(x.TrueMbps, 0), number(x.Mbps, 1), pct(x.payload()),
		number(x.LineMbps, 1), pct(x.line()), number(x.IdleMs, 1), number(x.LoadedMs, 1), number(x.WorstMs, 1), fmt.Sprintf("%.1f %%", x.LostPct))
}

// concludeSpeed tells the median of each figure, and what is off by more than the goal.
func (r *report) concludeSpeed(s *suite) {
	fmt.Println()
	type key struct{ uplink, direction string }
	var order []key
	payload, line := map[key][]float64{}, map[key][]float64{}
	for _, x := range r.Speed {
		if x.Suite != s.name {
			continue
		}
		k := key{x.Uplink, x.Direction}
		if payload[k] == nil {
			order = append(order, k)
		}
		payload[k], line[k] = append(payload[k], x.payload()), append(line[k], x.line())
	}
	for _, k := range order {
		verdict := "within the goal"
		if p := median(payload[k]); p < 1-speedGoal || p > 1+speedGoal {
			verdict = "beyond the goal"
		}
		fmt.Printf("%s %s %s: payload %.1f %% of what the line can carry, %s of %.0f %%; with headers %.1f %% of its rate\n",
			s.name, k.uplink, k.direction, 100*median(payload[k]), verdict, 100*speedGoal, 100*median(line[k]))
	}
}

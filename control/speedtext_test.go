package control

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// sampleSpeedtest is a household's.
func sampleSpeedtest() *Speedtest {
	return &Speedtest{
		Server: "vpn.example.net:443", Seconds: 6,
		Uplinks: []SpeedtestUplink{
			{
				Interface: "dsl", Role: RoleBond, State: UplinkUp, IdleMs: 30.2,
				Down: &SpeedtestWay{Bps: 47.1e6, LoadedMs: 62.4, LoadedWorstMs: 88.8}, Up: &SpeedtestWay{Bps: 9.4e6, LoadedMs: 71, LoadedWorstMs: 120.2, LostPct: 0.3},
			},
			{
				Interface: "wwan0", Role: RoleBond, State: UplinkUp, IdleMs: 60,
				Down: &SpeedtestWay{Bps: 28.3e6, LoadedMs: 95, LoadedWorstMs: 101}, Up: &SpeedtestWay{Problem: "nothing came through"},
			},
			{Interface: "wwan1", Role: RoleOverflow, State: UplinkUp, LeftOut: "not measured, for each byte costs (about 84.0 MB): add --metered to measure it"},
		},
		Bond: &SpeedtestBond{
			IdleMs: 30.2,
			Down: &SpeedtestWay{Bps: 74.6e6, LoadedMs: 66, LoadedWorstMs: 91, Parts: []SpeedtestPart{
				{Interface: "dsl", Bps: 46.6e6}, {Interface: "wwan0", Bps: 28e6},
			}},
			Up: &SpeedtestWay{Bps: 18.6e6, LoadedMs: 66, LoadedWorstMs: 91, Parts: []SpeedtestPart{{Interface: "dsl", Bps: 9.3e6}, {Interface: "wwan0", Bps: 9.3e6}}},
		},
	}
}

func TestSpeedtestText(t *testing.T) {
	alone := &Speedtest{Server: "192.0.2.1:443", Seconds: 2.5, OthersRxBps: 5e6, Calls: true, Uplinks: []SpeedtestUplink{{
		Interface: "enxa0cec8010203", IdleMs: 0.2, Down: &SpeedtestWay{Bps: 1.25e9}, Up: &SpeedtestWay{Bps: 640e6},
	}}}
	for _, c := range []struct {
		what string
		s    *Speedtest
		want string
	}{
		{"two uplinks", sampleSpeedtest(), `
through vpn.example.net:443, 6 s for each figure, payload of TCP

       down       up         idle  loaded down  loaded up  lost
dsl    47.1 Mb/s  9.4 Mb/s   30    62 / 89      71 / 120   0.3 %
wwan0  28.3 Mb/s  –          60    95 / 101     –          0.0 %
bond   74.6 Mb/s  18.6 Mb/s  30    66 / 91      66 / 91    0.0 %
  (round trips in ms: median, loaded also the worst; the bond's: nearest uplink)
  wwan0 up: nothing came through
  wwan1: not measured, for each byte costs (about 84.0 MB): add --metered to
    measure it

down
  dsl    ████████████████████████████ 47.1 Mb/s
  wwan0  ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ 28.3 Mb/s
  bond   ███████████████████████████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ 74.6 Mb/s

up
  dsl   ██████████████████████ 9.4 Mb/s
  bond  ██████████████████████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒ 18.6 Mb/s

together 74.6 Mb/s down, 1.6 times the best uplink alone, and 18.6 Mb/s up, 2.0
  times
`},
		{"one uplink, and company", alone, `
through 192.0.2.1:443, 2.5 s for each figure, payload of TCP

                 down       up          idle  loaded down  loaded up  lost
enxa0cec8010203  1.25 Gb/s  640.0 Mb/s  1     –            –          0.0 %
  (round trips in ms: median, loaded also the worst)

down
  enxa0cec8010203  ████████████████████████████████████████████ 1.25 Gb/s

up
  enxa0cec8010203  ████████████████████████████████████████████ 640.0 Mb/s

others shared the uplinks, with up to 5.0 Mb/s down and 0 up: without them it
  would be more
somebody called meanwhile, and transfers kept below what the uplinks carry:
  without that it would be a little more
`},
	} {
		var b strings.Builder
		if err := WriteSpeedtest(&b, c.s); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, "\n"+b.String()); d != "" {
			t.Errorf("%s: (-want +got)\n%s", c.what, d)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
				t.Errorf("%s: %d columns: %s", c.what, n, line)
			}
		}
	}
}

func TestSpeedtestStepText(t *testing.T) {
	for want, s := range map[string]SpeedtestStep{
		"round trips of the idle uplinks, 0.5 of 1.5 s": {Of: 6, Done: 0.5, Seconds: 1.5},
		"3 of 6: lte down, 2.1 of 6 s, 27.9 Mb/s":       {Number: 3, Of: 6, Interface: "lte", Direction: SpeedDown, Done: 2.1, Seconds: 6, Bps: 27.9e6},
		"6 of 6: bond up, 6.0 of 6 s, 18.1 Mb/s":        {Number: 6, Of: 6, Direction: SpeedUp, Done: 6, Seconds: 6, Bps: 18.1e6},
	} {
		if got := s.Text(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestSpeedtestGain(t *testing.T) {
	s := sampleSpeedtest()
	if g := s.Gain(SpeedDown); g < 1.58 || g > 1.59 {
		t.Errorf("down %v", g)
	}
	s.Bond.Up.Problem = "no"
	if s.Gain(SpeedUp) != 0 || (&Speedtest{}).Gain(SpeedDown) != 0 {
		t.Error("a gain out of nothing")
	}
}

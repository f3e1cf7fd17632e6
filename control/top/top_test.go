package top

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"braid/control"
)

// presses gives keys to a view of a status and returns what it asked the daemon
// for, which answers with refuse, and what stands at the bottom.
func presses(t *testing.T, status any, refuse error, keys ...string) (asked []string, footer string) {
	t.Helper()
	m := NewModel(false, func(uplink, role string) error {
		asked = append(asked, uplink+" "+role)
		return refuse
	})
	m.Update(tea.WindowSizeMsg{Width: 120, Height: 24})
	m.Update(Told{began, status})
	for _, k := range keys {
		if _, cmd := m.Update(key(k)); cmd != nil {
			m.Update(cmd())
		}
	}
	lines := strings.Split(ansi.Strip(m.View().Content), "\n")
	return asked, lines[len(lines)-1]
}

func TestKeysChangeRoles(t *testing.T) {
	one := client()
	one.Uplinks[1].State, one.Uplinks[2].State = control.UplinkDead, control.UplinkDead
	paused := client()
	paused.Uplinks[1].Role, paused.Uplinks[1].State = control.RoleNever, control.UplinkOff
	never := client()
	never.Uplinks[0].Role, never.Uplinks[0].ConfiguredRole = control.RoleNever, control.RoleNever
	refusal := &control.Refusal{Problem: "this braid does not let its uplinks be changed while it runs", Mend: "set the role"}
	tests := []struct {
		name   string
		status any
		refuse error
		keys   string
		asked  string
		footer string
	}{
		{"backup", client(), nil, "u", "[dsl backup]", "dsl has the role backup until the daemon restarts"},
		{"the second one", client(), nil, "down o", "[lte overflow]", "lte has the role overflow"},
		{"by number", client(), nil, "3 b", "[sat bond]", "sat has the role bond"},
		{"back", client(), nil, "2 d", "[lte default]", "lte has the role of the configuration again"},
		{"paused", client(), nil, "2 x", "[lte never]", "lte has the role never"},
		{"taken back", paused, nil, "2 x", "[lte default]", "lte has the role of the configuration again"},
		{"never by the configuration", never, nil, "x", "[]", "dsl is never used by the configuration"},
		{"the last one asks", one, nil, "x", "[]", "dsl is the last uplink that works: without it nothing gets through. Pause it? y/n"},
		{"the last one, no", one, nil, "n x", "[]", "dsl stays as it is"},
		{"the last one, yes", one, nil, "n y", "[dsl never]", "dsl has the role never"},
		{"a dead one does not ask", one, nil, "2 n", "[lte never]", "lte has the role never"},
		{"refused", client(), refusal, "u", "[dsl backup]", "not changed: this braid does not let its uplinks be changed while it runs (set the role)"},
		{"failed", client(), errors.New("no such file"), "u", "[dsl backup]", "not changed: no such file"},
		{"a server", server(), nil, "u", "[]", "roles of uplinks are changed on the client's host"},
		{"a server's client", server(), nil, "enter x", "[]", "roles of uplinks are changed on the client's host"},
		{"no uplink", &control.Client{}, nil, "x", "[]", "there is no uplink to change"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asked, footer := presses(t, tt.status, tt.refuse, strings.Fields(tt.keys)...)
			if got := fmt.Sprint(asked); got != tt.asked {
				t.Errorf("asked for %s, want %s", got, tt.asked)
			}
			if !strings.HasPrefix(footer, tt.footer) {
				t.Errorf("footer %q, want %q", footer, tt.footer)
			}
		})
	}
}

func TestStreamsAreSorted(t *testing.T) {
	m := NewModel(false, nil)
	m.Update(Told{began, client()})
	for _, want := range []string{"RATE 203.0.113.107:443", "AGE [2001:db8:1234:…:5678]:8443", "BYTES [2001:db8:1234:…:5678]:8443", "RATE 203.0.113.107:443"} {
		lines := strings.Split(ansi.Strip(picture(m, 120, 40)), "\n")
		for i, l := range lines {
			if _, by, ok := strings.Cut(l, "STREAMS BY "); ok {
				if got := strings.Fields(by)[0] + " " + strings.Fields(lines[i+1])[0]; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		}
		m.Update(key("s"))
	}
}

// A server's client that is open is left with esc, and when it is revoked.
func TestOpenClient(t *testing.T) {
	m := NewModel(false, nil)
	m.Update(Told{began, server()})
	has := func(what, text string) {
		t.Helper()
		if got := ansi.Strip(picture(m, 80, 24)); !strings.Contains(got, text) {
			t.Errorf("%s: no %q in\n%s", what, text, got)
		}
	}
	has("at first", "server braid0")
	m.Update(key("down"))
	m.Update(key("enter"))
	has("opened", "server, client shop")
	m.Update(key("esc"))
	has("back", "▸ shop")
	m.Update(key("enter"))
	s := server()
	s.Clients = s.Clients[:1]
	m.Update(Told{began.Add(time.Second), s})
	has("revoked", "server braid0")
}

// The daemon lists an uplink that is gone last; here it keeps its place.
func TestOrderStays(t *testing.T) {
	m := NewModel(false, nil)
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {2, 1, 0}} {
		all, c := client().Uplinks, client()
		for i, j := range order {
			c.Uplinks[i] = all[j]
		}
		m.Update(Told{began, c})
		if got := fmt.Sprint(m.names()); got != "[dsl lte sat]" {
			t.Errorf("%v: %s", order, got)
		}
	}
}

// What others chose cannot move the cursor or change colours.
func TestTextsAreClean(t *testing.T) {
	c := client()
	evil := "a\x1b[31mb\u009b2Jc\r\nd\u202ee"
	c.Session.Server, c.Session.Device, c.Session.Reason = evil, evil, evil
	c.Uplinks[0].Interface, c.Uplinks[0].State, c.Uplinks[0].Reason = evil, control.UplinkDead, evil
	c.Streams.List[0].Uplinks[0].Interface = evil
	c.Events[0].Uplink, c.Events[0].Reason, c.Events[0].To, c.Events[0].Time = evil, evil, evil, evil
	s := server()
	s.Clients[0].Name, s.Listen = evil, []string{evil}
	c.Judge()
	s.Judge()
	for _, status := range []any{c, s} {
		m := NewModel(false, nil)
		m.Update(Told{began, status})
		m.Update(Lost{began, errors.New(evil)})
		for line := range strings.SplitSeq(ansi.Strip(picture(m, 200, 60)), "\n") {
			if strings.ContainsAny(line, "\x1b\u009b\r\u202e") || strings.Contains(picture(m, 200, 60), "\x1b[31mb") {
				t.Errorf("%q", line)
			}
		}
	}
}

func TestPlainText(t *testing.T) {
	for environ, want := range map[string]bool{
		"TERM=xterm LANG=C.UTF-8": false, "TERM=xterm LANG=de_DE.utf8": false, "TERM=xterm": true, "TERM=xterm LANG=en_US.UTF-8 LC_ALL=C": true,
		"TERM=dumb LANG=C.UTF-8": true, "TERM=vt100 LANG=C.UTF-8": true, "TERM=linux LANG=C.UTF-8": true, "LANG=C.UTF-8": true,
	} {
		if got := PlainText(strings.Fields(environ)); got != want {
			t.Errorf("%s: %v", environ, got)
		}
	}
}

func TestGraph(t *testing.T) {
	bars := []float64{0, 1, 25, 50, 100, 100, 60, 0}
	for plain, want := range map[bool]string{false: "  ⣿⡀\n⢀⣼⣿⡇", true: "    ##.\n .:####"} {
		columns := len(bars) / perColumn(plain)
		got := strings.Join(graph(bars, 100, columns, 2, plain), "\n")
		trim := func(s string) string { return strings.ReplaceAll(strings.TrimRight(s, " "), " \n", "\n") }
		if trim(got) != trim(want) {
			t.Errorf("plain %v: got\n%s\nwant\n%s", plain, got, want)
		}
	}
}

func TestScale(t *testing.T) {
	for most, want := range map[float64]string{0: "1M", 99e3: "1M", 1.01e6: "2M", 48.2e6: "50M", 61e6: "80M", 990e6: "1G", 4.1e9: "5G"} {
		if got := scaleText(scaleOf(most)); got != want {
			t.Errorf("%v: got %s, want %s", most, got, want)
		}
	}
}

// Bars stand on steps of the clock, hold between statuses, and end when no more come.
func TestBars(t *testing.T) {
	var p past
	for i, bps := range []float64{10, 20, 30} {
		p.add(rates{began.Add(time.Duration(i) * 2 * time.Second), [2]float64{bps, 0}})
	}
	for at, want := range map[time.Duration]string{
		4 * time.Second:         "[0 10 10 20 20 30]",
		4500 * time.Millisecond: "[0 10 10 20 20 30]",
		5 * time.Second:         "[10 10 20 20 30 30]",
		9 * time.Second:         "[30 30 30 0 0 0]",
	} {
		if got := fmt.Sprint(p.bars(0, 6, time.Second, began.Add(at))); got != want {
			t.Errorf("at %v: got %s, want %s", at, got, want)
		}
	}
	p.add(rates{began.Add(time.Hour), [2]float64{}})
	if len(p.rates) != 1 {
		t.Errorf("keeps %d", len(p.rates))
	}
}

package top

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"braid/control"
)

var update = flag.Bool("update", false, "write the golden files anew")

// began is when all pictures begin; a minute later they are taken.
var began = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func TestMain(m *testing.M) {
	if socket := os.Getenv(panicVariable); socket != "" {
		os.Exit(panicking(socket))
	}
	time.Local = time.UTC // times of the day are those of the terminal's user
	os.Exit(m.Run())
}

// client is a client that does well: two uplinks of a household, one more as a
// backup, and a download.
func client() *control.Client {
	c := &control.Client{
		Role:    control.RoleClient,
		Session: control.Session{State: control.SessionUp, Device: "braid0", Server: "192.0.2.1:443", MPTCP: true, RTTms: 31.2},
		Uplinks: []control.Uplink{
			{Interface: "dsl", Role: control.RoleBond, ConfiguredRole: control.RoleBond, State: control.UplinkUp, Use: control.UseActive, Subflows: 1,
				RTTms: 34.1, JitterMs: 1.2, RxBps: 48.2e6, TxBps: 1.1e6, DeliverRxBps: 48.9e6, DeliverTxBps: 9.8e6},
			{Interface: "lte", Role: control.RoleBond, ConfiguredRole: control.RoleBond, State: control.UplinkUp, Use: control.UseActive, Subflows: 1,
				RTTms: 71.7, JitterMs: 4.8, LossPct: 0.3, RxBps: 27.9e6, TxBps: 0.6e6, DeliverRxBps: 29.1e6, CapBytes: 50e9, CapUsedBytes: 12e9, CapResets: "2026-12-01T00:00:00Z"},
			{Interface: "sat", Role: control.RoleBackup, ConfiguredRole: control.RoleBackup, State: control.UplinkUp, Use: control.UseStandby, Subflows: 1,
				RTTms: 612, JitterMs: 9, Reason: "its role is backup"},
		},
		Streams: control.Streams{Open: 12, Resumed: 1, ListTotal: 3, List: []control.Stream{
			{Destination: netip.MustParseAddrPort("203.0.113.107:443"), State: control.StreamOpen, AgeS: 62, RxBps: 71.3e6, RxBytes: 512e6,
				Uplinks: []control.StreamUplink{{Interface: "dsl", SharePct: 63}, {Interface: "lte", SharePct: 37}}},
			{Destination: netip.MustParseAddrPort("[2001:db8:1234:5678:9abc:def0:1234:5678]:8443"), State: control.StreamOpen, AgeS: 7500, RxBps: 1.2e6, RxBytes: 900e6,
				Uplinks: []control.StreamUplink{{Interface: "dsl", SharePct: 99.8}}},
			{Destination: netip.MustParseAddrPort("198.51.100.7:22"), State: control.StreamResuming, AgeS: 30},
		}},
		PacketLane: control.PacketLane{
			Sparse: control.PacketClass{DelayMs: 0.4}, Bulk: control.PacketClass{DelayMs: 8.1, Dropped: 32}, Saved: 3,
		},
		Events: []control.Event{
			{Time: "2026-11-22T09:12:30Z", Uplink: "dsl", From: control.UplinkProbing, To: control.UplinkUp, Reason: "it answers steadily"},
			{Time: "2026-11-22T09:12:31.5Z", Uplink: "lte", From: control.UplinkProbing, To: control.UplinkUp, Reason: "it answers steadily"},
		},
	}
	c.Judge()
	return c
}

func deadClient() *control.Client {
	c := client()
	u := &c.Uplinks[1]
	u.State, u.Use, u.Subflows, u.RxBps, u.TxBps, u.RTTms, u.JitterMs = control.UplinkDead, control.UseNone, 0, 0, 0, 0, 0
	u.Reason = "no answer for 4.2 s"
	c.Events = append(c.Events, control.Event{Time: "2026-11-22T10:00:39Z", Uplink: "lte", From: control.UplinkUp, To: control.UplinkLate, Reason: "no answer for 110 ms"},
		control.Event{Time: "2026-11-22T10:00:40Z", Uplink: "lte", From: control.UplinkLate, To: control.UplinkDead, Reason: "no answer for 210 ms"})
	return c
}

func quarantinedClient() *control.Client {
	c := client()
	u := &c.Uplinks[2]
	u.Role, u.State = control.RoleBond, control.UplinkQuarantined
	u.Reason = "2.0 Mb/s in 612 ms make nothing faster beside 48.1 Mb/s in 30 ms; tried again in 52s"
	c.Events = append(c.Events, control.Event{Time: "2026-11-22T10:00:40Z", Uplink: "sat", From: control.UplinkUp, To: control.UplinkQuarantined, Reason: u.Reason})
	return c
}

func downClient() *control.Client {
	c := client()
	c.Session.State, c.Session.Reason, c.Session.MPTCP = control.SessionDown, "dial 192.0.2.1:443: connection refused", false
	for i := range c.Uplinks {
		u := &c.Uplinks[i]
		u.Subflows, u.RxBps, u.TxBps = 0, 0, 0
	}
	c.Streams = control.Streams{}
	c.Judge()
	return c
}

func server() *control.Server {
	uplinks := client().Uplinks
	for i := range uplinks {
		uplinks[i].ConfiguredRole, uplinks[i].CapBytes = "", 0
	}
	dead := deadClient().Uplinks
	return &control.Server{
		Role: control.RoleServer, Device: "braid0", Listen: []string{"[::]:443"}, Rejected: 7,
		Clients: []control.Peer{
			{Name: "home", State: control.SessionUp, MPTCP: true, Since: "2026-11-22T08:30:00Z", Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/24")},
				Uplinks: uplinks, Streams: client().Streams, PacketLane: client().PacketLane},
			{Name: "shop", State: control.SessionUp, MPTCP: true, Since: "2026-11-22T09:59:30Z", Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.3/24")}, Uplinks: dead},
			{Name: "laptop", State: control.SessionDown, Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.4/24")}},
		},
	}
}

// show gives a model a minute of a status, four times a second. Rates waver, and
// what is dead at the end was well in the first forty seconds.
func show(m *Model, status func() any) {
	for i := range 241 {
		s := status()
		share := 0.7 + 0.3*float64(i%16)/15
		change := func(uplinks []control.Uplink, lane *control.PacketLane) {
			lane.Sparse.Packets, lane.Bulk.Packets = uint64(30*i), uint64(250*i)
			lane.CopiesAtOnce.Sent = uint64(10 * i)
			for j := range uplinks {
				u := &uplinks[j]
				if u.State == control.UplinkDead && i < 160 {
					u.RxBps, u.TxBps = 27.9e6, 0.6e6
				}
				if i < 240 {
					u.RxBps, u.TxBps = u.RxBps*share, u.TxBps*share
				}
			}
		}
		switch s := s.(type) {
		case *control.Client:
			change(s.Uplinks, &s.PacketLane)
			s.Judge()
		case *control.Server:
			for j := range s.Clients {
				change(s.Clients[j].Uplinks, &s.Clients[j].PacketLane)
			}
			s.Judge()
		}
		m.Update(Told{began.Add(time.Duration(i) * 250 * time.Millisecond), s})
	}
}

// key is the press of a key.
func key(text string) tea.KeyPressMsg {
	switch text {
	case "down":
		return tea.KeyPressMsg{Code: tea.KeyDown}
	case "enter":
		return tea.KeyPressMsg{Code: tea.KeyEnter}
	case "esc":
		return tea.KeyPressMsg{Code: tea.KeyEscape}
	case "space":
		return tea.KeyPressMsg{Code: tea.KeySpace, Text: " "}
	}
	return tea.KeyPressMsg{Code: []rune(text)[0], Text: text}
}

// situations are what the pictures show.
var situations = []struct {
	name   string
	status func() any
	plain  bool
	after  func(*Model)
}{
	{"good", func() any { return client() }, false, nil},
	{"dead", func() any { return deadClient() }, false, nil},
	{"quarantined", func() any { return quarantinedClient() }, false, nil},
	{"down", func() any { return downClient() }, false, nil},
	{"server", func() any { return server() }, false, nil},
	{"server-client", func() any { return server() }, false, func(m *Model) {
		m.Update(key("down"))
		m.Update(key("enter"))
	}},
	{"plain", func() any { return deadClient() }, true, nil},
	{"frozen", func() any { return client() }, false, func(m *Model) {
		m.Update(key("p"))
		m.Update(Told{began.Add(90 * time.Second), downClient()})
	}},
	{"no-answer", func() any { return client() }, false, func(m *Model) {
		m.Update(Lost{began.Add(63 * time.Second), errors.New("follow the daemon at /run/braid/client.sock: it has ended")})
	}},
	{"help", func() any { return client() }, false, func(m *Model) { m.Update(key("?")) }},
}

func picture(m *Model, width, height int) string {
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	return m.View().Content
}

// What a stranger sees, in words and without colours, at several sizes.
func TestPictures(t *testing.T) {
	for _, s := range situations {
		m := NewModel(s.plain, nil)
		show(m, s.status)
		if s.after != nil {
			s.after(m)
		}
		for _, size := range [][2]int{{80, 24}, {60, 16}, {120, 40}} {
			if size[0] != 80 && s.name != "dead" && s.name != "server" {
				continue
			}
			got := ansi.Strip(picture(m, size[0], size[1])) + "\n"
			file := filepath.Join("testdata", fmt.Sprintf("%s-%dx%d.txt", s.name, size[0], size[1]))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				continue
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("%s (go test ./control/top -update writes it anew):\n%s", file, d)
			}
		}
	}
}

// Whatever the terminal's size, nothing is wider or higher, and where only ASCII
// can be shown, there is nothing else.
func TestPicturesFit(t *testing.T) {
	for _, s := range situations {
		for _, plain := range []bool{false, true} {
			m := NewModel(plain, nil)
			show(m, s.status)
			if s.after != nil {
				s.after(m)
			}
			for width := 1; width <= 210; width += 1 + width/3 {
				for height := 1; height <= 60; height += 1 + height/4 {
					lines := strings.Split(picture(m, width, height), "\n")
					if len(lines) != height {
						t.Fatalf("%s: %d lines at %dx%d", s.name, len(lines), width, height)
					}
					for _, l := range lines {
						if ansi.StringWidth(l) > width {
							t.Fatalf("%s: %d columns at %dx%d: %q", s.name, ansi.StringWidth(l), width, height, l)
						}
						for _, r := range ansi.Strip(l) {
							if plain && r > '~' {
								t.Fatalf("%s: %q at %dx%d: %q", s.name, r, width, height, l)
							}
						}
					}
				}
			}
		}
	}
}

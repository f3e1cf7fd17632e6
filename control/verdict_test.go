package control

import (
	"slices"
	"testing"
)

func TestVerdict(t *testing.T) {
	up := func(name string) Uplink {
		return Uplink{Interface: name, Role: RoleBond, State: UplinkUp, Use: UseActive, Subflows: 1}
	}
	with := func(name, state, use, reason string) Uplink {
		return Uplink{Interface: name, ConfiguredRole: RoleBond, State: state, Use: use, Reason: reason}
	}
	session := Session{State: SessionUp, MPTCP: true}
	tests := []struct {
		name    string
		session Session
		uplinks []Uplink
		level   Level
		about   string
		title   string
		text    string
	}{
		{"two", session, []Uplink{up("dsl"), up("lte")}, LevelGood, "up", "All well", "working: dsl and lte carry"},
		{"four", session, []Uplink{up("a"), up("b"), up("c"), up("d")}, LevelGood, "up", "All well", "working: 4 uplinks carry"},
		{"one stands by, one is off", session, []Uplink{up("dsl"), with("lte", UplinkUp, UseStandby, "its role is backup"), with("wlan0", UplinkOff, UseNone, "its role is never")},
			LevelGood, "up", "All well", "working: dsl carries, lte stands by"},
		{"one is dead", session, []Uplink{up("dsl"), with("lte", UplinkDead, UseNone, "no answer\nfor 3 s")},
			LevelWarn, "dead", "lte is dead", "working on dsl alone; lte is dead: no answer for 3 s"},
		{"two are dead", session, []Uplink{up("dsl"), up("lte"), with("a", UplinkDead, UseNone, ""), with("b", UplinkProbing, UseNone, "it has yet to answer steadily")},
			LevelWarn, "dead", "a is dead", "working: dsl and lte carry; a is dead; b is probing: it has yet to answer steadily"},
		{"one is late", session, []Uplink{up("dsl"), with("lte", UplinkLate, UseActive, "no answer for 140 ms")}, LevelGood, "up", "All well", "working: dsl and lte carry"},
		{"quarantined", session, []Uplink{up("dsl"), with("sat", UplinkQuarantined, UseStandby, "2.0 Mb/s make nothing faster")},
			LevelHeld, "quarantined", "sat is quarantined", "working: dsl carries; sat is quarantined: 2.0 Mb/s make nothing faster"},
		{"without subflow", session, []Uplink{up("dsl"), with("lte", UplinkUp, UseActive, "its subflow is not there yet")},
			LevelWarn, "late", "lte carries nothing", "working on dsl alone; lte carries nothing: its subflow is not there yet"},
		{"plain TCP", Session{State: SessionUp}, []Uplink{up("dsl")},
			LevelWarn, "late", "One uplink only", "working on dsl alone; the connection is plain TCP, which uses one uplink at a time"},
		{"nothing carries", session, []Uplink{with("dsl", UplinkDead, UseNone, "no answer for 9 s")}, LevelBad, "dead", "dsl is dead", "not working: no uplink carries; dsl is dead: no answer for 9 s"},
		{"no session", Session{State: SessionDown, Reason: "connection refused"}, []Uplink{up("dsl"), with("lte", UplinkProbing, UseNone, "the server has not answered on it yet")}, LevelBad, "dead", "Not connected", "not working: no session with the server: connection refused"},
		{"no session, one is dead", Session{State: SessionDown}, []Uplink{up("dsl"), with("lte", UplinkDead, UseNone, "it is down")},
			LevelBad, "dead", "Not connected", "not working: no session with the server; lte is dead: it is down"},
		{"two are tried", session, []Uplink{up("dsl"), with("a", UplinkProbing, UseNone, ""), with("b", UplinkProbing, UseNone, "")},
			LevelWarn, "probing", "a and b are being tried", "working on dsl alone; a is probing; b is probing"},
		{"three are dead", session, []Uplink{up("dsl"), with("a", UplinkDead, UseNone, ""), with("b", UplinkDead, UseNone, ""), with("c", UplinkDead, UseNone, "")},
			LevelWarn, "dead", "a, b and c are dead", "working on dsl alone; a is dead; b is dead; c is dead"},
		{"two stand by", session, []Uplink{up("dsl"), with("a", UplinkUp, UseStandby, ""), with("b", UplinkUp, UseStandby, "")},
			LevelGood, "up", "All well", "working: dsl carries, a and b stand by"},
		{"all stand by", session, []Uplink{with("a", UplinkUp, UseStandby, "")}, LevelBad, "late", "No uplink carries", "not working: no uplink carries"},
		{"a state of another version", session, []Uplink{up("dsl"), with("a", "asleep", UseNone, "")},
			LevelWarn, "late", "An uplink is amiss", "working on dsl alone; a is asleep"},
		{"no uplinks yet", session, nil, LevelGood, "up", "All well", "working"},
	}
	for _, tt := range tests {
		c := &Client{Session: tt.session, Uplinks: tt.uplinks}
		c.Judge()
		if want := (Verdict{tt.level, tt.about, tt.title, tt.text}); c.Verdict != want {
			t.Errorf("%s: %+v, want %+v", tt.name, c.Verdict, want)
		}
	}
}

// A client that is away is no fault of the server.
func TestServerVerdict(t *testing.T) {
	good := []Uplink{{Interface: "dsl", State: UplinkUp, Use: UseActive, Subflows: 1}}
	s := &Server{Clients: []Peer{{Name: "home", State: SessionUp, MPTCP: true, Uplinks: good}, {Name: "laptop", State: SessionDown}}}
	judged := func(want Verdict) {
		t.Helper()
		if s.Judge(); s.Verdict != want {
			t.Errorf("%+v, want %+v", s.Verdict, want)
		}
	}
	well := Verdict{LevelGood, "up", "1 of 2 clients connected", "working: 1 of 2 clients connected, all is well with them"}
	judged(well)
	if v := s.Clients[1].Verdict; v != (Verdict{LevelBad, "off", "Not connected", "not connected"}) {
		t.Errorf("%+v", v)
	}
	s.Clients[0].Uplinks = []Uplink{{Interface: "dsl", State: UplinkUp, Use: UseActive, Reason: "answers in 31 ms"}} // what the client said
	judged(well)
	s.Clients[0].Uplinks = append(good, Uplink{Interface: "lte", State: UplinkDead})
	judged(Verdict{LevelWarn, "dead", "1 of 2 clients connected", "working, 1 of 2 clients connected; home: lte is dead"})
	if v := s.Clients[0].Verdict.Text; v != "working on dsl alone; lte is dead" {
		t.Error(v)
	}
	s.Clients = slices.Repeat(s.Clients[:1], 5)
	judged(Verdict{LevelWarn, "dead", "5 of 5 clients connected",
		"working, 5 of 5 clients connected; home: lte is dead; home: lte is dead; home: lte is dead; 2 more with a fault"})
	s.Clients = s.Clients[:1]
	s.Clients[0].State = SessionDown
	judged(Verdict{LevelGood, "standby", "0 of 1 client connected", "working: 0 of 1 client connected, the server waits for them"})
}

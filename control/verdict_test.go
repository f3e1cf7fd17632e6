package control

import "testing"

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
		text    string
	}{
		{"two", session, []Uplink{up("dsl"), up("lte")}, LevelGood, "working: dsl and lte carry"},
		{"four", session, []Uplink{up("a"), up("b"), up("c"), up("d")}, LevelGood, "working: 4 uplinks carry"},
		{"one stands by, one is off", session, []Uplink{up("dsl"), with("lte", UplinkUp, UseStandby, "its role is backup"), with("wlan0", UplinkOff, UseNone, "its role is never")},
			LevelGood, "working: dsl carries, lte stands by"},
		{"one is dead", session, []Uplink{up("dsl"), with("lte", UplinkDead, UseNone, "no answer\nfor 3 s")},
			LevelFaulty, "working on dsl alone; lte is dead: no answer for 3 s"},
		{"two are dead", session, []Uplink{up("dsl"), up("lte"), with("a", UplinkDead, UseNone, ""), with("b", UplinkProbing, UseNone, "it has yet to answer steadily")},
			LevelFaulty, "working: dsl and lte carry; a is dead; b is probing: it has yet to answer steadily"},
		{"one is late", session, []Uplink{up("dsl"), with("lte", UplinkLate, UseActive, "no answer for 140 ms")}, LevelGood, "working: dsl and lte carry"},
		{"quarantined", session, []Uplink{up("dsl"), with("sat", UplinkQuarantined, UseStandby, "2.0 Mb/s make nothing faster")},
			LevelGood, "working: dsl carries; sat is quarantined: 2.0 Mb/s make nothing faster"},
		{"without subflow", session, []Uplink{up("dsl"), with("lte", UplinkUp, UseActive, "its subflow is not there yet")},
			LevelFaulty, "working on dsl alone; lte carries nothing: its subflow is not there yet"},
		{"plain TCP", Session{State: SessionUp}, []Uplink{up("dsl")},
			LevelFaulty, "working on dsl alone; the connection is plain TCP, which uses one uplink at a time"},
		{"nothing carries", session, []Uplink{with("dsl", UplinkDead, UseNone, "no answer for 9 s")}, LevelDown, "not working: no uplink carries; dsl is dead: no answer for 9 s"},
		{"no session", Session{State: SessionDown, Reason: "connection refused"}, []Uplink{up("dsl")}, LevelDown, "not working: no session with the server: connection refused"},
	}
	for _, tt := range tests {
		v := (&Client{Session: tt.session, Uplinks: tt.uplinks}).Verdict()
		if v.Level != tt.level || v.Text != tt.text {
			t.Errorf("%s: level %d, %q; want %d, %q", tt.name, v.Level, v.Text, tt.level, tt.text)
		}
	}
}

// A client that is away is no fault of the server.
func TestServerVerdict(t *testing.T) {
	good := []Uplink{{Interface: "dsl", State: UplinkUp, Use: UseActive, Subflows: 1}}
	s := &Server{Clients: []Peer{{Name: "home", State: SessionUp, MPTCP: true, Uplinks: good}, {Name: "laptop", State: SessionDown}}}
	if v := s.Verdict(); v != (Verdict{LevelGood, "working: 1 of 2 clients connected"}) {
		t.Errorf("%+v", v)
	}
	s.Clients[0].Uplinks = []Uplink{{Interface: "dsl", State: UplinkUp, Use: UseActive, Reason: "answers in 31 ms"}} // what the client said
	if v := s.Verdict(); v.Level != LevelGood {
		t.Errorf("%+v", v)
	}
	s.Clients[0].Uplinks = append(good, Uplink{Interface: "lte", State: UplinkDead})
	if v := s.Verdict(); v != (Verdict{LevelFaulty, "working, 1 of 2 clients connected; home is working on dsl alone; lte is dead"}) {
		t.Errorf("%+v", v)
	}
}

func TestBondingText(t *testing.T) {
	uplink := func(name string, rx, tx, mostRx float64) Uplink {
		return Uplink{Interface: name, State: UplinkUp, RxBps: rx, TxBps: tx, DeliverRxBps: mostRx}
	}
	dead := uplink("lte", 0, 0, 90e6)
	dead.State = UplinkDead
	tests := []struct {
		uplinks []Uplink
		want    string
	}{
		{nil, "bonding: no uplink works"},
		{[]Uplink{uplink("dsl", 48e6, 0, 0), dead}, "bonding: no gain, one uplink works"},
		{[]Uplink{uplink("dsl", 10e3, 0, 0), uplink("lte", 10e3, 0, 0)}, "bonding: nothing to gain, next to no traffic"},
		{[]Uplink{uplink("dsl", 40e6, 0, 50e6), uplink("lte", 10e6, 0, 0)}, "bonding: no gain, dsl alone has 50.0 Mb/s down"},
		{[]Uplink{uplink("dsl", 48e6, 0, 50e6), uplink("lte", 27e6, 0, 0), dead}, "bonding: 1.5 times dsl alone (50.0 Mb/s down)"},
		{[]Uplink{uplink("dsl", 1e6, 8e6, 50e6), uplink("lte", 1e6, 8e6, 0)}, "bonding: 2.0 times dsl alone (8.0 Mb/s up)"},
	}
	for _, tt := range tests {
		if got := BondingText(tt.uplinks, "down", "up"); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

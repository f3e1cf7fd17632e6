package control

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// Golden text of uplinks in every state.
func TestUplinkText(t *testing.T) {
	states := []Uplink{
		{Interface: "dsl", Role: RoleBond, ConfiguredRole: RoleBond, State: UplinkUp, Use: UseActive, RTTms: 30.1, LossPct: 0.25, RxBps: 48.2e6, TxBps: 1.1e6, RxBytes: 2e9, TxBytes: 1e8,
			DeliverRxBps: 49.1e6, DeliverTxBps: 9.8e6, JitterMs: 1.25},
		{Interface: "cable", Role: RoleBond, ConfiguredRole: RoleBond, State: UplinkLate, Use: UseActive, RTTms: 121.4, LossPct: 12.3,
			Reason: "no answer for 140 ms", DeliverRxBps: 20e6},
		{Interface: "lte", Role: RoleOverflow, ConfiguredRole: RoleOverflow, State: UplinkUp, Use: UseStandby, RTTms: 60, CapBytes: 50e9, CapUsedBytes: 12e9, CapResets: "2026-12-01T00:00:00Z"},
		{Interface: "lte2", Role: RoleBackup, ConfiguredRole: RoleOverflow, State: UplinkUp, Use: UseStandby, RTTms: 61, CapBytes: 50e9, CapUsedBytes: 50e9, CapResets: "2026-12-01T00:00:00Z",
			Reason: "its cap of this month is used up"},
		{Interface: "sat", Role: RoleBond, ConfiguredRole: RoleBond, State: UplinkQuarantined, Use: UseStandby, RTTms: 612.7,
			Reason: "downloads ran at 31 Mb/s with it and at 47 Mb/s without it, measured for 10 s each; it will be looked at again in 4 minutes"},
		{Interface: "usb0", Role: RoleBackup, ConfiguredRole: RoleBackup, State: UplinkDead, Use: UseNone, Reason: "it is down,\ngone or\twithout a default route"},
		{Interface: "usb1", Role: RoleBond, ConfiguredRole: RoleBond, State: UplinkProbing, Use: UseNone, Reason: "nothing was heard by it yet"},
		{Interface: "wlan0", Role: RoleNever, ConfiguredRole: RoleBond, State: UplinkOff, Use: UseNone, Reason: "its role is never"},
	}
	c := &Client{
		Role: RoleClient, Session: Session{State: SessionUp, Device: "braid0", MPTCP: true}, Uplinks: states,
		OverflowReason: "the bond uplinks have 12 Mb/s to spare",
	}
	c.Judge()
	var status, list strings.Builder
	if err := WriteText(&status, c); err != nil {
		t.Fatal(err)
	}
	want := `
client up, tunnel braid0
working: dsl and cable carry, lte and lte2 stand by; usb0 is dead: it is down, gone or without a
  default route; usb1 is probing: nothing was heard by it yet; sat is quarantined: downloads ran at
  31 Mb/s with it and at 47 Mb/s without it, measured for 10 s each; it will be looked at again in 4
  minutes
uplink  role           state        rtt      loss   down       up        bytes
dsl     bond           up           30.1 ms  0.2 %  48.2 Mb/s  1.1 Mb/s  2.10 GB
  at most 49.1 Mb/s down, 9.8 Mb/s up of late, jitter 1.2 ms
cable   bond           late         121 ms   12 %   0          0         0 B
  no answer for 140 ms
  at most 20.0 Mb/s down, 0 up of late
lte     overflow 24 %  up, standby  60.0 ms  0.0 %  0          0         0 B
lte2    backup 100 %   up, standby  61.0 ms  0.0 %  0          0         0 B
  its cap of this month is used up
sat     bond           quarantined  613 ms   0.0 %  0          0         0 B
  downloads ran at 31 Mb/s with it and at 47 Mb/s without it, measured for 10 s each; it will be
    looked at again in 4 minutes
usb0    backup         dead         –        0.0 %  0          0         0 B
  it is down, gone or without a default route
usb1    bond           probing      –        0.0 %  0          0         0 B
  nothing was heard by it yet
wlan0   never          off          –        0.0 %  0          0         0 B
  its role is never
bonding: no gain, dsl alone has 49.1 Mb/s down
overflow: not in use, the bond uplinks have 12 Mb/s to spare
streams: 0 open, 0 resumed, 0 failed
`
	if d := cmp.Diff(want, "\n"+status.String()); d != "" {
		t.Error(d)
	}
	if err := WriteUplinks(&list, c); err != nil {
		t.Fatal(err)
	}
	want = `
uplink  role      configured  state        use      this month                                     reason
dsl     bond      bond        up           active   –
cable   bond      bond        late         active   –                                              no answer for 140 ms
lte     overflow  overflow    up           standby  12.00 GB of 50.00 GB (24 %) until 2026-12-01
lte2    backup    overflow    up           standby  50.00 GB of 50.00 GB (100 %) until 2026-12-01  its cap of this month is used up
sat     bond      bond        quarantined  standby  –                                              ` + states[4].Reason + `
usb0    backup    backup      dead         none     –                                              it is down, gone or without a default route
usb1    bond      bond        probing      none     –                                              nothing was heard by it yet
wlan0   never     bond        off          none     –                                              its role is never
`
	if d := cmp.Diff(want, "\n"+list.String()); d != "" {
		t.Error(d)
	}
}

func TestUplinkListOfNone(t *testing.T) {
	var b strings.Builder
	if err := WriteUplinks(&b, &Client{}); err != nil || !strings.HasPrefix(b.String(), "no uplink: ") {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// Whatever the figures, the text is 100 columns wide at most.
func TestStatusWidth(t *testing.T) {
	long := strings.Repeat("a reason of many words, ", 20)
	var uplinks []Uplink
	for _, state := range []string{UplinkProbing, UplinkUp, UplinkLate, UplinkDead, UplinkQuarantined, UplinkOff} {
		for _, use := range []string{UseActive, UseStandby, UseNone} {
			uplinks = append(uplinks, Uplink{
				Interface: "enx001122334455", Role: RoleOverflow, State: state, Use: use, Reason: long, RTTms: 9999.4, LossPct: 100,
				RxBps: 999.94e6, TxBps: 999.94e6, RxBytes: 999_900_000, CapBytes: 1, CapUsedBytes: 1e18,
			})
		}
	}
	address := netip.MustParsePrefix("fd77:b4a1:1234:5678:9abc:def0:1234:5678/64")
	peer := Peer{
		Name: "a client with a rather long name", State: SessionUp, Since: "2026-11-21T10:00:00Z",
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.100.102/24"), address}, Uplinks: slices.Clone(uplinks[:2]),
	}
	for i := range peer.Uplinks {
		peer.Uplinks[i].Interface, peer.Uplinks[i].Role, peer.Uplinks[i].CapBytes = address.Addr().String(), "", 0
	}
	for _, status := range []any{
		&Client{Session: Session{
			State: SessionUp, Device: "braid0123456789", Addresses: peer.Addresses, Server: netip.AddrPortFrom(address.Addr(), 65535).String(), Reason: long,
		}, Uplinks: uplinks, OverflowEngaged: true, OverflowReason: long},
		&Server{Device: "braid0123456789", Listen: slices.Repeat([]string{"192.0.2.107:65535"}, 9), Clients: []Peer{peer}},
	} {
		status.(judged).Judge()
		var b strings.Builder
		if err := WriteText(&b, status); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 100 {
				t.Errorf("%d columns: %s", n, line)
			}
		}
	}
}

// A cap that is nearly used up is not shown as used up.
func TestCapPercent(t *testing.T) {
	for used, want := range map[uint64]string{
		0: "0 %", 4e9: "8 %", 49_999_999_999: "99 %", 50e9: "100 %", 60e9: "120 %", 1e18: "999 %",
	} {
		if got := (&Uplink{CapBytes: 50e9, CapUsedBytes: used}).capPercent(); got != want {
			t.Errorf("%d: got %s, want %s", used, got, want)
		}
	}
}

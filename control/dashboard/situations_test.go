package dashboard

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"braid/control"
)

// Situations that somebody who has never seen braid must recognise at a glance.

// line is an uplink that is up.
func line(name string, rx, tx, rtt float64) control.Uplink {
	return control.Uplink{
		Interface: name, Role: control.RoleBond, ConfiguredRole: control.RoleBond, State: control.UplinkUp, Use: control.UseActive,
		Since: "2026-03-01T10:00:00Z", RTTms: rtt, MinRTTms: rtt * 0.93, JitterMs: rtt / 20, LossPct: 0.1,
		RxBytes: uint64(rx * 60), TxBytes: uint64(tx * 60), RxBps: rx, TxBps: tx, DeliverRxBps: rx * 1.03, DeliverTxBps: 9.7e6,
		MPTCP: true, Subflows: 3, BeatsSent: 9000, BeatsLost: 3,
	}
}

// calm is an uplink that moves nothing now, for a reason.
func calm(u control.Uplink, state, use, reason string) control.Uplink {
	u.State, u.Use, u.Reason, u.RxBps, u.TxBps = state, use, reason, 0, 0
	return u
}

func stream(to string, age, rx, tx float64, shares ...float64) control.Stream {
	t := control.Stream{
		Destination: netip.MustParseAddrPort(to), Source: netip.MustParseAddrPort(fmt.Sprintf("10.77.0.2:%d", 40000+int(age))),
		Direction: control.StreamOut, State: control.StreamOpen, AgeS: age, RxBps: rx, TxBps: tx, RxBytes: uint64(rx * age / 8),
	}
	for i, s := range shares {
		t.Uplinks = append(t.Uplinks, control.StreamUplink{Interface: []string{"dsl", "lte", "wlan0"}[i], SharePct: s})
	}
	return t
}

func event(minutes int, uplink, to, reason string) control.Event {
	at := time.Now().Add(-time.Duration(minutes) * time.Minute)
	return control.Event{Time: at.UTC().Format(time.RFC3339Nano), Uplink: uplink, To: to, Reason: reason}
}

func good() *control.Client {
	lte := line("lte", 29.2e6, 1.4e6, 60.2)
	lte.CapBytes, lte.CapUsedBytes, lte.CapResets = 50e9, 12e9, "2026-04-01T00:00:00Z"
	return &control.Client{
		Role: control.RoleClient, Version: "braid 1.0.0",
		Session: control.Session{
			State: control.SessionUp, Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/24"), netip.MustParsePrefix("fd77:b4a1::2/64")},
			MTU: 1500, Server: "192.0.2.1:443", Device: "braid0", MPTCP: true, RTTms: 30.4,
		},
		Uplinks: []control.Uplink{line("dsl", 47.9e6, 1.1e6, 30.1), lte},
		Streams: control.Streams{Open: 4, Resumed: 1, Opened: 812, ListTotal: 4, List: []control.Stream{
			stream("203.0.113.107:443", 42, 71.3e6, 0.9e6, 63, 37),
			stream("[2001:db8:4:7::9a21]:443", 128, 4.8e6, 0.1e6, 55, 45),
			stream("198.51.100.20:22", 3890, 4e3, 2e3, 100),
			stream("203.0.113.14:993", 11050, 0, 0, 100),
		}},
		Carriers: control.Carriers{Bond: 7, Path: 2, Idle: 3},
		PacketLane: control.PacketLane{
			Sparse: control.PacketClass{Packets: 48120, DelayMs: 0.3, DelayMaxMs: 4.1}, Bulk: control.PacketClass{Packets: 1204110, DelayMs: 6.2, DelayMaxMs: 48, Dropped: 213},
			CopiesAgain: control.PacketCopies{Sent: 420, Useful: 288}, Saved: 12,
		},
		DNS: control.DNS{Servers: []netip.Addr{netip.MustParseAddr("9.9.9.9")}},
		Events: []control.Event{
			event(51, "dsl", control.UplinkProbing, ""), event(51, "dsl", control.UplinkUp, "it answers steadily"),
			event(50, "lte", control.UplinkUp, "it answers steadily"), event(24, "lte", control.UplinkDead, "no answer for 310 ms"),
			event(22, "lte", control.UplinkProbing, "it answers again"), event(22, "lte", control.UplinkUp, "it answers steadily"),
		},
	}
}

// overDSL lets all streams be as fast as dsl alone.
func overDSL(c *control.Client) {
	c.Streams.List[0].RxBps, c.Streams.List[1].RxBps = 44.6e6, 2.8e6
	for i := range c.Streams.List[:2] {
		c.Streams.List[i].Uplinks[0].SharePct, c.Streams.List[i].Uplinks[1].SharePct = 91, 9
	}
}

func oneDead() *control.Client {
	c := good()
	c.Uplinks[1] = calm(c.Uplinks[1], control.UplinkDead, control.UseNone, "no answer for 310 ms")
	c.Uplinks[1].Deaths, c.Uplinks[1].RTTms, c.Uplinks[1].JitterMs, c.Uplinks[1].Subflows = 2, 0, 0, 0
	c.Events = append(c.Events, event(1, "lte", control.UplinkDead, "no answer for 310 ms"))
	overDSL(c)
	return c
}

func oneQuarantined() *control.Client {
	c := good()
	c.Uplinks[1] = calm(c.Uplinks[1], control.UplinkQuarantined, control.UseStandby,
		"2.0 Mb/s in 600 ms make nothing faster beside 48.1 Mb/s in 30 ms; it is tried again in 4 minutes")
	c.Uplinks[1].RTTms, c.Uplinks[1].CapBytes = 604, 0
	overDSL(c)
	c.Uplinks = append(c.Uplinks, calm(line("wlan0", 0, 0, 22), control.UplinkUp, control.UseStandby, "its role is backup, and others work"))
	c.Uplinks[2].Role, c.Uplinks[2].ConfiguredRole = control.RoleBackup, control.RoleBackup
	return c
}

func sessionDown() *control.Client {
	c := good()
	c.Session.State, c.Session.Reason, c.Session.MPTCP, c.Session.RTTms = control.SessionDown, "dial 192.0.2.1:443 over dsl: connection refused", false, 0
	for i := range c.Uplinks {
		c.Uplinks[i] = calm(c.Uplinks[i], control.UplinkProbing, control.UseNone, "the server has not answered on it yet")
		c.Uplinks[i].RTTms, c.Uplinks[i].JitterMs, c.Uplinks[i].DeliverRxBps, c.Uplinks[i].DeliverTxBps = 0, 0, 0, 0
	}
	c.Streams = control.Streams{List: []control.Stream{}}
	c.KillSwitch = true
	return c
}

func server() *control.Server {
	from := func(u control.Uplink, addr string) control.Uplink { u.Interface = addr; return u }
	since := "2026-03-01T08:12:00Z"
	return &control.Server{
		Role: control.RoleServer, Version: "braid 1.0.0", Device: "braid0", Listen: []string{"[::]:443"}, Rejected: 17,
		Clients: []control.Peer{
			{Name: "cabin", PublicKey: "C", State: control.SessionDown, Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.4/24")}, Uplinks: []control.Uplink{}},
			{
				Name: "home", PublicKey: "A", State: control.SessionUp, MPTCP: true, Since: since, Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/24")},
				Uplinks: []control.Uplink{from(line("", 1.2e6, 47.1e6, 30.2), "198.51.100.7"), from(line("", 1.3e6, 28.7e6, 61), "203.0.113.80")},
				Streams: control.Streams{Open: 14},
			},
			{
				Name: "van", PublicKey: "B", State: control.SessionUp, MPTCP: true, Since: since, Addresses: []netip.Prefix{netip.MustParsePrefix("10.77.0.3/24")},
				Uplinks: []control.Uplink{from(line("", 0.4e6, 11.2e6, 48), "192.0.2.201"), from(calm(line("", 0, 0, 0), control.UplinkDead, "", "no answer for 290 ms"), "192.0.2.17")},
				Streams: control.Streams{Open: 3},
			},
		},
	}
}

// pastHour is a plausible hour before now, for the uplinks or clients of a status.
func pastHour(h *History, now time.Time, status any) {
	var idle []bool
	for _, r := range rates(status) {
		idle = append(idle, r.RxBps+r.TxBps == 0)
	}
	for i := 1; i < Points; i++ {
		at := now.Add(-time.Duration(i) * Step)
		list := rates(status)
		for k := range list {
			x, shift := float64(i)/float64(Points), float64(k)
			busy := math.Max(0, math.Sin(x*19+shift*0.4)+0.55+0.12*math.Sin(float64(i)*0.9+shift))
			most := []float64{46e6, 28e6, 8e6}[k%3]
			list[k].RxBps, list[k].TxBps = most*math.Min(1, busy*(0.9+0.1*math.Sin(float64(i)*0.37))), most*0.05*math.Min(1, busy)
			if _, ok := status.(*control.Server); ok {
				list[k].RxBps, list[k].TxBps = list[k].TxBps, list[k].RxBps
			}
			if gone := x > 0.36 && x < 0.4; list[k].Name == "lte" && gone || idle[k] && x < 0.015 {
				list[k].RxBps, list[k].TxBps = 0, 0
			}
		}
		h.Add(at, list)
	}
}

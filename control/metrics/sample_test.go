package metrics

import (
	"fmt"
	"net/netip"

	"braid/control"
)

// fullUplink has a value for all that an uplink can tell.
func fullUplink(name string) control.Uplink {
	return control.Uplink{
		Interface: name, Role: control.RoleBackup, ConfiguredRole: control.RoleBond, State: control.UplinkUp, Use: control.UseActive, Since: "2026-11-21T10:00:00Z",
		RTTms: 30.5, MinRTTms: 28, JitterMs: 1.5, LossPct: 0.25, RxBytes: 2_000_000_000, TxBytes: 100_000_000, RxBps: 48e6, TxBps: 1e6,
		DeliverRxBps: 49e6, DeliverTxBps: 9.6e6, MPTCP: true, Subflows: 3, BeatsSent: 1000, BeatsLost: 7, Deaths: 2,
		CapBytes: 50_000_000_000, CapUsedBytes: 12_000_000_000, CapResets: "2026-12-01T00:00:00Z",
		Packets: control.PathPackets{TxPackets: 11, TxBytes: 12, RxPackets: 13, RxBytes: 14, Queued: 15},
	}
}

var (
	fullStreams = control.Streams{
		Open: 12, Waiting: 1, Resumed: 3, Opened: 100, Failed: 4, Denied: 5, Limited: 6, BufferedBytes: 65536, ListTotal: 12,
		List: []control.Stream{{Destination: netip.MustParseAddrPort("192.0.2.7:25")}},
	}
	fullCarriers = control.Carriers{Bond: 9, Path: 2, Idle: 4, Reverse: 1}
	fullPackets  = control.Packets{RxPackets: 21, RxBytes: 22, TxPackets: 23, TxBytes: 24, Dropped: 25, Spoofed: 26, Isolated: 27, Refused: 28, Malformed: 29}
	fullLane     = control.PacketLane{
		Sparse:  control.PacketClass{Packets: 31, Bytes: 32, Dropped: 33, Overflowed: 34, TooOld: 35, Marked: 36, DelayMs: 3.7, DelayMaxMs: 38},
		Bulk:    control.PacketClass{Packets: 41, Bytes: 42, Dropped: 43, Overflowed: 44, TooOld: 45, Marked: 46, DelayMs: 4.7, DelayMaxMs: 48},
		Waiting: 51, Resent: 52, Duplicates: 53, Saved: 54, Held: 55, Disordered: 56, Passed: 57,
		CopiesAtOnce: control.PacketCopies{Sent: 61, Bytes: 62, Useful: 63, Refused: 64},
		CopiesAgain:  control.PacketCopies{Sent: 71, Bytes: 72, Useful: 73, Refused: 74},
	}
)

func fullClient(uplinks ...string) *control.Client {
	c := &control.Client{
		Role: control.RoleClient, Version: "1.2.3", Session: control.Session{State: control.SessionUp, MPTCP: true, RTTms: 31},
		Streams: fullStreams, Carriers: fullCarriers, Packets: fullPackets, PacketLane: fullLane, OverflowEngaged: true, KillSwitch: true,
		DNS: control.DNS{Listen: "127.98.0.53:53", Queries: 81, Failed: 82, AskedAgain: 83, Limited: 84},
	}
	for _, u := range uplinks {
		c.Uplinks = append(c.Uplinks, fullUplink(u))
	}
	return c
}

// fullServer has so many clients with so many uplinks each.
func fullServer(clients, uplinks int) *control.Server {
	s := &control.Server{
		Role: control.RoleServer, Version: "1.2.3", Rejected: 91, Malformed: 92, Unroutable: 93,
		Egress: []control.EgressCount{{Reason: "default", Decisions: 94}, {Reason: "loopback", Decisions: 95}},
	}
	for i := range clients {
		p := control.Peer{
			Name: fmt.Sprintf("client-%d", i), State: control.SessionUp, MPTCP: true, Since: "2026-11-21T10:00:00Z",
			Streams: fullStreams, Carriers: fullCarriers, Packets: fullPackets, PacketLane: fullLane,
		}
		for k := range uplinks {
			u := fullUplink(fmt.Sprintf("wwan%d", k))
			// What a server does not know.
			u.ConfiguredRole, u.Since, u.MinRTTms, u.JitterMs, u.CapBytes, u.CapUsedBytes, u.CapResets = "", "", 0, 0, 0, 0, ""
			p.Uplinks = append(p.Uplinks, u)
		}
		s.Clients = append(s.Clients, p)
	}
	return s
}

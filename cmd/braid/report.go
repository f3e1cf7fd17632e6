package main

import (
	"fmt"
	"slices"
	"time"

	"braid/config"
	"braid/control"
	"braid/hostnet"
	"braid/mptcp"
	"braid/scheduler"
	"braid/tunnel"
	"braid/tunnel/egress"
)

// clientStatus says in the control API's words how a client is.
func clientStatus(cfg *config.Client, s tunnel.ClientStatus, found []hostnet.Uplink, roleOf func(string) config.Role,
	unusable map[string]string) *control.Client {
	c := &control.Client{
		Role: control.RoleClient, Version: versionText(),
		Session: control.Session{
			State: control.SessionDown, Addresses: s.Settings.Addresses, Routes: s.Settings.Routes,
			MTU: s.Settings.MTU, Device: cfg.Tunnel.Name,
		},
		Packets: packets(s.Counters), PacketLane: packetLane(s.Packets), Streams: streams(s.Streams), Carriers: carriers(s.Streams, s.Connected, connectedPaths(s.Paths)),
		Uplinks: []control.Uplink{}, Events: []control.Event{},
		OverflowEngaged: s.Overflow, OverflowReason: s.OverflowReason,
	}
	if !s.Session.IsZero() {
		c.Session.ID = s.Session.String()
	}
	if s.Server.IsValid() {
		c.Session.Server = s.Server.String()
	}
	if s.Connected {
		c.Session.State, c.Session.MPTCP, c.Session.RTTms = control.SessionUp, s.MPTCP, milliseconds(s.RTT)
	} else if s.LastError != nil {
		c.Session.Reason = s.LastError.Error()
	}

	used := make(map[string]tunnel.UplinkUsage)
	for _, u := range s.Usage {
		used[u.Uplink] = u
	}
	paths := make(map[string]tunnel.PathStatus)
	for _, p := range s.Paths {
		paths[p.Uplink] = p
	}
	names := make([]string, 0, len(found))
	for _, f := range found {
		names = append(names, f.Name)
	}
	for _, p := range s.Paths { // what was there
		if !slices.Contains(names, p.Uplink) {
			names = append(names, p.Uplink)
		}
	}
	for i, name := range names {
		u := uplink(used[name], s.MPTCP && s.Connected)
		u.Interface, u.Role, u.ConfiguredRole = name, string(roleOf(name)), string(cfg.Uplink(name).Role)
		if p, ok := paths[name]; ok {
			addPath(&u, p)
		}
		if roleOf(name) == config.RoleNever {
			u.State, u.Reason, u.Use = control.UplinkOff, "its role is never", control.UseNone
		} else if why := unusable[name]; why != "" {
			u.State, u.Reason, u.Use = control.UplinkDead, why, control.UseNone
		} else if u.State == "" {
			u.State, u.Reason, u.Use = control.UplinkDead, "it has no usable address", control.UseNone
		} else if i >= len(found) && u.State == control.UplinkDead {
			u.Reason = tunnel.GoneReason // also when it was off as it went
		}
		if u.Use == control.UseActive && u.Subflows == 0 && u.Reason == "" && s.Connected {
			u.Reason = whyNoSubflow(s)
		}
		c.Uplinks = append(c.Uplinks, u)
	}
	for _, e := range s.Events {
		c.Events = append(c.Events, control.Event{
			Time: e.Time.UTC().Format(time.RFC3339Nano), Uplink: e.Uplink, From: e.From.String(), To: e.To.String(), Reason: e.Reason,
		})
	}
	c.Judge()
	return c
}

// whyNoSubflow says why an uplink that is to carry has no subflow.
func whyNoSubflow(s tunnel.ClientStatus) string {
	others := 0
	for _, u := range s.Usage {
		if u.Subflows > 0 {
			others++
		}
	}
	switch {
	case !s.MPTCP:
		return "the connection to the server is plain TCP, which uses one uplink at a time"
	case others >= mptcp.MostSubflows:
		return fmt.Sprintf("a connection can use %d uplinks at most, and the others are preferred", mptcp.MostSubflows)
	}
	return "its subflow is not there yet"
}

// addPath adds what an uplink's path carrier tells.
func addPath(u *control.Uplink, p tunnel.PathStatus) {
	u.State, u.Use = p.State.String(), p.Use.String()
	u.Since = p.Since.UTC().Format(time.RFC3339)
	if p.State != scheduler.Up {
		u.Reason = p.Reason
	} else if p.Use != scheduler.Active {
		u.Reason = p.UseReason
	}
	if p.RTT.Smoothed > 0 {
		u.RTTms, u.MinRTTms, u.JitterMs = milliseconds(p.RTT.Smoothed), milliseconds(p.RTT.Min), milliseconds(p.RTT.Jitter)
	}
	if p.Cap != nil {
		u.Role = p.Role.String()
		u.CapBytes, u.CapUsedBytes, u.CapResets = p.Cap.LimitBytes, p.Cap.UsedBytes, p.Cap.Resets.UTC().Format(time.RFC3339)
	}
	u.Packets = pathPackets(p.Packets)
	u.BeatsSent, u.BeatsLost, u.Deaths = p.BeatsSent, p.BeatsLost, uint64(p.Deaths)
}

// serverStatus says in the control API's words how a server is.
func serverStatus(cfg *config.Server, listen []string, s tunnel.ServerStatus, egress []egress.Count) *control.Server {
	c := &control.Server{
		Role: control.RoleServer, Version: versionText(), Device: cfg.Tunnel.Name, Listen: listen,
		Rejected: s.Rejected, Malformed: s.Malformed, Unroutable: s.Unroutable, Clients: []control.Peer{},
		Egress: []control.EgressCount{},
	}
	for _, e := range egress {
		c.Egress = append(c.Egress, control.EgressCount{Reason: string(e.Reason), Decisions: e.Decisions})
	}
	for _, p := range s.Peers {
		peer := control.Peer{
			Name: p.Name, PublicKey: p.Key.String(), State: control.SessionDown, Remote: p.Remote, MPTCP: p.MPTCP,
			Addresses: p.Addresses, Routes: p.Routes, Packets: packets(p.Counters), PacketLane: packetLane(p.Packets), Uplinks: []control.Uplink{},
			Streams: streams(p.Streams), Carriers: carriers(p.Streams, p.Connected, len(p.Paths)),
		}
		if p.Connected {
			peer.State = control.SessionUp
		}
		if !p.Since.IsZero() {
			peer.Since = p.Since.UTC().Format(time.RFC3339)
		}
		for _, g := range p.Usage {
			u := uplink(g, p.MPTCP)
			u.Interface, u.State = g.Uplink, control.UplinkUp
			if g.Subflows == 0 {
				u.State = control.UplinkDead
			}
			for _, said := range p.Uplinks { // the client knows better
				if said.Name == g.Uplink {
					u.State, u.Reason = scheduler.State(said.State).String(), said.Reason
					u.Role, u.Use = scheduler.Role(said.Role).String(), scheduler.Use(said.Use).String()
				}
			}
			for _, path := range p.Paths {
				if path.Uplink == g.Uplink {
					u.Packets = pathPackets(path.PathPackets)
				}
			}
			peer.Uplinks = append(peer.Uplinks, u)
		}
		c.Clients = append(c.Clients, peer)
	}
	c.Judge()
	return c
}

func uplink(g tunnel.UplinkUsage, mptcp bool) control.Uplink {
	return control.Uplink{
		RTTms: milliseconds(g.RTT), LossPct: g.LossPct, RxBytes: g.RxBytes, TxBytes: g.TxBytes,
		RxBps: g.RxBps, TxBps: g.TxBps, DeliverRxBps: float64(g.DeliverRx), DeliverTxBps: float64(g.DeliverTx), Subflows: g.Subflows, MPTCP: mptcp && g.Subflows > 0,
	}
}

func connectedPaths(list []tunnel.PathStatus) (n int) {
	for _, p := range list {
		if p.Connected {
			n++
		}
	}
	return n
}

func carriers(s tunnel.LaneStatus, connected bool, paths int) control.Carriers {
	c := control.Carriers{Path: paths, Bond: s.Carriers + s.Reverse, Reverse: s.Reverse, Idle: s.Idle}
	if connected {
		c.Bond++ // that of packets
	}
	return c
}

func streams(s tunnel.LaneStatus) control.Streams {
	c := control.Streams{
		Open: s.Open, Waiting: s.Waiting, Resumed: s.Resumed, Opened: s.Opened, Failed: s.Failed, Denied: s.Denied,
		Limited: s.Limited, BufferedBytes: uint64(s.BufferedBytes), List: []control.Stream{}, ListTotal: s.ListTotal,
	}
	for _, t := range s.List {
		c.List = append(c.List, oneStream(t))
	}
	return c
}

func oneStream(t tunnel.StreamStatus) control.Stream {
	c := control.Stream{
		Destination: t.Destination, Source: t.Source, Direction: control.StreamIn, State: t.State,
		AgeS: t.Age.Seconds(), RxBytes: t.RxBytes, TxBytes: t.TxBytes, RxBps: t.RxBps, TxBps: t.TxBps,
		Resumed: t.Resumed, Carrier: t.Carrier, Uplinks: []control.StreamUplink{},
	}
	if t.Outbound {
		c.Direction = control.StreamOut
	}
	var total uint64
	for _, u := range t.Uplinks {
		total += u.RxBytes + u.TxBytes
	}
	for _, u := range t.Uplinks {
		share := 100 * float64(u.RxBytes+u.TxBytes) / float64(max(total, 1))
		c.Uplinks = append(c.Uplinks, control.StreamUplink{Interface: u.Uplink, RxBytes: u.RxBytes, TxBytes: u.TxBytes, SharePct: share})
	}
	return c
}

func packets(n tunnel.Counters) control.Packets {
	return control.Packets{
		RxPackets: n.RxPackets, RxBytes: n.RxBytes, TxPackets: n.TxPackets, TxBytes: n.TxBytes, Dropped: n.Dropped,
		Spoofed: n.Spoofed, Isolated: n.Isolated, Refused: n.Refused, Malformed: n.Malformed,
	}
}

func packetLane(l tunnel.PacketLaneStatus) control.PacketLane {
	return control.PacketLane{
		Sparse: packetClass(l.Sparse), Bulk: packetClass(l.Bulk), Waiting: l.Waiting, Resent: l.Resent, Duplicates: l.Duplicates,
		CopiesAtOnce: control.PacketCopies(l.AtOnce), CopiesAgain: control.PacketCopies(l.Again), Saved: l.Saved,
		Held: l.Order.Held, Disordered: l.Order.Disordered, Passed: l.Order.Passed,
	}
}

func packetClass(c tunnel.ClassStatus) control.PacketClass {
	return control.PacketClass{
		Packets: c.Packets, Bytes: c.Bytes, Dropped: c.Dropped, Overflowed: c.Overflowed, TooOld: c.TooOld, Marked: c.Marked,
		DelayMs: milliseconds(c.Delay), DelayMaxMs: milliseconds(c.DelayMax),
	}
}

func pathPackets(n tunnel.PathPackets) control.PathPackets {
	return control.PathPackets{TxPackets: n.TxPackets, TxBytes: n.TxBytes, RxPackets: n.RxPackets, RxBytes: n.RxBytes, Queued: n.Queued}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

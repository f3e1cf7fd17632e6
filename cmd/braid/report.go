package main

import (
	"time"

	"braid/config"
	"braid/control"
	"braid/hostnet"
	"braid/tunnel"
	"braid/tunnel/egress"
)

// clientStatus says in the control API's words how a client is.
func clientStatus(cfg *config.Client, s tunnel.ClientStatus, found []hostnet.Uplink) *control.Client {
	c := &control.Client{
		Role: control.RoleClient, Version: versionText(),
		Session: control.Session{
			State: control.SessionDown, Addresses: s.Settings.Addresses, Routes: s.Settings.Routes,
			MTU: s.Settings.MTU, Device: cfg.Tunnel.Name,
		},
		Packets: packets(s.Counters), Streams: streams(s.Streams), Carriers: carriers(s.Streams, s.Connected),
		Uplinks: []control.Uplink{},
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
	for _, f := range found {
		u := uplink(used[f.Name], s.MPTCP && s.Connected)
		delete(used, f.Name)
		u.Interface, u.Role = f.Name, string(cfg.Uplink(f.Name).Role)
		u.State, u.Reason = uplinkState(cfg, f, u.Subflows, s.Connected)
		c.Uplinks = append(c.Uplinks, u)
	}
	for _, g := range s.Usage { // what was used and is not there now
		if _, gone := used[g.Uplink]; !gone {
			continue
		}
		u := uplink(g, false)
		u.Interface, u.Role = g.Uplink, string(cfg.Uplink(g.Uplink).Role)
		u.State, u.Reason = control.UplinkDead, "it is down, gone or without a default route"
		c.Uplinks = append(c.Uplinks, u)
	}
	return c
}

func uplinkState(cfg *config.Client, f hostnet.Uplink, subflows int, connected bool) (state, reason string) {
	switch {
	case cfg.Uplink(f.Name).Role == config.RoleNever:
		return control.UplinkOff, "its role is never"
	case !f.Usable():
		return control.UplinkDead, "it has no usable address"
	case subflows > 0:
		return control.UplinkUp, ""
	case !connected:
		return control.UplinkProbing, "no connection to the server"
	}
	return control.UplinkProbing, "its subflow is not there yet"
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
			Addresses: p.Addresses, Routes: p.Routes, Packets: packets(p.Counters), Uplinks: []control.Uplink{},
			Streams: streams(p.Streams), Carriers: carriers(p.Streams, p.Connected),
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
			peer.Uplinks = append(peer.Uplinks, u)
		}
		c.Clients = append(c.Clients, peer)
	}
	return c
}

func uplink(g tunnel.UplinkUsage, mptcp bool) control.Uplink {
	return control.Uplink{
		RTTms: milliseconds(g.RTT), LossPct: g.LossPct, RxBytes: g.RxBytes, TxBytes: g.TxBytes,
		RxBps: g.RxBps, TxBps: g.TxBps, Subflows: g.Subflows, MPTCP: mptcp && g.Subflows > 0,
	}
}

func carriers(s tunnel.LaneStatus, connected bool) control.Carriers {
	c := control.Carriers{Bond: s.Carriers + s.Reverse, Reverse: s.Reverse, Idle: s.Idle}
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

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

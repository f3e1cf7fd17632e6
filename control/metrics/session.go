package metrics

import (
	"time"

	"braid/control"
)

// session is what client and server say alike of a session.
type session struct {
	up, mptcp  bool
	rttSeconds float64 // 0: not known
	since      string  // RFC 3339; "" not known
	streams    *control.Streams
	carriers   *control.Carriers
	packets    *control.Packets
	lane       *control.PacketLane
	uplinks    []control.Uplink
}

func ofClient(c *control.Client) *session {
	return &session{
		up: c.Session.State == control.SessionUp, mptcp: c.Session.MPTCP, rttSeconds: c.Session.RTTms / 1000,
		streams: &c.Streams, carriers: &c.Carriers, packets: &c.Packets, lane: &c.PacketLane, uplinks: c.Uplinks,
	}
}

func ofPeer(p *control.Peer) *session {
	return &session{
		up: p.State == control.SessionUp, mptcp: p.MPTCP, since: p.Since,
		streams: &p.Streams, carriers: &p.Carriers, packets: &p.Packets, lane: &p.PacketLane, uplinks: p.Uplinks,
	}
}

// sessionFamilies are those of each session: one on a client, one for each client
// on a server.
var sessionFamilies = []family[session]{
	{name: "braid_session_up", kind: gauge, help: "1 while client and server are connected, 0 otherwise.",
		value: func(s *session) float64 { return truth(s.up) }},
	{name: "braid_session_mptcp", kind: gauge, help: "1 while the connection is Multipath TCP, 0 while it is plain TCP or there is none.",
		value: func(s *session) float64 { return truth(s.mptcp) }},
	{name: "braid_session_rtt_seconds", kind: gauge, only: control.RoleClient, help: "The round trip inside the connection to the server; absent while it is not known.",
		value: func(s *session) float64 { return positive(s.rttSeconds) }},
	{name: "braid_session_since_timestamp_seconds", kind: gauge, only: control.RoleServer, help: "When the client's session began; absent before the first one.",
		value: func(s *session) float64 { return timestamp(s.since) }},

	{name: "braid_carriers", kind: gauge, label: "kind", is: "bond", help: "Live connections between client and server, by kind.",
		value: func(s *session) float64 { return float64(s.carriers.Bond) }},
	{name: "braid_carriers", kind: gauge, label: "kind", is: "path",
		value: func(s *session) float64 { return float64(s.carriers.Path) }},
	{name: "braid_carriers_idle", kind: gauge, help: "Bond carriers that are kept warm for the next stream.",
		value: func(s *session) float64 { return float64(s.carriers.Idle) }},
	{name: "braid_carriers_reverse", kind: gauge, help: "Bond carriers for streams that the server opens.",
		value: func(s *session) float64 { return float64(s.carriers.Reverse) }},
	{name: "braid_carriers_malformed_total", kind: counter, help: "Carriers that were ended for what the peer sent.",
		value: func(s *session) float64 { return float64(s.packets.Malformed) }},

	{name: "braid_streams_open", kind: gauge, help: "Streams that are open, at both ends.",
		value: func(s *session) float64 { return float64(s.streams.Open) }},
	{name: "braid_streams_waiting", kind: gauge, help: "Streams that wait for a carrier.",
		value: func(s *session) float64 { return float64(s.streams.Waiting) }},
	{name: "braid_streams_buffered_bytes", kind: gauge, help: "What streams hold for the peer and for programs.",
		value: func(s *session) float64 { return float64(s.streams.BufferedBytes) }},
	{name: "braid_streams_opened_total", kind: counter, help: "Streams opened since the session began, at both ends.",
		value: func(s *session) float64 { return float64(s.streams.Opened) }},
	{name: "braid_streams_resumed_total", kind: counter, help: "Times since the session began that a stream went on, on another carrier.",
		value: func(s *session) float64 { return float64(s.streams.Resumed) }},
	{name: "braid_streams_failed_total", kind: counter, help: "Streams since the session began that failed for a reason of braid's own, such as no carrier in time.",
		value: func(s *session) float64 { return float64(s.streams.Failed) }},
	{name: "braid_streams_denied_total", kind: counter, help: "Streams since the session began that the policy of the end refused that was to connect.",
		value: func(s *session) float64 { return float64(s.streams.Denied) }},
	{name: "braid_streams_limited_total", kind: counter, help: "Streams since the session began that were refused because a limit was reached.",
		value: func(s *session) float64 { return float64(s.streams.Limited) }},

	{name: "braid_tunnel_receive_packets_total", kind: counter, help: "Packets from the peer into the tunnel device since the daemon started; a super-packet counts once.",
		value: func(s *session) float64 { return float64(s.packets.RxPackets) }},
	{name: "braid_tunnel_receive_bytes_total", kind: counter, help: "Bytes of the packets from the peer into the tunnel device since the daemon started.",
		value: func(s *session) float64 { return float64(s.packets.RxBytes) }},
	{name: "braid_tunnel_transmit_packets_total", kind: counter, help: "Packets from the tunnel device toward the peer since the daemon started; a super-packet counts once.",
		value: func(s *session) float64 { return float64(s.packets.TxPackets) }},
	{name: "braid_tunnel_transmit_bytes_total", kind: counter, help: "Bytes of the packets from the tunnel device toward the peer since the daemon started.",
		value: func(s *session) float64 { return float64(s.packets.TxBytes) }},
	{name: "braid_tunnel_receive_refused_packets_total", kind: counter, label: "reason", is: "spoofed",
		help:  "Packets from the peer that did not reach the tunnel device: their source is not the client's (spoofed), they were for another client (isolated), or the host's kernel refused them (kernel).",
		value: func(s *session) float64 { return float64(s.packets.Spoofed) }},
	{name: "braid_tunnel_receive_refused_packets_total", kind: counter, label: "reason", is: "isolated",
		value: func(s *session) float64 { return float64(s.packets.Isolated) }},
	{name: "braid_tunnel_receive_refused_packets_total", kind: counter, label: "reason", is: "kernel",
		value: func(s *session) float64 { return float64(s.packets.Refused) }},
}

// timestamp is a time in seconds since 1970.
func timestamp(rfc3339 string) float64 {
	t, err := time.Parse(time.RFC3339, rfc3339)
	if err != nil {
		return unknown
	}
	return float64(t.Unix())
}

// Package control is how a person or a program asks a running braid how it is.
//
// The daemon serves its status as JSON over HTTP on a Unix socket that its own
// user can open (serve.go), and others of a group, to change or only to read
// (access.go); the command line fetches it, once (fetch.go)
// or again and again (follow.go), and prints it for people (text.go). On the same
// socket a client takes changes of its uplinks' roles (change.go), if it was given
// a Changer, and measures their speed (speedtest.go). The types here and in uplink.go,
// packets.go and streams.go are that JSON: they know nothing of the rest of braid, and
// the names of their fields stay.
package control

import "net/netip"

// Roles of a daemon.
const (
	RoleClient = "client"
	RoleServer = "server"
)

// States of a session.
const (
	SessionUp   = "up"
	SessionDown = "down"
)

// Client is the status of a client.
type Client struct {
	Role       string     `json:"role"` // RoleClient
	Version    string     `json:"version"`
	Verdict    Verdict    `json:"verdict"`
	Gain       Gain       `json:"gain"`
	Session    Session    `json:"session"`
	Uplinks    []Uplink   `json:"uplinks"`
	Streams    Streams    `json:"streams"`
	Carriers   Carriers   `json:"carriers"`
	Packets    Packets    `json:"packets"`
	PacketLane PacketLane `json:"packet_lane"`
	DNS        DNS        `json:"dns"`
	// OverflowEngaged is whether uplinks with the role overflow are in use now,
	// OverflowReason why they are or are not, for people; it may be empty.
	OverflowEngaged bool   `json:"overflow_engaged"`
	OverflowReason  string `json:"overflow_reason"`
	// Events is the last changes of uplinks' states, at most MaxEvents, the
	// oldest first.
	Events []Event `json:"events"`
	// KillSwitch is whether what the tunnel's routes hold is blocked beside the
	// tunnel.
	KillSwitch bool `json:"kill_switch"`
}

// Session is a client's association with its server.
type Session struct {
	State     string         `json:"state"`
	Reason    string         `json:"reason"` // why it is down, for people
	ID        string         `json:"id"`
	Addresses []netip.Prefix `json:"addresses"`
	Routes    []netip.Prefix `json:"routes"` // offered by the server
	MTU       int            `json:"mtu"`    // bytes
	Server    string         `json:"server"`
	Device    string         `json:"device"`
	MPTCP     bool           `json:"mptcp"`
	RTTms     float64        `json:"rtt_ms"` // inside the carrier; 0: not measured yet
}

// Carriers counts live connections between client and server.
type Carriers struct {
	Bond    int `json:"bond"`
	Path    int `json:"path"`
	Idle    int `json:"idle"`    // of Bond: kept warm for the next stream
	Reverse int `json:"reverse"` // of Bond: for streams that the server opens
}

// Packets counts IP packets of the tunnel device since the daemon started; a
// super-packet counts once.
type Packets struct {
	RxPackets uint64 `json:"rx_packets"`
	RxBytes   uint64 `json:"rx_bytes"`
	TxPackets uint64 `json:"tx_packets"`
	TxBytes   uint64 `json:"tx_bytes"`
	Dropped   uint64 `json:"dropped"`   // outbound, on the way; segments of super-packets
	Spoofed   uint64 `json:"spoofed"`   // inbound, from a source that is not the client's
	Isolated  uint64 `json:"isolated"`  // inbound, toward another client
	Refused   uint64 `json:"refused"`   // inbound, refused by the host's kernel
	Malformed uint64 `json:"malformed"` // carriers ended for what the peer sent
}

// Server is the status of a server.
type Server struct {
	Role     string   `json:"role"` // RoleServer
	Version  string   `json:"version"`
	Verdict  Verdict  `json:"verdict"`
	Device   string   `json:"device"`
	Listen   []string `json:"listen"`
	Clients  []Peer   `json:"clients"`
	Rejected uint64   `json:"rejected"` // connections that failed before they were welcome
	// Malformed is how many of Rejected failed for what the peer sent.
	Malformed  uint64 `json:"malformed"`
	Unroutable uint64 `json:"unroutable"` // packets from the host toward no client
	// Egress counts what was decided about destinations of streams, of all
	// clients since the daemon started. Each reason stands there once.
	Egress []EgressCount `json:"egress"`
}

// EgressCount is how many destinations were allowed or refused for a reason:
// "default", "allow-rule", "deny-rule", "loopback" and others.
type EgressCount struct {
	Reason    string `json:"reason"`
	Decisions uint64 `json:"decisions"`
}

// Peer is one client as the server sees it.
type Peer struct {
	Name       string         `json:"name"`
	PublicKey  string         `json:"public_key"`
	State      string         `json:"state"`
	Verdict    Verdict        `json:"verdict"`
	Gain       Gain           `json:"gain"`
	Remote     string         `json:"remote"`
	MPTCP      bool           `json:"mptcp"`
	Since      string         `json:"since"` // RFC 3339; empty before the first session
	Addresses  []netip.Prefix `json:"addresses"`
	Routes     []netip.Prefix `json:"routes"`
	Uplinks    []Uplink       `json:"uplinks"`
	Streams    Streams        `json:"streams"`
	Carriers   Carriers       `json:"carriers"`
	Packets    Packets        `json:"packets"`
	PacketLane PacketLane     `json:"packet_lane"`
}

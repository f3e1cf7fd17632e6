package control

import "net/netip"

// Streams is about the inner TCP connections that are relayed. What is not
// said to be now counts since the session began.
type Streams struct {
	Open          int    `json:"open"`           // now, at both ends
	Waiting       int    `json:"waiting"`        // now, for a carrier
	Resumed       int    `json:"resumed"`        // times that a stream went on, on another carrier
	Opened        uint64 `json:"opened"`         // at both ends
	Failed        uint64 `json:"failed"`         // for a reason of braid's own, such as no carrier in time
	Denied        uint64 `json:"denied"`         // by the policy of the end that was to connect
	Limited       uint64 `json:"limited"`        // refused because a limit is reached
	BufferedBytes uint64 `json:"buffered_bytes"` // now, for the peer and for programs
	// List is the most active streams, at most 100, the most active first, of
	// ListTotal.
	List      []Stream `json:"list"`
	ListTotal int      `json:"list_total"`
}

// Directions of a stream.
const (
	StreamOut = "out" // opened at this end
	StreamIn  = "in"  // opened by the peer
)

// States of a stream.
const (
	StreamConnecting = "connecting" // the far end is not connected yet
	StreamOpen       = "open"
	StreamResuming   = "resuming" // without a carrier
)

// Stream is one inner TCP connection. Bytes are of the connection itself,
// received from the peer and sent to it; rates are smoothed over about a
// second.
type Stream struct {
	Destination netip.AddrPort `json:"destination"`
	Source      netip.AddrPort `json:"source"`
	Direction   string         `json:"direction"`
	State       string         `json:"state"`
	AgeS        float64        `json:"age_s"` // seconds
	RxBytes     uint64         `json:"rx_bytes"`
	TxBytes     uint64         `json:"tx_bytes"`
	RxBps       float64        `json:"rx_bps"` // bits per second
	TxBps       float64        `json:"tx_bps"`
	Resumed     int            `json:"resumed"` // times that it went on, on another carrier
	Carrier     uint64         `json:"carrier"` // its number; 0: none now
	Uplinks     []StreamUplink `json:"uplinks"`
}

// StreamUplink is what one uplink carried of a stream, in bytes on its
// carriers: somewhat more than the stream's own.
type StreamUplink struct {
	Interface string  `json:"interface"` // on a server: the address it comes from
	RxBytes   uint64  `json:"rx_bytes"`
	TxBytes   uint64  `json:"tx_bytes"`
	SharePct  float64 `json:"share_pct"` // of the bytes of all uplinks, both directions
}

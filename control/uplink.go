package control

// Roles of an uplink: those that a configuration can give it, and what takes
// back another one that was given by Changer.SetRole.
const (
	RoleBond     = "bond"     // together with all others of this role
	RoleOverflow = "overflow" // when those are full, or none of them works
	RoleBackup   = "backup"   // when none of the others works
	RoleNever    = "never"
	RoleDefault  = "default" // that of the configuration
)

// States of an uplink, of the words that design.md has for them. On a server
// it is up or dead, as the subflows that come from it are there or not.
const (
	UplinkProbing     = "probing"     // there, and has yet to answer steadily
	UplinkUp          = "up"          // answers
	UplinkLate        = "late"        // an answer is overdue; it is up or dead in a moment
	UplinkDead        = "dead"        // silent, without connection, or its interface or address is gone
	UplinkQuarantined = "quarantined" // answers, but the whole is faster without it
	UplinkOff         = "off"         // not to be used: its role is never
)

// What an uplink is used for.
const (
	UseActive  = "active"  // its subflows carry
	UseStandby = "standby" // its subflows are joined and ready, but carry nothing
	UseNone    = "none"    // it has no subflows: it cannot be used, or must not be
)

// Uplink is one way to the internet. Bytes are what its subflows carried since
// the session began; rates and loss are smoothed over about a second.
type Uplink struct {
	Interface string `json:"interface"` // on a server: the address it comes from
	// Role is in effect now. It differs from ConfiguredRole after it was
	// changed by hand, and when the cap is nearly or wholly used up. A server
	// knows neither.
	Role           string `json:"role"`
	ConfiguredRole string `json:"configured_role"`
	State          string `json:"state"`
	Reason         string `json:"reason"` // of the state or the role, for people
	Use            string `json:"use"`    // empty on a server
	Since          string `json:"since"`  // of State, RFC 3339; empty when it never changed

	RTTms    float64 `json:"rtt_ms"`     // smoothed; 0: not measured yet
	MinRTTms float64 `json:"min_rtt_ms"` // the lowest of late; 0: not measured yet
	JitterMs float64 `json:"jitter_ms"`  // mean deviation of the round trip
	LossPct  float64 `json:"loss_pct"`   // of sent segments
	RxBytes  uint64  `json:"rx_bytes"`
	TxBytes  uint64  `json:"tx_bytes"`
	RxBps    float64 `json:"rx_bps"` // bits per second, now
	TxBps    float64 `json:"tx_bps"`
	// The most that the uplink delivered over two seconds of the last ten minutes,
	// in bits per second: its capacity is no less. 0: not known.
	DeliverRxBps float64 `json:"deliver_rx_bps"`
	DeliverTxBps float64 `json:"deliver_tx_bps"`
	MPTCP        bool    `json:"mptcp"`
	Subflows     int     `json:"subflows"`

	// Counted since the daemon started.
	BeatsSent uint64 `json:"beats_sent"` // heartbeats
	BeatsLost uint64 `json:"beats_lost"` // of those, never answered
	Deaths    uint64 `json:"deaths"`     // times that State became dead

	CapBytes     uint64 `json:"cap_bytes"`      // a month, both directions; 0: no cap
	CapUsedBytes uint64 `json:"cap_used_bytes"` // of it this month, over restarts
	CapResets    string `json:"cap_resets"`     // when the next month begins, RFC 3339; empty without a cap
	// Packets is what its path carriers brought of the packet lane.
	Packets PathPackets `json:"packets"`
}

// MaxEvents is how many events a status has at most.
const MaxEvents = 100

// Event is a change of an uplink's state.
type Event struct {
	Time   string `json:"time"` // RFC 3339
	Uplink string `json:"uplink"`
	From   string `json:"from"` // a state; empty for an uplink that is new
	To     string `json:"to"`   // a state; empty for one that is gone
	Reason string `json:"reason"`
}

package mptcp

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// TCPState is the state of a TCP connection, with the kernel's numbers
// (net/tcp_states.h).
type TCPState uint8

// The states of RFC 9293 section 3.3.2 in the kernel's order.
const (
	StateEstablished TCPState = 1 + iota
	StateSynSent
	StateSynReceived
	StateFinWait1
	StateFinWait2
	StateTimeWait
	StateClosed
	StateCloseWait
	StateLastAck
	StateListen
	StateClosing
	stateNewSynReceived
)

var stateNames = [...]string{
	StateEstablished: "established", StateSynSent: "syn-sent", StateSynReceived: "syn-received",
	StateFinWait1: "fin-wait-1", StateFinWait2: "fin-wait-2", StateTimeWait: "time-wait",
	StateClosed: "closed", StateCloseWait: "close-wait", StateLastAck: "last-ack",
	StateListen: "listen", StateClosing: "closing", stateNewSynReceived: "syn-received",
}

func (s TCPState) String() string {
	if int(s) < len(stateNames) && stateNames[s] != "" {
		return stateNames[s]
	}
	return fmt.Sprintf("state-%d", uint8(s))
}

// Live tells whether the subflow carries data or is about to: established or
// still joining.
func (s TCPState) Live() bool {
	return s == StateEstablished || s == StateSynSent || s == StateSynReceived || s == stateNewSynReceived
}

// ByteRate is in bytes per second.
type ByteRate uint64

// Unlimited is the pacing rate of a connection that is not paced.
const Unlimited ByteRate = math.MaxUint64

// TCPInfo is the state of one TCP connection or MPTCP subflow: struct tcp_info
// of the kernel header linux/tcp.h. Fields that the running kernel does not know
// are zero. Byte counters count from the start of the subflow.
type TCPInfo struct {
	State TCPState
	// Retransmits of the oldest segment by timeout, one after the other; 0
	// after any progress.
	Retransmits uint8
	// AppLimited: DeliveryRate was limited by too little data to send.
	AppLimited bool

	RetransmitTimeout time.Duration // tcpi_rto
	RTT               time.Duration // smoothed
	RTTVariance       time.Duration
	MinRTT            time.Duration // of the recent minutes; 0 while unknown
	ReceiveRTT        time.Duration // as the receiver estimates it

	SendMSSBytes    uint32
	ReceiveMSSBytes uint32
	PathMTUBytes    uint32

	UnackedSegments     uint32 // sent and not acknowledged
	SackedSegments      uint32
	LostSegments        uint32
	RetransSegments     uint32 // retransmitted and not acknowledged
	TotalRetransSegs    uint32 // retransmissions since the start
	SendWindowSegments  uint32 // congestion window, tcpi_snd_cwnd
	SlowStartThreshold  uint32 // segments; 2³¹-1 means none yet
	ReorderingSegments  uint32
	ReorderingSeen      uint32 // events
	OutOfOrderReceived  uint32 // packets, tcpi_rcv_ooopack; since 5.4
	PeerWindowBytes     uint32 // the peer's receive window; since 5.4
	ReceiveWindowBytes  uint32 // what this side advertises; since 6.2
	DeliveredSegments   uint32
	DeliveredCESegments uint32 // with congestion marks
	DuplicatesReported  uint32 // by DSACK
	SegmentsSent        uint32
	SegmentsReceived    uint32
	DataSegmentsSent    uint32 // of them with data, tcpi_data_segs_out
	DataSegmentsIn      uint32 // likewise, tcpi_data_segs_in

	PacingRate   ByteRate // Unlimited when not paced
	DeliveryRate ByteRate

	BytesAcked         uint64
	BytesReceived      uint64
	BytesSent          uint64 // retransmissions included
	BytesRetransmitted uint64
	NotSentBytes       uint32 // in the subflow's queue

	LastDataSent     time.Duration // ago
	LastDataReceived time.Duration
	LastAckReceived  time.Duration

	BusyTime          time.Duration // with data to send
	ReceiveLimited    time.Duration // of it, held up by the peer's window
	SendBufferLimited time.Duration // of it, held up by our send buffer

	Timeouts uint16 // retransmission timeouts since the start; since 6.7
}

// tcpInfoRoom is what we offer for struct tcp_info: 248 bytes up to 6.17, 280
// since.
const tcpInfoRoom = 320

// appLimitedBit is tcpi_delivery_rate_app_limited, the first bit field of its
// byte: the lowest bit on little-endian machines, the highest on others.
var appLimitedBit = func() uint8 {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return 1 << 0
	}
	return 1 << 7
}()

// DecodeTCPInfo decodes struct tcp_info. Short or empty input gives zero fields.
//
//	  0 state, ca_state, retransmits, probes, backoff, options, wscale, flags
//	  8 rto  12 ato (µs)  16 snd_mss  20 rcv_mss
//	 24 unacked  28 sacked  32 lost  36 retrans  40 fackets
//	 44 last_data_sent  48 last_ack_sent  52 last_data_recv  56 last_ack_recv (ms)
//	 60 pmtu  64 rcv_ssthresh  68 rtt  72 rttvar (µs)  76 snd_ssthresh
//	 80 snd_cwnd  84 advmss  88 reordering  92 rcv_rtt (µs)  96 rcv_space
//	100 total_retrans 104 pacing_rate u64 112 max_pacing_rate u64
//	120 bytes_acked u64 128 bytes_received u64 136 segs_out 140 segs_in
//	144 notsent_bytes 148 min_rtt (µs) 152 data_segs_in 156 data_segs_out
//	160 delivery_rate u64 168 busy_time 176 rwnd_limited 184 sndbuf_limited u64 (µs)
//	192 delivered 196 delivered_ce 200 bytes_sent u64 208 bytes_retrans u64
//	216 dsack_dups 220 reord_seen 224 rcv_ooopack 228 snd_wnd 232 rcv_wnd
//	236 rehash 240 total_rto u16 242 total_rto_recoveries u16 244 total_rto_time
func DecodeTCPInfo(b []byte) TCPInfo {
	f := fields(b)
	minRTT := f.micros32(148)
	if f.u32(148) == math.MaxUint32 { // the kernel's «none measured»
		minRTT = 0
	}
	return TCPInfo{
		State:               TCPState(f.u8(0)),
		Retransmits:         f.u8(2),
		AppLimited:          f.u8(7)&appLimitedBit != 0,
		RetransmitTimeout:   f.micros32(8),
		SendMSSBytes:        f.u32(16),
		ReceiveMSSBytes:     f.u32(20),
		UnackedSegments:     f.u32(24),
		SackedSegments:      f.u32(28),
		LostSegments:        f.u32(32),
		RetransSegments:     f.u32(36),
		LastDataSent:        f.millis32(44),
		LastDataReceived:    f.millis32(52),
		LastAckReceived:     f.millis32(56),
		PathMTUBytes:        f.u32(60),
		RTT:                 f.micros32(68),
		RTTVariance:         f.micros32(72),
		SlowStartThreshold:  f.u32(76),
		SendWindowSegments:  f.u32(80),
		ReorderingSegments:  f.u32(88),
		ReceiveRTT:          f.micros32(92),
		TotalRetransSegs:    f.u32(100),
		PacingRate:          ByteRate(f.u64(104)),
		BytesAcked:          f.u64(120),
		BytesReceived:       f.u64(128),
		SegmentsSent:        f.u32(136),
		SegmentsReceived:    f.u32(140),
		DataSegmentsIn:      f.u32(152),
		DataSegmentsSent:    f.u32(156),
		NotSentBytes:        f.u32(144),
		MinRTT:              minRTT,
		DeliveryRate:        ByteRate(f.u64(160)),
		BusyTime:            f.micros64(168),
		ReceiveLimited:      f.micros64(176),
		SendBufferLimited:   f.micros64(184),
		DeliveredSegments:   f.u32(192),
		DeliveredCESegments: f.u32(196),
		BytesSent:           f.u64(200),
		BytesRetransmitted:  f.u64(208),
		DuplicatesReported:  f.u32(216),
		ReorderingSeen:      f.u32(220),
		OutOfOrderReceived:  f.u32(224),
		PeerWindowBytes:     f.u32(228),
		ReceiveWindowBytes:  f.u32(232),
		Timeouts:            f.u16(240),
	}
}

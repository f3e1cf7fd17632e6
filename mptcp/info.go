package mptcp

import "time"

// Info is the state of an MPTCP connection as a whole: struct mptcp_info of the
// kernel header linux/mptcp.h. Fields that the running kernel does not know are
// zero; the version that brought them is noted.
type Info struct {
	// ExtraSubflows counts the subflows beside the initial one
	// (mptcpi_subflows); subflows that are closed are not counted.
	ExtraSubflows uint8
	// ExtraSubflowsMax is the kernel path manager's limit of the above.
	ExtraSubflowsMax uint8
	// AddressesAnnounced by this side, AddressesAccepted from the peer
	// (ADD_ADDR, RFC 8684 section 3.4.1).
	AddressesAnnounced, AddressesAccepted uint8
	// LocalAddressesUsed counts local addresses beyond the initial one.
	LocalAddressesUsed uint8
	// Fallback: the connection is plain TCP (MPTCP_INFO_FLAG_FALLBACK).
	Fallback bool
	// RemoteKeyReceived: the peer's key is known
	// (MPTCP_INFO_FLAG_REMOTE_KEY_RECEIVED).
	RemoteKeyReceived bool
	// Checksums: data is protected by the DSS checksum (RFC 8684 section 3.3).
	Checksums bool
	// Token names the connection on this host, in PathManager and Event
	// (the local token of RFC 8684 section 3.2).
	Token uint32
	// Data sequence numbers (RFC 8684 section 3.3), in bytes: next to be
	// written, oldest unacknowledged, next expected from the peer.
	WriteSequence, SendUnacknowledged, ReceiveNext uint64

	// Since Linux 6.5. Bytes of the application's data; retransmissions are
	// those of the connection level (reinjections), not TCP's.
	RetransmitEvents                                         uint32
	BytesRetransmitted, BytesSent, BytesReceived, BytesAcked uint64
	// SubflowsTotal counts all subflows, the initial one included. Since 6.7.
	SubflowsTotal uint8
	// Time since the last data sent, data received, acknowledgement received.
	// Since 6.10.
	LastDataSent, LastDataReceived, LastAckReceived time.Duration
}

const (
	infoFlagFallback          = 1 << 0
	infoFlagRemoteKeyReceived = 1 << 1

	// infoRoom is what we offer for struct mptcp_info (96 bytes in 6.18).
	infoRoom = 256
	// infoMinimum reaches past the token, which every kernel has.
	infoMinimum = 16
)

// DecodeInfo decodes struct mptcp_info. Short or empty input gives zero fields.
//
//	 0 subflows, add_addr_signal, add_addr_accepted, subflows_max   u8 each
//	 4 add_addr_signal_max, add_addr_accepted_max, (2 bytes hole)
//	 8 flags u32        12 token u32
//	16 write_seq u64    24 snd_una u64      32 rcv_nxt u64
//	40 local_addr_used, local_addr_max, csum_enabled u8, (1 byte hole)
//	44 retransmits u32  48 bytes_retrans    56 bytes_sent
//	64 bytes_received   72 bytes_acked u64
//	80 subflows_total u8 …
//	84 last_data_sent   88 last_data_recv   92 last_ack_recv   u32, ms
func DecodeInfo(b []byte) Info {
	f := fields(b)
	flags := f.u32(8)
	return Info{
		ExtraSubflows:      f.u8(0),
		AddressesAnnounced: f.u8(1),
		AddressesAccepted:  f.u8(2),
		ExtraSubflowsMax:   f.u8(3),
		Fallback:           flags&infoFlagFallback != 0,
		RemoteKeyReceived:  flags&infoFlagRemoteKeyReceived != 0,
		Token:              f.u32(12),
		WriteSequence:      f.u64(16),
		SendUnacknowledged: f.u64(24),
		ReceiveNext:        f.u64(32),
		LocalAddressesUsed: f.u8(40),
		Checksums:          f.u8(42) != 0,
		RetransmitEvents:   f.u32(44),
		BytesRetransmitted: f.u64(48),
		BytesSent:          f.u64(56),
		BytesReceived:      f.u64(64),
		BytesAcked:         f.u64(72),
		SubflowsTotal:      f.u8(80),
		LastDataSent:       f.millis32(84),
		LastDataReceived:   f.millis32(88),
		LastAckReceived:    f.millis32(92),
	}
}

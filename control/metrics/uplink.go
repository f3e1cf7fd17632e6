package metrics

import (
	"slices"

	"braid/control"
)

const infoHelp = "1, with what the uplink is configured as, what it is now (role), and whether it is active, standby or none (use)."

const (
	client    = control.RoleClient
	stateHelp = "1 for the state that the uplink is in, 0 for the others."
)

// uplinkFamilies are those of each uplink of a session.
var uplinkFamilies = slices.Concat(uplinkStates(), []family[control.Uplink]{
	{name: "braid_uplink_state_since_timestamp_seconds", kind: gauge, only: client, help: "When the uplink's state changed last; absent while it never did.",
		value: func(u *control.Uplink) float64 { return timestamp(u.Since) }},
	{name: "braid_uplink_subflows", kind: gauge, help: "Subflows of bond carriers on the uplink.",
		value: func(u *control.Uplink) float64 { return float64(u.Subflows) }},
	{name: "braid_uplink_mptcp", kind: gauge, help: "1 while the uplink has a subflow of Multipath TCP, 0 otherwise.",
		value: func(u *control.Uplink) float64 { return truth(u.MPTCP) }},

	{name: "braid_uplink_rtt_seconds", kind: gauge, help: "The uplink's round trip, smoothed; absent while it is not known.",
		value: func(u *control.Uplink) float64 { return positive(u.RTTms / 1000) }},
	{name: "braid_uplink_min_rtt_seconds", kind: gauge, only: client, help: "The lowest round trip of late; absent while it is not known.",
		value: func(u *control.Uplink) float64 { return positive(u.MinRTTms / 1000) }},
	{name: "braid_uplink_jitter_seconds", kind: gauge, only: client, help: "The mean deviation of the round trip; absent while that is not known.",
		value: func(u *control.Uplink) float64 {
			if u.RTTms == 0 {
				return unknown
			}
			return u.JitterMs / 1000
		}},
	{name: "braid_uplink_loss_ratio", kind: gauge, help: "How much of what this end sent by the uplink was sent again, 0 to 1, smoothed.",
		value: func(u *control.Uplink) float64 { return u.LossPct / 100 }},

	{name: "braid_uplink_receive_bytes_total", kind: counter, help: "Bytes that the uplink's carriers received since the session began.",
		value: func(u *control.Uplink) float64 { return float64(u.RxBytes) }},
	{name: "braid_uplink_transmit_bytes_total", kind: counter, help: "Bytes that the uplink's carriers sent since the session began.",
		value: func(u *control.Uplink) float64 { return float64(u.TxBytes) }},
	{name: "braid_uplink_delivered_receive_bytes_per_second", kind: gauge, help: "The most that the uplink delivered over two seconds of the last ten minutes toward this end; absent while it is not known.",
		value: func(u *control.Uplink) float64 { return positive(u.DeliverRxBps / 8) }},
	{name: "braid_uplink_delivered_transmit_bytes_per_second", kind: gauge, help: "The most that the uplink delivered over two seconds of the last ten minutes of what this end sent; absent while it is not known.",
		value: func(u *control.Uplink) float64 { return positive(u.DeliverTxBps / 8) }},

	{name: "braid_uplink_heartbeats_sent_total", kind: counter, only: client, help: "Heartbeats sent by the uplink.",
		value: func(u *control.Uplink) float64 { return float64(u.BeatsSent) }},
	{name: "braid_uplink_heartbeats_lost_total", kind: counter, only: client, help: "Heartbeats sent by the uplink that were never answered.",
		value: func(u *control.Uplink) float64 { return float64(u.BeatsLost) }},
	{name: "braid_uplink_deaths_total", kind: counter, only: client, help: "Times that the uplink's state became dead.",
		value: func(u *control.Uplink) float64 { return float64(u.Deaths) }},

	{name: "braid_uplink_cap_bytes", kind: gauge, only: client, help: "The uplink's cap of a month, both directions; absent without one.",
		value: func(u *control.Uplink) float64 { return positive(float64(u.CapBytes)) }},
	{name: "braid_uplink_cap_used_bytes", kind: gauge, only: client, help: "What is used of the uplink's cap this month, over restarts; absent without a cap.",
		value: func(u *control.Uplink) float64 {
			if u.CapBytes == 0 {
				return unknown
			}
			return float64(u.CapUsedBytes)
		}},
	{name: "braid_uplink_cap_resets_timestamp_seconds", kind: gauge, only: client, help: "When the next month of the uplink's cap begins; absent without one.",
		value: func(u *control.Uplink) float64 { return timestamp(u.CapResets) }},

	{name: "braid_uplink_packets_received_total", kind: counter, help: "Packets of the packet lane that the uplink brought, also those that came twice; a super-packet counts once.",
		value: func(u *control.Uplink) float64 { return float64(u.Packets.RxPackets) }},
	{name: "braid_uplink_packets_received_bytes_total", kind: counter, help: "Bytes of the packet lane that the uplink brought, also those that came twice.",
		value: func(u *control.Uplink) float64 { return float64(u.Packets.RxBytes) }},
	{name: "braid_uplink_packets_sent_total", kind: counter, help: "Packets of the packet lane sent by the uplink, also those that were sent twice; a super-packet counts once.",
		value: func(u *control.Uplink) float64 { return float64(u.Packets.TxPackets) }},
	{name: "braid_uplink_packets_sent_bytes_total", kind: counter, help: "Bytes of the packet lane sent by the uplink, also those that were sent twice.",
		value: func(u *control.Uplink) float64 { return float64(u.Packets.TxBytes) }},
	{name: "braid_uplink_packets_queued_bytes", kind: gauge, help: "What of the packet lane waits in front of the uplink.",
		value: func(u *control.Uplink) float64 { return float64(u.Packets.Queued) }},
})

// uplinkStates is one family with a value for each state.
func uplinkStates() (list []family[control.Uplink]) {
	for _, state := range []string{control.UplinkProbing, control.UplinkUp, control.UplinkLate, control.UplinkDead, control.UplinkQuarantined, control.UplinkOff} {
		list = append(list, family[control.Uplink]{name: "braid_uplink_state", kind: gauge, label: "state", is: state, help: stateHelp,
			value: func(u *control.Uplink) float64 { return truth(u.State == state) }})
	}
	return list
}

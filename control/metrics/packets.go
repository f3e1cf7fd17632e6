package metrics

import "braid/control"

// laneFamilies are those of a session's packet lane as a whole. What is said to be
// as far as is known now may become less, and is no counter.
var laneFamilies = []family[session]{
	{name: "braid_packets_waiting", kind: gauge, help: "Packets that wait because no path works.",
		value: func(s *session) float64 { return float64(s.lane.Waiting) }},
	{name: "braid_packets_resent_total", kind: counter, help: "Packets sent again on another path, since the session began.",
		value: func(s *session) float64 { return float64(s.lane.Resent) }},
	{name: "braid_packets_duplicate_total", kind: counter, help: "Packets that arrived a second time, since the session began.",
		value: func(s *session) float64 { return float64(s.lane.Duplicates) }},
	{name: "braid_packets_saved", kind: gauge, help: "Packets of which only a copy came, since the session began, as far as is known now.",
		value: func(s *session) float64 { return float64(s.lane.Saved) }},
	{name: "braid_packets_held", kind: gauge, help: "Packets that came and wait for others of their flow.",
		value: func(s *session) float64 { return float64(s.lane.Held) }},
	{name: "braid_packets_disordered_total", kind: counter, help: "Packets that waited for others of their flow, since the session began.",
		value: func(s *session) float64 { return float64(s.lane.Disordered) }},
	{name: "braid_packets_passed", kind: gauge, help: "Packets that others waited for in vain, since the session began, as far as is known now.",
		value: func(s *session) float64 { return float64(s.lane.Passed) }},
}

// classFamilies are those of the flows of a class, outbound.
var classFamilies = []family[control.PacketClass]{
	{name: "braid_packets_sent_total", kind: counter, help: "Packets that left the queues in front of the uplinks since the session began; a super-packet counts as those that it is cut into.",
		value: func(c *control.PacketClass) float64 { return float64(c.Packets) }},
	{name: "braid_packets_sent_bytes_total", kind: counter, help: "Bytes of the packets that left the queues in front of the uplinks since the session began.",
		value: func(c *control.PacketClass) float64 { return float64(c.Bytes) }},
	{name: "braid_packets_dropped_total", kind: counter, label: "reason", is: "queue",
		help:  "Packets dropped in front of the uplinks since the session began: the queue was long (queue), memory was short (memory), or they were too old (age).",
		value: func(c *control.PacketClass) float64 { return float64(c.Dropped) }},
	{name: "braid_packets_dropped_total", kind: counter, label: "reason", is: "memory",
		value: func(c *control.PacketClass) float64 { return float64(c.Overflowed) }},
	{name: "braid_packets_dropped_total", kind: counter, label: "reason", is: "age",
		value: func(c *control.PacketClass) float64 { return float64(c.TooOld) }},
	{name: "braid_packets_marked_total", kind: counter, help: "Packets marked with ECN in front of the uplinks instead of dropped, since the session began.",
		value: func(c *control.PacketClass) float64 { return float64(c.Marked) }},
	{name: "braid_packets_delay_seconds", kind: gauge, help: "How long packets wait in front of the uplinks, of the one where that is longest, smoothed.",
		value: func(c *control.PacketClass) float64 { return c.DelayMs / 1000 }},
	{name: "braid_packets_delay_max_seconds", kind: gauge, help: "The longest that a packet waited in front of an uplink since the session began.",
		value: func(c *control.PacketClass) float64 { return c.DelayMaxMs / 1000 }},
}

// copyFamilies are those of copies: sent at once, and again because a packet was
// late.
var copyFamilies = []family[control.PacketCopies]{
	{name: "braid_packet_copies_total", kind: counter, help: "Copies of packets since the session began: sent with them (at-once), or because they were late (again).",
		value: func(c *control.PacketCopies) float64 { return float64(c.Sent) }},
	{name: "braid_packet_copies_bytes_total", kind: counter, help: "Bytes of copies of packets since the session began.",
		value: func(c *control.PacketCopies) float64 { return float64(c.Bytes) }},
	{name: "braid_packet_copies_useful_total", kind: counter, help: "Copies of packets that came before their packet, or instead of it.",
		value: func(c *control.PacketCopies) float64 { return float64(c.Useful) }},
	{name: "braid_packet_copies_refused_total", kind: counter, help: "Copies of packets that were not sent, for want of budget.",
		value: func(c *control.PacketCopies) float64 { return float64(c.Refused) }},
}

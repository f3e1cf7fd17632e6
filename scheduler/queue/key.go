package queue

// Version is that of IP, 4 or 6.
func (k *FlowKey) Version() int { return int(k.Kind &^ (kindFragment | kindQuoted)) }

// HasPorts says whether SrcPort and DstPort are the ports of the flow's own
// packets: not an identifier, not those of a packet that is quoted, not
// unknown as in fragments.
func (k *FlowKey) HasPorts() bool {
	if k.Kind&(kindFragment|kindQuoted) != 0 {
		return false
	}
	switch k.Protocol {
	case protoTCP, protoUDP, protoDCCP, protoSCTP, protoUDPLite:
		return true
	}
	return false
}

// Reverse is the key of the packets that come back. What has no ports keeps what
// stands for them: an echo and its answer have one identifier.
func (k FlowKey) Reverse() FlowKey {
	k.Src, k.Dst = k.Dst, k.Src
	if k.HasPorts() {
		k.SrcPort, k.DstPort = k.DstPort, k.SrcPort
	}
	return k
}

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

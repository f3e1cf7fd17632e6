package emulator

// packet is one frame on its way.
type packet struct {
	frame []byte
	size  int64 // IP bytes
	key   int64 // on the wire: when it arrives, less the delay (ns); sorted by it
	lost  bool  // on the wire: vanishes at its end
}

// ring is a double-ended queue that grows by doubling and never shrinks, so
// that a steady state allocates nothing. The zero value is empty.
type ring struct {
	slots []packet // length is a power of two
	head  int
	len   int
}

func (r *ring) at(i int) *packet { return &r.slots[(r.head+i)&(len(r.slots)-1)] }

func (r *ring) push(p packet) {
	if r.len == len(r.slots) {
		grown := make([]packet, max(64, 2*len(r.slots)))
		for i := range r.len {
			grown[i] = *r.at(i)
		}
		r.slots, r.head = grown, 0
	}
	r.len++
	*r.at(r.len - 1) = p
}

func (r *ring) pop() packet {
	slot := r.at(0)
	p := *slot
	*slot = packet{}
	r.head = (r.head + 1) & (len(r.slots) - 1)
	r.len--
	return p
}

// insert puts p behind all packets with a key not above its own. It moves only
// what p overtakes, which is little: as many as fit into twice the jitter.
func (r *ring) insert(p packet) {
	r.push(p)
	i := r.len - 1
	for ; i > 0 && r.at(i-1).key > p.key; i-- {
		*r.at(i) = *r.at(i - 1)
	}
	*r.at(i) = p
}

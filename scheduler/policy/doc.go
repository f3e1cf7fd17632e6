// Package policy chooses the uplinks that carry a packet.
//
//	packet ─ Rules ─ which Policy (once for a flow)
//	       ─ Policy.Pick ─ the path that carries it, the paths that carry copies
//	       ─ Hedge.Late ─ when it is sent again because no answer has come
//
// A sparse flow wants the path on which it arrives first. A bulk flow wants to
// stay where it is: what travels over two paths comes out of order, which TCP
// and QUIC take for loss. So Auto keeps it on one, chosen by spare capacity, and
// moves it seldom. Policies for which Spreads is true do not; their packets
// need a receiver that puts them in order.
//
// Nothing here does I/O, reads a clock, locks or starts a goroutine: the time
// is an argument, and the same calls give the same answers. A value belongs to
// one goroutine, or to whoever holds its owner's lock. Times should carry a
// monotonic reading, as time.Now gives them. Nothing per packet allocates.
package policy

package stream

// MinBufferBytes is what an Outbound may hold whatever the budget: enough for
// 100 Mb/s over 20 ms.
const MinBufferBytes = 256 << 10

// minBufferBlocks hold MinBufferBytes wherever in a block they begin.
const minBufferBlocks = MinBufferBytes/blockBytes + 1

// Outbound is the direction from here to the peer.
type Outbound struct {
	*Buffer
	limit    uint64 // the peer's
	closed   bool   // the program has closed its side: End is final
	finSent  bool   // on the present carrier
	finEver  bool   // on any carrier
	finAcked bool
}

// NewOutbound makes an Outbound that holds at most bufferBytes, and beyond
// MinBufferBytes only what the budget allows, toward a peer that has promised
// room up to limit.
func NewOutbound(bufferBytes int, limit uint64, budget *Budget) *Outbound {
	b := NewBuffer(bufferBytes)
	b.budget, b.exempt = budget, minBufferBlocks
	return &Outbound{Buffer: b, limit: limit}
}

// CloseWrite says that no more bytes come from the program.
func (o *Outbound) CloseWrite() { o.closed = true }

// Closed reports whether the program has closed its side.
func (o *Outbound) Closed() bool { return o.closed }

// Next returns what to send now, at most max bytes, and counts it as sent on
// the present carrier.
func (o *Outbound) Next(max int) Chunk {
	if room := o.limit - o.sent; uint64(max) > room {
		max = int(room)
	}
	var c Chunk
	if c.Data = o.Unsent(max); len(c.Data) > 0 {
		o.Advance(len(c.Data))
	}
	if o.finDue() {
		o.finSent, o.finEver, c.Fin = true, true, true
	}
	return c
}

// Ready reports whether Next has something.
func (o *Outbound) Ready() bool { return o.Sendable() > 0 || o.finDue() }

// Sendable is how many bytes may be sent now.
func (o *Outbound) Sendable() int { return int(min(o.end, o.limit) - o.sent) }

func (o *Outbound) finDue() bool { return o.closed && !o.finSent && o.sent == o.end }

// Ack takes the peer's word on the present carrier.
func (o *Outbound) Ack(a Ack) error {
	if a.Limit < o.limit {
		return errLimitBack
	}
	if a.Fin && !(o.finSent && a.Received == o.end) || !o.Buffer.Ack(a.Received) {
		return errAckRange
	}
	o.limit = a.Limit
	o.finAcked = o.finAcked || a.Fin
	return nil
}

// CheckResume returns the error that Resume would return now. It may be asked
// while another carrier is in use: what is refused once is refused for ever.
func (o *Outbound) CheckResume(a Ack) error {
	switch {
	// The end may have arrived on the carrier that died.
	case a.Received > o.most, a.Fin && !(o.finEver && a.Received == o.end):
		return ErrNeverSent
	case a.Limit < o.limit:
		return errLimitBack
	case a.Received < o.acked, o.finAcked && !a.Fin:
		return errAckRange
	}
	return nil
}

// Resume begins anew on another carrier, from what the peer says it has.
func (o *Outbound) Resume(a Ack) error {
	if err := o.CheckResume(a); err != nil {
		return err
	}
	o.Rewind(a.Received)
	o.limit = a.Limit
	o.finAcked, o.finSent = a.Fin, a.Fin
	return nil
}

// SaidAll reports whether everything, the end included, was sent at least
// once, on whichever carrier.
func (o *Outbound) SaidAll() bool { return o.finEver }

// Done reports whether the peer has all, and the end.
func (o *Outbound) Done() bool { return o.finAcked }

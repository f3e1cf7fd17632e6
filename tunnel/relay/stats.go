package relay

// Stats is what a stream has done, and how it is now.
type Stats struct {
	// Bytes of the inner connection, each counted once: to the peer whether
	// acknowledged or not, and from the peer whether the program has taken
	// them or not.
	SentBytes, ReceivedBytes uint64
	Resumed                  int  // how often it went on on another link
	Open                     bool // both ends know that the far one has connected
	Detached                 bool // it has no link
	Buffered                 int  // bytes in memory: not acknowledged, or not taken
}

// Stats returns the stream's numbers.
func (r *Relay) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Stats{
		SentBytes: r.out.MostSent(), ReceivedBytes: r.in.Received(), Resumed: r.resumed,
		Open: r.opened, Detached: r.att == nil, Buffered: r.out.Held() + r.in.Held(),
	}
}

// Link returns the link that the stream has at present, or nil.
func (r *Relay) Link() Link {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.att == nil || r.att.err != nil {
		return nil
	}
	return r.att.link
}

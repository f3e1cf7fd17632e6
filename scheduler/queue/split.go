package queue

// Split calls part with the pieces of a packet, in order, of at most so many bytes
// each but of one segment at least; a packet that cannot be cut is one piece. It
// changes payload, and a piece may be read until part returns. The kernel makes of
// the pieces what it would have made of the whole.
func Split(payload []byte, most int, part func([]byte)) {
	var headers [maxHeaders]byte
	for len(payload) > most {
		s, ok := shapeOf(payload)
		if !ok || s.headers() > maxHeaders {
			break
		}
		n := min(max((most-s.headers())/s.size, 1), s.segments-1)
		copy(headers[:s.headers()], payload)
		part(s.keepFirst(payload, n))
		payload = payload[n*s.size:]
		copy(payload, headers[:s.headers()])
		s.becomeRest(payload, n)
	}
	part(payload)
}

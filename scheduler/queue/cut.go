package queue

// maxHeaders is the longest headers of a super-packet that is cut, bytes: more
// than IPv6 with options and TCP with all of its own. Others go whole.
const maxHeaders = 256

// cut is a super-packet of which Pop has returned a part. The headers of the
// rest have their place in that part's last bytes, so they can be written when
// that part has been read, which is at the next Pop.
type cut struct {
	packet   int32 // or none
	flow     *flow
	shape    super
	segments int // that left
	headers  [maxHeaders]byte
}

// part says how many of a packet's segments may leave if they are not to be
// longer than maxBytes; 0 is the whole packet.
func (q *Queue[M]) part(w *waiting[M], maxBytes int) (s super, segments int) {
	if w.segments == 1 || len(w.payload) <= maxBytes {
		return s, 0
	}
	s, ok := shapeOf(w.payload)
	if !ok || s.headers() > maxHeaders {
		return s, 0
	}
	return s, min(max((maxBytes-s.headers())/s.size, 1), s.segments-1)
}

// cutOff remembers a detached packet of which so many segments leave.
func (q *Queue[M]) cutOff(f *flow, n int32, s super, segments int) {
	o := &q.out
	o.packet, o.flow, o.shape, o.segments = n, f, s, segments
	copy(o.headers[:s.headers()], q.waiting[n].payload)
	q.bytes -= segments * s.size
}

// rejoin puts the rest of a super-packet back to the front of its queue.
func (q *Queue[M]) rejoin() {
	o := &q.out
	if o.packet == none {
		return
	}
	n, f, w := o.packet, o.flow, &q.waiting[o.packet]
	o.packet = none
	w.payload = w.payload[o.segments*o.shape.size:]
	copy(w.payload, o.headers[:o.shape.headers()])
	o.shape.becomeRest(w.payload, o.segments)
	w.segments -= int32(o.segments)
	w.segmentBytes = min(w.segmentBytes, int32(len(w.payload)))
	w.next = f.first
	if f.packets == 0 {
		w.next, f.last = none, n
	}
	f.first = n
	f.packets++
	f.bytes += len(w.payload)
}

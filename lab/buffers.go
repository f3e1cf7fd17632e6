package lab

const (
	smallFrame   = 2048 // holds any frame of an ordinary MTU
	largestFrame = 1 << 16
)

// buffers are the free frame buffers of a pump, in two sizes. They grow to what
// the links once held at the same time and are not given back before the end.
type buffers struct{ small, large [][]byte }

// copyOf returns a buffer with the content of frame.
func (b *buffers) copyOf(frame []byte) []byte {
	free, size := &b.small, smallFrame
	if len(frame) > smallFrame {
		free, size = &b.large, largestFrame
	}
	var buffer []byte
	if n := len(*free); n > 0 {
		buffer = (*free)[n-1]
		*free = (*free)[:n-1]
	} else {
		buffer = make([]byte, size)
	}
	buffer = buffer[:len(frame)]
	copy(buffer, frame)
	return buffer
}

func (b *buffers) put(buffer []byte) {
	if cap(buffer) == smallFrame {
		b.small = append(b.small, buffer)
	} else {
		b.large = append(b.large, buffer)
	}
}

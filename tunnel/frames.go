package tunnel

import (
	"io"

	"braid/tunnel/wire"
)

// readBufferLen is the size of a carrier's read buffer, bytes: the largest
// frame twice, so that a partial one is moved to the front seldom.
const readBufferLen = 2 * (wire.HeaderLen + wire.MaxPayloadLen)

// frameReader cuts a byte stream into frames. It allocates once.
type frameReader struct {
	r          io.Reader
	buf        []byte
	start, end int // of what was read and not yet returned
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: r, buf: make([]byte, readBufferLen)}
}

// next returns the next frame. The payload belongs to the reader and holds
// until the next call. An error wraps wire.ErrMalformed when the peer's bytes
// are at fault, and is io.ErrUnexpectedEOF when the stream ends in a frame.
func (f *frameReader) next() (wire.Type, []byte, error) {
	if err := f.need(wire.HeaderLen); err != nil {
		return 0, nil, err
	}
	typ, n, err := wire.ParseHeader(f.buf[f.start:f.end])
	if err != nil {
		return typ, nil, err
	}
	if err := f.need(wire.HeaderLen + n); err != nil {
		return typ, nil, err
	}
	payload := f.buf[f.start+wire.HeaderLen : f.start+wire.HeaderLen+n]
	f.start += wire.HeaderLen + n
	return typ, payload, nil
}

// need reads until n bytes are there.
func (f *frameReader) need(n int) error {
	if f.start == f.end {
		f.start, f.end = 0, 0
	}
	if len(f.buf)-f.start < n {
		f.end = copy(f.buf, f.buf[f.start:f.end])
		f.start = 0
	}
	for f.end-f.start < n {
		m, err := f.r.Read(f.buf[f.end:])
		f.end += m
		if err != nil && f.end-f.start < n {
			if err == io.EOF && f.end > f.start {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

package tunnel

import (
	"io"
	"sync"

	"braid/tunnel/wire"
)

// readBufferLen is the size of a carrier's read buffer, bytes: the largest
// frame twice, so that a partial one is moved to the front seldom.
const readBufferLen = 2 * (wire.HeaderLen + wire.MaxPayloadLen)

// readBuffers are lent to carriers that have something to read.
var readBuffers = sync.Pool{New: func() any { b := make([]byte, readBufferLen); return &b }}

// frameReader cuts a byte stream into frames. Its reader blocks, or returns
// errWouldBlock and has await to wait with; then the buffer is given back
// while there is nothing in it.
type frameReader struct {
	r          io.Reader
	await      func() error
	lent       *[]byte
	buf        []byte // of lent
	start, end int    // of what was read and not yet returned
}

func newFrameReader(r io.Reader) *frameReader { return &frameReader{r: r} }

// next returns the next frame. The payload belongs to the reader and holds
// until the next call. An error wraps wire.ErrMalformed when the peer's bytes
// are at fault, and is io.ErrUnexpectedEOF when the stream ends in a frame.
func (f *frameReader) next() (wire.Type, []byte, error) { return f.nextFrame(true) }

// tryNext is next, but returns errWouldBlock rather than wait.
func (f *frameReader) tryNext() (wire.Type, []byte, error) { return f.nextFrame(false) }

func (f *frameReader) nextFrame(wait bool) (wire.Type, []byte, error) {
	if err := f.need(wire.HeaderLen, wait); err != nil {
		return 0, nil, err
	}
	typ, n, err := wire.ParseHeader(f.buf[f.start:f.end])
	if err != nil {
		return typ, nil, err
	}
	if err := f.need(wire.HeaderLen+n, wait); err != nil {
		return typ, nil, err
	}
	payload := f.buf[f.start+wire.HeaderLen : f.start+wire.HeaderLen+n]
	f.start += wire.HeaderLen + n
	return typ, payload, nil
}

// need reads until n bytes are there.
func (f *frameReader) need(n int, wait bool) error {
	if f.start == f.end {
		f.start, f.end = 0, 0
	}
	if len(f.buf)-f.start < n && f.lent != nil {
		f.end = copy(f.buf, f.buf[f.start:f.end])
		f.start = 0
	}
	for f.end-f.start < n {
		if f.lent == nil {
			f.lent = readBuffers.Get().(*[]byte)
			f.buf = *f.lent
		}
		m, err := f.r.Read(f.buf[f.end:])
		f.end += m
		if err == nil || f.end-f.start >= n {
			continue
		}
		if err == errWouldBlock {
			if f.end == f.start {
				f.release()
			}
			if !wait {
				return err
			}
			if err := f.await(); err != nil {
				f.release()
				return err
			}
			continue
		}
		if err == io.EOF && f.end > f.start {
			err = io.ErrUnexpectedEOF
		}
		f.release()
		return err
	}
	return nil
}

// release gives the buffer back; what is in it is lost.
func (f *frameReader) release() {
	if f.lent != nil {
		readBuffers.Put(f.lent)
		f.lent, f.buf = nil, nil
	}
	f.start, f.end = 0, 0
}

package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"braid/tunnel/wire"
)

// lane is one direction of a link or socket in memory.
type lane struct {
	mu    sync.Mutex // guards the rest
	cond  *sync.Cond
	buf   []byte
	off   int
	size  int
	hole  bool // swallows what is written
	gated bool // only what is shown can be read
	shown int
	eof   bool // io.EOF behind what is there
	rdErr error
	wrErr error
}

func newLane(size int) *lane {
	l := &lane{size: size, buf: make([]byte, 0, size)}
	l.cond = sync.NewCond(&l.mu)
	return l
}

func (l *lane) set(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	l.cond.Broadcast()
}

func (l *lane) read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if n, err := l.takeLocked(p); n > 0 || err != nil {
			return n, err
		}
		l.cond.Wait()
	}
}

// takeLocked takes what there is; nothing when a reader would wait.
func (l *lane) takeLocked(p []byte) (int, error) {
	there := l.buf[l.off:]
	if l.gated {
		there = there[:l.shown]
	}
	switch {
	case l.rdErr != nil:
		return 0, l.rdErr
	case len(there) == 0 && l.off == len(l.buf) && l.eof:
		return 0, io.EOF
	}
	n := copy(p, there)
	if l.gated {
		l.shown -= n
	}
	if l.off += n; l.off == len(l.buf) {
		l.buf, l.off = l.buf[:0], 0
	}
	if n > 0 {
		l.cond.Broadcast()
	}
	return n, nil
}

// tryRead is read that does not wait.
func (l *lane) tryRead(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.takeLocked(p)
}

// tryWrite is write of as much as there is room for.
func (l *lane) tryWrite(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wrErr != nil {
		return 0, l.wrErr
	}
	n := min(len(p), l.size-(len(l.buf)-l.off))
	if len(l.buf)+n > l.size {
		l.buf, l.off = l.buf[:copy(l.buf, l.buf[l.off:])], 0
	}
	l.buf = append(l.buf, p[:n]...)
	l.cond.Broadcast()
	return n, nil
}

func (l *lane) write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	done := 0
	for {
		if l.wrErr != nil {
			return done, l.wrErr
		}
		if l.hole {
			return len(p), nil
		}
		if len(l.buf) == l.size && l.off > 0 {
			l.buf, l.off = l.buf[:copy(l.buf, l.buf[l.off:])], 0
		}
		n := min(len(p)-done, l.size-len(l.buf))
		l.buf = append(l.buf, p[done:done+n]...)
		if done += n; n > 0 {
			l.cond.Broadcast()
		}
		if done == len(p) {
			return done, nil
		}
		l.cond.Wait()
	}
}

// pipeLink is one end of a link in memory.
type pipeLink struct {
	in, out *lane
	frame   []byte
	peer    *pipeLink
}

func newLinks() (*pipeLink, *pipeLink) {
	a, b := newLane(256<<10), newLane(256<<10)
	near := &pipeLink{in: a, out: b, frame: make([]byte, 1<<17)}
	far := &pipeLink{in: b, out: a, frame: make([]byte, 1<<17), peer: near}
	near.peer = far
	return near, far
}

func (l *pipeLink) Cold() bool { return true }

func (l *pipeLink) WriteFrames(parts ...[]byte) error {
	_, err := l.out.write(bytes.Join(parts, nil))
	return err
}

func (l *pipeLink) full(p []byte) error {
	for len(p) > 0 {
		n, err := l.in.read(p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func (l *pipeLink) ReadFrame() (wire.Type, []byte, error) {
	if err := l.full(l.frame[:wire.HeaderLen]); err != nil {
		return 0, nil, err
	}
	typ, n, err := wire.ParseHeader(l.frame)
	if err != nil {
		return typ, nil, err
	}
	return typ, l.frame[:n], l.full(l.frame[:n])
}

var errLinkClosed = errors.New("link closed")

func (l *pipeLink) Abort() error { return l.Close() }

func (l *pipeLink) Close() error {
	hole := false
	l.in.set(func() { l.in.rdErr, l.in.wrErr, hole = errLinkClosed, errLinkClosed, l.in.hole })
	l.out.set(func() { l.out.wrErr = errLinkClosed; l.out.eof = !l.out.hole })
	if hole { // the peer has yet to notice
		l.in.set(func() { l.in.wrErr = nil })
	}
	return nil
}

// kill makes all that is under way beyond the first keep bytes vanish, and
// all that is written from now on. The ends notice when they are closed.
func (l *pipeLink) kill(keep func(int) int) {
	for _, d := range []*lane{l.in, l.out} {
		d.set(func() {
			d.hole = true
			d.buf = d.buf[:d.off+keep(len(d.buf)-d.off)]
			d.shown = min(d.shown, len(d.buf)-d.off)
		})
	}
}

// clean reports whether nothing is under way in either direction.
func (l *pipeLink) clean() bool {
	ok := true
	for _, d := range []*lane{l.in, l.out} {
		d.set(func() { ok = ok && d.off == len(d.buf) && d.rdErr == nil && d.wrErr == nil })
	}
	return ok
}

// empty reports whether nothing is under way, whether or not the ends are
// closed.
func (l *pipeLink) empty() bool {
	ok := true
	for _, d := range []*lane{l.in, l.out} {
		d.set(func() { ok = ok && d.off == len(d.buf) })
	}
	return ok
}

// pipeSocket is one end of a TCP connection in memory.
type pipeSocket struct {
	in, out *lane
	linger  bool // close resets
}

func newSockets() (*pipeSocket, *pipeSocket) {
	a, b := newLane(32<<10), newLane(32<<10)
	return &pipeSocket{in: a, out: b}, &pipeSocket{in: b, out: a}
}

func (s *pipeSocket) Read(p []byte) (int, error)  { return s.in.read(p) }
func (s *pipeSocket) Write(p []byte) (int, error) { return s.out.write(p) }

func (s *pipeSocket) CloseWrite() error {
	s.out.set(func() { s.out.eof = true; s.out.wrErr = syscall.EPIPE })
	return nil
}

func (s *pipeSocket) SetLinger(int) error { s.linger = true; return nil }

func (s *pipeSocket) Close() error {
	s.in.set(func() { s.in.rdErr = net.ErrClosed; s.in.wrErr = syscall.ECONNRESET })
	s.out.set(func() {
		if s.out.wrErr == nil {
			s.out.wrErr = net.ErrClosed
		}
		s.out.eof = true
		if s.linger {
			s.out.rdErr = syscall.ECONNRESET
		}
	})
	return nil
}

func (s *pipeSocket) abort() { s.SetLinger(0); s.Close() }

func (s *pipeSocket) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *pipeSocket) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *pipeSocket) SetDeadline(time.Time) error      { return nil }
func (s *pipeSocket) SetReadDeadline(time.Time) error  { return nil }
func (s *pipeSocket) SetWriteDeadline(time.Time) error { return nil }

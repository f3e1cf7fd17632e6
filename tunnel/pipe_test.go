package tunnel

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// bufferedPipe is net.Pipe with a buffer in each direction, so that both ends
// may write at once, as on a socket. net.Pipe alone deadlocks two peers that
// say goodbye at the same time.
func bufferedPipe() (net.Conn, net.Conn) {
	a, b := newStream(), newStream()
	return &pipeEnd{in: a, out: b}, &pipeEnd{in: b, out: a}
}

const pipeBytes = 1 << 20

// byteStream is one direction.
type byteStream struct {
	mu        sync.Mutex // guards the rest
	buf       []byte
	most      int // of buf, bytes
	closed    bool
	hole      bool          // swallow what is written
	change    chan struct{} // closed and replaced at every change
	readBy    time.Time
	writtenBy time.Time
}

func newStream() *byteStream { return &byteStream{most: pipeBytes, change: make(chan struct{})} }

func (s *byteStream) notifyLocked() {
	close(s.change)
	s.change = make(chan struct{})
}

// wait unlocks, waits for a change or the deadline, and locks again.
func (s *byteStream) waitLocked(deadline time.Time) error {
	change := s.change
	var timeout <-chan time.Time
	if !deadline.IsZero() {
		d := time.Until(deadline)
		if d <= 0 {
			return os.ErrDeadlineExceeded
		}
		t := time.NewTimer(d)
		defer t.Stop()
		timeout = t.C
	}
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-change:
	case <-timeout:
	}
	return nil
}

type pipeEnd struct{ in, out *byteStream }

func (p *pipeEnd) Read(b []byte) (int, error) {
	s := p.in
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.buf) == 0 {
		if s.closed {
			return 0, io.EOF
		}
		if err := s.waitLocked(s.readBy); err != nil {
			return 0, err
		}
	}
	n := copy(b, s.buf)
	s.buf = s.buf[:copy(s.buf, s.buf[n:])]
	s.notifyLocked()
	return n, nil
}

func (p *pipeEnd) Write(b []byte) (int, error) {
	s := p.out
	s.mu.Lock()
	defer s.mu.Unlock()
	done := 0
	for {
		if s.closed {
			return done, syscall.EPIPE
		}
		if s.hole {
			return len(b), nil
		}
		n := min(len(b)-done, max(0, s.most-len(s.buf)))
		s.buf = append(s.buf, b[done:done+n]...)
		if done += n; n > 0 {
			s.notifyLocked()
		}
		if done == len(b) {
			return done, nil
		}
		if err := s.waitLocked(s.writtenBy); err != nil {
			return done, err
		}
	}
}

func (p *pipeEnd) Close() error {
	for _, s := range []*byteStream{p.in, p.out} {
		s.mu.Lock()
		s.closed = true
		s.notifyLocked()
		s.mu.Unlock()
	}
	return nil
}

// CloseWrite ends this end's direction.
func (p *pipeEnd) CloseWrite() error {
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	p.out.closed = true
	p.out.notifyLocked()
	return nil
}

func (p *pipeEnd) SetReadDeadline(t time.Time) error {
	p.in.mu.Lock()
	defer p.in.mu.Unlock()
	p.in.readBy = t
	p.in.notifyLocked()
	return nil
}

func (p *pipeEnd) SetWriteDeadline(t time.Time) error {
	p.out.mu.Lock()
	defer p.out.mu.Unlock()
	p.out.writtenBy = t
	p.out.notifyLocked()
	return nil
}

func (p *pipeEnd) SetDeadline(t time.Time) error {
	p.SetReadDeadline(t)
	return p.SetWriteDeadline(t)
}

func (p *pipeEnd) LocalAddr() net.Addr  { return &net.TCPAddr{} }
func (p *pipeEnd) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// blackHole makes everything that either end writes from now on vanish.
func (p *pipeEnd) blackHole() {
	for _, s := range []*byteStream{p.in, p.out} {
		s.mu.Lock()
		s.hole = true
		s.mu.Unlock()
	}
}

// narrow bounds what waits for this end to read it, bytes.
func (p *pipeEnd) narrow(bytes int) {
	p.in.mu.Lock()
	defer p.in.mu.Unlock()
	p.in.most = bytes
}

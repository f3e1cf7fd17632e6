package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"braid/tunnel/wire"
)

// readSocket fills the Outbound until the program closes its side. It goes on
// while there is no link.
func (r *Relay) readSocket(s Socket) error {
	src := source{r: r, s: s}
	if sc, ok := s.(syscall.Conn); ok {
		raw, err := sc.SyscallConn()
		if err != nil {
			return err
		}
		src.raw, src.try = raw, src.tryRead
	}
	for {
		full, err := src.read()
		switch {
		case err == io.EOF:
			r.mu.Lock()
			r.out.CloseWrite()
			r.wakeLinkLocked()
			r.mu.Unlock()
			return nil
		case err != nil:
			return err
		case full:
			r.mu.Lock()
			over := r.reset != nil
			r.mu.Unlock()
			if over {
				return nil
			}
			<-r.room
		}
	}
}

// source reads from the socket into the Outbound.
type source struct {
	r    *Relay
	s    Socket
	raw  syscall.RawConn
	try  func(fd uintptr) bool // made once: a closure for each read would allocate
	full bool
	err  error
}

// read takes what the socket has, once; full says that there is no room for
// it.
func (s *source) read() (full bool, err error) {
	s.full, s.err = false, nil
	if s.raw == nil {
		s.readInto(s.s.Read)
	} else if err := s.raw.Read(s.try); err != nil {
		return false, err
	}
	return s.full, s.err
}

// tryRead is called before and after the runtime waits for the socket, so that
// no buffer is held while it waits.
func (s *source) tryRead(fd uintptr) bool {
	s.readInto(func(p []byte) (int, error) {
		for {
			n, err := syscall.Read(int(fd), p)
			switch {
			case err == syscall.EINTR:
				continue
			case err != nil:
				return 0, err
			case n == 0:
				return 0, io.EOF
			}
			return n, nil
		}
	})
	if s.err == syscall.EAGAIN {
		s.err = nil
		return false
	}
	return true
}

// readInto reads without the lock; the Outbound keeps what it has lent.
func (s *source) readInto(read func([]byte) (int, error)) {
	r := s.r
	r.mu.Lock()
	p := r.out.Space()
	r.mu.Unlock()
	if s.full = len(p) == 0; s.full {
		return
	}
	n, err := read(p)
	s.err = err
	r.mu.Lock()
	r.out.Commit(n)
	if r.out.Ready() {
		r.wakeLinkLocked()
	}
	r.mu.Unlock()
}

// writeSocket gives the program what has arrived, and the end.
func (r *Relay) writeSocket(s Socket) error {
	for {
		r.mu.Lock()
		p, ended, broken := r.in.Pending(), r.in.Ended(), r.reset != nil
		r.mu.Unlock()
		switch {
		case broken:
			return nil
		case len(p) > 0:
			// Nobody but this goroutine frees what is pending.
			n, err := s.Write(p)
			r.mu.Lock()
			r.in.Consume(n)
			r.in.Tune(time.Now())
			r.ackSoonLocked()
			r.mu.Unlock()
			if err != nil {
				return err
			}
		case ended:
			return s.CloseWrite()
		default:
			<-r.arrived
		}
	}
}

// sink writes to a socket without waiting. One goroutine calls it.
type sink struct {
	raw syscall.RawConn
	p   []byte
	n   int
	try func(fd uintptr) bool // made once
}

func newSink(s Socket) *sink {
	sc, ok := s.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	k := &sink{raw: raw}
	k.try = k.tryWrite
	return k
}

// write returns how many bytes the socket took; why not more is for whoever
// waits for it to find out.
func (k *sink) write(p []byte) int {
	k.p, k.n = p, 0
	_ = k.raw.Write(k.try)
	k.p = nil
	return k.n
}

func (k *sink) tryWrite(fd uintptr) bool {
	n, err := syscall.Write(int(fd), k.p)
	for err == syscall.EINTR {
		n, err = syscall.Write(int(fd), k.p)
	}
	k.n = max(n, 0)
	return true
}

// abort closes the socket so that the program sees a reset.
func abort(s Socket) {
	if l, ok := s.(interface{ SetLinger(int) error }); ok {
		l.SetLinger(0)
	}
	s.Close()
}

// errnoResult finds the result that makes the other side's program see the
// same error.
func errnoResult(err error) wire.OpenResult {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return wire.OpenRefused
	case errors.Is(err, syscall.EHOSTUNREACH):
		return wire.OpenHostUnreachable
	case errors.Is(err, syscall.ENETUNREACH):
		return wire.OpenNetworkUnreachable
	case errors.Is(err, os.ErrPermission):
		return wire.OpenDenied
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return wire.OpenTimedOut
	}
	return wire.OpenFailed
}

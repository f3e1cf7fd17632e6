package relay

import (
	"bytes"
	"context"
	"fmt"
	"syscall"

	"braid/tunnel/wire"
)

// The model's far side: what the owner of accepters does.

// connects ends one attempt of an accepter to connect.
func (m *model) connects() {
	if len(m.dials) == 0 {
		return
	}
	var err error
	if !m.clean && m.r.IntN(4) == 0 {
		err = syscall.ECONNREFUSED
	}
	m.dials[0] <- err
	m.dials = m.dials[1:]
}

// accepts reads the greeting of one link, if all of it is shown, and does what
// the owner of the far side does.
func (m *model) accepts() error {
	n := m.r.IntN(len(m.links) + 1)
	for i := range m.links {
		k := m.links[(i+n)%len(m.links)]
		if k.accepted {
			continue
		}
		typ, p, ok := k.greeting()
		if !ok {
			continue
		}
		k.accepted = true
		switch typ {
		case wire.TypeOpen:
			open, err := wire.ParseOpen(p)
			if err != nil {
				return err
			}
			m.acceptOpen(k, open)
		case wire.TypeResume:
			ask, err := wire.ParseResume(p)
			if err != nil {
				return err
			}
			if m.far != nil && m.far.AttachResumed(k.far, ask) {
				m.count.resumed++
				return nil
			}
			m.count.refused++
			go func() {
				if RefuseResume(k.far) != nil {
					k.far.Close()
					return
				}
				m.mu.Lock()
				defer m.mu.Unlock()
				k.released++
			}()
		default:
			return fmt.Errorf("greeting %v", typ)
		}
		return nil
	}
	return nil
}

func (m *model) acceptOpen(k *modelLink, open wire.Open) {
	if m.far != nil && m.far.AttachReopened(k.far) {
		m.count.reopened++
		return
	}
	if m.forget || m.ended {
		// An owner remembers for a while the streams that were open, since an
		// Open may come after all the rest.
		m.count.stale++
		k.far.Close()
		return
	}
	if m.far != nil { // it was refused, or broken before near knew of it
		old := m.program[0]
		m.program[1] = newModelProgram(m.program[1].write, old.write)
		m.program[1].write, m.program[1].want = nil, nil
		m.program[1].closed = true
		m.program[1].socket.abort()
	}
	inner := m.program[1].inner
	far := NewAccepter(m.cfg, open, func(ctx context.Context) (Socket, error) {
		c := make(chan error, 1)
		m.mu.Lock()
		m.dials = append(m.dials, c)
		m.mu.Unlock()
		select {
		case err := <-c:
			return inner, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	m.far = far
	m.fars++
	go func() {
		err := far.Run(m.ctx, k.far)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.fars--
		m.forget = m.forget || far.Stats().Open
		if m.far == far {
			m.farErr = err
		}
	}()
}

// greeting takes the first frame of a link off it when it is there.
func (k *modelLink) greeting() (typ wire.Type, p []byte, ok bool) {
	d := k.far.in
	d.set(func() {
		if d.shown < wire.HeaderLen {
			return
		}
		t, n, err := wire.ParseHeader(d.buf[d.off:])
		if err != nil || d.shown < wire.HeaderLen+n {
			return
		}
		typ, ok = t, true
		p = bytes.Clone(d.buf[d.off+wire.HeaderLen:][:n])
		d.off, d.shown = d.off+wire.HeaderLen+n, d.shown-wire.HeaderLen-n
	})
	return typ, p, ok
}

package terminate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"braid/tunnel/wire"
)

// Errors of Pending.Accept.
var (
	// ErrAborted: the application gave up, or sent a reset.
	ErrAborted = errors.New("the application gave up the connection")
	// ErrBlocked: this host's kernel did not answer the SYN.
	ErrBlocked = errors.New("this host does not answer connections that come from the tunnel device")
	// ErrNoPorts: every fake address and port is in use or was lately.
	ErrNoPorts = errors.New("no fake port is free")
	// ErrAnswered: Accept, Refuse, Unreachable or Drop was called before.
	ErrAnswered = errors.New("the connection was answered before")
)

// Error says why a connection could not be opened and how to mend it.
type Error struct {
	// From and To are the fake endpoint and the listener; those of Dial are
	// its source and destination.
	From, To netip.AddrPort
	Err      error
	hint     string
}

func (e *Error) Error() string {
	return fmt.Sprintf("open a connection from %v to %v: %v", e.From, e.To, e.Err)
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// Hint says how to mend it, in a sentence; it may be empty.
func (e *Error) Hint() string { return e.hint }

// maxSYN is how much of a SYN is kept, with the virtio-net header, bytes. One
// with data (RFC 7413) fits an Ethernet frame.
const maxSYN = wire.VnetLen + 1500

// Pending is a connection whose SYN is held: the application waits. Exactly
// one of the methods should be called; after an Accept that failed, Refuse,
// Unreachable or Drop may still be, so that the application learns of it.
type Pending struct {
	Source, Destination netip.AddrPort

	t    *Terminator
	e    *entry
	done chan struct{} // closed when the connection is accepted or has failed

	// t.mu guards these; conn and err do not change once done is closed.
	syn      []byte // as it was read
	answered bool   // by Refuse, Unreachable or Drop
	conn     *net.TCPConn
	err      error
}

// decide ends the waiting. t.mu is held.
func (p *Pending) decide(err error) {
	p.err = err
	close(p.done)
}

// Done is closed when Accept has nothing to wait for any more: the connection
// is open, or the application gave up while its SYN was held.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Accept lets the SYN through and returns the socket that this host's kernel
// accepts for it. It fails with an *Error around ErrBlocked, ErrNoPorts,
// ErrAborted, ErrAnswered or the context's error. A failed connection is
// silent; if the application believes it open, it is reset.
func (p *Pending) Accept(ctx context.Context) (*Conn, error) {
	t := p.t
	t.mu.Lock()
	if p.e.state != held {
		err := p.err
		if err == nil {
			err = ErrAnswered
		}
		t.mu.Unlock()
		return nil, p.failure(err)
	}
	v6 := p.Source.Addr().Is6()
	if !t.table.open(p.e, v6, time.Now()) {
		t.mu.Unlock()
		return nil, p.failure(ErrNoPorts)
	}
	syn := append([]byte(nil), p.syn...)
	var s segment
	if parse(syn, &s) == tcp { // it was, when it came
		p.e.in.apply(syn, &s)
	}
	t.mu.Unlock()
	t.inject(syn)
	return p.wait(ctx)
}

// wait waits for the local kernel, and for the application's last word.
func (p *Pending) wait(ctx context.Context) (*Conn, error) {
	t := p.t
	timer := time.NewTimer(t.answerTimeout)
	defer timer.Stop()
	for waiting := true; waiting; {
		select {
		case <-p.done:
			waiting = false
		case <-ctx.Done():
			p.giveUp(ctx.Err())
		case <-timer.C:
			t.mu.Lock()
			answered := p.e.answered
			t.mu.Unlock()
			if !answered {
				p.giveUp(ErrBlocked)
				continue
			}
			// The kernel is not to blame, its peer is slow or gone. It
			// repeats the SYN+ACK for 63 s; few would wait so long.
			select {
			case <-p.done:
			case <-ctx.Done():
				p.giveUp(ctx.Err())
			case <-time.After(handshakeTimeout):
				p.giveUp(ErrAborted)
			}
		}
	}
	if p.err != nil {
		return nil, p.failure(p.err)
	}
	return t.newConn(p.conn, p.e), nil
}

// giveUp fails the connection, unless it is decided.
func (p *Pending) giveUp(err error) {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	if p.e.state == opening {
		p.t.table.fail(p.e, err, time.Now())
	}
}

func (p *Pending) failure(err error) error {
	p.t.mu.Lock()
	e := &Error{From: p.e.local.destination(), To: p.e.local.source(), Err: err}
	p.t.mu.Unlock()
	switch err {
	case ErrBlocked:
		e.hint = "the host's firewall must accept TCP to this address from the tunnel device, and reverse path filtering must not drop it"
	case ErrNoPorts:
		e.hint = "give the tunnel more fake addresses"
	}
	return e
}

// Refuse answers with a reset, as a closed port does.
func (p *Pending) Refuse() {
	if syn, s, ok := p.answer(false); ok && parse(syn, &s) == tcp {
		p.t.inject(reset(&s))
	}
}

// Unreachable answers with an ICMP error. It comes from a fake address, as
// from a router behind the device.
func (p *Pending) Unreachable(why Reason) {
	if syn, s, ok := p.answer(false); ok && parse(syn, &s) == tcp {
		p.t.inject(unreachable(syn, &s, p.t.table.family(s.v6).fakes[0], why))
	}
}

// Drop answers with silence. The repeated SYN is dropped for half a minute;
// after that one is offered as a new connection.
func (p *Pending) Drop() { p.answer(true) }

// answer notes the decision, and returns the SYN to answer to. There is no
// need where the local kernel had answered it, and resets the connection.
func (p *Pending) answer(quiet bool) (syn []byte, s segment, ok bool) {
	t := p.t
	t.mu.Lock()
	defer t.mu.Unlock()
	blocked := p.e.state == failed && !p.e.answered && !p.e.superseded
	if p.answered || p.e.state != held && !blocked {
		return nil, s, false
	}
	p.answered = true
	t.table.settle(p.e, quiet, time.Now())
	return p.syn, s, true
}

package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	"braid/crypto"
	"braid/tunnel/wire"
)

// handshakeTimeout bounds everything between a new connection and Welcome, on
// both sides. Firewalls that drop MPTCP's options from all but the first
// segments let a connection be made and nothing through it.
const handshakeTimeout = 10 * time.Second

// RefusedError is the server's refusal of a client that it authenticated.
type RefusedError struct {
	Code   wire.RefuseCode
	Reason string
}

func (e *RefusedError) Error() string { return "server refused: " + e.Reason }

// secured is a connection after the TLS handshake.
type secured struct {
	conn Conn
	cork *corkConn
	tls  *tls.Conn
}

// secure performs the TLS handshake; on error the connection is closed.
func secure(ctx context.Context, conn Conn, wrap func(c *corkConn) *tls.Conn, role crypto.Role, own crypto.PublicKey) (*secured, error) {
	cork := newCorkConn(conn)
	s := &secured{conn, cork, wrap(cork)}
	if err := s.tls.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, crypto.ExplainHandshake(err, role, own)
	}
	return s, nil
}

// expect reads one frame, which must be of one of the types, and leaves the
// reader for what follows.
func expect(in *frameReader, types ...wire.Type) (wire.Type, []byte, error) {
	typ, payload, err := in.next()
	if err != nil {
		return 0, nil, err
	}
	for _, want := range types {
		if typ == want {
			return typ, payload, nil
		}
	}
	return 0, nil, fmt.Errorf("%w frame order: %v instead of %v", wire.ErrMalformed, typ, types[0])
}

// greet sends Hello and waits for the answer. On error the connection is
// closed.
func (s *secured) greet(hello wire.Hello, own crypto.PublicKey) (*carrier, wire.Welcome, error) {
	c, w, err := s.tryGreet(hello)
	if err != nil {
		s.conn.Close()
		var refused *RefusedError
		if errors.As(err, &refused) || errors.Is(err, wire.ErrMalformed) {
			return nil, w, err
		}
		// In TLS 1.3 a server's refusal of our certificate arrives only now.
		return nil, w, crypto.ExplainHandshake(err, crypto.RoleClient, own)
	}
	return c, w, nil
}

func (s *secured) tryGreet(hello wire.Hello) (*carrier, wire.Welcome, error) {
	s.conn.SetDeadline(time.Now().Add(handshakeTimeout))
	hello.Flags = flags(s.conn)
	_, writeErr := s.tls.Write(hello.Append(nil))
	in := newFrameReader(s.tls)
	// A server that refuses our key has said so and hung up by now: then the
	// write fails, and the reason is still to be read.
	typ, payload, err := expect(in, wire.TypeWelcome, wire.TypeRefuse)
	if writeErr != nil && (err == nil || errors.Is(err, io.EOF)) {
		err = writeErr
	}
	if err != nil {
		return nil, wire.Welcome{}, err
	}
	if typ == wire.TypeRefuse {
		n, err := wire.ParseNotice(payload)
		if err != nil {
			return nil, wire.Welcome{}, err
		}
		return nil, wire.Welcome{}, &RefusedError{wire.RefuseCode(n.Code), n.Reason}
	}
	w, err := wire.ParseWelcome(payload)
	if err != nil {
		return nil, w, err
	}
	s.conn.SetDeadline(time.Time{})
	c := newCarrier(s, in)
	c.peerMPTCP.Store(w.Flags&wire.FlagMPTCP != 0)
	return c, w, nil
}

// awaitHello is the server's half of greet up to the decision.
func (s *secured) awaitHello() (*frameReader, wire.Hello, error) {
	s.conn.SetDeadline(time.Now().Add(handshakeTimeout))
	in := newFrameReader(s.tls)
	_, payload, err := expect(in, wire.TypeHello)
	if err != nil {
		if err == io.EOF {
			err = errors.New("client left before its hello")
		}
		return nil, wire.Hello{}, err
	}
	h, err := wire.ParseHello(payload)
	var version *wire.VersionError
	if errors.As(err, &version) {
		s.tls.Write(wire.AppendRefuse(nil, wire.RefuseVersion,
			fmt.Sprintf("this server speaks protocol version %d, the client %d", wire.Version, version.Theirs)))
	}
	return in, h, err
}

// welcome answers Hello and makes the carrier.
func (s *secured) welcome(in *frameReader, h wire.Hello, w wire.Welcome) (*carrier, error) {
	w.Flags |= flags(s.conn)
	if _, err := s.tls.Write(w.Append(nil)); err != nil {
		return nil, fmt.Errorf("write welcome: %w", err)
	}
	s.conn.SetDeadline(time.Time{})
	c := newCarrier(s, in)
	c.peerMPTCP.Store(h.Flags&wire.FlagMPTCP != 0)
	return c, nil
}

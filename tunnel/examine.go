package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"braid/crypto"
	"braid/tunnel/wire"
)

// Examination is a client's end of a connection on which the server tells how it
// is, and which finds out what the way does. It takes no part in a session, and
// its methods are for one goroutine at a time.
type Examination struct {
	conn  net.Conn
	tls   *tls.Conn
	in    *frameReader
	first wire.Vitals
}

// Examine proves both keys on a connection and asks the server how it is. own is
// the client's public key; multipath tells whether the kernel takes conn for
// Multipath TCP. On error conn is closed. Errors are those of
// crypto.ExplainHandshake, *RefusedError, or wrap wire.ErrMalformed.
func Examine(ctx context.Context, conn net.Conn, multipath bool, cfg *tls.Config, own crypto.PublicKey, software string) (*Examination, error) {
	e := &Examination{conn: conn, tls: tls.Client(conn, cfg)}
	e.in = newFrameReader(e.tls)
	err := e.within(ctx, func() error { return e.greet(ctx, multipath, own, software) })
	if err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

func (e *Examination) greet(ctx context.Context, multipath bool, own crypto.PublicKey, software string) error {
	explain := func(err error) error { return crypto.ExplainHandshake(err, crypto.RoleClient, own) }
	if err := e.tls.HandshakeContext(ctx); err != nil {
		return explain(err)
	}
	hello := wire.Hello{Kind: wire.KindExamine, Software: software}
	if multipath {
		hello.Flags = wire.FlagMPTCP
	}
	_, writeErr := e.tls.Write(hello.Append(nil))
	// As in tryGreet: a server that refuses our key may have hung up by now, and
	// says why.
	typ, p, err := expect(e.in, wire.TypeVitals, wire.TypeRefuse)
	if writeErr != nil && (err == nil || errors.Is(err, io.EOF)) {
		err = writeErr
	}
	if errors.Is(err, wire.ErrMalformed) {
		return err
	}
	if err != nil {
		return explain(err)
	}
	if typ == wire.TypeRefuse {
		n, err := wire.ParseNotice(p)
		if err != nil {
			return err
		}
		return &RefusedError{wire.RefuseCode(n.Code), n.Reason}
	}
	e.first, err = wire.ParseVitals(p)
	return err
}

// within runs what uses the connection, and fails it when ctx ends.
func (e *Examination) within(ctx context.Context, run func() error) error {
	stop := context.AfterFunc(ctx, func() { e.conn.SetDeadline(time.Unix(1, 0)) })
	err := run()
	if !stop() && err != nil {
		return ctx.Err()
	}
	return err
}

// Vitals is what the server said at first.
func (e *Examination) Vitals() wire.Vitals { return e.first }

// Close ends the examination.
func (e *Examination) Close() error {
	e.in.release()
	return e.conn.Close()
}

// Beat asks n times, so far apart, without waiting for the answers, and returns
// the round trips in the order of the answers. When ctx ends first, it returns
// those that have come.
func (e *Examination) Beat(ctx context.Context, n int, every time.Duration) ([]time.Duration, error) {
	began := time.Now()
	sent := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		t := time.NewTicker(every)
		defer t.Stop()
		var err error
		for i := 0; i < n && err == nil; i++ {
			_, err = e.tls.Write(wire.AppendPing(nil, wire.Ping{Stamp: uint64(time.Since(began))}))
			select {
			case <-t.C:
			case <-stop:
				i = n
			}
		}
		sent <- err
	}()
	var trips []time.Duration
	err := e.within(ctx, func() error {
		for range n {
			_, p, err := expect(e.in, wire.TypePong)
			if err != nil {
				return err
			}
			pong, err := wire.ParsePing(p)
			if err != nil {
				return err
			}
			trips = append(trips, time.Since(began)-time.Duration(pong.Stamp))
		}
		return nil
	})
	close(stop)
	if err != nil {
		e.conn.SetWriteDeadline(time.Unix(1, 0)) // the writer may hang
	}
	if werr := <-sent; err == nil {
		err = werr
	}
	return trips, err
}

// Push sends so many bytes of padding, or what there is time for. It returns how
// many the kernel has taken.
func (e *Examination) Push(ctx context.Context, bytes int) (sent int, err error) {
	frame := slices.Concat(wire.AppendProbe(nil, wire.MaxProbeLen), wire.AppendProbe(nil, wire.MaxProbeLen))
	err = e.within(ctx, func() error {
		for sent < bytes {
			if _, err := e.tls.Write(frame); err != nil {
				return err
			}
			sent += len(frame)
		}
		return nil
	})
	return sent, err
}

// Ask lets the server send so many bytes of padding and then say how it is. It
// returns how many came, also when ctx ends before all did.
func (e *Examination) Ask(ctx context.Context, bytes int) (v wire.Vitals, received int, err error) {
	err = e.within(ctx, func() error {
		if _, err := e.tls.Write(wire.Examine{Bytes: uint32(bytes)}.Append(nil)); err != nil {
			return err
		}
		for {
			typ, p, err := expect(e.in, wire.TypeVitals, wire.TypeProbe, wire.TypePong)
			if err != nil {
				return err
			}
			switch typ {
			case wire.TypeVitals:
				v, err = wire.ParseVitals(p)
				return err
			case wire.TypeProbe:
				received += len(p)
			}
		}
	})
	if err != nil {
		err = fmt.Errorf("ask the server: %w", err)
	}
	return v, received, err
}

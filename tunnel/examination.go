package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"braid/tunnel/wire"
)

// An examination is a connection on which a server tells a client how it is, and
// on which the client finds out what the way does. It has no session and disturbs
// none.
const (
	// examinationsMost bounds those of one client at once: its uplinks, both
	// families, and some sizes of packets side by side.
	examinationsMost = 64
	// examinationTime ends one.
	examinationTime = 30 * time.Second
	// examineMostBytes bounds what one sends.
	examineMostBytes = 16 << 20
)

// examination is the server's end.
type examination struct {
	server *Server
	ses    *session
	sec    *secured
	in     *frameReader
	left   int // bytes of padding that may be asked for
}

// begin answers Hello with the first Vitals.
func (e *examination) begin() error {
	if e.ses.examinations.Add(1) > examinationsMost {
		e.ses.examinations.Add(-1)
		const reason = "too many examinations at once"
		e.sec.tls.Write(wire.AppendRefuse(nil, wire.RefuseBusy, reason))
		return errors.New(reason)
	}
	err := e.sec.conn.SetPurpose(ForExamination)
	if err == nil {
		err = e.tell()
	}
	if err != nil {
		e.ses.examinations.Add(-1)
	}
	return err
}

// tell says how the server is.
func (e *examination) tell() error {
	v := wire.Vitals{Time: time.Now(), Flags: flags(e.sec.conn), MostStreams: uint32(e.server.limits.Load().PerSession), Software: e.server.Software}
	v.Seen, _ = netip.ParseAddrPort(e.sec.conn.RemoteAddr().String())
	v.Seen = netip.AddrPortFrom(v.Seen.Addr().Unmap().WithZone(""), v.Seen.Port())
	if !v.Seen.IsValid() {
		v.Seen = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	if list, err := e.sec.conn.AppendSubflows(nil); err == nil {
		for _, f := range list {
			v.Sent, v.Lost = v.Sent+uint32(f.TxSegments), v.Lost+uint32(f.Retransmission)
		}
	}
	v.Streams = uint32(e.ses.openStreams())
	_, err := e.sec.tls.Write(v.Append(nil))
	if err != nil {
		return fmt.Errorf("write vitals: %w", err)
	}
	return nil
}

// serveExamination answers until the client leaves.
func (s *Server) serveExamination(ctx context.Context, a *arrival) {
	e := a.exam
	defer e.ses.examinations.Add(-1)
	ctx, end := e.ses.within(ctx)
	defer end(nil)
	stop := context.AfterFunc(ctx, func() { e.sec.conn.Close() })
	defer stop()
	defer e.in.release()
	defer e.sec.conn.Close()
	e.sec.conn.SetDeadline(time.Now().Add(examinationTime))
	err := e.answer()
	if errors.Is(err, wire.ErrMalformed) {
		a.ses.stats.malformed.Add(1)
		s.Log.Warn("client broke the protocol", "client", a.ses.peer().Name, "remote", e.sec.conn.RemoteAddr(), "error", err)
		return
	}
	s.Log.Debug("examination ended", "client", a.ses.peer().Name, "remote", e.sec.conn.RemoteAddr(), "reason", err)
}

// answer reads what the client asks. One frame is answered before the next is
// read, so that a client which does not read the answers asks nothing more.
func (e *examination) answer() error {
	// Two at a time, so that segments are full.
	padding := wire.AppendProbe(wire.AppendProbe(nil, wire.MaxProbeLen), wire.MaxProbeLen)
	for {
		typ, p, err := e.in.next()
		if err != nil {
			return err
		}
		switch typ {
		case wire.TypePing:
			ping, err := wire.ParsePing(p)
			if err != nil {
				return err
			}
			ping.Flags = flags(e.sec.conn)
			if _, err := e.sec.tls.Write(wire.AppendPong(nil, ping)); err != nil {
				return err
			}
		case wire.TypeProbe: // padding
		case wire.TypeExamine:
			ask, err := wire.ParseExamine(p)
			if err != nil {
				return err
			}
			for n := min(int(ask.Bytes), e.left); n > 0; n -= 2 * wire.MaxProbeLen {
				e.left -= 2 * wire.MaxProbeLen
				if _, err := e.sec.tls.Write(padding); err != nil {
					return err
				}
			}
			if err := e.tell(); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w frame order: %v on an examination", wire.ErrMalformed, typ)
		}
	}
}

// openStreams is how many streams of the session are open.
func (s *session) openStreams() int {
	s.mu.Lock()
	l := s.lane
	s.mu.Unlock()
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.streams)
}

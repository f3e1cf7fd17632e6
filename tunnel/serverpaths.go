package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"braid/scheduler"
	"braid/tunnel/wire"
)

// sessionPath is a client's carrier of one uplink, at the server.
type sessionPath struct {
	car    *carrier
	end    context.CancelCauseFunc
	probes *rate.Limiter
	name   string // the session's mutex guards it; empty: the client has not said
}

// servePath runs a carrier of one uplink. It answers beats, and tells by which
// address an uplink comes.
func (s *Server) servePath(ctx context.Context, a *arrival) {
	if !a.ses.beginPath() {
		a.car.conn.Close()
		return
	}
	ctx, end := a.ses.within(ctx)
	defer end(nil)
	p := &sessionPath{car: a.car, end: end, probes: rate.NewLimiter(rate.Every(probeEvery), probeBurst)}
	a.car.packets = a.ses.packetLane().newPath(false, a.car.control)
	a.car.hear.path = func(name string) error { return a.ses.enterPath(p, name, a.session) }
	a.car.hear.uplinks = a.ses.tell
	a.car.hear.probe = func(int) error { p.answerProbe(); return nil }
	err := a.car.runPath(ctx)
	a.ses.leavePath(p)
	log := s.Log.With("client", a.ses.peer().Name, "uplink", p.name)
	if errors.Is(err, wire.ErrMalformed) {
		a.ses.stats.malformed.Add(1)
		log.Warn("client broke the protocol", "remote", a.car.conn.RemoteAddr(), "error", err)
		return
	}
	log.Debug("path carrier ended", "remote", a.car.conn.RemoteAddr(), "reason", err)
}

// answerProbe sends a train, at once, so that it is spread by the line alone.
// Who asks too often has no answer.
func (p *sessionPath) answerProbe() {
	if !p.probes.Allow() {
		return
	}
	var train []byte
	for range scheduler.TrainFrames {
		train = wire.AppendProbe(train, scheduler.TrainBytes)
	}
	p.car.sendTrain(train)
}

// A client asks twice when an uplink comes up, and when it is to be tried again.
const (
	probeEvery = 30 * time.Second
	probeBurst = 4
)

// enterPath gives a path carrier its name. One that had it is ended.
func (s *session) enterPath(p *sessionPath, name string, id wire.SessionID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.paths[name]
	switch {
	case p.name != "" || name == "":
		return fmt.Errorf("%w path: it has one name", wire.ErrMalformed)
	case id != s.id:
		return errReplaced // the session is another one now
	case old != nil:
		old.end(errReplaced)
		old.car.packets.detach(time.Now()) // it may hang, and the new one waits for nothing
	case len(s.paths) >= wire.MaxUplinks:
		return errors.New("more uplinks than one client may have")
	}
	p.name = name
	s.paths[name] = p
	if !slices.Contains(s.had, name) {
		s.had = append(s.had, name)
		s.had = s.had[max(0, len(s.had)-pathsMost):]
	} else {
		s.returns.Add(1)
	}
	usable, standby, _ := s.usesLocked(name)
	p.car.packets.attach(time.Now(), usable, standby)
	return nil
}

func (s *session) leavePath(p *sessionPath) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pathCarriers--
	if p.car != nil {
		p.car.packets.detach(time.Now())
		if p.name != "" {
			s.moved[p.name] = p.car.packets.status(s.moved[p.name])
		}
	}
	if s.paths[p.name] == p {
		delete(s.paths, p.name)
	}
}

// pathsMost bounds a client's path carriers: one for each uplink, and as many
// that take their places or have not said their names.
const pathsMost = 2 * wire.MaxUplinks

// beginPath counts a path carrier, which leavePath must follow; false: there are
// too many.
func (s *session) beginPath() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pathCarriers >= pathsMost {
		return false
	}
	s.pathCarriers++
	return true
}

// endPathsLocked ends the path carriers of a session that is over.
func (s *session) endPathsLocked() {
	for _, p := range s.paths {
		p.end(errReplaced)
	}
	clear(s.paths)
	clear(s.moved)
	s.said, s.saidNumber = nil, 0
}

// nameSubflows says which uplink each subflow comes by, where the client's path
// carriers tell. Behind one address there may be two.
func (s *session) nameSubflows(list []Subflow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names map[netip.Addr]string
	for name, p := range s.paths {
		from, err := netip.ParseAddrPort(p.car.conn.RemoteAddr().String())
		if err != nil {
			continue
		}
		if names == nil {
			names = make(map[netip.Addr]string, len(s.paths))
		}
		a := from.Addr().Unmap()
		if _, two := names[a]; two {
			name = ""
		}
		names[a] = name
	}
	for i := range list {
		if name := names[list[i].Remote.Addr().Unmap()]; name != "" {
			list[i].Uplink = name
		}
	}
}

// samplePaths appends the flows of the session's path carriers.
func (s *session) samplePaths(dst []Subflow) []Subflow {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, p := range s.paths {
		n := len(dst)
		dst = p.car.appendPath(dst)
		for i := n; i < len(dst); i++ {
			dst[i].Uplink = name
			p.car.packets.tellRTT(dst[i].RTT)
		}
	}
	return dst
}

// PeerPath is what a client's path carriers brought.
type PeerPath struct {
	Uplink string
	PathPackets
}

func (s *session) peerPathsLocked() (list []PeerPath) {
	for name, p := range s.paths {
		list = append(list, PeerPath{name, p.car.packets.status(s.moved[name])})
	}
	slices.SortFunc(list, func(a, b PeerPath) int { return strings.Compare(a.Uplink, b.Uplink) })
	return list
}

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"braid/crypto"
	"braid/doctor"
	"braid/mptcp"
	"braid/tunnel"
	"braid/tunnel/wire"
)

// prober makes the connections of a doctor: from each uplink to each address of the
// server, bound to the interface as a path carrier is. They are examinations
// (protocol.md, section 11): no part of any session.
//
//	plain TCP ───── examine ── beats ── load     hangs? again with smaller segments
//	Multipath TCP ─ examine
type prober struct {
	servers []netip.AddrPort
	tls     *tls.Config // nil: there is no key
	own     crypto.PublicKey
	mark    uint32 // 0: not allowed
	load    loadChoice
	costs   func(uplink string) bool
	skip    func(subject, check string, err error)
	before  map[string]uint64 // MPTCP's counters

	mu      sync.Mutex // guards what follows
	skipped []doctor.Skipped
}

// Patience with one step. A way's round trip is added where it counts.
const (
	// plainPatience is for a SYN, and two more.
	plainPatience = 3500 * time.Millisecond
	// optionPatience is for a SYN with MPTCP's option, and one more: the kernel's
	// third has no option, and what follows from that may be that MPTCP is switched
	// off (net.mptcp.blackhole_timeout).
	optionPatience = 1600 * time.Millisecond
	// examPatience is for an examination, the first of which is made again when it
	// hangs: this host may have been busy.
	examPatience = 3 * time.Second
	loadPatience = 2500 * time.Millisecond
)

// What an examination sends.
const (
	exercise  = 4 * wire.MaxProbeLen // each way: full packets
	beats     = 200
	beatEvery = 15 * time.Millisecond
	loadBytes = 6 << 20 // each way
)

func newProber(e *examiner, servers []netip.AddrPort) *prober {
	p := &prober{servers: servers, load: e.flags.load, skip: e.skip, costs: func(name string) bool {
		r := e.client.Uplink(name)
		return r.Metered || r.CapBytes > 0
	}}
	if e.root {
		p.mark = carrierMark
	}
	key, err := e.examineKey()
	if err == nil {
		p.own = key.Public()
		p.tls, err = crypto.ClientTLS(key, e.client.ServerPublicKey)
	}
	if err != nil {
		e.skip(doctor.SubjectServer, "keys, packets and round trips", err)
	}
	if p.before, err = mptcp.Counters(); err != nil {
		e.skip(doctor.SubjectHost, "MPTCP's counters", err)
	}
	return p
}

// blackholed reports whether the kernel has sent SYNs without the option that was
// asked for.
func (p *prober) blackholed() bool {
	const disabled = "MPCapableSYNTXDisabled"
	now, err := mptcp.Counters()
	return err == nil && p.before != nil && now[disabled] > p.before[disabled]
}

// finish tells what was not looked at.
func (p *prober) finish() {
	for _, s := range p.skipped {
		p.skip(s.Subject, s.Check, errors.New(s.Reason))
	}
}

func (p *prober) leave(u *doctor.Uplink, check, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.skipped = append(p.skipped, doctor.Skipped{Subject: doctor.UplinkSubject(u.Name), Check: check, Reason: reason})
}

// uplink looks at one uplink.
func (p *prober) uplink(ctx context.Context, u *doctor.Uplink) {
	var trips []*trip
	for _, s := range p.servers {
		i := slices.IndexFunc(u.Addresses, func(a netip.Addr) bool { return a.Is4() == s.Addr().Is4() })
		if i >= 0 {
			trips = append(trips, &trip{prober: p, uplink: u, local: u.Addresses[i], way: doctor.Way{Server: s}})
		}
	}
	var wg sync.WaitGroup
	for _, t := range trips {
		wg.Go(func() { t.run(ctx) })
	}
	wg.Wait()
	measured := false
	for _, t := range trips {
		if t.exam != nil && !measured && t.way.Lost == 0 {
			measured = true
			t.measure(ctx)
		}
		t.close()
		u.Ways = append(u.Ways, t.way)
	}
	if !measured && p.tls != nil && len(trips) > 0 && ctx.Err() != nil {
		p.leave(u, "loss and round trip", "there was no time")
	}
}

// trip finds out about one way.
type trip struct {
	*prober
	uplink *doctor.Uplink
	local  netip.Addr
	way    doctor.Way
	plain  *mptcp.Conn
	exam   *tunnel.Examination // over plain; nil: it did not go well
}

func (t *trip) close() {
	if t.plain != nil {
		t.plain.SetLinger(0)
		t.plain.Close()
	}
	if t.exam != nil {
		t.exam.Close()
	}
}

func (t *trip) options(plain bool) mptcp.Options {
	return mptcp.Options{Mark: t.mark, Device: t.uplink.Name, Local: t.local, CongestionControl: congestionControl(), PlainTCP: plain}
}

// run connects, examines, and looks for the reason where nothing comes back.
func (t *trip) run(ctx context.Context) {
	w := &t.way
	var verdict doctor.Verdict
	var wg sync.WaitGroup
	wg.Go(func() {
		t.plain, w.Plain = t.dial(ctx, t.options(true), plainPatience)
		if t.plain == nil || t.tls == nil {
			return
		}
		var text, hint string
		var vitals doctor.Vitals
		t.exam, vitals, verdict, text, hint = t.examine(ctx, t.plain, w.Plain.Took)
		w.OverPlain = verdict == doctor.Well
		if w.Verdict == doctor.NotExamined {
			w.Verdict, w.Text, w.Hint, w.Vitals = verdict, text, hint, vitals
		}
	})
	// Over Multipath TCP beside it. What that finds out goes before.
	var over doctor.Way
	wg.Go(func() { over = t.multipath(ctx) })
	wg.Wait()
	if w.Multipath = over.Multipath; w.Plain.Outcome == doctor.Answered {
		w.SYNDropped = over.Multipath.Outcome == doctor.Silent
	}
	w.SYN, w.Data, w.ServerData = over.SYN, over.Data, over.ServerData
	if over.Verdict != doctor.NotExamined {
		w.Verdict, w.Text, w.Hint, w.Vitals = over.Verdict, over.Text, over.Hint, over.Vitals
	}
	if t.plain != nil {
		if info, err := t.plain.TCPInfo(); err == nil {
			w.PathMTU = int(info.PathMTUBytes)
			w.LostInbound = info.UnackedSegments == 0
		}
		if verdict == doctor.Hung {
			t.close()
			t.plain = nil
			t.again(ctx)
		}
	}
}

// multipath tries Multipath TCP on the way, again where nothing comes back.
func (t *trip) multipath(ctx context.Context) (w doctor.Way) {
	if w = t.multipathOnce(ctx); w.Verdict == doctor.Hung {
		w = t.multipathOnce(ctx)
	}
	return w
}

func (t *trip) multipathOnce(ctx context.Context) (w doctor.Way) {
	var conn *mptcp.Conn
	for range 2 {
		// Twice, for a SYN may be lost.
		if conn, w.Multipath = t.dial(ctx, t.options(false), optionPatience); w.Multipath.Outcome != doctor.Silent {
			break
		}
	}
	if conn == nil {
		return w
	}
	defer func() { conn.SetLinger(0); conn.Close() }()
	if w.SYN = conn.MPTCP(); t.tls == nil {
		return w
	}
	exam, vitals, verdict, text, hint := t.examine(ctx, conn, w.Multipath.Took)
	w.Verdict, w.Text, w.Hint, w.Vitals = verdict, text, hint, vitals
	if exam != nil {
		defer exam.Close()
		w.Data = conn.MPTCP()
		// Said behind the first data, not with the greeting.
		if v, _, err := exam.Ask(ctx, 0); err == nil {
			w.ServerData = v.Flags&wire.FlagMPTCP != 0
		}
	}
	return w
}

// dial connects, and says what became of it.
func (t *trip) dial(ctx context.Context, o mptcp.Options, patience time.Duration) (*mptcp.Conn, doctor.Trial) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	c, err := mptcp.Dial(bounded, t.way.Server, o)
	if err != nil && ctx.Err() != nil { // all time is over: that says nothing of the way
		return nil, doctor.Trial{}
	}
	trial := doctor.Trial{Took: time.Since(began), Outcome: outcome(err)}
	if err != nil {
		trial.Text = dialText(err)
	}
	return c, trial
}

func outcome(err error) doctor.Outcome {
	for _, o := range []struct {
		is      error
		outcome doctor.Outcome
	}{
		{unix.ECONNREFUSED, doctor.Refused}, {unix.ECONNRESET, doctor.Refused}, {unix.ETIMEDOUT, doctor.Silent},
		{context.DeadlineExceeded, doctor.Silent}, {unix.ENETUNREACH, doctor.Unreachable}, {unix.EHOSTUNREACH, doctor.Unreachable},
		{unix.EPERM, doctor.Blocked}, {unix.EACCES, doctor.Blocked},
	} {
		if errors.Is(err, o.is) {
			return o.outcome
		}
	}
	if err == nil {
		return doctor.Answered
	}
	return doctor.Failed
}

// dialText says why a connection did not come about.
func dialText(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer to the SYN"
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return err.Error()
}

// examine lets the server tell how it is, and sends full packets both ways.
func (t *trip) examine(ctx context.Context, conn *mptcp.Conn, roundTrip time.Duration) (e *tunnel.Examination, v doctor.Vitals, verdict doctor.Verdict, text, hint string) {
	bounded, cancel := context.WithTimeout(ctx, examPatience+6*roundTrip)
	defer cancel()
	began := time.Now()
	e, err := tunnel.Examine(bounded, conn, conn.MPTCP(), t.tls, t.own, software())
	if err != nil && ctx.Err() != nil {
		return nil, v, doctor.NotExamined, "", ""
	}
	if err != nil {
		return nil, v, verdictOf(err), err.Error(), crypto.Hint(err)
	}
	first := e.Vitals()
	v = doctor.Vitals{
		// Between the question and the answer.
		Skew: first.Time.Sub(began.Add(time.Since(began) / 2)), Software: first.Software, Seen: first.Seen, Local: conn.LocalAddrPort(),
		Streams: int(first.Streams), MostStreams: int(first.MostStreams),
	}
	if _, err = e.Push(bounded, exercise); err == nil {
		_, _, err = e.Ask(bounded, exercise)
	}
	if err != nil {
		e.Close()
		if ctx.Err() != nil {
			return nil, v, doctor.NotExamined, "", ""
		}
		return nil, v, doctor.Hung, err.Error(), ""
	}
	return e, v, doctor.Well, "", ""
}

func verdictOf(err error) doctor.Verdict {
	var key *crypto.WrongServerKeyError
	var refused *tunnel.RefusedError
	var handshake *crypto.HandshakeError
	switch {
	case errors.As(err, &key):
		return doctor.WrongServerKey
	case errors.As(err, &refused) && refused.Code == wire.RefuseBusy, errors.As(err, &refused) && refused.Code == wire.RefuseShutdown:
		return doctor.Busy
	case errors.As(err, &refused):
		return doctor.OtherProtocol
	case errors.As(err, &handshake) && handshake.RefusedKey:
		return doctor.WrongClientKey
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.ETIMEDOUT):
		return doctor.Hung
	case errors.As(err, &handshake):
		return doctor.NoBraid
	}
	return doctor.NoBraid
}

// boundMark marks a socket and binds it to a device.
func boundMark(device string) func(network, address string, c syscall.RawConn) error {
	return func(network, address string, c syscall.RawConn) error {
		if err := setMark(network, address, c); err != nil {
			return err
		}
		var err error
		if cerr := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), device) }); cerr != nil {
			return cerr
		}
		return err
	}
}

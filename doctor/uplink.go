package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Bounds of what is a finding.
const (
	// Of a few hundred segments each way, by the kernels' retransmissions. Some of
	// those come of a host that was busy.
	lossPct, lossFewest = 2.0, 8
	// A transfer that adds this much to the round trip makes calls impossible.
	deepQueue = 400 * time.Millisecond
	// What the daemon says counts when so much was moving.
	busyBps = 1e6
	// flapping is so many deaths in ten minutes.
	flapping = 3
)

// reaches reports whether the server is reached over the uplink at all.
func (u *Uplink) reaches() bool { return slices.ContainsFunc(u.Ways, Way.reached) }

func (u *Uplink) tried() bool { return slices.ContainsFunc(u.Ways, Way.tried) }

// multipath is the first way on which a Multipath TCP connection was opened, or
// nil.
func (u *Uplink) multipath() *Way {
	if i := slices.IndexFunc(u.Ways, func(w Way) bool { return w.Multipath.Outcome == Answered }); i >= 0 {
		return &u.Ways[i]
	}
	return nil
}

// filtered reports whether the host's own filter explains that nothing comes back
// by the uplink. It lets through what comes by the interface that the host's
// routes prefer.
func (j *judge) filtered(u *Uplink) bool { return u.Strict && !u.First }

// uplink judges one uplink.
func (j *judge) uplink(u *Uplink) {
	subject := UplinkSubject(u.Name)
	if u.Missing != "" {
		if u.Role == "" {
			j.found("uplink-absent", subject, u.Missing)
		} else {
			j.found("uplink-missing", subject, u.Missing)
		}
		return
	}
	for _, a := range u.Alike {
		j.alike(subject, a)
	}
	if j.filtered(u) {
		mend := strings.ReplaceAll(kindOf("uplink-reverse-path").Mend, "INTERFACE", strings.ReplaceAll(u.Name, ".", "/"))
		// While the client does not run nobody loosens it, and nobody needs that.
		if j.Client != nil && j.Client.Running {
			j.mended("uplink-reverse-path", subject, mend, "net.ipv4.conf."+u.Name+".rp_filter or that of \"all\" is 1, and another uplink is preferred")
		} else if !u.reaches() {
			j.skip(subject, "the way to the server", "the reverse-path filter of this host is strict; the client loosens it while it runs")
		}
	} else {
		j.good(subject, "answers are not filtered")
	}
	if j.reached(subject, u) {
		j.examined(subject, u)
		j.quality(subject, u)
	}
	j.names(subject, u)
	j.reported(subject, u)
}

func (j *judge) alike(subject string, a Alike) {
	switch text := fmt.Sprintf("%s has %v too", a.Name, a.Network); {
	case a.SameAddress:
		j.found("uplink-same-address", subject, text)
	case a.SameRouter:
		j.found("uplink-same-router", subject, text, "and its gateway has the same hardware address")
	default:
		j.found("uplink-same-network", subject, text)
	}
}

// reached judges whether the server is reached over an uplink, in both families.
func (j *judge) reached(subject string, u *Uplink) bool {
	switch {
	case !u.tried():
		if j.Client != nil && len(u.Addresses) > 0 && slices.ContainsFunc(j.Uplinks, func(o Uplink) bool { return o.tried() }) {
			j.found("uplink-no-family", subject, fmt.Sprintf("its addresses are %v", u.Addresses))
		}
		return false
	case !u.reaches():
		if j.filtered(u) || j.has("server-down") || j.has("server-unreachable") {
			return false
		}
		var evidence []string
		for _, w := range u.Ways {
			if w.tried() {
				evidence = append(evidence, fmt.Sprintf("%v: %s", w.Server, w.Plain.Text))
			}
		}
		j.found("uplink-unreachable", subject, evidence...)
		return false
	}
	for _, w := range u.Ways {
		switch {
		case w.reached():
			j.good(subject, "reaches the server at %v", w.Server)
		case w.tried() && j.reachedElsewhere(u, w) && !(j.filtered(u) && w.Server.Addr().Is4()):
			j.found("uplink-family", subject, fmt.Sprintf("%v: %s", w.Server, w.Plain.Text))
		}
	}
	return true
}

func (j *judge) reachedElsewhere(u *Uplink, at Way) (ok bool) {
	j.ways(func(o *Uplink, w *Way) { ok = ok || o != u && w.Server == at.Server && w.reached() })
	return ok
}

// examined judges what comes through the connections.
func (j *judge) examined(subject string, u *Uplink) {
	common := j.has("server-key") || j.has("client-key") || j.has("server-protocol") || j.has("server-not-braid") || j.has("server-silent")
	for i := range u.Ways {
		w := &u.Ways[i]
		if !w.reached() || common {
			continue
		}
		switch {
		case w.Lost > 0:
			j.hole(subject, u, w)
			return
		case w.Verdict == Hung && w.OverPlain:
			j.found("uplink-mptcp-dropped", subject, fmt.Sprintf("to %v: the connection opens, nothing comes through it, and over plain TCP all does", w.Server))
			return
		case w.Verdict == Hung:
			j.found("uplink-silent", subject, fmt.Sprintf("to %v: %s", w.Server, w.Text))
			return
		case w.Verdict == WrongServerKey, w.Verdict == WrongClientKey, w.Verdict == OtherProtocol, w.Verdict == NoBraid:
			j.found("uplink-intercepted", subject, fmt.Sprintf("%v: %s", w.Server, w.Text))
			return
		case w.Verdict == Busy:
			j.skip(subject, "examination by the server", w.Text)
		case w.Verdict == Well && w.PathMTU > 0:
			j.good(subject, "full packets come through, of %d bytes", w.PathMTU)
		}
	}
	j.multipath(subject, u)
}

// hole tells of packets that are lost for their size.
func (j *judge) hole(subject string, u *Uplink, w *Way) {
	which := "toward the server"
	if w.LostInbound {
		which = "from the server"
	}
	size := fmt.Sprintf("to %v: packets of %d bytes %s vanish", w.Server, w.Lost, which)
	mend := kindOf("uplink-mtu").Mend
	if w.Fits > 0 {
		size += fmt.Sprintf(", those of %d come through", w.Fits)
		mend = strings.NewReplacer("INTERFACE", u.Name, "BYTES", fmt.Sprint(w.Fits)).Replace(mend)
	}
	j.mended("uplink-mtu", subject, mend, size, fmt.Sprintf("the interface's MTU is %d, and no router has said that less is possible", u.MTU))
}

// multipath judges where Multipath TCP is lost.
func (j *judge) multipath(subject string, u *Uplink) {
	if j.Host.BlackholeActive || j.has("mptcp-off") || j.has("server-mptcp") {
		return
	}
	w := u.multipath()
	if i := slices.IndexFunc(u.Ways, func(w Way) bool { return w.SYNDropped }); i >= 0 {
		w = &u.Ways[i]
	}
	switch {
	case w == nil:
	case w.SYNDropped:
		j.found("uplink-mptcp-dropped", subject, fmt.Sprintf("to %v: SYNs with the option have no answer, one without it had, after %d ms", w.Server, w.Plain.Took.Milliseconds()))
	case !w.SYN:
		j.found("uplink-mptcp-syn", subject, fmt.Sprintf("to %v: the SYN had the option, the answer had not", w.Server), "the server behind it speaks MPTCP, or would not run")
	case w.Verdict != Well:
		// Nothing was sent behind the handshake.
	case !w.Data || !w.ServerData:
		who := "both ends see"
		if w.Data {
			who = "the server sees"
		} else if w.ServerData {
			who = "this host sees"
		}
		j.found("uplink-mptcp-data", subject, fmt.Sprintf("to %v: the SYN's answer had the option, and %s plain TCP behind the first data", w.Server, who))
	default:
		j.good(subject, "speaks MPTCP to the server, on the SYN and on data")
	}
}

// quality judges loss and queues.
func (j *judge) quality(subject string, u *Uplink) {
	if b := u.Beats; b != nil && b.Asked > 0 {
		out, in := 100*float64(b.LostOut)/float64(b.Asked), 100*float64(b.LostIn)/float64(b.Asked)
		if b.LostOut+b.LostIn >= lossFewest && (out+in)/2 >= lossPct {
			j.found("uplink-loss", subject, fmt.Sprintf("%.1f %% of %d toward the server, %.1f %% from it", out, b.Asked, in))
		} else {
			j.good(subject, "loses next to nothing: %d of %d", b.LostOut+b.LostIn, 2*b.Asked)
		}
	}
	var evidence []string
	if l := u.Load; l != nil {
		for _, d := range []struct {
			way    string
			loaded time.Duration
			bytes  int
		}{{"a download", l.Down, l.DownBytes}, {"an upload", l.Up, l.UpBytes}} {
			if d.loaded-l.Idle >= deepQueue {
				evidence = append(evidence, fmt.Sprintf("round trip %d ms beside %s of %.1f MB, %d ms before",
					d.loaded.Milliseconds(), d.way, float64(d.bytes)/1e6, l.Idle.Milliseconds()))
			}
		}
		if len(evidence) == 0 {
			j.good(subject, "its queue is short: %d ms, %d beside a download, %d beside an upload", l.Idle.Milliseconds(), l.Down.Milliseconds(), l.Up.Milliseconds())
		}
	} else if d := u.Daemon; d != nil && max(d.RxBps, d.TxBps) >= busyBps && d.MinRTT > 0 && d.RTT-d.MinRTT >= deepQueue {
		evidence = append(evidence, fmt.Sprintf("round trip %d ms now, at %.1f Mb/s down and %.1f up; %d ms of late",
			d.RTT.Milliseconds(), d.RxBps/1e6, d.TxBps/1e6, d.MinRTT.Milliseconds()))
	}
	if len(evidence) > 0 {
		j.found("uplink-bufferbloat", subject, evidence...)
	}
}

// names judges the nameservers that an uplink was to reach.
func (j *judge) names(subject string, u *Uplink) {
	var none, udp []string
	any := false
	for _, n := range u.Names {
		switch {
		case n.UDP:
			any = true
		case n.TCP:
			udp = append(udp, n.Server.String())
		default:
			none = append(none, n.Server.String())
		}
	}
	switch {
	case any:
		j.good(subject, "nameservers answer")
	case len(udp) > 0:
		j.found("uplink-udp", subject, strings.Join(udp, ", "))
	case len(none) > 0 && u.reaches():
		j.found("uplink-names", subject, strings.Join(none, ", "))
	}
}

// reported judges what the running client says of an uplink that is not explained
// by then.
func (j *judge) reported(subject string, u *Uplink) {
	d := u.Daemon
	if d == nil {
		return
	}
	explained := slices.ContainsFunc(j.report.Findings, func(f Finding) bool {
		return f.Severity >= Warning && f.Subject == subject || f.Severity == Error && (f.Subject == SubjectServer || f.Subject == SubjectHost)
	})
	switch {
	case d.RecentDeaths >= flapping:
		j.found("uplink-flaps", subject, fmt.Sprintf("%d times in the last ten minutes", d.RecentDeaths), d.Reason)
	case d.State == "dead" && !explained && u.reaches():
		j.found("uplink-dead", subject, d.Reason)
	case d.State == "quarantined":
		j.found("uplink-quarantined", subject, d.Reason)
	case d.State == "up" && d.Use == "active" && d.Subflows == 0 && !explained && j.Client.SessionUp:
		j.found("uplink-no-subflow", subject, d.Reason)
	default:
		if !explained {
			j.good(subject, "the client says: %s", d.State)
		}
	}
	if d.CapBytes > 0 && d.CapUsed >= d.CapBytes {
		j.found("uplink-cap", subject, fmt.Sprintf("%.1f of %.1f GB", float64(d.CapUsed)/1e9, float64(d.CapBytes)/1e9))
	}
}

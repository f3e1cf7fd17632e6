package doctor

import (
	"fmt"
	"net/netip"
	"slices"
)

// ways calls see for each way that was tried.
func (f *Facts) ways(see func(u *Uplink, w *Way)) {
	for i := range f.Uplinks {
		u := &f.Uplinks[i]
		for k := range u.Ways {
			if u.Ways[k].tried() {
				see(u, &u.Ways[k])
			}
		}
	}
}

// server judges the server as it is reached from here: what all uplinks have in
// common is not theirs.
func (j *judge) server() {
	c := j.Client
	if c == nil {
		return
	}
	for _, e := range c.NameErrors {
		j.found("server-name", SubjectServer, e)
	}
	usable := slices.ContainsFunc(j.Uplinks, func(u Uplink) bool { return u.Missing == "" })
	if !usable {
		j.found("no-default-route", SubjectHost)
	} else {
		j.good(SubjectHost, "there is a default route")
	}
	j.reach()
	j.keys()
	j.nearServer()
	j.versions()
	if c.Running && !c.SessionUp && !j.anyError() {
		j.found("session-down", SubjectHost, c.Reason)
	}
}

func (j *judge) anyError() bool {
	worst, _ := j.report.Worst()
	return worst == Error
}

// reach judges whether the server is reached at all, and each of its addresses.
func (j *judge) reach() {
	tried, reached, refused := 0, 0, 0
	var addresses []netip.AddrPort
	var evidence []string
	j.ways(func(u *Uplink, w *Way) {
		tried++
		if !slices.Contains(addresses, w.Server) {
			addresses = append(addresses, w.Server)
		}
		switch {
		case w.reached():
			reached++
			return
		case w.Plain.Outcome == Refused:
			refused++
		}
		evidence = append(evidence, fmt.Sprintf("%v over %s: %s", w.Server, u.Name, w.Plain.Text))
	})
	switch {
	case tried == 0:
		return
	case reached == 0 && refused == tried:
		j.found("server-down", SubjectServer, evidence...)
		return
	case reached == 0:
		// A strict filter drops the answers on all uplinks but one; it is said of them.
		if slices.ContainsFunc(j.Uplinks, func(u Uplink) bool { return u.Missing == "" && !j.filtered(&u) }) {
			j.found("server-unreachable", SubjectServer, evidence...)
		}
		return
	}
	j.good(SubjectServer, "it is reached")
	for _, a := range addresses {
		ok, all := false, true
		j.ways(func(u *Uplink, w *Way) {
			if w.Server == a {
				ok = ok || w.reached()
				// An uplink that reaches nothing says nothing of an address.
				all = all && (w.reached() || u.reaches())
			}
		})
		if !ok && all {
			j.found("server-address", SubjectServer, a.String())
		}
	}
}

// everywhere reports whether all ways over which the server was examined have one of
// these verdicts, and returns the first of them.
func (j *judge) everywhere(verdicts ...Verdict) (first *Way) {
	all := true
	j.ways(func(_ *Uplink, w *Way) {
		if w.Verdict == NotExamined || !w.reached() {
			return
		}
		if !slices.Contains(verdicts, w.Verdict) {
			all = false
		} else if first == nil {
			first = w
		}
	})
	if !all {
		return nil
	}
	return first
}

// hung reports whether nothing comes back over any uplink, whatever its size and
// options.
func (j *judge) hung() *Way {
	w := j.everywhere(Hung)
	explained := false
	j.ways(func(_ *Uplink, w *Way) { explained = explained || w.Lost > 0 || w.OverPlain })
	if explained {
		return nil
	}
	return w
}

// keys judges what the server and this client know of each other.
func (j *judge) keys() {
	for _, k := range []struct {
		id      string
		verdict Verdict
	}{
		{"server-key", WrongServerKey}, {"client-key", WrongClientKey}, {"server-protocol", OtherProtocol},
		{"server-not-braid", NoBraid},
	} {
		if w := j.everywhere(k.verdict); w != nil {
			j.mended(k.id, SubjectServer, w.Hint, w.Text)
			return
		}
	}
	if w := j.hung(); w != nil {
		j.found("server-silent", SubjectServer, w.Text)
		return
	}
	if j.everywhere(Well) != nil {
		j.good(SubjectServer, "both keys are right")
	}
}

// nearServer judges what several uplinks have in common that is MPTCP's.
func (j *judge) nearServer() {
	uplinks, stripped := 0, 0
	for i := range j.Uplinks {
		u := &j.Uplinks[i]
		if w := u.multipath(); w != nil {
			uplinks++
			if !w.SYN && !w.SYNDropped {
				stripped++
			}
		}
	}
	if uplinks > 1 && stripped == uplinks && !j.Host.BlackholeActive {
		j.found("server-mptcp", SubjectServer, fmt.Sprintf("%d uplinks bring an answer to the SYN without it", uplinks))
	}
}

// nearlyAll is the part of the streams allowed that is too many.
const nearlyAll = 0.9

// versions judges what the server tells of itself.
func (j *judge) versions() {
	w := j.everywhere(Well)
	if w == nil {
		return
	}
	if v := j.Client.Version; v != "" && w.Vitals.Software != "" && w.Vitals.Software != v {
		j.found("server-version", SubjectServer, fmt.Sprintf("here %s, there %s", v, w.Vitals.Software))
	} else {
		j.good(SubjectServer, "its version is this one: %s", w.Vitals.Software)
	}
	if n, most := w.Vitals.Streams, w.Vitals.MostStreams; most > 0 && float64(n) >= nearlyAll*float64(most) {
		j.found("server-limit", SubjectServer, fmt.Sprintf("%d of %d", n, most))
	}
}

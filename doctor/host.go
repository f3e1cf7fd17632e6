package doctor

import (
	"fmt"
	"strings"
	"time"
)

// clockTolerance is how far two clocks may be apart: more than the way between
// them and the sloppiest of NTP clients explain.
const clockTolerance = time.Minute

// host judges what is the host's own.
func (j *judge) host() {
	h := j.Host
	for _, s := range h.Support {
		if s.OK {
			j.good(SubjectHost, "%s", s.Detail)
		} else {
			j.mended(s.ID, SubjectHost, s.Mend, s.Detail)
		}
	}
	running := j.Client != nil && j.Client.Running
	switch {
	case h.BlackholeActive:
		j.found("mptcp-blackhole", SubjectHost, "a connection that asked for MPTCP was made without, before its first packet left (MPCapableSYNTXDisabled)")
	case h.BlackholeArmed && running:
		j.found("mptcp-blackhole-armed", SubjectHost)
	default:
		j.good(SubjectHost, "MPTCP is not switched off after lost handshakes")
	}
	j.neighbours()
	j.clock()
	for _, device := range h.OrphanedSwitches {
		j.found("kill-switch", SubjectHost, "nft list table inet braid-killswitch-"+device)
	}
	for _, f := range h.Firewalls {
		j.mended("firewall", SubjectHost, f.Mend, fmt.Sprintf("chain %s drops %s", f.Chain, f.Drops))
	}
	if j.Client != nil {
		j.client(*j.Client)
	}
}

// neighbours judges what others have set up.
func (j *judge) neighbours() {
	if rules := j.Host.ForeignRules; len(rules) > 0 {
		j.found("foreign-rules", SubjectHost, rules...)
	} else {
		j.good(SubjectHost, "no routing rules of others come before braid's")
	}
	if list := j.Host.Endpoints; len(list) > 0 {
		j.found("mptcp-endpoints", SubjectHost, list...)
	}
}

// clock compares with the server, which is asked over every uplink: the way with
// the shortest round trip tells best, and all of them agree within seconds.
func (j *judge) clock() {
	if d := j.Host.ClockBehind; d > 0 {
		j.found("clock-off", SubjectHost, fmt.Sprintf("this host's clock is %s behind: %s", roughly(d), j.Host.ClockEvidence))
		return
	}
	for _, u := range j.Uplinks {
		for _, w := range u.Ways {
			if w.Verdict != Well {
				continue
			}
			skew := w.Vitals.Skew
			if skew.Abs() <= clockTolerance {
				j.good(SubjectHost, "the clock is that of the server")
				return
			}
			word := "behind"
			if skew < 0 {
				word = "ahead of"
			}
			j.found("clock-off", SubjectHost, fmt.Sprintf("this host's clock is %s %s the server's", roughly(skew.Abs()), word))
			return
		}
	}
	if j.Client != nil {
		j.skip(SubjectHost, "clock", "no server has told the time")
	}
}

// roughly writes a duration with its two largest units at most.
func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", d/day)
	case d >= time.Hour:
		d = d.Round(time.Minute)
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		d = d.Round(time.Second)
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return d.Round(time.Second).String()
}

// client judges the client of this host by itself.
func (j *judge) client(c Client) {
	if !c.Running {
		j.found("not-running", SubjectHost, "no client answers on its control socket: what it would tell of uplinks is missing")
	}
	j.daemon(c.Daemon)
	if c.NamesFail != "" {
		j.found("names", SubjectHost, c.NamesFail)
	}
	if c.Limited > 0 {
		j.found("streams-limited", SubjectHost, fmt.Sprintf("%d connections refused since the client started", c.Limited))
	}
}

// daemon judges what client and server have in common.
func (j *judge) daemon(d Daemon) {
	switch {
	case d.Descriptors == 0:
	case d.Descriptors < d.Needed:
		j.found("descriptors", SubjectHost, fmt.Sprintf("it may have %d open, and its streams can need %d", d.Descriptors, d.Needed))
	default:
		j.good(SubjectHost, "the daemon may open as many files as it needs")
	}
	if d.NoPacing != "" {
		j.found("no-pacing", SubjectHost, d.NoPacing)
	}
}

// serving judges a server of this host.
func (j *judge) serving() {
	s := j.Serving
	if s == nil {
		return
	}
	for _, a := range s.PortTaken {
		j.found("port-taken", SubjectHost, a)
	}
	if !s.Running {
		j.found("not-running", SubjectHost, "no server answers on its control socket")
		return
	}
	j.daemon(s.Daemon)
	if len(s.NotListening) > 0 {
		j.found("not-listening", SubjectHost, strings.Join(s.NotListening, ", "))
	} else {
		j.good(SubjectHost, "the server listens")
	}
	if len(s.ForwardingOff) > 0 {
		j.found("forwarding-off", SubjectHost, s.ForwardingOff...)
	} else {
		j.good(SubjectHost, "this host forwards")
	}
	if s.TableMissing {
		j.found("table-missing", SubjectHost)
	} else {
		j.good(SubjectHost, "nftables has what the server needs")
	}
	if s.SubflowWanted > 0 && s.SubflowLimit < s.SubflowWanted {
		j.found("subflow-limit", SubjectHost, fmt.Sprintf("it allows %d", s.SubflowLimit))
	} else if s.SubflowWanted > 0 {
		j.good(SubjectHost, "the kernel allows %d subflows beside the first", s.SubflowLimit)
	}
	if len(s.LimitedClients) > 0 {
		j.found("streams-limited", SubjectHost, "clients: "+strings.Join(s.LimitedClients, ", "))
	}
	if len(s.PlainClients) > 0 {
		j.found("plain-clients", SubjectHost, strings.Join(s.PlainClients, ", "))
	}
	j.good(SubjectHost, "%d of %d clients are connected", s.Online, s.Clients)
}

package control

import (
	"fmt"
	"slices"
	"strings"
)

// Level is how well a client or a server does.
type Level string

// Levels, the better ones first.
const (
	LevelGood Level = "good" // what is to carry does
	LevelHeld Level = "held" // as good, with an uplink in quarantine
	LevelWarn Level = "warn" // it works, and something is amiss
	LevelBad  Level = "bad"  // nothing gets through
)

// Verdict tells at a glance whether braid works, and what is at fault. Client.Judge
// and Server.Judge make it; whatever shows it to people takes it from the status.
type Verdict struct {
	Level Level `json:"level"`
	// About is what Title is about, for a sign of it: a state of an uplink, or
	// UseStandby.
	About string `json:"about"`
	// Title is what matters most, in a few words: "lte is dead".
	Title string `json:"title"`
	// Text is one line: first whether it works, then all that is at fault and why.
	Text string `json:"text"`
}

// Working is whether what is to carry does.
func (v Verdict) Working() bool { return v.Level == LevelGood || v.Level == LevelHeld }

// Judge sets the verdict and the gain by what the rest of the status says.
func (s *Client) Judge() {
	s.Verdict = verdictOf(s.Session.State, s.Session.Reason, s.Session.MPTCP, s.Uplinks)
	s.Gain = gainOf(s.Uplinks, "down", "up")
}

// mostFaults is of how many clients a server's verdict names the fault.
const mostFaults = 3

// Judge sets the verdicts and the gains by what the rest of the status says: the
// server's and those of its clients. Clients that are away are no fault of a server.
func (s *Server) Judge() {
	up, bad, about := 0, 0, UplinkUp
	var faults []string
	for i := range s.Clients {
		p := &s.Clients[i]
		p.Gain = gainOf(p.Uplinks, "in", "out")
		if p.State != SessionUp {
			p.Verdict = Verdict{LevelBad, UplinkOff, "Not connected", "not connected"}
			continue
		}
		up++
		p.Verdict = verdictOf(p.State, "", p.MPTCP, p.Uplinks)
		if p.Verdict.Working() {
			continue
		}
		if bad++; bad == 1 {
			about = p.Verdict.About
		}
		if bad <= mostFaults {
			faults = append(faults, p.Name+": "+p.Verdict.Title)
		}
	}
	clients := "clients"
	if len(s.Clients) == 1 {
		clients = "client"
	}
	title := fmt.Sprintf("%d of %d %s connected", up, len(s.Clients), clients)
	switch {
	case bad > 0:
		if bad > mostFaults {
			faults = append(faults, fmt.Sprintf("%d more with a fault", bad-mostFaults))
		}
		s.Verdict = Verdict{LevelWarn, about, title, "working, " + title + "; " + strings.Join(faults, "; ")}
	case up == 0:
		s.Verdict = Verdict{LevelGood, UseStandby, title, "working: " + title + ", the server waits for them"}
	default:
		s.Verdict = Verdict{LevelGood, UplinkUp, title, "working: " + title + ", all is well with them"}
	}
}

// verdictOf judges a session, up or down for a reason that may be empty.
func verdictOf(session, reason string, mptcp bool, uplinks []Uplink) Verdict {
	var carrying, standing, faults, gone, held, left []string
	amiss := map[string][]string{} // names by state; up are those that carry nothing
	for i := range uplinks {
		u := &uplinks[i]
		name := ShortName(u.Interface)
		switch {
		case u.State == UplinkOff:
		case u.State == UplinkQuarantined:
			held, left = append(held, name), append(left, u.Fault())
			if u.Use == UseActive {
				carrying = append(carrying, name)
			}
		case u.Fault() != "":
			faults = append(faults, u.Fault())
			amiss[u.State] = append(amiss[u.State], name)
			if u.State == UplinkDead {
				gone = append(gone, u.Fault())
			}
		case u.Use == UseStandby:
			standing = append(standing, name)
		default:
			carrying = append(carrying, name)
		}
	}
	if session != SessionUp {
		text := "not working: no session with the server"
		if reason != "" {
			text += ": " + oneLine(reason)
		}
		// Without a server all that live are being tried.
		return Verdict{LevelBad, UplinkDead, "Not connected", strings.Join(append([]string{text}, gone...), "; ")}
	}
	var v Verdict
	dead, empty, probing := amiss[UplinkDead], amiss[UplinkUp], amiss[UplinkProbing]
	none := len(carrying) == 0 && len(uplinks) > 0
	switch {
	case len(dead) > 0:
		v = Verdict{About: UplinkDead, Title: are(dead, "is", "are") + " dead"}
	case !mptcp:
		v = Verdict{About: UplinkLate, Title: "One uplink only"}
	case len(empty) > 0:
		v = Verdict{About: UplinkLate, Title: are(empty, "carries", "carry") + " nothing"}
	case len(probing) > 0:
		v = Verdict{About: UplinkProbing, Title: are(probing, "is", "are") + " being tried"}
	case none:
		v = Verdict{About: UplinkLate, Title: "No uplink carries"}
	case len(faults) > 0: // states of another version
		v = Verdict{About: UplinkLate, Title: "An uplink is amiss"}
	case len(held) > 0:
		v = Verdict{LevelHeld, UplinkQuarantined, are(held, "is", "are") + " quarantined", ""}
	default:
		v = Verdict{LevelGood, UplinkUp, "All well", ""}
	}
	if none {
		v.Level, v.Text = LevelBad, strings.Join(slices.Concat([]string{"not working: no uplink carries"}, faults, left), "; ")
		return v
	}
	if !mptcp {
		faults = append(faults, "the connection is plain TCP, which uses one uplink at a time")
	}
	if len(faults) > 0 {
		v.Level = LevelWarn
	}
	text := "working"
	switch {
	case len(carrying) == 0:
	case len(carrying) == 1 && len(faults) > 0:
		text += " on " + carrying[0] + " alone"
	default:
		text += ": " + are(carrying, "carries", "carry")
	}
	if len(standing) > 0 {
		text += ", " + are(standing, "stands by", "stand by")
	}
	v.Text = strings.Join(slices.Concat([]string{text}, faults, left), "; ")
	return v
}

// Fault is what keeps an uplink from carrying, with the reason: "lte is dead: no
// answer for 3 s". It is empty for one that does as its role says, and for one that
// is late: it is up or dead in a moment.
func (u *Uplink) Fault() string {
	name, reason := ShortName(u.Interface), ""
	if u.Reason != "" {
		reason = ": " + oneLine(u.Reason)
	}
	switch u.State {
	case UplinkUp:
		// Of one that is up a server has no reason but that it answers.
		if u.Use != UseActive || u.Subflows > 0 || u.Reason == "" || u.ConfiguredRole == "" {
			return ""
		}
		return name + " carries nothing" + reason
	case UplinkOff, UplinkLate:
		return ""
	}
	return name + " is " + u.State + reason
}

// are is names with what one of them does or many do; of more than three, how many.
func are(names []string, one, many string) string {
	switch n := len(names); {
	case n == 1:
		return names[0] + " " + one
	case n > 3:
		return fmt.Sprintf("%d uplinks %s", n, many)
	default:
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1] + " " + many
	}
}

// oneLine is a text without line breaks.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

package control

import (
	"fmt"
	"strings"
)

// Level is how well a client or a server does.
type Level int

// Levels, the better ones first.
const (
	LevelGood   Level = iota // what is to carry does
	LevelFaulty              // it works, and something is amiss
	LevelDown                // nothing gets through
)

// Verdict tells at a glance whether braid works, and what is at fault.
type Verdict struct {
	Level Level
	// Text is one line for people: first whether it works, then what is at fault
	// and why.
	Text string
}

// Verdict judges a client.
func (s *Client) Verdict() Verdict {
	return verdictOf(s.Session.State, s.Session.Reason, s.Session.MPTCP, s.Uplinks)
}

// Verdict judges a client as its server sees it.
func (p *Peer) Verdict() Verdict { return verdictOf(p.State, "", p.MPTCP, p.Uplinks) }

// Verdict judges a server: clients that are away are no fault.
func (s *Server) Verdict() Verdict {
	up := 0
	var faults []string
	for i := range s.Clients {
		p := &s.Clients[i]
		if p.State != SessionUp {
			continue
		}
		up++
		if v := p.Verdict(); v.Level != LevelGood {
			faults = append(faults, p.Name+" is "+v.Text)
		}
	}
	text := fmt.Sprintf("%d of %d clients connected", up, len(s.Clients))
	if len(faults) > 0 {
		return Verdict{LevelFaulty, "working, " + text + "; " + strings.Join(faults, "; ")}
	}
	return Verdict{LevelGood, "working: " + text}
}

// verdictOf judges a session, up or down for a reason that may be empty.
func verdictOf(session, reason string, mptcp bool, uplinks []Uplink) Verdict {
	var carrying, standing, faults, left []string
	for i := range uplinks {
		u := &uplinks[i]
		name := ShortName(u.Interface)
		switch {
		case u.State == UplinkOff:
		case u.State == UplinkQuarantined:
			left = append(left, u.Fault())
			if u.Use == UseActive {
				carrying = append(carrying, name)
			}
		case u.Fault() != "":
			faults = append(faults, u.Fault())
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
		return Verdict{LevelDown, strings.Join(append([]string{text}, faults...), "; ")}
	}
	if len(carrying) == 0 && len(uplinks) > 0 {
		return Verdict{LevelDown, strings.Join(append([]string{"not working: no uplink carries"}, faults...), "; ")}
	}
	if !mptcp {
		faults = append(faults, "the connection is plain TCP, which uses one uplink at a time")
	}
	text := "working"
	switch {
	case len(carrying) == 0:
	case len(carrying) == 1 && len(faults) > 0:
		text += " on " + carrying[0] + " alone"
	case len(carrying) == 1:
		text += ": " + carrying[0] + " carries"
	default:
		text += ": " + listed(carrying) + " carry"
	}
	if len(standing) == 1 {
		text += ", " + standing[0] + " stands by"
	} else if len(standing) > 1 {
		text += ", " + listed(standing) + " stand by"
	}
	v := Verdict{LevelGood, strings.Join(append(append([]string{text}, faults...), left...), "; ")}
	if len(faults) > 0 {
		v.Level = LevelFaulty
	}
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

// BondingText says what it brings now to use several uplinks together: how much
// all of them carry, beside what the fastest could alone, as far as is known of
// it. received and sent are the directions' names.
func BondingText(uplinks []Uplink, received, sent string) string {
	var total, best [2]float64
	var name [2]string
	works := 0
	for i := range uplinks {
		u := &uplinks[i]
		now, most := [2]float64{u.RxBps, u.TxBps}, [2]float64{u.DeliverRxBps, u.DeliverTxBps}
		if u.State != UplinkUp && u.State != UplinkLate && u.State != UplinkQuarantined {
			continue // its rates are of the last second
		}
		works++
		for d := range now {
			total[d] += now[d]
			if alone := max(now[d], most[d]); alone > best[d] {
				best[d], name[d] = alone, ShortName(u.Interface)
			}
		}
	}
	d, word := 0, received
	if total[1] > total[0] {
		d, word = 1, sent
	}
	const idle = 100e3 // bits per second
	switch {
	case works == 0:
		return "bonding: no uplink works"
	case works == 1:
		return "bonding: no gain, one uplink works"
	case total[d] < idle:
		return "bonding: nothing to gain, next to no traffic"
	case total[d] < 1.05*best[d]:
		return fmt.Sprintf("bonding: no gain, %s alone has %s %s", name[d], FormatRate(best[d]), word)
	}
	return fmt.Sprintf("bonding: %.1f times %s alone (%s %s)", total[d]/best[d], name[d], FormatRate(best[d]), word)
}

// listed is names as people list them; of many, how many.
func listed(names []string) string {
	if n := len(names); n > 3 {
		return fmt.Sprintf("%d uplinks", n)
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// oneLine is a text without line breaks.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

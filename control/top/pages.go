package top

import (
	"fmt"
	"strings"
	"time"

	"braid/control"
)

// Names of the two directions: a client's user downloads, a server receives.
var (
	clientWords = [2]string{"down", "up"}
	serverWords = [2]string{"recv", "sent"}
)

// clientPage is the view of a client.
func clientPage(s *seen, c *control.Client) *page {
	p := &page{
		title: clean("client " + c.Session.Device), verdict: c.Verdict, words: clientWords, link: true,
		streams: &c.Streams, lane: &c.PacketLane, counts: s.past[clientKey("")], events: c.Events,
		empty: "  no uplink: no interface has a default route, or the configuration allows none",
	}
	if c.Session.Server != "" {
		p.facts = append(p.facts, "server "+clean(c.Session.Server))
	}
	if c.Session.State == control.SessionUp {
		p.facts = append(p.facts, mptcp(c.Session.MPTCP))
		if c.Session.RTTms > 0 {
			p.facts = append(p.facts, "round trip "+control.FormatMillis(c.Session.RTTms))
		}
	}
	if c.KillSwitch {
		p.facts = append(p.facts, "kill switch closed")
	}
	p.sum = sum(c.Uplinks, clientWords, c.Gain)
	p.uplinks("UPLINK", s, "", c.Uplinks)
	return p
}

// peerPage is the view of one of a server's clients.
func peerPage(s *seen, c *control.Peer) *page {
	p := &page{
		title: clean("server, client " + c.Name), verdict: c.Verdict, words: serverWords, link: true,
		streams: &c.Streams, lane: &c.PacketLane, counts: s.past[clientKey(c.Name)],
		empty: "  no uplink: the client is not connected",
	}
	if c.State == control.SessionUp {
		p.facts = append(p.facts, mptcp(c.MPTCP))
	}
	for _, a := range c.Addresses {
		p.facts = append(p.facts, a.Addr().String())
	}
	p.sum = sum(c.Uplinks, serverWords, c.Gain)
	p.uplinks("FROM", s, c.Name, c.Uplinks)
	return p
}

func mptcp(yes bool) string {
	if yes {
		return "MPTCP yes"
	}
	return doubtful.Render("MPTCP no")
}

// sum is the rates of all uplinks together, and what it brings.
func sum(uplinks []control.Uplink, words [2]string, gain control.Gain) string {
	var rx, tx float64
	for i := range uplinks {
		rx += uplinks[i].RxBps
		tx += uplinks[i].TxBps
	}
	return fmt.Sprintf("%s %s  %s %s  ", words[0], bold.Render(fmt.Sprintf("%-10s", control.FormatRate(rx))),
		words[1], bold.Render(fmt.Sprintf("%-10s", control.FormatRate(tx)))) + clean("bonding: "+gain.Text)
}

// uplinks adds a session's uplinks, of the client of that name.
func (p *page) uplinks(title string, s *seen, client string, uplinks []control.Uplink) {
	p.columns = []column{
		{title, false, 10}, {"STATE", false, 9}, {"ROLE", false, 6}, {strings.ToUpper(p.words[0]), true, 8}, {strings.ToUpper(p.words[1]), true, 7},
		{"RTT", true, 5}, {"JITTER", true, 2}, {"LOSS", true, 4},
	}
	for i := range uplinks {
		u := &uplinks[i]
		fault := u.Fault()
		rate := func(bps float64) cell {
			if bps < 500 {
				return cell{"0", faint}
			}
			return cell{control.FormatRate(bps), plainStyle}
		}
		rtt, jitter := u.RTTms, u.JitterMs
		if u.State == control.UplinkDead {
			rtt, jitter = 0, 0 // those of before say nothing
		}
		p.rows = append(p.rows, row{
			name: u.Interface,
			cells: []cell{
				{clean(control.ShortName(u.Interface)), bold}, {clean(u.StateText()), stateStyle(u.State)}, {clean(u.RoleText()), plainStyle},
				rate(u.RxBps), rate(u.TxBps), {control.FormatMillis(rtt), plainStyle}, {control.FormatMillis(jitter), plainStyle},
				{control.FormatPercent(u.LossPct), plainStyle},
			},
			detail: clean(detail(u)), fault: fault != "",
			past: s.past[uplinkKey(client, u.Interface)],
		})
	}
}

// detail is what more is to be said of an uplink: the configuration's role if it is
// another, why it is as it is, and the cap.
func detail(u *control.Uplink) string {
	var parts []string
	if u.ConfiguredRole != "" && u.ConfiguredRole != u.Role {
		parts = append(parts, "configured as "+u.ConfiguredRole)
	}
	ofNote := u.State != control.UplinkUp || u.ConfiguredRole != "" // else a server knows that it answers
	if ofNote && u.Reason != "" && u.Reason != "its role is "+u.Role {
		parts = append(parts, strings.Join(strings.Fields(u.Reason), " "))
	}
	if u.CapBytes > 0 {
		parts = append(parts, "this month "+u.CapText())
	}
	return strings.Join(parts, "; ")
}

// serverPage is the view of a server: its clients.
func serverPage(s *seen, c *control.Server) *page {
	p := &page{
		title: clean("server " + c.Device), verdict: c.Verdict, words: serverWords,
		facts:   []string{clean("listens on " + strings.Join(c.Listen, " "))},
		empty:   "  no client: braid invite NAME makes one",
		columns: []column{{"CLIENT", false, 10}, {"STATE", false, 9}, {"RECV", true, 8}, {"SENT", true, 7}, {"UPLINKS", false, 6}, {"STREAMS", true, 4}, {"SINCE", true, 3}, {"ADDRESS", false, 2}},
	}
	var rx, tx float64
	for i := range c.Clients {
		r := clientRow(s, &c.Clients[i])
		for j := range c.Clients[i].Uplinks {
			rx += c.Clients[i].Uplinks[j].RxBps
			tx += c.Clients[i].Uplinks[j].TxBps
		}
		p.rows = append(p.rows, r)
	}
	p.sum = fmt.Sprintf("recv %s  sent %s  of all clients", bold.Render(fmt.Sprintf("%-10s", control.FormatRate(rx))),
		bold.Render(fmt.Sprintf("%-10s", control.FormatRate(tx))))
	if c.Rejected > 0 {
		p.sum += fmt.Sprintf("; %d connections turned away", c.Rejected)
	}
	return p
}

// clientRow is a client of a server.
func clientRow(s *seen, c *control.Peer) row {
	var rx, tx float64
	live := 0
	for i := range c.Uplinks {
		rx += c.Uplinks[i].RxBps
		tx += c.Uplinks[i].TxBps
		if works(&c.Uplinks[i]) {
			live++
		}
	}
	state, style := cell{c.State, good}, plainStyle
	uplinks := fmt.Sprintf("%d of %d work", live, len(c.Uplinks))
	r := row{name: c.Name, past: s.past[clientKey(c.Name)]}
	v := c.Verdict
	switch {
	case c.State != control.SessionUp:
		state, uplinks, style = cell{c.State, faint}, "–", faint
	case !v.Working():
		state.style, r.fault, r.detail = levelStyle(v.Level), true, clean(v.Text)
	}
	since, address := "–", "–"
	if t, err := time.Parse(time.RFC3339, c.Since); err == nil && c.State == control.SessionUp {
		since = control.FormatAge(s.at.Sub(t).Seconds())
	}
	if len(c.Addresses) > 0 {
		address = c.Addresses[0].Addr().String()
	}
	r.cells = []cell{
		{clean(control.ShortName(c.Name)), bold}, state, {control.FormatRate(rx), style}, {control.FormatRate(tx), style}, {uplinks, style},
		{fmt.Sprint(c.Streams.Open), style}, {since, style}, {address, style},
	}
	return r
}

package top

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"braid/control"
)

// Keys describes the keys, for the command's manual and the view's help.
const Keys = `up, down, 1–9   choose an uplink, or on a server a client
b, o, u, n      give it the role bond, overflow, backup or never
d               give it the role of the configuration again
x               pause the chosen uplink (never), or take it back (default)
s               sort streams by rate, age or bytes
enter, esc      on a server: open the chosen client, and go back
p, space        freeze the picture, and go on
?               help
q               quit`

// roleKeys are the keys that give a role.
var roleKeys = map[string]string{
	"b": control.RoleBond, "o": control.RoleOverflow, "u": control.RoleBackup, "n": control.RoleNever, "d": control.RoleDefault,
}

// press does what a key says.
func (m *Model) press(key string) tea.Cmd {
	switch key {
	case "ctrl+c":
		return tea.Quit
	case "ctrl+z":
		return tea.Suspend
	}
	if q := m.asked; q != nil {
		m.asked = nil
		if key == "y" || key == "Y" {
			return m.change(q.uplink, q.role)
		}
		m.note = note{text: q.uplink + " stays as it is", at: m.now}
		return nil
	}
	if m.help {
		m.help = false
		if key != "q" {
			return nil
		}
	}
	m.note = note{}
	switch key {
	case "q":
		return tea.Quit
	case "?", "h":
		m.help = true
	case "p", "space":
		if m.frozen == nil {
			m.frozen = m.seen.clone()
		} else {
			m.frozen = nil
		}
	case "s":
		m.sort = (m.sort + 1) % sorts
	case "up", "k", "down", "j":
		m.move(key == "up" || key == "k")
	case "enter":
		m.open()
	case "esc", "backspace", "left":
		if m.opened != "" {
			m.cursor, m.opened = m.opened, ""
		}
	case "x":
		return m.pause()
	default:
		if role, ok := roleKeys[key]; ok {
			return m.ask(role)
		}
		if names := m.names(); len(key) == 1 && key[0] >= '1' && int(key[0]-'1') < len(names) && key[0] <= '9' {
			m.cursor = names[key[0]-'1']
		}
	}
	return nil
}

// move moves the cursor by one, up or down.
func (m *Model) move(up bool) {
	names := m.names()
	at := m.chosen(names)
	if at < 0 {
		return
	}
	if up {
		at = max(at-1, 0)
	} else {
		at = min(at+1, len(names)-1)
	}
	m.cursor = names[at]
}

// open shows the chosen client of a server.
func (m *Model) open() {
	if _, server := m.shown().status.(*control.Server); !server || m.opened != "" {
		return
	}
	if names := m.names(); len(names) > 0 {
		m.opened = names[m.chosen(names)]
		m.cursor = ""
	}
}

// pause takes the chosen uplink out of use, or back.
func (m *Model) pause() tea.Cmd {
	if u := m.uplink(); u != nil && u.Role == control.RoleNever {
		if u.ConfiguredRole == control.RoleNever {
			m.note = note{text: u.Interface + " is never used by the configuration: b, o or u gives it a role", bad: true, at: m.now}
			return nil
		}
		return m.ask(control.RoleDefault)
	}
	return m.ask(control.RoleNever)
}

// ask changes the chosen uplink's role, or asks first when nothing would work
// without it.
func (m *Model) ask(role string) tea.Cmd {
	if _, server := m.shown().status.(*control.Server); server {
		m.note = note{text: "roles of uplinks are changed on the client's host", bad: true, at: m.now}
		return nil
	}
	u := m.uplink()
	switch {
	case u == nil:
		m.note = note{text: "there is no uplink to change", bad: true, at: m.now}
		return nil
	case m.lost != nil:
		m.note = note{text: "not changed: the daemon does not answer", bad: true, at: m.now}
		return nil
	}
	takes := role == control.RoleNever || role == control.RoleDefault && u.ConfiguredRole == control.RoleNever
	if takes && works(u) && !m.another(u) {
		m.asked = &question{uplink: u.Interface, role: role,
			text: fmt.Sprintf("%s is the last uplink that works: without it nothing gets through. Pause it? y/n", u.Interface)}
		return nil
	}
	return m.change(u.Interface, role)
}

// change asks the daemon, elsewhere.
func (m *Model) change(uplink, role string) tea.Cmd {
	set := m.setRole
	return func() tea.Msg { return changed{uplink, role, set(uplink, role)} }
}

// uplink is the chosen uplink of a client, as it is now, or nil.
func (m *Model) uplink() *control.Uplink {
	s, ok := m.seen.status.(*control.Client)
	if !ok {
		return nil
	}
	names := m.names()
	at := m.chosen(names)
	if at < 0 {
		return nil
	}
	for i := range s.Uplinks {
		if s.Uplinks[i].Interface == names[at] {
			return &s.Uplinks[i]
		}
	}
	return nil
}

// another reports whether an uplink works beside that one.
func (m *Model) another(than *control.Uplink) bool {
	s, ok := m.seen.status.(*control.Client)
	for i := 0; ok && i < len(s.Uplinks); i++ {
		if u := &s.Uplinks[i]; u.Interface != than.Interface && works(u) {
			return true
		}
	}
	return false
}

func works(u *control.Uplink) bool {
	return u.State == control.UplinkUp || u.State == control.UplinkLate || u.State == control.UplinkQuarantined
}

// helpText is the page of the key "?".
func helpText() []string {
	lines := []string{"", "keys", ""}
	for line := range strings.Lines(Keys) {
		lines = append(lines, "  "+strings.TrimSuffix(line, "\n"))
	}
	return append(lines, "",
		"  The graphs show the last minute or so. Their scale, beside them, is the",
		"  same for all uplinks, so that they compare.",
		"  up: it answers; late: an answer is overdue; dead: silent or gone;",
		"  quarantined: it answers, but nothing would be faster with it;",
		"  probing: it has yet to answer steadily; off: its role is never.",
		"", "  any key goes back")
}

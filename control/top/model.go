package top

import (
	"errors"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"braid/control"
)

// Told is the message that the daemon told its status: a *control.Client or a
// *control.Server, which the model keeps and nobody changes any more.
type Told struct {
	At     time.Time
	Status any
}

// Lost is the message that the daemon does not answer.
type Lost struct {
	At  time.Time
	Err error
}

// changed is the message that a role was changed, or not.
type changed struct {
	uplink, role string
	err          error
}

// Model is the state of the view. It has no clock: its time is that of the
// latest message.
type Model struct {
	plain   bool // ASCII alone
	setRole func(uplink, role string) error

	width, height int
	seen          seen  // the latest
	frozen        *seen // what is shown instead; nil: nothing is
	lost          error // why the daemon does not answer; nil: it does
	now           time.Time

	sort   sortBy
	cursor string // the name of the chosen uplink or client; it may be gone
	opened string // of the client that a server's view shows; "" is all of them
	help   bool
	asked  *question
	note   note
}

// seen is what is drawn: the latest status and the history of rates.
type seen struct {
	at     time.Time
	status any
	past   map[string]past
	order  map[string]int // of uplinks, as they came: a dead one keeps its place
}

func (s seen) clone() *seen {
	c := s
	c.past = make(map[string]past, len(s.past))
	for k, p := range s.past {
		c.past[k] = p.clone()
	}
	return &c
}

// question is asked before something is done that cuts a connection.
type question struct {
	text         string
	uplink, role string
}

// note is a message at the bottom of the view until it is old.
type note struct {
	text string
	bad  bool
	at   time.Time
}

// noteAge is how long a note stays.
const noteAge = 8 * time.Second

// sortBy is the order of streams.
type sortBy int

const (
	byRate sortBy = iota
	byAge
	byBytes
	sorts
)

func (s sortBy) String() string { return [...]string{"rate", "age", "bytes"}[s] }

// NewModel returns an empty view, in ASCII alone if plain. setRole asks the
// daemon to change an uplink's role; it is called from goroutines of the program.
func NewModel(plain bool, setRole func(uplink, role string) error) *Model {
	return &Model{plain: plain, setRole: setRole, seen: seen{past: map[string]past{}, order: map[string]int{}}}
}

// Init does nothing.
func (m *Model) Init() tea.Cmd { return nil }

// Update takes a message.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case Told:
		m.now, m.lost = msg.At, nil
		m.seen.take(msg)
		if s, ok := msg.Status.(*control.Server); ok && m.frozen == nil &&
			!slices.ContainsFunc(s.Clients, func(p control.Peer) bool { return p.Name == m.opened }) {
			m.opened = "" // that client was revoked
		}
	case Lost:
		m.now, m.lost = msg.At, msg.Err
		if m.lost == nil {
			m.lost = errors.New("it has ended")
		}
	case changed:
		m.tell(msg)
	case tea.KeyPressMsg:
		return m, m.press(msg.String())
	}
	return m, nil
}

// tell notes what became of a change.
func (m *Model) tell(c changed) {
	m.note = note{at: m.now}
	if c.err != nil {
		m.note.bad = true
		m.note.text = "not changed: " + c.err.Error()
		if h, ok := errors.AsType[interface {
			error
			Hint() string
		}](c.err); ok && h.Hint() != "" {
			m.note.text += " (" + h.Hint() + ")"
		}
		return
	}
	switch c.role {
	case control.RoleDefault:
		m.note.text = c.uplink + " has the role of the configuration again"
	default:
		m.note.text = c.uplink + " has the role " + c.role + " until the daemon restarts, or d is pressed"
	}
}

// shown is what is drawn now.
func (m *Model) shown() *seen {
	if m.frozen != nil {
		return m.frozen
	}
	return &m.seen
}

// names are what the cursor can stand on: uplinks, or a server's clients.
func (m *Model) names() []string {
	var names []string
	switch s := m.shown().status.(type) {
	case *control.Client:
		for _, u := range s.Uplinks {
			names = append(names, u.Interface)
		}
	case *control.Server:
		if p := m.peer(s); p != nil {
			for _, u := range p.Uplinks {
				names = append(names, u.Interface)
			}
			return names
		}
		for _, c := range s.Clients {
			names = append(names, c.Name)
		}
	}
	return names
}

// peer is the client that is open in a server's view, or nil.
func (m *Model) peer(s *control.Server) *control.Peer {
	if m.opened == "" {
		return nil
	}
	for i := range s.Clients {
		if s.Clients[i].Name == m.opened {
			return &s.Clients[i]
		}
	}
	return nil
}

// chosen is the index in names of what the cursor stands on, -1 if there is none.
func (m *Model) chosen(names []string) int {
	if i := slices.Index(names, m.cursor); i >= 0 {
		return i
	}
	return min(len(names), 1) - 1
}

package scheduler

import (
	"fmt"
	"slices"
	"strings"
)

// State is how an uplink fares.
type State int

// The states of an uplink. Health tells the first four apart; the other two
// are its owner's to say.
const (
	Probing     State = iota // exists, has yet to answer steadily
	Up                       // answers
	Late                     // an answer is overdue
	Dead                     // does not exist, has no connection, or is silent
	Quarantined              // answers, but makes the whole slower
	Off                      // not to be used, by configuration
)

var stateNames = [...]string{"probing", "up", "late", "dead", "quarantined", "off"}

// String returns the state's name, as in logs and in the status.
func (s State) String() string { return name(stateNames[:], int(s), "state") }

// Role is what the configuration wants an uplink used for.
type Role int

// The roles of an uplink.
const (
	Bond     Role = iota // together with all others of this role
	Overflow             // when those are full, or none of them works
	Backup               // when none of the others works
	Never
)

var roleNames = [...]string{"bond", "overflow", "backup", "never"}

// String returns the role's name, as in the configuration.
func (r Role) String() string { return name(roleNames[:], int(r), "role") }

// ParseRole is the reverse of String.
func ParseRole(s string) (Role, error) {
	i := slices.Index(roleNames[:], s)
	if i < 0 {
		return Never, fmt.Errorf("parse role %q: use one of %s", s, strings.Join(roleNames[:], ", "))
	}
	return Role(i), nil
}

// name is for a value that may come from anywhere.
func name(names []string, i int, kind string) string {
	if i < 0 || i >= len(names) {
		return fmt.Sprintf("%s(%d)", kind, i)
	}
	return names[i]
}
